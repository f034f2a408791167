package pull

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// How many nodes a message names.
const maxNamed = 3

// tell makes an event of each pull that ended.
func tell(ctx context.Context, learned Outcomes) {
	for _, at := range sorted(learned) {
		switch o := learned[at]; {
		case !o.Over:
		case o.Trouble == "":
			reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulImagePreDownload",
				"node %s has image %s ahead of the update", at.Node, at.Image)
		default:
			reconcile.Event(ctx, corev1.EventTypeWarning, "FailedImagePreDownload",
				"node %s could not pull image %s ahead of the update: %s", at.Node, at.Image, o.Trouble)
		}
	}
}

func sorted(outcomes Outcomes) []Pull {
	return slices.SortedFunc(maps.Keys(outcomes), compare)
}

func compare(a, b Pull) int {
	return cmp.Or(cmp.Compare(a.Image, b.Image), cmp.Compare(a.Node, b.Node))
}

// held tells, for each image, on which nodes that still need it there is trouble. The words change only when something
// happens: they become a part of a status, and a status that changes is written.
func held(w Wish, m *memory) (all []workload.Held) {
	nodes, why := map[string][]string{}, map[string]string{}
	for _, at := range slices.SortedFunc(slices.Values(w.Needs), compare) {
		if trouble := m.outcomes[at].Trouble; trouble != "" {
			nodes[at.Image] = append(nodes[at.Image], at.Node)
			why[at.Image] = cmp.Or(why[at.Image], trouble)
		}
	}
	for _, image := range slices.Sorted(maps.Keys(nodes)) {
		all = append(all, note("image %s cannot be pulled ahead of the update on %s: %s", image, names(nodes[image]), why[image]))
	}
	if m.refused != "" {
		all = append(all, note("the API server takes no pod that pulls an image ahead: %s", m.refused))
	}
	return all
}

func note(format string, args ...any) workload.Held {
	return workload.Held{
		Change: workload.Change{Verb: workload.Refresh},
		Reason: appsv1beta1.HeldByImage, Message: fmt.Sprintf(format, args...),
	}
}

func names(nodes []string) string {
	if rest := len(nodes) - maxNamed; rest > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(nodes[:maxNamed], ", "), rest)
	}
	return strings.Join(nodes, ", ")
}
