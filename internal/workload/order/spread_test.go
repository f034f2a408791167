package order

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestRanksSpread(t *testing.T) {
	zones := map[string]string{"n1": "a", "n2": "a", "n3": "b", "n4": "b"}
	for _, test := range []struct {
		reason string
		pods   string // name@node, from the one that has been ready for longest
		spread []map[string]string
		want   string // in the order in which they are given up
	}{
		{"by node, if nothing else is asked for", "x@n1 y@n1 z@n3", nil, "y z x"},
		{"the fuller zone first, though each node has one", "x@n1 y@n2 z@n3", []map[string]string{zones}, "y z x"},
		{"zones are levelled", "v@n1 w@n2 x@n1 y@n3 z@n4", []map[string]string{zones}, "x z w y v"},
		{"within a zone, the fuller node first", "v@n1 w@n1 x@n2 y@n3", []map[string]string{zones}, "w x y v"},
		{"the first topology before the second", "x@n1 y@n2 z@n3", []map[string]string{zones, {"n1": "r", "n2": "s", "n3": "s"}}, "y z x"},
		{"nodes outside of the topology are one domain", "x@n1 y@n8 z@n9", []map[string]string{zones}, "z y x"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			pods := testkit.Pods(t, strings.ReplaceAll(test.pods, "@", "/v1@"))
			worths := make([]*Worth, 0, len(pods))
			for _, p := range pods {
				worths = append(worths, WorthOf(p))
			}
			ranks := map[*corev1.Pod]Rank{}
			for i, rank := range Ranks(worths, test.spread...) {
				ranks[pods[i]] = rank
			}
			slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { return ranks[a].Compare(ranks[b]) })
			if got := names(pods); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
