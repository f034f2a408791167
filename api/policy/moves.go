// Package policy holds, for every kind of policy.kruise.io, the table of what its older version has elsewhere.
package policy

import (
	"github.com/holdfast-io/holdfast/api/move"
	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
)

// Kinds lists the kinds of the group with their moves. Whoever adds a kind adds it here.
func Kinds() []move.Kind {
	return []move.Kind{
		{Group: v1alpha1.GroupName, Name: "PodDeletionFlowControl", New: "v1alpha1"},
		{Group: v1alpha1.GroupName, Name: "PodDeletionLedger", New: "v1alpha1"},
		{Group: v1alpha1.GroupName, Name: "BreakGlass", New: "v1alpha1"},
		podUnavailableBudget(),
	}
}
