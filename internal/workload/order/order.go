// Package order says which pod of a workload goes first, so that every limit hits the pods that are missed least.
package order

import (
	"cmp"
	"slices"

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
	crowd := crowding(pods)
	return Chain(
		By(func(p *corev1.Pod) bool { return p.Spec.NodeName == "" }),
		func(a, b *corev1.Pod) int { return cmp.Compare(phaseRank(a), phaseRank(b)) },
		By(pod.MarkedUnavailable),
		By(func(p *corev1.Pod) bool { return !pod.Ready(p) }),
		func(a, b *corev1.Pod) int { return cmp.Compare(pod.DeletionCost(a), pod.DeletionCost(b)) },
		func(a, b *corev1.Pod) int { return cmp.Compare(crowd[b.Name], crowd[a.Name]) },
		func(a, b *corev1.Pod) int { return pod.ReadySince(b).Compare(pod.ReadySince(a)) },
		func(a, b *corev1.Pod) int { return cmp.Compare(pod.Restarts(b), pod.Restarts(a)) },
		func(a, b *corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) },
		func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) },
	)
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
func crowding(pods []*corev1.Pod) map[string]int {
	sorted := slices.Clone(pods)
	slices.SortFunc(sorted, func(a, b *corev1.Pod) int {
		if c := rank(pod.Ready(b)) - rank(pod.Ready(a)); c != 0 {
			return c
		}
		if c := pod.ReadySince(a).Compare(pod.ReadySince(b)); c != 0 {
			return c
		}
		return cmp.Compare(a.Name, b.Name)
	})
	seen := map[string]int{}
	crowd := make(map[string]int, len(pods))
	for _, p := range sorted {
		if p.Spec.NodeName == "" {
			continue
		}
		seen[p.Spec.NodeName]++
		crowd[p.Name] = seen[p.Spec.NodeName]
	}
	return crowd
}
