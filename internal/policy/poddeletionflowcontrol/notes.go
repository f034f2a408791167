package poddeletionflowcontrol

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

const (
	outcomeDenied    = "Denied"
	outcomeWouldDeny = "WouldDeny"
)

// notes are denials that are not written down yet.
type notes struct {
	since   time.Time
	denied  int
	limited int // pods of them that a limit kept: what the breaker weighs
	urgent  bool
	recent  []v1alpha1.DeletionDecision // the newest first
}

func (n *notes) add(d v1alpha1.DeletionDecision, now time.Time) {
	if n.denied == 0 {
		n.since = now
	}
	n.denied++
	n.recent = recall(n.recent, d)
}

// back puts notes that could not be written before those that came since.
func (n *notes) back(earlier notes) {
	if earlier.denied == 0 {
		return
	}
	n.since, n.denied, n.limited = earlier.since, n.denied+earlier.denied, n.limited+earlier.limited
	n.urgent = n.urgent || earlier.urgent
	recent := earlier.recent
	for _, d := range slices.Backward(n.recent) {
		recent = remember(recent, d)
	}
	n.recent = recent
}

// remember is the list with a decision before all others; the list itself stays as it is, since ledgers share it.
func remember(all []v1alpha1.DeletionDecision, d v1alpha1.DeletionDecision) []v1alpha1.DeletionDecision {
	return recall(append(make([]v1alpha1.DeletionDecision, 0, flow.MaxRecent+1), all...), d)
}

// recall puts a decision first, in place. One of the same user about the same workload goes: a script that tries a thousand
// times must not push all others out.
func recall(all []v1alpha1.DeletionDecision, d v1alpha1.DeletionDecision) []v1alpha1.DeletionDecision {
	all = slices.DeleteFunc(all, func(other v1alpha1.DeletionDecision) bool {
		return other.User == d.User && other.Outcome == d.Outcome && other.Workload == d.Workload && (d.Workload != "" || other.Pod == d.Pod)
	})
	all = slices.Insert(all, 0, d)
	return all[:min(len(all), flow.MaxRecent)]
}

// told completes what is told of a decision.
func told(d v1alpha1.DeletionDecision, ans answer, now time.Time, outcome string) v1alpha1.DeletionDecision {
	d.Time, d.Outcome, d.Reason = metav1.NewTime(now), outcome, ans.Reason
	next := ans.Usage.NextFree
	if ans.Reason == ReasonBreakerOpen {
		next = ans.Until
	} else {
		d.Rule = flow.Short(ans.Usage.Interval)
		d.Count = counted(ans.Usage)
	}
	if !next.IsZero() {
		at := metav1.NewTime(next)
		d.NextFree = &at
	}
	return d
}
