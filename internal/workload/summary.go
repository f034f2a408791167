package workload

import (
	"cmp"
	"slices"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// How many pods a summary names for each reason.
const maxNamed = 5

// Summary groups the changes that wait by their reason, the reason that holds most first.
func Summary(held []Held) []appsv1beta1.HeldChange {
	var groups []appsv1beta1.HeldChange
	for _, h := range held {
		i := slices.IndexFunc(groups, func(g appsv1beta1.HeldChange) bool { return g.Reason == h.Reason })
		if i < 0 {
			groups = append(groups, appsv1beta1.HeldChange{Reason: h.Reason, Message: h.Message})
			i = len(groups) - 1
		}
		g := &groups[i]
		g.Count++
		if m := h.Change.Member; m != nil && len(g.Pods) < maxNamed {
			g.Pods = append(g.Pods, m.Pod.Name)
		}
	}
	for i := range groups {
		slices.Sort(groups[i].Pods)
	}
	slices.SortStableFunc(groups, func(a, b appsv1beta1.HeldChange) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return groups
}
