package node

import (
	"cmp"
	"slices"
	"strings"
)

// Lacks counts nodes by what they lack for a template.
type Lacks map[string]int

// Add counts one node.
func (l Lacks) Add(why string) { l[why]++ }

// How many of the things that nodes lack a message names.
const maxNamed = 3

// Message says why none of so many nodes gets a pod.
func (l Lacks) Message(nodes int) string {
	if nodes == 0 {
		return "the cluster has no nodes"
	}
	reasons := make([]string, 0, len(l))
	for why := range l {
		reasons = append(reasons, why)
	}
	slices.SortFunc(reasons, func(a, b string) int { return cmp.Or(cmp.Compare(l[b], l[a]), cmp.Compare(a, b)) })
	more := ""
	if len(reasons) > maxNamed {
		reasons, more = reasons[:maxNamed], " ..."
	}
	return "no node fits the template: " + strings.Join(reasons, "; ") + more + "; change the template, or the nodes"
}
