package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// budget is how much of a workload an update may take away at a time.
const budget = "10%"

// workload is a Deployment or a CloneSet as the phases use it.
type workload interface {
	// object returns the workload with nothing in it but its name.
	object() client.Object
	// build returns the workload with its whole spec and no pods.
	build() client.Object
	// set changes the spec: the number of pods, the image, and how pods get from one image to the next.
	set(object client.Object, replicas int32, image string, inPlace bool)
	// settled reports whether the status speaks of the newest spec and of n pods, all ready and updated.
	settled(object client.Object, n int32) bool
}

// template is the pod that both kinds make.
func template(gated bool) corev1.PodTemplateSpec {
	grace := int64(1)
	t := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "bench"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "main", Image: image(1)}},
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
	if gated {
		t.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}}
	}
	return t
}

// image names the n-th image; simulated nodes need no such image to exist.
func image(n int) string { return fmt.Sprintf("registry.local/bench:v%d", n) }

// name is the name of every workload; they are measured one after the other.
const name = "bench"

func meta() metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }

func selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": "bench"}}
}

// deployment is the native workload.
type deployment struct{}

func (deployment) object() client.Object { return &appsv1.Deployment{ObjectMeta: meta()} }

func (deployment) build() client.Object {
	away, surge := intstr.FromString(budget), intstr.FromInt32(0)
	return &appsv1.Deployment{ObjectMeta: meta(), Spec: appsv1.DeploymentSpec{
		Replicas: new(int32), Selector: selector(), Template: template(false),
		Strategy: appsv1.DeploymentStrategy{
			Type:          appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &away, MaxSurge: &surge},
		},
	}}
}

func (deployment) set(object client.Object, replicas int32, image string, _ bool) {
	d, ok := object.(*appsv1.Deployment)
	if !ok {
		return
	}
	d.Spec.Replicas = &replicas
	d.Spec.Template.Spec.Containers[0].Image = image
}

func (deployment) settled(object client.Object, n int32) bool {
	d, ok := object.(*appsv1.Deployment)
	return ok && d.Status.ObservedGeneration == d.Generation && d.Status.Replicas == n && d.Status.UpdatedReplicas == n &&
		d.Status.AvailableReplicas == n
}

// cloneSet is ours, with or without the readiness gate in its template.
type cloneSet struct{ gated bool }

func (cloneSet) object() client.Object { return &appsv1beta1.CloneSet{ObjectMeta: meta()} }

func (c cloneSet) build() client.Object {
	away, surge := intstr.FromString(budget), intstr.FromInt32(0)
	return &appsv1beta1.CloneSet{ObjectMeta: meta(), Spec: appsv1beta1.CloneSetSpec{
		Replicas: new(int32), Selector: selector(), Template: template(c.gated),
		UpdateStrategy: appsv1beta1.CloneSetUpdateStrategy{
			Type:          appsv1beta1.RollingUpdateCloneSetStrategyType,
			RollingUpdate: &appsv1beta1.RollingUpdateCloneSetStrategy{MaxUnavailable: &away, MaxSurge: &surge},
		},
	}}
}

func (cloneSet) set(object client.Object, replicas int32, image string, inPlace bool) {
	c, ok := object.(*appsv1beta1.CloneSet)
	if !ok {
		return
	}
	c.Spec.Replicas = &replicas
	c.Spec.Template.Spec.Containers[0].Image = image
	if c.Spec.UpdateStrategy.RollingUpdate == nil {
		c.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateCloneSetStrategy{}
	}
	c.Spec.UpdateStrategy.RollingUpdate.PodUpdatePolicy = appsv1beta1.RecreatePodUpdatePolicy
	if inPlace {
		c.Spec.UpdateStrategy.RollingUpdate.PodUpdatePolicy = appsv1beta1.InPlaceIfPossiblePodUpdatePolicy
	}
}

func (cloneSet) settled(object client.Object, n int32) bool {
	c, ok := object.(*appsv1beta1.CloneSet)
	return ok && c.Status.ObservedGeneration == c.Generation && c.Status.Replicas == n && c.Status.UpdatedReplicas == n &&
		c.Status.AvailableReplicas == n
}

// change applies set to the workload on the server.
func (b *bench) change(ctx context.Context, w workload, replicas int, image string, inPlace bool) error {
	object := w.object()
	if err := b.client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		return fmt.Errorf("read the workload: %w", err)
	}
	before, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("%T is no object", object)
	}
	w.set(object, int32(replicas), image, inPlace) //nolint:gosec // a number of pods
	if err := b.client.Patch(ctx, object, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("change the workload: %w", err)
	}
	return nil
}
