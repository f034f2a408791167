package workload

import (
	"cmp"
	"slices"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// How many pods a summary names for each reason.
const maxNamed = 5

// Summary groups the changes that wait by their reason: first what is wrong, then what merely waits for its turn, and of each
// kind the reason that holds most first. Of a group's messages and pods it
// tells the first by name: the order in which a cache lists pods means nothing, and a status that follows it never rests.
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
		g.Message = min(g.Message, h.Message)
		if m := h.Change.Member; m != nil {
			g.Pods = append(g.Pods, m.Pod.Name)
		}
	}
	for i := range groups {
		slices.Sort(groups[i].Pods)
		groups[i].Pods = slices.Clip(groups[i].Pods[:min(len(groups[i].Pods), maxNamed)])
	}
	slices.SortStableFunc(groups, func(a, b appsv1beta1.HeldChange) int {
		return cmp.Or(cmp.Compare(patience(a.Reason), patience(b.Reason)), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	return groups
}

// patience is higher for reasons that pass by themselves, or that the user has asked for.
func patience(reason appsv1beta1.HeldReason) int {
	switch reason {
	case appsv1beta1.HeldByImage, appsv1beta1.HeldByContainer, appsv1beta1.HeldByScheduling, appsv1beta1.HeldByPVC,
		appsv1beta1.HeldByInPlaceOnly:
		return 0
	case appsv1beta1.HeldByPartition, appsv1beta1.HeldByPaused, appsv1beta1.HeldByGuard, appsv1beta1.HeldByHook, appsv1beta1.HeldByOnDelete:
		return 1
	case appsv1beta1.HeldByBudget, appsv1beta1.HeldByScaleStrategy, appsv1beta1.HeldByGrace, appsv1beta1.HeldBySurge,
		appsv1beta1.HeldByUpdate, appsv1beta1.HeldByOrder, appsv1beta1.HeldByTermination:
		return 2
	default:
		return 1
	}
}
