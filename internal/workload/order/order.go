// Package order says which pod of a workload goes first, so that every limit hits the pods that are missed least.
package order

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/internal/pod"
)

// Less orders two pods: negative when a goes before b.
type Less func(a, b *corev1.Pod) int

// Chain asks each order in turn until one of them tells the pods apart.
func Chain(chain ...Less) Less {
	return func(a, b *corev1.Pod) int {
		for _, less := range chain {
			if c := less(a, b); c != 0 {
				return c
			}
		}
		return 0
	}
}

// By turns a property into an order: pods that have it go first.
func By(has func(*corev1.Pod) bool) Less {
	return func(a, b *corev1.Pod) int { return rank(has(b)) - rank(has(a)) }
}

func rank(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// LeastMissed is the order in which pods are given up: unassigned before assigned, Pending before Running, marked
// unavailable, not ready, cheap to delete, on a node with many of their kind, ready for a short time, often restarted,
// young; the name settles the rest, so that two passes over the same pods choose alike.
func LeastMissed(pods []*corev1.Pod) Less {
	// What decides is read from each pod once: a sort compares every pod many times, and there are many pods and passes.
	values := make(map[*corev1.Pod]worth, len(pods))
	for _, p := range pods {
		values[p] = worthOf(p)
	}
	crowd := crowding(pods, values)
	return func(a, b *corev1.Pod) int {
		x, y := values[a], values[b]
		return cmp.Or(
			cmp.Compare(x.assigned, y.assigned),
			cmp.Compare(x.phase, y.phase),
			cmp.Compare(x.unmarked, y.unmarked),
			cmp.Compare(x.ready, y.ready),
			cmp.Compare(x.cost, y.cost),
			cmp.Compare(crowd[b], crowd[a]),
			y.since.Compare(x.since),
			cmp.Compare(y.restarts, x.restarts),
			y.created.Compare(x.created),
			cmp.Compare(a.Name, b.Name),
		)
	}
}

// worth is what a pod has that makes it missed.
type worth struct {
	assigned, phase, unmarked, ready int
	cost, restarts                   int32
	since, created                   time.Time
}

func worthOf(p *corev1.Pod) worth {
	return worth{
		assigned: rank(p.Spec.NodeName != ""),
		phase:    phaseRank(p),
		unmarked: rank(!pod.MarkedUnavailable(p)),
		ready:    rank(pod.Ready(p)),
		cost:     pod.DeletionCost(p),
		restarts: pod.Restarts(p),
		since:    pod.ReadySince(p),
		created:  p.CreationTimestamp.Time,
	}
}

func phaseRank(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodRunning:
		return 2
	case corev1.PodUnknown:
		return 1
	default:
		return 0
	}
}

// crowding gives each pod its rank on its node: the n-th pod of the set there has n. Giving up high ranks first spreads
// what remains over the nodes.
func crowding(pods []*corev1.Pod, values map[*corev1.Pod]worth) map[*corev1.Pod]int {
	sorted := slices.Clone(pods)
	slices.SortFunc(sorted, func(a, b *corev1.Pod) int {
		x, y := values[a], values[b]
		return cmp.Or(cmp.Compare(y.ready, x.ready), x.since.Compare(y.since), cmp.Compare(a.Name, b.Name))
	})
	seen := map[string]int{}
	crowd := make(map[*corev1.Pod]int, len(pods))
	for _, p := range sorted {
		if p.Spec.NodeName == "" {
			continue
		}
		seen[p.Spec.NodeName]++
		crowd[p] = seen[p.Spec.NodeName]
	}
	return crowd
}
