// Package inject puts the containers of SidecarSets into a pod that is being created, and keeps the record that the pod
// carries of them.
package inject

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Template is what pods get of a SidecarSet: the content of its revisions.
type Template struct {
	InitContainers   []appsv1beta1.SidecarContainer           `json:"initContainers,omitempty"`
	Containers       []appsv1beta1.SidecarContainer           `json:"containers,omitempty"`
	Volumes          []corev1.Volume                          `json:"volumes,omitempty"`
	ImagePullSecrets []corev1.LocalObjectReference            `json:"imagePullSecrets,omitempty"`
	PatchPodMetadata []appsv1beta1.SidecarSetPatchPodMetadata `json:"patchPodMetadata,omitempty"`
}

// TemplateOf is the template of a spec.
func TemplateOf(spec *appsv1beta1.SidecarSetSpec) Template {
	return Template{
		InitContainers: spec.InitContainers, Containers: spec.Containers, Volumes: spec.Volumes,
		ImagePullSecrets: spec.ImagePullSecrets, PatchPodMetadata: spec.PatchPodMetadata,
	}
}

// Hot reports whether a container is upgraded hot: the pod holds it twice.
func Hot(c *appsv1beta1.SidecarContainer) bool {
	return c.UpgradeStrategy.UpgradeType == appsv1beta1.SidecarContainerHotUpgrade
}

// Pair are the names of the two containers of a hot upgrade.
func Pair(name string) [2]string { return [2]string{name + "-1", name + "-2"} }

// Restartable reports whether an init container runs as long as the pod does.
func Restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// Running are the containers that live in a pod as long as it does: all containers and the restartable init containers.
func (t *Template) Running() []*appsv1beta1.SidecarContainer {
	all := make([]*appsv1beta1.SidecarContainer, 0, len(t.Containers))
	for i := range t.Containers {
		all = append(all, &t.Containers[i])
	}
	for i := range t.InitContainers {
		if Restartable(&t.InitContainers[i].Container) {
			all = append(all, &t.InitContainers[i])
		}
	}
	return all
}

// Names are the containers' names as the user gave them.
func (t *Template) Names() []string {
	names := make([]string, 0, len(t.Containers))
	for _, c := range t.Running() {
		names = append(names, c.Name)
	}
	return names
}

// Following are the annotations that follow a new revision in pods that are there.
func (t *Template) Following() []appsv1beta1.SidecarSetPatchPodMetadata {
	return slices.DeleteFunc(slices.Clone(t.PatchPodMetadata), func(p appsv1beta1.SidecarSetPatchPodMetadata) bool {
		return p.PatchPolicy == "" || p.PatchPolicy == appsv1beta1.SidecarSetRetainPatchPolicy
	})
}

// lasting is what of a template is still there when a pod runs: init containers that are done, pull secrets and annotations
// that pods keep do not count.
type lasting struct {
	Containers []*appsv1beta1.SidecarContainer          `json:"containers,omitempty"`
	Volumes    []corev1.Volume                          `json:"volumes,omitempty"`
	Metadata   []appsv1beta1.SidecarSetPatchPodMetadata `json:"metadata,omitempty"`
}

// Hashes tell templates apart: the first by all that lasts in a running pod, the second by what cannot change there.
func (t *Template) Hashes() (all, withoutImage string, err error) {
	whole := lasting{Containers: t.Running(), Volumes: t.Volumes, Metadata: t.Following()}
	if all, err = hash(whole); err != nil {
		return "", "", err
	}
	withoutImage, err = hash(whole.fixed())
	return all, withoutImage, err
}

// fixed is what cannot change in a running pod.
func (l lasting) fixed() lasting {
	fixed := lasting{Volumes: l.Volumes}
	for _, c := range l.Containers {
		bare := *c
		bare.Image = ""
		bare.UpgradeStrategy.HotUpgradeEmptyImage = ""
		fixed.Containers = append(fixed.Containers, &bare)
	}
	return fixed
}

func hash(value any) (string, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode the containers: %w", err)
	}
	sum := fnv.New64a()
	_, _ = sum.Write(raw) // a hash never fails to take bytes
	return rand.SafeEncodeString(fmt.Sprint(sum.Sum64())), nil
}
