package sidecarset

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newcomer is a pod that is being created, as far as injection looks at it: what nobody reads costs nothing to pass over.
type newcomer struct {
	Metadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		InitContainers   []newContainer                `json:"initContainers"`
		Containers       []newContainer                `json:"containers"`
		Volumes          []newVolume                   `json:"volumes"`
		ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
	} `json:"spec"`
}

type newContainer struct {
	Name          string                         `json:"name"`
	Env           []corev1.EnvVar                `json:"env"`
	Resources     corev1.ResourceRequirements    `json:"resources"`
	VolumeMounts  []corev1.VolumeMount           `json:"volumeMounts"`
	VolumeDevices []corev1.VolumeDevice          `json:"volumeDevices"`
	RestartPolicy *corev1.ContainerRestartPolicy `json:"restartPolicy"`
}

type newVolume struct {
	Name string `json:"name"`
}

func (n *newcomer) pod() *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Labels: n.Metadata.Labels, Annotations: n.Metadata.Annotations},
		Spec: corev1.PodSpec{
			InitContainers: containersOf(n.Spec.InitContainers), Containers: containersOf(n.Spec.Containers),
			Volumes: make([]corev1.Volume, len(n.Spec.Volumes)), ImagePullSecrets: n.Spec.ImagePullSecrets,
		},
	}
	for i := range n.Spec.Volumes {
		p.Spec.Volumes[i].Name = n.Spec.Volumes[i].Name
	}
	return p
}

func containersOf(from []newContainer) []corev1.Container {
	to := make([]corev1.Container, len(from))
	for i := range from {
		c := &from[i]
		to[i] = corev1.Container{
			Name: c.Name, Env: c.Env, Resources: c.Resources, VolumeMounts: c.VolumeMounts, VolumeDevices: c.VolumeDevices,
			RestartPolicy: c.RestartPolicy,
		}
	}
	return to
}
