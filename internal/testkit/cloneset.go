package testkit

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// CloneSet returns a CloneSet of three pods like those of Pod, changed by the overrides in their order. Fields that the
// API server would fill with a default are left to it.
func CloneSet(overrides ...func(*appsv1beta1.CloneSet)) *appsv1beta1.CloneSet {
	replicas := int32(3)
	labels := map[string]string{"app": "web"}
	set := &appsv1beta1.CloneSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1beta1.SchemeGroupVersion.String(), Kind: "CloneSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1beta1.CloneSetSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}},
				},
			},
		},
	}
	for _, override := range overrides {
		override(set)
	}
	return set
}
