package cli

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// inPlaceState is what a pod remembers of its last change in place.
type inPlaceState struct {
	Revision   string      `json:"revision"`
	Updated    metav1.Time `json:"updateTimestamp"`
	Containers map[string]struct {
		ImageID string `json:"imageID"`
	} `json:"lastContainerStatuses"`
	NextImages map[string]string `json:"nextContainerImages"`
	Resources  bool              `json:"updateResources"`
}

// inPlaceOf reads what a pod remembers; false when it was never changed in place.
func inPlaceOf(p *corev1.Pod) (inPlaceState, bool) {
	var state inPlaceState
	raw := p.Annotations[v1beta1.InPlaceUpdateState]
	if raw == "" || json.Unmarshal([]byte(raw), &state) != nil {
		return inPlaceState{}, false
	}
	return state, true
}

// pending says what a change in place still waits for; "" when it is done.
func (s inPlaceState) pending(p *corev1.Pod) string {
	var names []string
	for name := range s.Containers {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if text := s.pendingContainer(p, name); text != "" {
			return text
		}
	}
	for name := range s.NextImages {
		return fmt.Sprintf("its next batch, container %s", name)
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress} {
		if c := pod.Condition(p, kind); s.Resources && c != nil && c.Status == corev1.ConditionTrue {
			return strings.TrimSpace(fmt.Sprintf("the node to resize it: %s %s", c.Reason, c.Message))
		}
	}
	if c := pod.Condition(p, v1beta1.InPlaceUpdateReady); c != nil && c.Status == corev1.ConditionFalse {
		return "the kubelet to report its containers"
	}
	return ""
}

func (s inPlaceState) pendingContainer(p *corev1.Pod, name string) string {
	image := ""
	for _, c := range p.Spec.Containers {
		if c.Name == name {
			image = c.Image
		}
	}
	status := pod.Container(p, name)
	if status != nil && status.State.Waiting != nil && status.State.Waiting.Reason != "" {
		return fmt.Sprintf("container %s to run %s (%s)", name, image, status.State.Waiting.Reason)
	}
	// The same digest under a new tag never gets a new imageID; the image's name tells then.
	if status == nil || status.ImageID == s.Containers[name].ImageID && !strings.HasSuffix(status.Image, image) {
		return fmt.Sprintf("container %s to run %s", name, image)
	}
	return ""
}

// hookText says who holds a pod at a hook of its lifecycle.
func hookText(w Workload, p *corev1.Pod, hook string) string {
	var handler struct {
		Labels     map[string]string `json:"labelsHandler"`
		Finalizers []string          `json:"finalizersHandler"`
	}
	w.decode("spec.lifecycle."+hook, &handler)
	var signs []string
	for key, value := range handler.Labels {
		signs = append(signs, fmt.Sprintf("label %s=%s", key, value))
	}
	for _, f := range handler.Finalizers {
		signs = append(signs, "finalizer "+f)
	}
	sort.Strings(signs)
	if len(signs) == 0 {
		return "hook " + hook
	}
	return fmt.Sprintf("hook %s (%s)", hook, strings.Join(signs, ", "))
}
