package poddeletionflowcontrol

import (
	"fmt"
	"strconv"
	"time"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// The reasons of decisions.
const (
	// ReasonAdmitted: every window has room.
	ReasonAdmitted = "Admitted"
	// ReasonLimit: a window is full.
	ReasonLimit = "DeletionLimitReached"
	// ReasonBreakerOpen: the circuit breaker is open.
	ReasonBreakerOpen = "BreakerOpen"
	// ReasonExempt: the user is not limited.
	ReasonExempt = "Exempt"
	// ReasonWhiteListed: the pod is not limited.
	ReasonWhiteListed = "WhiteListed"
)

// verdict puts an answer into words.
func (k *Keeper) verdict(q question, ans answer) disruption.Verdict {
	name, now := q.book.terms.Load().name, k.ledgerTime(k.now())
	v := disruption.Verdict{
		Guard: "PodDeletionFlowControl " + name, Reason: ans.Reason,
		Notes: map[string]string{"policy": name, "rule": flow.Short(ans.Usage.Interval), "count": counted(ans.Usage)},
	}
	if ans.Usage.Limit == 0 {
		delete(v.Notes, "rule")
		delete(v.Notes, "count")
	}
	switch ans.Reason {
	case ReasonLimit:
		v.After = max(ans.Usage.NextFree.Sub(now), time.Second)
		v.Notes["next-free"] = at(ans.Usage.NextFree)
		v.Message = limitText(name, ans, v.After)
	case ReasonBreakerOpen:
		v.After = max(ans.Until.Sub(now), time.Second)
		v.Notes["next-free"], v.Notes["trip"] = at(ans.Until), strconv.FormatInt(ans.Trips, 10)
		v.Message = breakerText(name, ans, v.After)
	default:
		v.Message = fmt.Sprintf("PodDeletionFlowControl %s: %s pod deletions are counted", name, counted(ans.Usage))
	}
	if !ans.Allowed {
		v.Outcome, v.Throttled = disruption.Deny, true
	} else if q.ask.force && ans.Reason != ReasonAdmitted {
		v.Notes["would-deny"] = "true"
		v.Message = "would be denied, but passes: " + v.Message
	}
	return v
}

// combine keeps the words of the policy that has the least left, and all notes of the later one.
func combine(a, b disruption.Verdict) disruption.Verdict {
	if a.Guard == "" || b.Notes["would-deny"] != "" || a.Notes["would-deny"] == "" {
		return b
	}
	return a
}

func limitText(name string, ans answer, after time.Duration) string {
	u := ans.Usage
	return fmt.Sprintf("PodDeletionFlowControl %s: %s pod deletions of the last %s are used; the next is free in %s, at %s. "+
		"Wait until then; or raise spec.limitRules (interval %s, limit %d); or have the pod's labels match spec.whiteListSelector, "+
		"or the user named in spec.exempt, where that is right; in an emergency, use a BreakGlass",
		name, counted(u), flow.Short(u.Interval), round(after), at(u.NextFree), flow.Short(u.Interval), u.Limit)
}

func breakerText(name string, ans answer, after time.Duration) string {
	return fmt.Sprintf("PodDeletionFlowControl %s: its circuit breaker is open, because too many deletions were denied: find out who deletes "+
		"(kubectl get pdfc %s -o yaml, status.recentDecisions). It closes in %s, at %s; or when a person closes it: "+
		"kubectl annotate pdfc %s --overwrite %s=%d", name, name, round(after), at(ans.Until), name, v1alpha1.CloseBreaker, ans.Trips)
}

// counted is a window's count and limit: 100/100. What is set aside, or passed above the limit, does not show.
func counted(u flow.Usage) string { return fmt.Sprintf("%d/%d", u.Count, u.Limit) }

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func round(d time.Duration) string {
	if d < time.Minute {
		return max(d.Round(time.Second), time.Second).String()
	}
	return flow.Short(d.Round(time.Second))
}
