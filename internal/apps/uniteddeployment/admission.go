package uniteddeployment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
)

// maxTried is for how many subsets the API server is asked what it would say to their workloads: a user waits for the answers.
const maxTried = 8

// Hooks are the admission of UnitedDeployments. It asks the API server itself what it would say to the workloads.
func Hooks(scheme *runtime.Scheme, c client.Client, live client.Reader) []admission.Hook {
	v := &validator{client: c, live: live}
	return admission.ForKind(scheme, appsv1beta1.SchemeGroupVersion.WithResource("uniteddeployments"), nil,
		admission.Kind[*appsv1beta1.UnitedDeployment]{Default: Default, Validate: v.Validate})
}

// Default fills in what the user left out.
func Default(ud *appsv1beta1.UnitedDeployment) {
	judge.Fill(&ud.Spec.Replicas, named(ud.Spec.Topology.Subsets))
	judge.Fill(&ud.Spec.RevisionHistoryLimit, revision.DefaultHistoryLimit)
	if ud.Spec.UpdateStrategy.Type == "" {
		ud.Spec.UpdateStrategy.Type = appsv1beta1.ManualUpdateStrategyType
	}
	if ud.Spec.Topology.ScheduleStrategy.Type == "" {
		ud.Spec.Topology.ScheduleStrategy.Type = appsv1beta1.FixedUnitedDeploymentScheduleStrategyType
	}
}

// validator judges what the schema cannot.
type validator struct {
	client client.Client
	live   client.Reader
}

// Validate judges a new or a changed UnitedDeployment.
func (v *validator) Validate(ctx context.Context, old, ud *appsv1beta1.UnitedDeployment) (warnings []string, errs field.ErrorList) {
	if ud.DeletionTimestamp != nil {
		return nil, nil // only finalizers can still change; nothing may stand in their way
	}
	warnings, errs = validateFit(old, ud)
	errs = append(errs, validatePartitions(ud)...)
	f, ok := familyOf(&ud.Spec.Template)
	if !ok {
		return warnings, append(errs, field.Required(field.NewPath("spec", "template"), errKind.Error()))
	}
	errs = append(errs, validateSubsets(ud)...)
	warnings = append(warnings, warn(ud, f)...)
	if len(errs) > 0 {
		return warnings, errs
	}
	errs = append(errs, v.overlaps(ctx, old, ud, f)...)
	if len(errs) == 0 && (old == nil || !apiequality.Semantic.DeepEqual(old.Spec, ud.Spec)) {
		warned, found := v.workloadsAreAccepted(ctx, ud, f)
		warnings, errs = append(warnings, warned...), append(errs, found...)
	}
	return warnings, errs
}

// validateFit refuses subsets that cannot hold the pods. When they have not changed, it stays what it was: somebody has scaled the
// object, which a user may do as well as an autoscaler, who is not asked.
func validateFit(old, ud *appsv1beta1.UnitedDeployment) (warnings []string, errs field.ErrorList) {
	path := field.NewPath("spec", "topology", "subsets")
	_, err := shares(ud.Spec.Topology.Subsets, ptr.Deref(ud.Spec.Replicas, 1))
	if err == nil {
		return nil, nil
	}
	if old == nil || !apiequality.Semantic.DeepEqual(old.Spec.Topology.Subsets, ud.Spec.Topology.Subsets) {
		return nil, field.ErrorList{field.Invalid(path, field.OmitValueType{}, err.Error())}
	}
	if ptr.Equal(old.Spec.Replicas, ud.Spec.Replicas) {
		return nil, nil
	}
	return []string{fmt.Sprintf("%s: %v", path, err)}, nil
}

func validatePartitions(ud *appsv1beta1.UnitedDeployment) (errs field.ErrorList) {
	if ud.Spec.UpdateStrategy.ManualUpdate == nil {
		return nil
	}
	partitions := ud.Spec.UpdateStrategy.ManualUpdate.Partitions
	path := field.NewPath("spec", "updateStrategy", "manualUpdate", "partitions")
	for _, name := range slices.Sorted(maps.Keys(partitions)) {
		if !inSpec(ud, name) {
			errs = append(errs, field.Invalid(path.Key(name), partitions[name],
				"spec.topology.subsets has no subset of that name; correct it, or take it out"))
		}
		if partitions[name] < 0 {
			errs = append(errs, field.Invalid(path.Key(name), partitions[name], "must be 0 or more"))
		}
	}
	return errs
}

// validateSubsets refuses what no workload can be made from.
func validateSubsets(ud *appsv1beta1.UnitedDeployment) (errs field.ErrorList) {
	selector, err := metav1.LabelSelectorAsSelector(ud.Spec.Selector)
	if err == nil && selector.Empty() {
		err = errors.New("an empty selector would match every pod of the namespace; name at least one label of the template")
	}
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "selector"), metav1.FormatLabelSelector(ud.Spec.Selector), err.Error())}
	}
	seen := map[string]bool{}
	for i := range ud.Spec.Topology.Subsets {
		_, err := build(ud, i, "")
		var failed *buildError
		if !errors.As(err, &failed) || seen[failed.Error()] {
			continue
		}
		seen[failed.Error()] = true
		errs = append(errs, &field.Error{
			Type: field.ErrorTypeInvalid, Field: failed.path, BadValue: field.OmitValueType{}, Detail: failed.err.Error(),
		})
	}
	return errs
}

// warn tells of settings that have less effect than they seem to.
func warn(ud *appsv1beta1.UnitedDeployment, f family) (warnings []string) {
	if *shapeOf(f.made(&ud.Spec.Template)).replicas != nil {
		warnings = append(warnings, fmt.Sprintf("spec.template.%s.spec.replicas has no effect: spec.replicas and spec.topology decide", f.field))
	}
	for _, s := range ud.Spec.Topology.Subsets {
		if n := kept(ud, s.Name); n != nil && *n > 0 && ud.Spec.Template.DeploymentTemplate != nil {
			warnings = append(warnings, fmt.Sprintf("spec.updateStrategy.manualUpdate.partitions[%s]: a Deployment cannot keep some of "+
				"its pods at the old revision; it is paused, which keeps them all, until the partition is 0", s.Name))
		}
	}
	if isAdaptive(ud) && len(ud.Spec.Topology.Subsets) > 0 &&
		!slices.ContainsFunc(ud.Spec.Topology.Subsets, func(s appsv1beta1.Subset) bool { return s.Replicas == nil }) {
		warnings = append(warnings, "spec.topology.scheduleStrategy.type Adaptive has no effect while every subset has replicas: "+
			"leave it out of a subset, which then takes the pods that find no node elsewhere, or use minReplicas and maxReplicas")
	}
	return warnings
}

// overlaps refuses an object that would fight with another one over its pods.
func (v *validator) overlaps(ctx context.Context, old, ud *appsv1beta1.UnitedDeployment, f family) field.ErrorList {
	var before *judge.Workload
	if old != nil {
		if of, ok := familyOf(&old.Spec.Template); ok {
			before = ptr.To(judged(old, of))
		}
	}
	return judge.Overlap(before, judged(ud, f), func() ([]judge.Workload, error) {
		var list appsv1beta1.UnitedDeploymentList
		if err := v.client.List(ctx, &list, client.InNamespace(ud.Namespace)); err != nil {
			return nil, fmt.Errorf("list the UnitedDeployments of namespace %s: %w", ud.Namespace, err)
		}
		var all []judge.Workload
		for i := range list.Items {
			if of, ok := familyOf(&list.Items[i].Spec.Template); ok {
				all = append(all, judged(&list.Items[i], of))
			}
		}
		return all, nil
	})
}

func judged(ud *appsv1beta1.UnitedDeployment, f family) judge.Workload {
	return judge.Workload{
		Kind: "UnitedDeployment", Namespace: ud.Namespace, Name: ud.Name, Selector: ud.Spec.Selector,
		Template: shapeOf(f.made(&ud.Spec.Template)).template, Leaving: ud.DeletionTimestamp != nil,
	}
}

// workloadsAreAccepted asks the API server, in dry runs, whether it would take the workloads of the subsets.
func (v *validator) workloadsAreAccepted(
	ctx context.Context, ud *appsv1beta1.UnitedDeployment, f family,
) (warnings []string, errs field.ErrorList) {
	seen := map[string]bool{}
	for i := range ud.Spec.Topology.Subsets[:min(len(ud.Spec.Topology.Subsets), maxTried)] {
		object, err := build(ud, i, "")
		if err != nil {
			continue // it was told already
		}
		object.SetOwnerReferences(nil) // the owner may have no uid yet
		err = v.try(ctx, ud, f, object)
		if errors.Is(err, errTaken) {
			errs = append(errs, field.Invalid(field.NewPath("spec", "topology", "subsets").Index(i).Child("name"), ud.Spec.Topology.Subsets[i].Name,
				fmt.Sprintf("its %s would be named %s: %v", f.kind.Kind, object.GetName(), err)))
			continue
		}
		warned, found := judge.Tried(err, field.NewPath("spec", "template", f.field))
		for _, warning := range warned {
			if !seen[warning] {
				warnings = append(warnings, warning)
			}
			seen[warning] = true
		}
		for _, one := range found {
			if !seen[one.Error()] {
				errs = append(errs, one)
			}
			seen[one.Error()] = true
		}
	}
	return warnings, errs
}

// try makes or changes a workload, without doing it.
func (v *validator) try(ctx context.Context, ud *appsv1beta1.UnitedDeployment, f family, object client.Object) error {
	is := f.empty()
	err := v.live.Get(ctx, types.NamespacedName{Namespace: ud.Namespace, Name: object.GetName()}, is)
	switch {
	case apierrors.IsNotFound(err):
		*shapeOf(object).replicas = ptr.To[int32](0)
		return v.client.Create(ctx, object, client.DryRunAll) //nolint:wrapcheck // it is read as the API server's own answer
	case err != nil:
		return nil //nolint:nilerr // the API server could not say
	case metav1.GetControllerOfNoCopy(is) == nil && is.GetLabels()[appsv1beta1.SubsetName] != "":
		return nil // it will be adopted
	case ud.UID == "" || !mine(ud, is):
		return errTaken
	}
	c := change{child: &child{object: is}, object: object, replicas: ptr.Deref(*shapeOf(is).replicas, 1)}
	body, err := difference(c)
	if err != nil {
		return err
	}
	fresh := f.empty()
	fresh.SetNamespace(is.GetNamespace())
	fresh.SetName(is.GetName())
	return v.client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, body), client.DryRunAll) //nolint:wrapcheck // as above
}
