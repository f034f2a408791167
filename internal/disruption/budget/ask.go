package budget

import (
	"slices"
	"time"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
)

// maxGrants bounds the ledger, and with it the size of the budget's object: about 300 bytes each.
const maxGrants = 1000

// Reason of a denial.
type Reason string

// The reasons.
const (
	// Exhausted: as many pods are away as may be.
	Exhausted Reason = "BudgetExhausted"
	// NeverAllows: the budget allows none to be away at all.
	NeverAllows Reason = "BudgetAllowsNone"
	// Full: too many changes are under way to be written down.
	Full Reason = "BudgetLedgerFull"
)

// Answer is what a budget says to one request.
type Answer struct {
	Allowed bool
	Reason  Reason
	// Grants are to be written down before the answer is given; Write says whether they differ from what is written.
	Grants []policyv1beta1.PodGrant
	Write  bool
	// Figures after the answer.
	Figures Figures
}

// Ledger is a budget as it is written down, and what it counts.
type Ledger struct {
	Limits Limits
	Total  int
	Grants []policyv1beta1.PodGrant
}

// Ask decides about one request; seen is the pod in question as it was seen last. It writes nothing.
//
// A pod that does not serve may always go: nothing is taken away by that, and it may be what holds the budget down. It is
// written down all the same, since it may be about to get ready, and others must not count on it.
func (l Ledger) Ask(r disruption.Request, view View, seen Seen, now time.Time) (Answer, error) {
	view = view.With(seen)
	open, settled := Settle(l.Grants, view)
	figures, err := l.Limits.Count(l.Total, view, open)
	grant := grantFor(r, seen.Pod, now)
	mine := slices.IndexFunc(open, func(g policyv1beta1.PodGrant) bool { return g.UID == grant.UID && g.Operation == grant.Operation })
	answer := Answer{Allowed: true, Grants: open, Write: len(settled) > 0, Figures: figures}
	if mine >= 0 {
		if again(&open[mine], &grant, now) {
			answer.Write = false // what has settled can wait for the next that is written
			return answer, err
		}
		answer.Grants = slices.Clone(open)
		answer.Grants[mine] = grant
		answer.Write = true
		return answer, err
	}
	away := slices.ContainsFunc(open, func(g policyv1beta1.PodGrant) bool { return g.UID == grant.UID })
	if !away && seen.Serving {
		if reason := l.denial(figures, seen); reason != "" {
			return Answer{Reason: reason, Grants: open, Write: false, Figures: figures}, err
		}
	}
	if len(open) >= maxGrants {
		return Answer{Reason: Full, Grants: open, Figures: figures}, err
	}
	answer.Grants, answer.Write = append(slices.Clone(open), grant), true
	answer.Figures, err = l.Limits.Count(l.Total, view, answer.Grants)
	return answer, err
}

// denial says why a serving pod may not go, or "".
func (l Ledger) denial(f Figures, seen Seen) Reason {
	left := f.Available
	if seen.Available {
		left--
	}
	switch {
	case left >= f.Desired:
		return ""
	case f.Desired >= l.Total:
		return NeverAllows
	default:
		return Exhausted
	}
}

// again reports whether a request is about the very act that was granted, and young enough to be covered by it. A change of
// a pod that has moved on since is another act.
func again(granted, asked *policyv1beta1.PodGrant, now time.Time) bool {
	if granted.Released || now.Sub(granted.Time.Time) >= renew {
		return false
	}
	return disruption.Operation(granted.Operation).Removes() ||
		granted.Generation == asked.Generation && slices.Equal(granted.Containers, asked.Containers)
}

// Release marks the grant of a request as given back; false: there is none that is not.
func Release(grants []policyv1beta1.PodGrant, r disruption.Request, now time.Time) ([]policyv1beta1.PodGrant, bool) {
	i := slices.IndexFunc(grants, func(g policyv1beta1.PodGrant) bool {
		return g.UID == r.Pod.UID && g.Operation == policyv1beta1.PodOperation(r.Operation) && !g.Released
	})
	if i < 0 {
		return grants, false
	}
	grants = slices.Clone(grants)
	grants[i].Released, grants[i].Time.Time = true, now
	return grants, true
}
