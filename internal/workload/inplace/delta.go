// Package inplace changes a pod without making a new one: what of a template change can be done so, the steps of doing it,
// and when it is done.
package inplace

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// Delta is what changes from one pod template to another, as far as a running pod can follow.
type Delta struct {
	// Images by container.
	Images map[string]string
	// Env are the containers whose environment takes values from labels or annotations that change.
	Env []string
	// Resources by container.
	Resources map[string]corev1.ResourceRequirements
	// Labels and Annotations: a nil value removes the key.
	Labels, Annotations map[string]*string
}

// Empty reports whether the templates do not differ at all.
func (d Delta) Empty() bool {
	return len(d.Images) == 0 && len(d.Resources) == 0 && len(d.Labels) == 0 && len(d.Annotations) == 0
}

// Disturbs reports whether the change may make the pod not ready: a change of metadata alone does not.
func (d Delta) Disturbs() bool { return len(d.Images) > 0 || len(d.Resources) > 0 || len(d.Env) > 0 }

// Between returns how a pod made from one template becomes one of the other, or the fields that prevent it. What one of them
// says and the other leaves to the API server prevents nothing.
func Between(from, to *corev1.PodTemplateSpec) (Delta, []string) {
	delta, blocked := compare(from, to)
	if len(blocked) == 0 {
		return delta, nil
	}
	return compare(completed(from, to), completed(to, from))
}

// completed is the template with the API server's defaults. The pull policy follows the image where neither says it, and a pod
// keeps its own.
func completed(template, other *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	full := pod.Defaulted(template)
	for i := range min(len(template.Spec.Containers), len(other.Spec.Containers)) {
		if template.Spec.Containers[i].ImagePullPolicy == "" && other.Spec.Containers[i].ImagePullPolicy == "" {
			full.Spec.Containers[i].ImagePullPolicy = ""
		}
	}
	return full
}

func compare(from, to *corev1.PodTemplateSpec) (Delta, []string) {
	delta := Delta{
		Labels:      metadataDelta(from.Labels, to.Labels),
		Annotations: metadataDelta(from.Annotations, to.Annotations),
	}
	var blocked []string
	if at := delta.Annotations[appsv1beta1.RestartedAt]; at != nil {
		// Whoever asks for a restart wants new processes; a changed annotation alone would start none. Whoever takes the
		// request back wants none.
		blocked = append(blocked, "metadata.annotations["+appsv1beta1.RestartedAt+"]")
	}
	reached := from.Spec.DeepCopy()
	if len(from.Spec.Containers) == len(to.Spec.Containers) {
		for i := range reached.Containers {
			blocked = append(blocked, between(&delta, &reached.Containers[i], &to.Spec.Containers[i])...)
		}
	}
	for i := range to.Spec.InitContainers {
		if c := &to.Spec.InitContainers[i]; c.RestartPolicy != nil && readsMetadata(c, delta.Labels, delta.Annotations) {
			delta.Env = append(delta.Env, c.Name) // a sidecar; one that runs once has done so
		}
	}
	if len(delta.Resources) > 0 && qosClass(&from.Spec) != qosClass(&to.Spec) {
		blocked = append(blocked, "spec.containers[*].resources (the change moves the pod from QoS class "+
			string(qosClass(&from.Spec))+" to "+string(qosClass(&to.Spec))+")")
	}
	if !apiequality.Semantic.DeepEqual(reached, &to.Spec) {
		blocked = append(blocked, differences("spec", reached, &to.Spec)...)
	}
	return delta, blocked
}

// between notes what can change in place in one container, and moves reached there.
func between(d *Delta, reached, to *corev1.Container) (blocked []string) {
	if reached.Name != to.Name {
		return nil // the specs will differ, and say so
	}
	if reached.Image != to.Image {
		put(&d.Images, to.Name, to.Image)
		reached.Image = to.Image
	}
	if readsMetadata(to, d.Labels, d.Annotations) {
		d.Env = append(d.Env, to.Name)
	}
	if !apiequality.Semantic.DeepEqual(reached.Resources, to.Resources) {
		field := fixedResource(reached.Resources, to.Resources)
		reached.Resources = to.Resources // one way or the other it is dealt with here
		if field != "" {
			return []string{"spec.containers[" + to.Name + "].resources." + field}
		}
		put(&d.Resources, to.Name, explicit(to.Resources))
	}
	return nil
}

// explicit spells out the requests that are left out and so follow the limits. When the pod was made they were written into
// it, and a resize that does not name them would leave them as they are.
func explicit(r corev1.ResourceRequirements) corev1.ResourceRequirements {
	r = *r.DeepCopy()
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		limit, limited := r.Limits[name]
		if _, requested := r.Requests[name]; limited && !requested {
			put((*map[corev1.ResourceName]resource.Quantity)(&r.Requests), name, limit)
		}
	}
	return r
}

func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

func metadataDelta(from, to map[string]string) map[string]*string {
	var delta map[string]*string
	for key, value := range to {
		if old, had := from[key]; !had || old != value {
			put(&delta, key, &value)
		}
	}
	for key := range from {
		if _, has := to[key]; !has {
			put(&delta, key, nil)
		}
	}
	return delta
}

// readsMetadata reports whether an environment variable of the container takes its value from a label or an annotation
// that changes.
func readsMetadata(c *corev1.Container, labels, annotations map[string]*string) bool {
	return slices.ContainsFunc(MetadataEnv(c), func(env corev1.EnvVar) bool {
		key, annotation, _ := source(&env)
		changed := labels
		if annotation {
			changed = annotations
		}
		_, hit := changed[key]
		return hit
	})
}

// fixedResource names the resource that the resize subresource cannot change, or "". It resizes cpu and memory, and does
// not take a request or a limit away.
// https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/#limitations
func fixedResource(from, to corev1.ResourceRequirements) string {
	if !apiequality.Semantic.DeepEqual(from.Claims, to.Claims) {
		return "claims"
	}
	if name := fixedQuantity(from.Requests, to.Requests); name != "" {
		return "requests[" + name + "]"
	}
	if name := fixedQuantity(from.Limits, to.Limits); name != "" {
		return "limits[" + name + "]"
	}
	return ""
}

func fixedQuantity(from, to corev1.ResourceList) string {
	names := slices.Sorted(maps.Keys(from))
	for _, name := range slices.Sorted(maps.Keys(to)) {
		if _, known := from[name]; !known {
			names = append(names, name)
		}
	}
	for _, name := range names {
		before, had := from[name]
		after, has := to[name]
		resizable := name == corev1.ResourceCPU || name == corev1.ResourceMemory
		if had && has && before.Cmp(after) == 0 {
			continue
		}
		if !resizable || had && !has {
			return string(name)
		}
	}
	return ""
}
