package cloneset

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// Hooks are the admission of CloneSets. It asks the API server itself what it would say to the pods and claims.
func Hooks(scheme *runtime.Scheme, c client.Client, live client.Reader) []admission.Hook {
	v := &validator{server: judge.Server{Client: c, Live: live}}
	return admission.ForKind(scheme, appsv1beta1.SchemeGroupVersion.WithResource("clonesets"), nil,
		admission.Kind[*appsv1beta1.CloneSet]{Default: Default, Validate: v.Validate})
}

// Default fills in what the user left out.
func Default(cs *appsv1beta1.CloneSet) {
	judge.Fill(&cs.Spec.Replicas, 1)
	judge.Fill(&cs.Spec.RevisionHistoryLimit, revision.DefaultHistoryLimit)
	if cs.Spec.UpdateStrategy.Type == "" {
		cs.Spec.UpdateStrategy.Type = appsv1beta1.RollingUpdateCloneSetStrategyType
	}
	if cs.Spec.UpdateStrategy.RollingUpdate == nil {
		cs.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateCloneSetStrategy{}
	}
	rolling := cs.Spec.UpdateStrategy.RollingUpdate
	if rolling.PodUpdatePolicy == "" {
		rolling.PodUpdatePolicy = appsv1beta1.RecreatePodUpdatePolicy
	}
	judge.Fill(&rolling.Partition, intstr.FromInt32(0))
	judge.Fill(&rolling.MaxUnavailable, defaultMaxUnavailable)
	judge.Fill(&rolling.MaxSurge, intstr.FromInt32(0))
}

// validator judges what the schema cannot.
type validator struct {
	server judge.Server
}

func judged(cs *appsv1beta1.CloneSet) judge.Workload {
	return judge.Workload{
		Kind: kind().Kind, Namespace: cs.Namespace, Name: cs.Name, Selector: cs.Spec.Selector,
		Template: &cs.Spec.Template, Claims: cs.Spec.VolumeClaimTemplates, Leaving: cs.DeletionTimestamp != nil,
	}
}

// Validate judges a new or a changed CloneSet.
func (v *validator) Validate(ctx context.Context, old, cs *appsv1beta1.CloneSet) (warnings []string, errs field.ErrorList) {
	if cs.DeletionTimestamp != nil {
		return nil, nil // only finalizers can still change; nothing may stand in their way
	}
	w := judged(cs)
	var before *judge.Workload
	if old != nil {
		before = ptr.To(judged(old))
	}
	rolling := rollingOf(cs)
	errs = append(errs, judge.Selector(w)...)
	errs = append(errs, judge.Claims(w)...)
	errs = append(errs, validateLimits(cs)...)
	errs = append(errs, judge.Priority(rolling.PriorityStrategy,
		field.NewPath("spec", "updateStrategy", "rollingUpdate", "priorityStrategy"))...)
	if old != nil && rolling.PodUpdatePolicy == appsv1beta1.InPlaceOnlyPodUpdatePolicy {
		errs = append(errs, v.server.InPlaceOnly(ctx, before, &w)...)
	}
	warnings = append(warnings, judge.InPlaceStrategy(rolling.InPlaceUpdateStrategy, rolling.PodUpdatePolicy)...)
	warnings = append(warnings, judge.ClaimsStay(before, w)...)
	if len(errs) > 0 {
		return warnings, errs
	}
	errs = append(errs, v.overlaps(ctx, before, w)...)
	warned, found := v.server.Accepts(ctx, before, w)
	warnings, errs = append(warnings, warned...), append(errs, found...)
	return warnings, append(errs, v.server.Growth(ctx, before, w)...)
}

// validateLimits refuses an update that could never move. The schema says so too, but only to those who write the version
// that it belongs to.
func validateLimits(cs *appsv1beta1.CloneSet) field.ErrorList {
	rolling := cs.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil || !share.Zero(rolling.MaxUnavailable, false) || !share.Zero(rolling.MaxSurge, true) {
		return nil
	}
	path := field.NewPath("spec", "updateStrategy", "rollingUpdate", "maxUnavailable")
	return field.ErrorList{field.Invalid(path, rolling.MaxUnavailable.String(),
		"maxUnavailable and maxSurge must not both be 0: no pod could ever be updated; raise one of them, or use paused to stop the update")}
}

// overlaps refuses a set that would fight with another one over its pods.
func (v *validator) overlaps(ctx context.Context, old *judge.Workload, w judge.Workload) field.ErrorList {
	return judge.Overlap(old, w, func() ([]judge.Workload, error) {
		var list appsv1beta1.CloneSetList
		if err := v.server.Client.List(ctx, &list, client.InNamespace(w.Namespace)); err != nil {
			return nil, err //nolint:wrapcheck // the caller says what it was for
		}
		others := make([]judge.Workload, 0, len(list.Items))
		for i := range list.Items {
			others = append(others, judged(&list.Items[i]))
		}
		return others, nil
	})
}
