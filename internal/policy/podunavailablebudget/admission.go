package podunavailablebudget

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption/budget"
)

// Hooks are the webhooks that judge budgets.
func (k *Keeper) Hooks(scheme *runtime.Scheme) []admission.Hook {
	return admission.ForKind(scheme, policyv1beta1.SchemeGroupVersion.WithResource("podunavailablebudgets"), nil,
		admission.Kind[*policyv1beta1.PodUnavailableBudget]{Validate: k.Validate})
}

// Validate judges a new or a changed budget. What the schema says is said here again, since an older version passes by it.
func (k *Keeper) Validate(ctx context.Context, _, pub *policyv1beta1.PodUnavailableBudget) (warnings []string, errs field.ErrorList) {
	errs = validate(&pub.Spec)
	if len(errs) > 0 {
		return nil, errs
	}
	return append(k.never(ctx, pub), k.overlapping(ctx, pub)...), nil
}

func validate(s *policyv1beta1.PodUnavailableBudgetSpec) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	switch {
	case s.Selector == nil && s.TargetRef == nil:
		errs = append(errs, field.Required(spec.Child("targetRef"), "name the workload whose pods are guarded, or set selector instead"))
	case s.Selector != nil && s.TargetRef != nil:
		errs = append(errs, field.Forbidden(spec.Child("selector"), "it cannot be set together with targetRef; keep one of them"))
	}
	if s.Selector != nil {
		errs = append(errs, validateSelector(s.Selector, spec.Child("selector"))...)
		if selector, err := metav1.LabelSelectorAsSelector(s.Selector); err == nil && selector.Empty() {
			errs = append(errs, field.Invalid(spec.Child("selector"), "",
				"an empty selector would guard every pod of the namespace as one application; name at least one label"))
		}
	}
	if s.IgnoredPodSelector != nil {
		errs = append(errs, validateSelector(s.IgnoredPodSelector, spec.Child("ignoredPodSelector"))...)
		if selector, err := metav1.LabelSelectorAsSelector(s.IgnoredPodSelector); err == nil && selector.Empty() {
			errs = append(errs, field.Invalid(spec.Child("ignoredPodSelector"), "",
				"an empty selector matches every pod, so nothing would be guarded; name at least one label, or leave it out"))
		}
	}
	errs = append(errs, validateTarget(s.TargetRef, spec.Child("targetRef"))...)
	errs = append(errs, validateLimits(s, spec)...)
	known := []policyv1beta1.PodOperation{
		policyv1beta1.PodDeleteOperation, policyv1beta1.PodEvictOperation, policyv1beta1.PodUpdateOperation, policyv1beta1.PodResizeOperation,
	}
	for i, operation := range s.ProtectOperations {
		if !slices.Contains(known, operation) {
			errs = append(errs, field.NotSupported(spec.Child("protectOperations").Index(i), operation, known))
		}
	}
	if n := s.ProtectTotalReplicas; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(spec.Child("protectTotalReplicas"), *n, "must be 0 or more"))
	}
	return errs
}

func validateSelector(selector *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(selector, metavalidation.LabelSelectorValidationOptions{}, path)
}

func validateTarget(t *policyv1beta1.TargetReference, path *field.Path) (errs field.ErrorList) {
	if t == nil {
		return nil
	}
	for name, value := range map[string]string{"apiVersion": t.APIVersion, "kind": t.Kind, "name": t.Name} {
		if value == "" {
			errs = append(errs, field.Required(path.Child(name), "a target is named by its apiVersion, kind and name"))
		}
	}
	if _, err := t.GroupVersionKind(); err != nil {
		errs = append(errs, field.Invalid(path.Child("apiVersion"), t.APIVersion, "write it as group/version, such as apps/v1"))
	}
	return errs
}

func validateLimits(s *policyv1beta1.PodUnavailableBudgetSpec, spec *field.Path) field.ErrorList {
	switch {
	case s.MaxUnavailable == nil && s.MinAvailable == nil:
		return field.ErrorList{field.Required(spec.Child("maxUnavailable"),
			"say how many pods may be away, or how many must stay with minAvailable")}
	case s.MaxUnavailable != nil && s.MinAvailable != nil:
		return field.ErrorList{field.Forbidden(spec.Child("minAvailable"), "it cannot be set together with maxUnavailable; keep one of them")}
	}
	name, value := "maxUnavailable", s.MaxUnavailable
	if value == nil {
		name, value = "minAvailable", s.MinAvailable
	}
	if _, err := (budget.Limits{MaxUnavailable: s.MaxUnavailable, MinAvailable: s.MinAvailable}).Desired(100); err != nil {
		text := err.Error()
		if cause := errors.Unwrap(err); cause != nil {
			text = cause.Error()
		}
		return field.ErrorList{field.Invalid(spec.Child(name), value.String(),
			text+": write a whole number of 0 or more, or a percentage from 0% to 100%")}
	}
	return nil
}

// never warns of a budget that never lets a pod go: it is allowed, and holds up every drain and update.
func (k *Keeper) never(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget) []string {
	const advice = ": no available pod may ever be taken away, so that drains and updates wait for good"
	share := func(text string) bool { return text == "100%" }
	switch {
	case pub.Spec.MaxUnavailable != nil && slices.Contains([]string{"0", "0%"}, pub.Spec.MaxUnavailable.String()):
		return []string{"spec.maxUnavailable is " + pub.Spec.MaxUnavailable.String() + advice}
	case pub.Spec.MinAvailable != nil && share(pub.Spec.MinAvailable.String()):
		return []string{"spec.minAvailable is 100%" + advice}
	}
	total := 0
	if n := pub.Spec.ProtectTotalReplicas; n != nil {
		total = int(*n)
	} else if pub.Spec.TargetRef != nil {
		sc, err := k.decide.scope(ctx, pub)
		if err != nil {
			return nil // the conditions will tell
		}
		if sc.problem != nil {
			return []string{sc.problem.message}
		}
		total = sc.total
	}
	if desired, err := limits(pub).Desired(total); err == nil && total > 0 && desired >= total {
		return []string{fmt.Sprintf("spec.minAvailable is %s, and %d pods are wanted%s", pub.Spec.MinAvailable, total, advice)}
	}
	return nil
}

// overlapping warns of budgets that guard the same pods, as far as their selectors say so.
func (k *Keeper) overlapping(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget) []string {
	var all policyv1beta1.PodUnavailableBudgetList
	if err := k.deps.Admission.List(ctx, &all, client.InNamespace(pub.Namespace)); err != nil {
		return nil
	}
	var names []string
	for i := range all.Items {
		if other := &all.Items[i]; other.Name != pub.Name && overlap(pub, other) {
			names = append(names, other.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the same pods are guarded by %s: a pod may go only when all of the budgets allow it",
		strings.Join(names, ", "))}
}

func overlap(a, b *policyv1beta1.PodUnavailableBudget) bool {
	if a.Spec.TargetRef != nil && b.Spec.TargetRef != nil {
		x, errX := targetOf(a.Spec.TargetRef)
		y, errY := targetOf(b.Spec.TargetRef)
		return errX == nil && errY == nil && x.same(y)
	}
	selects := func(x, y *policyv1beta1.PodUnavailableBudget) bool {
		selector, err := metav1.LabelSelectorAsSelector(x.Spec.Selector)
		return err == nil && y.Spec.Selector != nil && len(y.Spec.Selector.MatchLabels) > 0 &&
			selector.Matches(labels.Set(y.Spec.Selector.MatchLabels))
	}
	return selects(a, b) || selects(b, a)
}
