package testkit_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestPodsReadsTheShorthand(t *testing.T) {
	for _, test := range []struct {
		word   string
		reason string
		holds  func(*corev1.Pod) bool
	}{
		{"a/v1", "a pod without a mark is ready", func(p *corev1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].Ready }},
		{"a/v1", "its name and revision are those of the word", func(p *corev1.Pod) bool {
			return p.Name == "a" && p.Labels["controller-revision-hash"] == "v1" && p.Spec.Containers[0].Image == "registry.local/web:v1"
		}},
		{"a/v1!", "! is not ready", func(p *corev1.Pod) bool { return !ready(p) && !p.Status.ContainerStatuses[0].Ready }},
		{"a/v1~", "~ is terminating, and still ready", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil && ready(p) }},
		{"a/v1?", "? has no node and no containers", func(p *corev1.Pod) bool {
			return p.Spec.NodeName == "" && p.Status.Phase == corev1.PodPending && p.Status.ContainerStatuses == nil
		}},
		{"a/v2^", "^ asks for an image that the node does not report", func(p *corev1.Pod) bool {
			status := p.Status.ContainerStatuses[0]
			return status.Image != p.Spec.Containers[0].Image && status.ImageID != testkit.ImageID(p.Spec.Containers[0].Image) &&
				p.Status.ObservedGeneration < p.Generation && p.Annotations["apps.kruise.io/inplace-update-state"] != ""
		}},
		{"a/v1*", "* asks to go", func(p *corev1.Pod) bool { return p.Labels["apps.kruise.io/specified-delete"] == "true" }},
		{"a/v1%", "% prepares its deletion", func(p *corev1.Pod) bool {
			return p.Labels["lifecycle.apps.kruise.io/state"] == "PreparingDelete"
		}},
		{"a/v1+", "+ prepares its update", func(p *corev1.Pod) bool {
			return p.Labels["lifecycle.apps.kruise.io/state"] == "PreparingUpdate"
		}},
		{"a/v1!~@n7", "marks and a node combine", func(p *corev1.Pod) bool {
			return !ready(p) && p.DeletionTimestamp != nil && p.Spec.NodeName == "n7"
		}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			pods := testkit.Pods(t, test.word)
			if len(pods) != 1 || !test.holds(pods[0]) {
				t.Errorf("%s: %s; got %+v", test.word, test.reason, pods)
			}
		})
	}
}

func TestPodsAreOrderedByAge(t *testing.T) {
	pods := testkit.Pods(t, "a/v1 b/v1 c/v1", func(p *corev1.Pod) { p.Namespace = "other" })
	for i, pod := range pods {
		if pod.Namespace != "other" {
			t.Errorf("%s: the override did not reach it", pod.Name)
		}
		if i > 0 && !pods[i-1].CreationTimestamp.Before(&pod.CreationTimestamp) {
			t.Errorf("%s is not younger than %s", pod.Name, pods[i-1].Name)
		}
		if i > 0 && pods[i-1].UID == pod.UID {
			t.Errorf("%s and %s share a uid", pod.Name, pods[i-1].Name)
		}
	}
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
