package operator

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/workload/node"
)

// cacheOptions make the cache small: at 5,000 pods it is nearly all of the operator's memory.
func cacheOptions() ctrlcache.Options {
	return ctrlcache.Options{
		DefaultTransform: bare,
		ByObject: map[client.Object]ctrlcache.ByObject{
			&corev1.Pod{}:  {Transform: slim},
			&corev1.Node{}: {Transform: slimNode},
			// Others' workloads.
			&appsv1.Deployment{}:         {Transform: slimOthers},
			&appsv1.StatefulSet{}:        {Transform: slimOthers},
			&appsv1.DaemonSet{}:          {Transform: slimOthers},
			&appsv1.ControllerRevision{}: {Transform: slimOthers},
			&batchv1.Job{}:               {Transform: slimOthers},
			// Others' configurations are none of our business, and we have no right to read them.
			&admissionregistrationv1.MutatingWebhookConfiguration{}: {
				Field: fields.OneTermEqualSelector(metav1.ObjectNameField, ConfigurationName),
			},
		},
	}
}

// bare drops what no controller reads of any object.
func bare(in any) (any, error) {
	if tombstone, ok := in.(cache.DeletedFinalStateUnknown); ok {
		return tombstone, nil
	}
	obj, err := meta.Accessor(in)
	if err != nil {
		return nil, fmt.Errorf("strip a cached object: %w", err)
	}
	obj.SetManagedFields(nil)
	if _, ok := obj.GetAnnotations()[corev1.LastAppliedConfigAnnotation]; ok {
		kept := map[string]string{}
		for key, value := range obj.GetAnnotations() {
			if key != corev1.LastAppliedConfigAnnotation {
				kept[key] = value
			}
		}
		obj.SetAnnotations(kept)
	}
	return in, nil
}

// slim keeps of a pod what the controllers decide by: its metadata, where it runs, its containers' names, images, env,
// ports and resources, its gates, priority, grace and claims, the node that it is pinned to, and the whole status. A cached
// pod must therefore never be written back with an update: what it lacks would be taken away. Patches made from what changed
// are safe.
func slim(in any) (any, error) {
	if _, err := bare(in); err != nil {
		return nil, err
	}
	pod, ok := in.(*corev1.Pod)
	if !ok {
		return in, nil
	}
	spec := &pod.Spec
	pod.Spec = corev1.PodSpec{
		NodeName:                      spec.NodeName,
		Hostname:                      spec.Hostname,
		Subdomain:                     spec.Subdomain,
		RestartPolicy:                 spec.RestartPolicy,
		InitContainers:                slimContainers(spec.InitContainers),
		Containers:                    slimContainers(spec.Containers),
		Resources:                     spec.Resources,
		ReadinessGates:                spec.ReadinessGates,
		SchedulingGates:               spec.SchedulingGates,
		TerminationGracePeriodSeconds: spec.TerminationGracePeriodSeconds,
		Priority:                      spec.Priority,
		PriorityClassName:             spec.PriorityClassName,
		Volumes:                       claimsOnly(spec.Volumes),
		Affinity:                      awaited(spec),
	}
	return pod, nil
}

// awaited is the node that a pod waits for; nil when it has one, or waits for any.
func awaited(spec *corev1.PodSpec) *corev1.Affinity {
	if spec.NodeName != "" {
		return nil
	}
	return node.OnlyPin(spec.Affinity)
}

// slimNode drops the lists that make a node large: what images it has, and what volumes.
func slimNode(in any) (any, error) {
	if _, err := bare(in); err != nil {
		return nil, err
	}
	if n, ok := in.(*corev1.Node); ok {
		n.Status.Images, n.Status.VolumesInUse, n.Status.VolumesAttached = nil, nil, nil
	}
	return in, nil
}

func slimContainers(all []corev1.Container) []corev1.Container {
	if len(all) == 0 {
		return nil
	}
	out := make([]corev1.Container, len(all))
	for i, c := range all {
		out[i] = corev1.Container{
			Name: c.Name, Image: c.Image, Env: c.Env, EnvFrom: c.EnvFrom, Resources: c.Resources, Ports: c.Ports,
			RestartPolicy: c.RestartPolicy, ResizePolicy: c.ResizePolicy,
		}
	}
	return out
}

func claimsOnly(all []corev1.Volume) []corev1.Volume {
	var out []corev1.Volume
	for _, v := range all {
		if v.PersistentVolumeClaim != nil {
			out = append(out, v)
		}
	}
	return out
}
