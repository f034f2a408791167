package podunavailablebudget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption/budget"
)

var (
	errWhom = errors.New("exactly one of spec.selector and spec.targetRef must be set")
	errAll  = errors.New("spec.selector is empty, and would guard every pod of the namespace as one application; name at least one label")
	errRef  = errors.New("spec.targetRef must have apiVersion, kind and name")
)

// invalid says what of a spec cannot be understood. The schema and our webhook refuse it; it may have been written before
// there were any.
func invalid(pub *policyv1beta1.PodUnavailableBudget) error {
	s := &pub.Spec
	if (s.Selector == nil) == (s.TargetRef == nil) {
		return errWhom
	}
	if s.Selector != nil {
		selector, err := metav1.LabelSelectorAsSelector(s.Selector)
		if err != nil {
			return fmt.Errorf("spec.selector: %w", err)
		}
		if selector.Empty() {
			return errAll
		}
	}
	if _, err := metav1.LabelSelectorAsSelector(s.IgnoredPodSelector); err != nil {
		return fmt.Errorf("spec.ignoredPodSelector: %w", err)
	}
	if t := s.TargetRef; t != nil && (t.APIVersion == "" || t.Kind == "" || t.Name == "") {
		return errRef
	}
	_, err := limits(pub).Desired(1)
	return err
}

// report fills in the status of what a pass has seen. It is pure.
func report(pub *policyv1beta1.PodUnavailableBudget, o observation, now time.Time) {
	s := &pub.Status
	s.ObservedGeneration = pub.Generation
	if o.scope.problem != nil {
		s.Selector, s.Workloads = "", nil
		// The target may be back, or be named rightly, in a moment: what was allowed may still happen.
		inscribe(s, slices.DeleteFunc(s.Grants, func(g policyv1beta1.PodGrant) bool { return budget.Lapses(&g, now) <= 0 }))
		s.TotalReplicas, s.DesiredAvailable, s.CurrentAvailable, s.UnavailableAllowed = 0, 0, 0, 0
		unenforced(pub, *o.scope.problem, now)
		return
	}
	s.Selector = ""
	if o.scope.selector != nil {
		s.Selector = o.scope.selector.String()
	}
	s.Workloads = o.scope.workloads
	s.PodsVersion = newest(s.PodsVersion, o.guarded.evidence(s.Grants))
	inscribe(s, o.open)
	f, _ := limits(pub).Count(o.scope.total, o.guarded.view, o.open) // scope() has looked at the error
	figures(s, f)
	if o.unasked != nil {
		unenforced(pub, *o.unasked, now)
	} else {
		enforced(pub, o, now)
	}
	set(pub, policyv1beta1.BudgetBlocking, f.Total > 0 && f.Desired >= f.Total, "AllowsNone", "AllowsSome",
		fmt.Sprintf("none of the %d wanted pods may ever be away: drains and updates wait for good; raise spec.maxUnavailable or lower "+
			"spec.minAvailable", f.Total), now)
	set(pub, policyv1beta1.BudgetOverlapping, len(o.overlaps) > 0, "SamePods", "OnlyBudget",
		"these budgets guard some of the same pods, and all must allow: "+strings.Join(o.overlaps, ", "), now)
}

func enforced(pub *policyv1beta1.PodUnavailableBudget, o observation, now time.Time) {
	message := "the budget is asked before any of its pods goes"
	if len(o.scope.remarks) > 0 {
		message += "; " + strings.Join(o.scope.remarks, "; ")
	}
	if operations := pub.Spec.ProtectOperations; len(operations) > 0 && len(operations) < 4 {
		message += fmt.Sprintf("; guarded operations are %v, the others pass", operations)
	}
	condition := metav1.Condition{
		Type: policyv1beta1.BudgetEnforced, Status: metav1.ConditionTrue, Reason: "Enforced", Message: message,
	}
	put(pub, condition, now)
	condition.Type, condition.Message = policyv1beta1.BudgetReady, "the budget is enforced"
	put(pub, condition, now)
	meta.RemoveStatusCondition(&pub.Status.Conditions, policyv1beta1.BudgetReconciling)
	meta.RemoveStatusCondition(&pub.Status.Conditions, policyv1beta1.BudgetStalled)
}

// unasked says why the API server does not ask the budget: then only Holdfast's own controllers keep to it.
func (k *Keeper) unasked(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget) (*problem, error) {
	if k.deps.Guarded != nil && !k.deps.Guarded(pub.Namespace) {
		return &problem{reason: "NamespaceNotGuarded", message: fmt.Sprintf("only Holdfast's own controllers keep to the budget: "+
			"the guards leave namespace %s alone, so that the cluster cannot lock itself out; use a PodDisruptionBudget for it", pub.Namespace)}, nil
	}
	var concerns []admission.Concern
	for operation, concern := range map[policyv1beta1.PodOperation]admission.Concern{
		policyv1beta1.PodDeleteOperation: {Operation: admissionregistrationv1.Delete, Resource: "pods"},
		policyv1beta1.PodEvictOperation:  {Operation: admissionregistrationv1.Create, Resource: "pods/eviction"},
		policyv1beta1.PodUpdateOperation: {Operation: admissionregistrationv1.Update, Resource: "pods"},
		policyv1beta1.PodResizeOperation: {Operation: admissionregistrationv1.Update, Resource: "pods/resize"},
	} {
		if len(pub.Spec.ProtectOperations) == 0 || slices.Contains(pub.Spec.ProtectOperations, operation) {
			concerns = append(concerns, concern)
		}
	}
	slices.SortFunc(concerns, func(a, b admission.Concern) int {
		return strings.Compare(a.Resource+string(a.Operation), b.Resource+string(b.Operation))
	})
	missing, err := k.deps.Asked.Missing(ctx, concerns...)
	if err != nil || missing == "" {
		return nil, err
	}
	return &problem{reason: "NoWebhook", message: "only Holdfast's own controllers keep to the budget: " + missing, comes: true}, nil
}

// unenforced says that nothing is guarded, and what to do.
func unenforced(pub *policyv1beta1.PodUnavailableBudget, p problem, now time.Time) {
	bad := metav1.Condition{Type: policyv1beta1.BudgetEnforced, Status: metav1.ConditionFalse, Reason: p.reason, Message: p.message}
	put(pub, bad, now)
	bad.Type = policyv1beta1.BudgetReady
	put(pub, bad, now)
	bad.Status, bad.Type = metav1.ConditionTrue, policyv1beta1.BudgetStalled
	other := policyv1beta1.BudgetReconciling
	if p.comes {
		bad.Type, other = other, bad.Type
	}
	put(pub, bad, now)
	for _, kind := range []string{other, policyv1beta1.BudgetBlocking, policyv1beta1.BudgetOverlapping} {
		meta.RemoveStatusCondition(&pub.Status.Conditions, kind)
	}
}

// set writes a condition that is about something bad, or its absence.
func set(pub *policyv1beta1.PodUnavailableBudget, kind string, bad bool, reason, otherwise, message string, now time.Time) {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: otherwise}
	if bad {
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, reason, message
	}
	put(pub, c, now)
}

func put(pub *policyv1beta1.PodUnavailableBudget, c metav1.Condition, now time.Time) {
	c.ObservedGeneration = pub.Generation
	if old := condition(pub, c.Type); old == nil || old.Status != c.Status {
		c.LastTransitionTime = metav1.NewTime(now)
	}
	meta.SetStatusCondition(&pub.Status.Conditions, c)
}

func condition(pub *policyv1beta1.PodUnavailableBudget, kind string) *metav1.Condition {
	return meta.FindStatusCondition(pub.Status.Conditions, kind)
}

// overlaps names the other budgets that guard some of the same pods.
func (k *Keeper) overlaps(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, g guarded) ([]string, error) {
	all, err := k.list(ctx, pub.Namespace)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range all.Items {
		other := &all.Items[i]
		text := other.Status.Selector
		if other.Spec.Selector != nil {
			text = metav1.FormatLabelSelector(other.Spec.Selector)
		}
		selector, err := labels.Parse(text)
		if other.Name == pub.Name || other.DeletionTimestamp != nil || text == "" || err != nil {
			continue
		}
		for _, p := range g.active {
			if selector.Matches(labels.Set(p.Labels)) {
				names = append(names, other.Name)
				break
			}
		}
	}
	slices.Sort(names)
	return names, nil
}
