package inplace

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// gate is the readiness gate by which a pod is taken out of service for a change in place.
const gate = appsv1beta1.InPlaceUpdateReady

// Step is what of a change in place can be done now.
type Step struct {
	// Unready sets the readiness gate to False first, so that traffic leaves the pod before its containers stop.
	Unready bool
	// Patch changes the pod: metadata, images, resources.
	Patch bool
	// Wait is how much of the grace is left before the patch.
	Wait time.Duration
}

// Unready reports whether the pod is kept out of service for a change in place: its gate says False.
func Unready(p *corev1.Pod) bool {
	c := pod.Condition(p, gate)
	return c != nil && c.Status == corev1.ConditionFalse
}

// Next tells the step that follows for a pod which may be changed now. A pod with the gate is taken out of service first,
// and for the whole grace; one without it just changes, and the kubelet makes it not ready while its container restarts.
func Next(p *corev1.Pod, delta Delta, grace time.Duration, now time.Time) Step {
	if !pod.HasGate(p, gate) || !delta.Disturbs() {
		return Step{Patch: true}
	}
	if !Unready(p) {
		if Covered(p) {
			grace = 0 // it has been out of service for a former change, whose gate is open already
		}
		return Step{Unready: true, Patch: grace <= 0, Wait: grace}
	}
	since := pod.Condition(p, gate).LastTransitionTime
	if left := grace - now.Sub(since.Time); left > 0 {
		return Step{Wait: left}
	}
	return Step{Patch: true}
}

// NeedsDaemon names the containers that must restart to see a new value from the pod's metadata although their image stays,
// and that no node daemon looks after, which alone restarts those.
func (d Delta) NeedsDaemon(p *corev1.Pod) []string {
	runtime := ReadRuntime(p)
	var names []string
	for _, name := range d.Env {
		if _, restarts := d.Images[name]; !restarts && runtime.Container(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// Grace is how long a pod is kept out of service before it is changed.
func Grace(s *appsv1beta1.InPlaceUpdateStrategy) time.Duration {
	if s == nil {
		return 0
	}
	return time.Duration(s.GracePeriodSeconds) * time.Second
}
