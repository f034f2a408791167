package budget

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/pod"
)

const (
	// lapse is how long after a grant the act may still come: the API server gives up a request after 60 s, and the clocks of
	// two replicas may be 15 s apart.
	lapse = 90 * time.Second
	// renew is the age from which asking again begins the time anew.
	renew = 15 * time.Second
	// releasedLapse is the same for a grant that was given back: somebody else may have been allowed the same act by it.
	releasedLapse = 5 * time.Second
)

// grantFor writes down what would show that the act is over.
func grantFor(r disruption.Request, seen *corev1.Pod, now time.Time) policyv1beta1.PodGrant {
	g := policyv1beta1.PodGrant{
		Pod: seen.Name, UID: seen.UID, Operation: policyv1beta1.PodOperation(r.Operation), Time: metav1.NewTime(now), Generation: seen.Generation,
	}
	if r.Operation.Removes() || r.Changed == nil {
		return g
	}
	for _, name := range restarts(r.Operation, seen, r.Changed) {
		g.Containers = append(g.Containers, container(seen, name))
	}
	return g
}

func container(p *corev1.Pod, name string) policyv1beta1.GrantedContainer {
	c := policyv1beta1.GrantedContainer{Name: name}
	if spec := pod.SpecOf(p, name); spec != nil {
		c.Image = spec.Image
	}
	if status := pod.Container(p, name); status != nil {
		c.ContainerID = status.ContainerID
	}
	return c
}

// restarts names the containers that the change starts again.
func restarts(operation disruption.Operation, before, after *corev1.Pod) []string {
	var names []string
	for c := range pod.Running(before) {
		changed := pod.SpecOf(after, c.Name)
		switch {
		case changed == nil:
		case operation == disruption.Resize:
			if pod.ResizeRestarts(c, changed) {
				names = append(names, c.Name)
			}
		case changed.Image != c.Image:
			names = append(names, c.Name)
		}
	}
	return names
}

// Settle divides grants into those that still hold and those that the view shows to be over. The view must be at least as
// new as the grants: an older one does not show a pod that was granted, or shows it as it was before.
func Settle(grants []policyv1beta1.PodGrant, view View) (open, settled []policyv1beta1.PodGrant) {
	for i := range grants {
		if Over(&grants[i], view) {
			settled = append(settled, grants[i])
		} else {
			open = append(open, grants[i])
		}
	}
	return open, settled
}

// Over reports whether the view shows that what was granted has happened, and is over.
func Over(g *policyv1beta1.PodGrant, view View) bool {
	seen, there := view.Find(g.UID)
	switch {
	case !there || !pod.Active(seen.Pod):
		return true
	case disruption.Operation(g.Operation).Removes():
		return false
	default:
		return seen.Available && Applied(g, seen.Pod) && (done(g, seen.Pod) || refused(g, seen.Pod))
	}
}

// Applied reports whether the pod shows that the change of a grant was written.
func Applied(g *policyv1beta1.PodGrant, p *corev1.Pod) bool {
	return p.Generation > g.Generation || slices.ContainsFunc(g.Containers, func(c policyv1beta1.GrantedContainer) bool {
		spec := pod.SpecOf(p, c.Name)
		return spec != nil && spec.Image != c.Image
	})
}

// done reports whether the kubelet has done what the change asks for: it has seen it, no resize is left, and the containers
// in question run anew.
func done(g *policyv1beta1.PodGrant, p *corev1.Pod) bool {
	if !pod.Observed(p) || pod.Resizing(p) != "" {
		return false
	}
	return !slices.ContainsFunc(g.Containers, func(c policyv1beta1.GrantedContainer) bool {
		status := pod.Container(p, c.Name)
		return status == nil || status.ContainerID == "" || status.ContainerID == c.ContainerID || status.State.Running == nil
	})
}

// refused reports whether a resize comes to nothing.
func refused(g *policyv1beta1.PodGrant, p *corev1.Pod) bool {
	return g.Operation == policyv1beta1.PodResizeOperation && pod.Observed(p) && pod.ResizeRefused(p)
}

// Lapses returns how long the grant still holds although nothing is seen to happen; 0 and less: not any more.
func Lapses(g *policyv1beta1.PodGrant, now time.Time) time.Duration {
	if g.Released {
		return releasedLapse - now.Sub(g.Time.Time)
	}
	return lapse - now.Sub(g.Time.Time)
}

// Void reports whether a grant that has lapsed allows nothing more, from what the pod looks like on the API server itself,
// now: nothing has happened, or it was taken back. A change that was written holds until its containers run.
func Void(g *policyv1beta1.PodGrant, live *corev1.Pod, now time.Time) bool {
	switch {
	case live.UID != g.UID || !pod.Active(live), disruption.Operation(g.Operation).Removes(), !Applied(g, live):
		return true
	case g.Operation == policyv1beta1.PodResizeOperation, !pod.Observed(live):
		return false
	}
	// A change that was taken back may never restart anything. If the kubelet had begun to, it is through by now.
	grace := time.Duration(0)
	if seconds := live.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	undone := !slices.ContainsFunc(g.Containers, func(c policyv1beta1.GrantedContainer) bool {
		spec := pod.SpecOf(live, c.Name)
		return spec != nil && spec.Image != c.Image
	})
	return undone && now.Sub(g.Time.Time) > lapse+grace
}
