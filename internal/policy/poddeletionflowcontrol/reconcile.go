package poddeletionflowcontrol

import (
	"context"
	"fmt"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

const (
	// How soon the windows are looked at again while they change, and at the latest.
	soonestLook = time.Second
	latestLook  = time.Minute
)

// Watches are the kinds whose events concern a policy.
func (k *Keeper) Watches() []reconcile.Watch {
	return []reconcile.Watch{{Object: &v1alpha1.PodDeletionLedger{}, Map: func(_ context.Context, o client.Object) []ctrl.Request {
		return []ctrl.Request{{NamespacedName: types.NamespacedName{Name: o.GetName()}}}
	}}}
}

// Reconcile reports: what a window holds changes with time alone.
func (k *Keeper) Reconcile(ctx context.Context, p *v1alpha1.PodDeletionFlowControl) (reconcile.Result, error) {
	if p.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	k.See(p) // a test, or a cache that is ahead of the informer's handlers
	t, err := read(p)
	if err != nil {
		reportStalled(p, err)
		return reconcile.Result{}, reconcile.Stalled("InvalidSpec", err)
	}
	l, err := k.ledger(ctx, t)
	if err != nil {
		return reconcile.Result{}, err
	}
	unenforced, err := k.asked.Missing(ctx, concerns()...)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := k.ledgerTime(k.now())
	before := p.Status.DeepCopy()
	report(p, t, l, l.Now(now), unenforced)
	tell(ctx, p, before)
	_, open := l.Open(l.Now(now), t.breaker, t.closed)
	k.metrics.windows(t.name, l.Usage(l.Now(now), t.rules), open, l.Trips)
	return reconcile.After(nextLook(l, t, now)), nil
}

// ledger is what is written down for the policy; an empty one when nothing is.
func (k *Keeper) ledger(ctx context.Context, t *terms) (*flow.Ledger, error) {
	stored := &v1alpha1.PodDeletionLedger{}
	if err := k.client.Get(ctx, types.NamespacedName{Name: t.name}, stored); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read PodDeletionLedger %s: %w", t.name, err)
	}
	if stored.PolicyUID != t.uid {
		return &flow.Ledger{PolicyUID: t.uid}, nil // nothing was counted yet
	}
	return flow.Read(stored)
}

// nextLook is when time alone changes the status.
func nextLook(l *flow.Ledger, t *terms, now time.Time) time.Duration {
	next := l.NextChange(l.Now(now), t.rules)
	if until, open := l.Open(l.Now(now), t.breaker, t.closed); open && (next.IsZero() || until.Before(next)) {
		next = until
	}
	if next.IsZero() {
		return latestLook
	}
	return min(max(next.Sub(now), soonestLook), latestLook)
}

// report fills the status. It is pure.
func report(p *v1alpha1.PodDeletionFlowControl, t *terms, l *flow.Ledger, now int64, unenforced string) {
	s := &p.Status
	s.ObservedGeneration = p.Generation
	s.Admitted, s.Denied, s.WouldDeny, s.RecentDecisions = l.Admitted, l.Denied, l.WouldDeny, l.Recent
	usage := l.Usage(now, t.rules)
	used := make([]string, len(usage))
	s.Rules = make([]v1alpha1.DeletionRuleStatus, len(usage))
	s.Left = int32(l.Left(now, t.rules)) //nolint:gosec // at most a limit
	for i, u := range usage {
		used[i] = counted(u) + " per " + flow.Short(u.Interval)
		s.Rules[i] = v1alpha1.DeletionRuleStatus{
			Interval: metav1.Duration{Duration: u.Interval}, NextFree: timeOrNil(u.NextFree),
			Limit: int32(u.Limit), Count: int32(u.Count), Left: int32(u.Left), //nolint:gosec // a limit, or not far above
		}
	}
	s.Used = strings.Join(used, ", ")
	reportBreaker(s, t, l, now)
	reportConditions(p, t, usage, unenforced)
}

func reportBreaker(s *v1alpha1.PodDeletionFlowControlStatus, t *terms, l *flow.Ledger, now int64) {
	until, open := l.Open(now, t.breaker, t.closed)
	s.Breaker = v1alpha1.DeletionBreakerStatus{Trips: l.Trips}
	if l.TrippedAt != 0 {
		s.Breaker.OpenedAt = timeOrNil(time.UnixMilli(l.TrippedAt))
	}
	switch {
	case t.breaker == nil:
		s.Breaker = v1alpha1.DeletionBreakerStatus{}
	case open:
		s.Left = 0
		s.Breaker.State, s.Breaker.Until = v1alpha1.BreakerOpen, timeOrNil(until)
		s.Breaker.Message = fmt.Sprintf("%d or more deletions were denied within %s: find out who deletes (recentDecisions). "+
			"To close it before %s: kubectl annotate pdfc %s --overwrite %s=%d",
			t.breaker.Denials, flow.Short(t.breaker.Interval), at(until), t.name, v1alpha1.CloseBreaker, l.Trips)
	default:
		s.Breaker.State = v1alpha1.BreakerClosed
	}
}

func reportConditions(p *v1alpha1.PodDeletionFlowControl, t *terms, usage []flow.Usage, unenforced string) {
	set := func(kind string, yes bool, reason, message string) {
		status := metav1.ConditionFalse
		if yes {
			status = metav1.ConditionTrue
		}
		meta.SetStatusCondition(&p.Status.Conditions, metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: p.Generation,
		})
	}
	set("Reconciling", false, "Observed", "the status speaks of the newest spec")
	set("Stalled", false, "Valid", "the spec makes sense")
	switch {
	case unenforced != "":
		set("Ready", false, "NotEnforced", unenforced)
		set(v1alpha1.FlowControlEnforced, false, "NoWebhook", unenforced)
	case t.observe:
		set("Ready", true, "Observing", "deletions are counted")
		set(v1alpha1.FlowControlEnforced, false, "Observing", "spec.mode is Observe: deletions are counted, and none is denied")
	default:
		set("Ready", true, "Enforced", "deletions are counted, and denied above a limit")
		set(v1alpha1.FlowControlEnforced, true, "Enforced", "deletions above a limit are denied")
	}
	if u, full := flow.Binding(usage); full {
		set(v1alpha1.FlowControlLimitReached, true, ReasonLimit,
			fmt.Sprintf("%s pod deletions of the last %s are used; the next is free at %s",
				counted(u), flow.Short(u.Interval), at(u.NextFree)))
	} else {
		set(v1alpha1.FlowControlLimitReached, false, "RoomLeft", "every window has room")
	}
	if p.Status.Breaker.State == v1alpha1.BreakerOpen {
		set(v1alpha1.FlowControlBreakerOpen, true, "TooManyDenials", p.Status.Breaker.Message)
	} else {
		set(v1alpha1.FlowControlBreakerOpen, false, "Closed", "the circuit breaker is closed, or there is none")
	}
}

// reportStalled says that the policy is not enforced until its user changes it.
func reportStalled(p *v1alpha1.PodDeletionFlowControl, err error) {
	p.Status.ObservedGeneration = p.Generation
	for kind, status := range map[string]metav1.ConditionStatus{
		"Ready": metav1.ConditionFalse, "Stalled": metav1.ConditionTrue, v1alpha1.FlowControlEnforced: metav1.ConditionFalse,
	} {
		meta.SetStatusCondition(&p.Status.Conditions, metav1.Condition{
			Type: kind, Status: status, Reason: "InvalidSpec", Message: err.Error() + "; nothing is limited until it is corrected",
			ObservedGeneration: p.Generation,
		})
	}
}

// tell makes events of what changed.
func tell(ctx context.Context, p *v1alpha1.PodDeletionFlowControl, before *v1alpha1.PodDeletionFlowControlStatus) {
	now := &p.Status
	if now.Breaker.Trips > before.Breaker.Trips {
		reconcile.Event(ctx, corev1.EventTypeWarning, "BreakerOpened", "%s", now.Breaker.Message)
	}
	if before.Breaker.State == v1alpha1.BreakerOpen && now.Breaker.State == v1alpha1.BreakerClosed {
		reconcile.Event(ctx, corev1.EventTypeNormal, "BreakerClosed", "deletions are held to the limits alone again")
	}
	if n := now.Denied - before.Denied; n > 0 {
		reconcile.Event(ctx, corev1.EventTypeWarning, "DeletionsDenied", "%d pod deletions were denied; the last: %s",
			n, last(now, outcomeDenied))
	}
	if n := now.WouldDeny - before.WouldDeny; n > 0 {
		reconcile.Event(ctx, corev1.EventTypeWarning, "DeletionsAboveLimit", "%d pod deletions passed above a limit; the last: %s",
			n, last(now, outcomeWouldDeny))
	}
}

func last(s *v1alpha1.PodDeletionFlowControlStatus, outcome string) string {
	for _, d := range s.RecentDecisions {
		if d.Outcome == outcome {
			return fmt.Sprintf("%s of %s by %s (%s)", d.Operation, d.Pod, d.User, d.Reason)
		}
	}
	return "not remembered"
}

func timeOrNil(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	// To the second above: what the status says is free is free.
	at := metav1.NewTime(t.Add(time.Second - time.Nanosecond).Truncate(time.Second))
	return &at
}

// concerns are what the guard has to be asked about.
func concerns() []admission.Concern {
	return []admission.Concern{
		{Operation: admissionregistrationv1.Delete, Resource: "pods"}, {Operation: admissionregistrationv1.Create, Resource: "pods/eviction"},
	}
}
