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
	worths := make([]*Worth, 0, len(pods))
	for _, p := range pods {
		worths = append(worths, WorthOf(p))
	}
	ranks := make(map[*corev1.Pod]Rank, len(pods))
	for i, rank := range Ranks(worths) {
		ranks[pods[i]] = rank
	}
	return func(a, b *corev1.Pod) int { return ranks[a].Compare(ranks[b]) }
}

// Worth is what a pod alone has that makes it missed. It is read from each pod once: a sort compares every pod many times,
// and there are many pods and passes.
type Worth struct {
	name, node                       string
	assigned, phase, unmarked, ready int
	cost, restarts                   int32
	since, created                   int64 // in seconds, as the API has them
}

// WorthOf reads a pod.
func WorthOf(p *corev1.Pod) *Worth {
	return &Worth{
		name:     p.Name,
		node:     p.Spec.NodeName,
		assigned: rank(p.Spec.NodeName != ""),
		phase:    phaseRank(p),
		unmarked: rank(!pod.MarkedUnavailable(p)),
		ready:    rank(pod.Ready(p)),
		cost:     pod.DeletionCost(p),
		restarts: pod.Restarts(p),
		since:    pod.ReadySince(p).Unix(),
		created:  p.CreationTimestamp.Unix(),
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

// Rank is what a pod is worth among the pods of its set.
type Rank struct {
	*Worth

	// crowd is the pod's rank in its domain, or on its node: the n-th pod of the set there has n. Giving up high ranks first
	// spreads what remains.
	crowd int
}

// Ranks tells for all pods of a set, in their order, what each is worth among them. Each of spread says of nodes in which domain
// of a topology they are, the topology that matters most first; within a domain pods are to be spread over the next one, and
// in the end over nodes.
func Ranks(worths []*Worth, spread ...map[string]string) []Rank {
	ranks := make([]Rank, len(worths))
	places := make([]*Rank, len(worths))
	for i, worth := range worths {
		ranks[i].Worth, places[i] = worth, &ranks[i]
	}
	number(places, func(node string) string { return node })
	for _, domains := range slices.Backward(spread) {
		number(places, func(node string) string { return domains[node] })
	}
	return ranks
}

// number counts the pods of each domain, those that are missed most first, of these the ones with the most room around them.
func number(places []*Rank, domain func(node string) string) {
	slices.SortFunc(places, func(a, b *Rank) int {
		if a.ready != b.ready {
			return b.ready - a.ready
		}
		if a.crowd != b.crowd {
			return cmp.Compare(a.crowd, b.crowd)
		}
		if c := cmp.Compare(a.since, b.since); c != 0 {
			return c
		}
		return cmp.Compare(a.name, b.name)
	})
	seen := map[string]int{}
	for _, place := range places {
		if place.node != "" {
			where := domain(place.node)
			seen[where]++
			place.crowd = seen[where]
		}
	}
}

// Compare is negative when the pod is missed less than the other.
func (x Rank) Compare(y Rank) int {
	// Step by step, and not by cmp.Or, which compares everything although the first few nearly always decide.
	switch {
	case x.assigned != y.assigned:
		return x.assigned - y.assigned
	case x.phase != y.phase:
		return x.phase - y.phase
	case x.unmarked != y.unmarked:
		return x.unmarked - y.unmarked
	case x.ready != y.ready:
		return x.ready - y.ready
	case x.cost != y.cost:
		return cmp.Compare(x.cost, y.cost)
	case x.crowd != y.crowd:
		return y.crowd - x.crowd
	case x.since != y.since:
		return cmp.Compare(y.since, x.since)
	case x.restarts != y.restarts:
		return cmp.Compare(y.restarts, x.restarts)
	case x.created != y.created:
		return cmp.Compare(y.created, x.created)
	}
	return cmp.Compare(x.name, y.name)
}
