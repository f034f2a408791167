package testkit

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// StatefulSet returns a StatefulSet of three pods like those of Pod, changed by the overrides in their order. Fields that the
// API server would fill with a default are left to it.
func StatefulSet(overrides ...func(*appsv1beta1.StatefulSet)) *appsv1beta1.StatefulSet {
	replicas := int32(3)
	labels := map[string]string{"app": "web"}
	set := &appsv1beta1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1beta1.SchemeGroupVersion.String(), Kind: "StatefulSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1beta1.StatefulSetSpec{
			Replicas: &replicas, ServiceName: "peers",
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

// ClaimTemplate returns a claim template of that name and size.
func ClaimTemplate(name, size string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			},
		},
	}
}
