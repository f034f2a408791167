package inplace

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Sidecars are what a pod remembers of its changes in place by SidecarSets, by the names of these.
type Sidecars map[string]State

// ReadSidecars returns what rides on the pod in the annotation kruise.io/sidecarset-inplace-update-state; nothing when it
// cannot be read.
func ReadSidecars(p *corev1.Pod) Sidecars {
	raw, ok := p.Annotations[appsv1beta1.SidecarSetInPlaceUpdateState]
	if !ok {
		return nil
	}
	var all Sidecars
	if json.Unmarshal([]byte(raw), &all) != nil {
		return nil
	}
	return all
}

// Waits tells what the kubelet has still to do for the changes of any SidecarSet; "" when they are made.
func (all Sidecars) Waits(p *corev1.Pod) string {
	for _, set := range slices.Sorted(maps.Keys(all)) { // sorted: the same answer at every pass
		state := all[set]
		if why := state.unfinished(p); why != "" {
			return why
		}
	}
	return ""
}

// BeginSidecar returns the state with which the containers of a SidecarSet go to new images.
func BeginSidecar(p *corev1.Pod, prior State, images map[string]string, revision string, now time.Time) State {
	state := State{Revision: revision, UpdateTimestamp: metav1.NewTime(now), UpdateImages: true}
	for name, before := range prior.LastContainerStatuses {
		if _, again := images[name]; !again && !restarted(p, name, before) {
			put(&state.LastContainerStatuses, name, before) // the kubelet still owes this one
		}
	}
	for name := range images {
		put(&state.LastContainerStatuses, name, identify(p, name, &prior))
	}
	return state
}
