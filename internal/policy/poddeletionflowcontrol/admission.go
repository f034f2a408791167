package poddeletionflowcontrol

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// Hooks are the admission of PodDeletionFlowControls.
func Hooks(scheme *runtime.Scheme) []admission.Hook {
	return admission.ForKind(scheme, v1alpha1.SchemeGroupVersion.WithResource("poddeletionflowcontrols"), nil,
		admission.Kind[*v1alpha1.PodDeletionFlowControl]{Validate: Validate})
}

// Validate judges what the schema cannot.
func Validate(_ context.Context, _, p *v1alpha1.PodDeletionFlowControl) (warnings []string, errs field.ErrorList) {
	if p.DeletionTimestamp != nil {
		return nil, nil
	}
	spec := field.NewPath("spec")
	errs = append(errs, validateRules(spec.Child("limitRules"), p.Spec.LimitRules)...)
	selectors := map[string]labels.Selector{}
	for name, s := range map[string]*metav1.LabelSelector{
		"selector": p.Spec.Selector, "namespaceSelector": p.Spec.NamespaceSelector, "whiteListSelector": p.Spec.WhiteListSelector,
	} {
		selector, err := selectorOr(nil, s)
		if err != nil {
			errs = append(errs, field.Invalid(spec.Child(name), field.OmitValueType{}, err.Error()))
		}
		selectors[name] = selector
	}
	errs = append(errs, validateWhiteList(spec.Child("whiteListSelector"), selectors["whiteListSelector"], selectors["selector"])...)
	errs = append(errs, validateClosing(p)...)
	return append(warn(p, selectors["whiteListSelector"]), warnNamespaces(selectors["namespaceSelector"])...), errs
}

func validateRules(path *field.Path, rules []v1alpha1.DeletionLimitRule) (errs field.ErrorList) {
	if len(rules) == 0 {
		return field.ErrorList{field.Required(path, "name at least one interval and limit, such as {interval: 10m, limit: 100}")}
	}
	for i, a := range rules {
		if a.Interval.Duration < time.Second {
			errs = append(errs, field.Invalid(path.Index(i).Child("interval"), a.Interval.Duration.String(),
				"must be at least 1s; give a duration such as 10m"))
		}
		if a.Limit < 1 {
			errs = append(errs, field.Invalid(path.Index(i).Child("limit"), a.Limit, "must be at least 1: it could never allow anything"))
		}
		for j, b := range rules[:i] {
			switch {
			case a.Interval == b.Interval:
				errs = append(errs, field.Duplicate(path.Index(i).Child("interval"), flow.Short(a.Interval.Duration)))
			case contradict(a, b) || contradict(b, a):
				errs = append(errs, field.Invalid(path.Index(i).Child("limit"), a.Limit, fmt.Sprintf(
					"limitRules[%d] and limitRules[%d] contradict each other: %d in %s, but %d in %s; the longer interval needs the higher limit",
					j, i, b.Limit, flow.Short(b.Interval.Duration), a.Limit, flow.Short(a.Interval.Duration))))
			}
		}
	}
	return errs
}

func contradict(long, short v1alpha1.DeletionLimitRule) bool {
	return long.Interval.Duration > short.Interval.Duration && long.Limit < short.Limit
}

// validateWhiteList refuses a white list under which nothing is left to limit.
func validateWhiteList(path *field.Path, white, selector labels.Selector) field.ErrorList {
	if white == nil {
		return nil
	}
	if white.Empty() {
		return field.ErrorList{field.Invalid(path, "{}",
			"an empty white list matches every pod, so that nothing would be limited: name at least one label, or leave the white list out")}
	}
	if selector == nil {
		return nil
	}
	wanted, _ := selector.Requirements()
	asked, _ := white.Requirements()
	for _, one := range asked {
		if !slices.ContainsFunc(wanted, one.Equal) {
			return nil
		}
	}
	return field.ErrorList{field.Invalid(path, white.String(), fmt.Sprintf(
		"it matches every pod that spec.selector (%s) picks, so that nothing would be limited: make it narrower", selector))}
}

func validateClosing(p *v1alpha1.PodDeletionFlowControl) field.ErrorList {
	value, set := p.Annotations[v1alpha1.CloseBreaker]
	if !set {
		return nil
	}
	path := field.NewPath("metadata", "annotations").Key(v1alpha1.CloseBreaker)
	trip, err := strconv.ParseInt(value, 10, 64)
	if err != nil || trip < 0 {
		return field.ErrorList{field.Invalid(path, value, fmt.Sprintf(
			"must be the number of the trip that is over: %d (status.breaker.trips)", p.Status.Breaker.Trips))}
	}
	if trip > p.Status.Breaker.Trips {
		return field.ErrorList{field.Invalid(path, value, fmt.Sprintf(
			"that trip has not happened yet, and would pass unnoticed: the last is %d (status.breaker.trips)", p.Status.Breaker.Trips))}
	}
	return nil
}

// warn tells of settings that do less, or more, than they seem to.
func warn(p *v1alpha1.PodDeletionFlowControl, white labels.Selector) (warnings []string) {
	for i, long := range p.Spec.LimitRules {
		for j, short := range p.Spec.LimitRules {
			if short.Interval.Duration < time.Second || long.Interval.Duration <= short.Interval.Duration {
				continue
			}
			windows := int64((long.Interval.Duration + short.Interval.Duration - 1) / short.Interval.Duration)
			if most := windows * int64(short.Limit); int64(long.Limit) >= most {
				warnings = append(warnings, fmt.Sprintf("spec.limitRules[%d] has no effect: limitRules[%d] allows %d in %s at most",
					i, j, most, flow.Short(long.Interval.Duration)))
			}
		}
	}
	if white != nil {
		all, _ := white.Requirements()
		if !slices.ContainsFunc(all, func(r labels.Requirement) bool {
			return r.Operator() != selection.DoesNotExist && r.Operator() != selection.NotIn && r.Operator() != selection.NotEquals
		}) {
			warnings = append(warnings, fmt.Sprintf(
				"spec.whiteListSelector (%s) matches every pod without those labels: they are not limited", white))
		}
	}
	if p.Spec.Mode == v1alpha1.Observe {
		warnings = append(warnings, "spec.mode is Observe: deletions are counted, and none is denied")
	}
	for _, s := range p.Spec.EnforceFor {
		warnings = append(warnings, fmt.Sprintf("spec.enforceFor %s: above a limit, Kubernetes itself has to wait, too: %s", s, consequence(s)))
	}
	if e := p.Spec.Exempt; e != nil && (slices.Contains(e.Users, userManager) || slices.Contains(e.Groups, "system:serviceaccounts")) {
		warnings = append(warnings, "spec.exempt holds Kubernetes's own controllers: "+
			"what they delete, such as the pods of a deleted Deployment, is not limited")
	}
	return warnings
}

// warnNamespaces tells when the user seems to mean pods that no policy may hold up.
func warnNamespaces(picks labels.Selector) []string {
	named := func(namespace string) bool { return picks.Matches(labels.Set{corev1.LabelMetadataName: namespace}) }
	if picks == nil || !named(metav1.NamespaceSystem) || named("") {
		return nil
	}
	return []string{fmt.Sprintf("spec.namespaceSelector (%s) picks %s, whose pods are never limited, nor are the operator's own: "+
		"the cluster must not lock itself out", picks, metav1.NamespaceSystem)}
}

func consequence(s v1alpha1.SystemDeletion) string {
	if s == v1alpha1.Preemption {
		return "pods of higher priority stay pending"
	}
	return "pods stay on a node that is lost"
}
