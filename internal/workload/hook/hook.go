// Package hook lets somebody outside hold a pod at the points of its life that a workload's lifecycle names: before it
// counts as normal, before it is changed in place, before it is deleted.
package hook

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// State returns where the pod says it is in its life; "" for a pod that no lifecycle touched.
func State(p *corev1.Pod) appsv1beta1.LifecycleState {
	return appsv1beta1.LifecycleState(p.Labels[appsv1beta1.LifecycleStateKey])
}

// Set reports whether the hook asks for anything.
func Set(h *appsv1beta1.LifecycleHook) bool {
	return h != nil && (len(h.LabelsHandler) > 0 || len(h.FinalizersHandler) > 0)
}

// Holds reports whether any of the hook's labels or finalizers is on the pod: it may not go on yet.
func Holds(h *appsv1beta1.LifecycleHook, p *corev1.Pod) bool {
	return Held(h, p) != ""
}

// Held names the first label or finalizer by which the hook holds the pod, or "".
func Held(h *appsv1beta1.LifecycleHook, p *corev1.Pod) string {
	if h == nil {
		return ""
	}
	for _, finalizer := range h.FinalizersHandler {
		if slices.Contains(p.Finalizers, finalizer) {
			return "finalizer " + finalizer
		}
	}
	for _, key := range slices.Sorted(maps.Keys(h.LabelsHandler)) { // sorted: the same answer at every pass
		if value, has := p.Labels[key]; has && value == h.LabelsHandler[key] {
			return "label " + key + "=" + value
		}
	}
	return ""
}

// Complete reports whether all of the hook's labels and finalizers are on the pod: whoever answers the hook has taken it
// under its care.
func Complete(h *appsv1beta1.LifecycleHook, p *corev1.Pod) bool {
	return Missing(h, p) == ""
}

// Missing names the first label or finalizer of the hook that the pod lacks, or "".
func Missing(h *appsv1beta1.LifecycleHook, p *corev1.Pod) string {
	if h == nil {
		return ""
	}
	for _, finalizer := range h.FinalizersHandler {
		if !slices.Contains(p.Finalizers, finalizer) {
			return "finalizer " + finalizer
		}
	}
	for _, key := range slices.Sorted(maps.Keys(h.LabelsHandler)) {
		if value, has := p.Labels[key]; !has || value != h.LabelsHandler[key] {
			return "label " + key + "=" + h.LabelsHandler[key]
		}
	}
	return ""
}

// First is the state in which a new pod begins.
func First(lifecycle *appsv1beta1.Lifecycle) appsv1beta1.LifecycleState {
	if lifecycle != nil && Set(lifecycle.PreNormal) {
		return appsv1beta1.LifecycleStatePreparingNormal
	}
	return appsv1beta1.LifecycleStateNormal
}

// Next is the state that the pod should be moved to now because of its hooks alone, or "" to leave it. updated says that a
// change in place has come to its end.
func Next(lifecycle *appsv1beta1.Lifecycle, p *corev1.Pod, updated bool) appsv1beta1.LifecycleState {
	if lifecycle == nil {
		lifecycle = &appsv1beta1.Lifecycle{}
	}
	switch State(p) {
	case appsv1beta1.LifecycleStatePreparingNormal:
		if Complete(lifecycle.PreNormal, p) {
			return appsv1beta1.LifecycleStateNormal
		}
	case appsv1beta1.LifecycleStateUpdating:
		if updated && Set(lifecycle.InPlaceUpdate) && !Complete(lifecycle.InPlaceUpdate, p) {
			return appsv1beta1.LifecycleStateUpdated
		}
		if updated {
			return appsv1beta1.LifecycleStateNormal
		}
	case appsv1beta1.LifecycleStateUpdated:
		if Complete(lifecycle.InPlaceUpdate, p) {
			return appsv1beta1.LifecycleStateNormal
		}
	case appsv1beta1.LifecycleStateNormal, appsv1beta1.LifecycleStatePreparingUpdate, appsv1beta1.LifecycleStatePreparingDelete:
	}
	return ""
}

// Back is the state of a pod that was prepared to be changed, or to go, and is to stay as it is after all. Whoever answers its
// hook may have taken it out of service already and is told, by the state that follows a change or a creation, to put it back.
func Back(lifecycle *appsv1beta1.Lifecycle, p *corev1.Pod) appsv1beta1.LifecycleState {
	switch {
	case lifecycle == nil:
	case State(p) == appsv1beta1.LifecycleStatePreparingUpdate && !Complete(lifecycle.InPlaceUpdate, p):
		return appsv1beta1.LifecycleStateUpdated
	case State(p) == appsv1beta1.LifecycleStatePreparingDelete && !Complete(lifecycle.PreNormal, p):
		return appsv1beta1.LifecycleStatePreparingNormal
	}
	return appsv1beta1.LifecycleStateNormal
}

// Away reports whether the pod is between two states in which it may be missing at any moment, so that it must not be
// counted on.
func Away(p *corev1.Pod) bool {
	switch State(p) {
	case appsv1beta1.LifecycleStatePreparingUpdate, appsv1beta1.LifecycleStateUpdating,
		appsv1beta1.LifecycleStatePreparingDelete, appsv1beta1.LifecycleStatePreparingNormal, appsv1beta1.LifecycleStateUpdated:
		return true
	default:
		return false
	}
}

// Mark returns the labels and annotations that put a pod into a state.
func Mark(state appsv1beta1.LifecycleState, now time.Time) (labels, annotations map[string]string) {
	return map[string]string{appsv1beta1.LifecycleStateKey: string(state)},
		map[string]string{appsv1beta1.LifecycleTimestamp: now.UTC().Format(time.RFC3339)}
}
