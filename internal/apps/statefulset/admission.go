package statefulset

import (
	"context"
	"fmt"
	"math"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	webhook "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
	"github.com/holdfast-io/holdfast/internal/workload/pull"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
)

// Hooks are the admission of StatefulSets, and of those of the group apps, which must not take a name that is ours.
func Hooks(scheme *runtime.Scheme, c client.Client, live client.Reader) []admission.Hook {
	v := &validator{server: judge.Server{Client: c, Live: live}}
	hooks := admission.ForKind(scheme, appsv1beta1.SchemeGroupVersion.WithResource("statefulsets"), nil,
		admission.Kind[*appsv1beta1.StatefulSet]{Default: Default, Validate: v.Validate})
	return append(hooks, namesHook(live))
}

// Default fills in what the user left out.
func Default(set *appsv1beta1.StatefulSet) {
	judge.Fill(&set.Spec.Replicas, 1)
	judge.Fill(&set.Spec.RevisionHistoryLimit, revision.DefaultHistoryLimit)
	if set.Spec.PodManagementPolicy == "" {
		set.Spec.PodManagementPolicy = appsv1beta1.OrderedReadyPodManagement
	}
	if set.Spec.UpdateStrategy.Type == "" {
		set.Spec.UpdateStrategy.Type = appsv1beta1.RollingUpdateStatefulSetStrategyType
	}
	judge.Fill(&set.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateStatefulSetStrategy{})
	rolling := set.Spec.UpdateStrategy.RollingUpdate
	if rolling.PodUpdatePolicy == "" {
		rolling.PodUpdatePolicy = appsv1beta1.RecreatePodUpdatePolicy
	}
	judge.Fill(&rolling.Partition, 0)
	judge.Fill(&rolling.MaxUnavailable, intstr.FromInt32(1))
	judge.Fill(&rolling.MinReadySeconds, 0)
	judge.Fill(&set.Spec.PersistentVolumeClaimRetentionPolicy, appsv1beta1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	for _, when := range []*appsv1beta1.PersistentVolumeClaimRetentionPolicyType{
		&set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, &set.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled,
	} {
		if *when == "" {
			*when = appsv1beta1.RetainPersistentVolumeClaimRetentionPolicyType
		}
	}
	judge.Fill(&set.Spec.VolumeClaimUpdateStrategy, appsv1beta1.VolumeClaimUpdateStrategy{})
	if set.Spec.VolumeClaimUpdateStrategy.Type == "" {
		set.Spec.VolumeClaimUpdateStrategy.Type = appsv1beta1.OnDeleteVolumeClaimUpdateStrategyType
	}
}

// validator judges what the schema cannot.
type validator struct {
	server judge.Server
}

func judged(set *appsv1beta1.StatefulSet) judge.Workload {
	return judge.Workload{
		Kind: kind().Kind, Namespace: set.Namespace, Name: set.Name, Selector: set.Spec.Selector,
		Template: &set.Spec.Template, Claims: set.Spec.VolumeClaimTemplates, Leaving: set.DeletionTimestamp != nil,
	}
}

// Validate judges a new or a changed StatefulSet.
func (v *validator) Validate(ctx context.Context, old, set *appsv1beta1.StatefulSet) (warnings []string, errs field.ErrorList) {
	if set.DeletionTimestamp != nil {
		return nil, nil // only finalizers can still change; nothing may stand in their way
	}
	w := judged(set)
	var before *judge.Workload
	if old != nil {
		before = ptr.To(judged(old))
	}
	rolling := rollingOf(set)
	errs = append(errs, judge.Selector(w)...)
	errs = append(errs, judge.Claims(w)...)
	errs = append(errs, validateClaimChange(before, w, onRollingUpdate(set))...)
	errs = append(errs, validateOrdinals(set)...)
	errs = append(errs, validateTemplate(set)...)
	if old == nil {
		errs = append(errs, validateNames(set)...)
	}
	if rolling.UnorderedUpdate != nil {
		errs = append(errs, judge.Priority(rolling.UnorderedUpdate.PriorityStrategy,
			field.NewPath("spec", "updateStrategy", "rollingUpdate", "unorderedUpdate", "priorityStrategy"))...)
	}
	if old != nil && rolling.PodUpdatePolicy == appsv1beta1.InPlaceOnlyPodUpdatePolicy {
		errs = append(errs, v.server.InPlaceOnly(ctx, before, &w)...)
	}
	warnings = append(warnings, judge.InPlaceStrategy(rolling.InPlaceUpdateStrategy, rolling.PodUpdatePolicy)...)
	if _, err := pull.Annotated(set.Annotations, replicasOf(set)); err != nil {
		warnings = append(warnings, fmt.Sprintf("metadata.annotations: images are not pulled ahead as asked for: %v", err))
	}
	warnings = append(warnings, judge.ClaimsStay(before, w)...)
	if len(errs) > 0 {
		return warnings, errs
	}
	errs = append(errs, v.overlaps(ctx, before, w)...)
	if old == nil {
		errs = append(errs, v.nameIsFree(ctx, set)...)
	}
	warned, found := v.server.Accepts(ctx, before, w)
	warnings, errs = append(warnings, warned...), append(errs, found...)
	if onRollingUpdate(set) {
		errs = append(errs, v.server.Growth(ctx, before, w)...)
	}
	return warnings, errs
}

func onRollingUpdate(set *appsv1beta1.StatefulSet) bool {
	s := set.Spec.VolumeClaimUpdateStrategy
	return s != nil && s.Type == appsv1beta1.OnPodRollingUpdateVolumeClaimUpdateStrategyType
}

// validateOrdinals refuses numbers that no pod can have, and ranges that make no sense; the schema says so too, but only to
// those who write the version that it belongs to.
func validateOrdinals(set *appsv1beta1.StatefulSet) (errs field.ErrorList) {
	path := field.NewPath("spec", "reserveOrdinals")
	for i, value := range set.Spec.ReserveOrdinals {
		if _, err := parseSpan(value); err != nil {
			errs = append(errs, field.Invalid(path.Index(i), value.String(), err.Error()))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	if numbers, err := ordinals(set); err == nil && len(numbers) > 0 && numbers[len(numbers)-1] > math.MaxInt32 {
		return field.ErrorList{field.Invalid(path, field.OmitValueType{},
			fmt.Sprintf("the last of %d pods would be number %d, more than %d; reserve fewer, or lower spec.ordinals.start",
				len(numbers), numbers[len(numbers)-1], math.MaxInt32))}
	}
	return nil
}

// validateNames refuses names that cannot be part of a DNS name: those of the pods are made of them.
func validateNames(set *appsv1beta1.StatefulSet) (errs field.ErrorList) {
	if problems := validation.IsDNS1123Label(set.Name); len(problems) > 0 && set.Name != "" {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), set.Name,
			"it is part of the pods' host names: "+strings.Join(problems, "; ")))
	}
	if problems := validation.IsDNS1123Label(set.Spec.ServiceName); len(problems) > 0 && set.Spec.ServiceName != "" {
		errs = append(errs, field.Invalid(field.NewPath("spec", "serviceName"), set.Spec.ServiceName, strings.Join(problems, "; ")))
	}
	return errs
}

// validateTemplate refuses pods that a set with an identity cannot have.
func validateTemplate(set *appsv1beta1.StatefulSet) (errs field.ErrorList) {
	spec, path := &set.Spec.Template.Spec, field.NewPath("spec", "template", "spec")
	if spec.RestartPolicy != "" && spec.RestartPolicy != corev1.RestartPolicyAlways {
		always := []corev1.RestartPolicy{corev1.RestartPolicyAlways}
		errs = append(errs, field.NotSupported(path.Child("restartPolicy"), spec.RestartPolicy, always))
	}
	if spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("activeDeadlineSeconds"), "the pods of a StatefulSet have no end; take it out"))
	}
	policy := rollingOf(set).PodUpdatePolicy
	if policy == "" || policy == appsv1beta1.RecreatePodUpdatePolicy || hasGate(spec) {
		return errs
	}
	return append(errs, field.Invalid(path.Child("readinessGates"), field.OmitValueType{},
		fmt.Sprintf("spec.updateStrategy.rollingUpdate.podUpdatePolicy is %s, which needs the readiness gate %s, so that no pod counts as "+
			"ready while it is changed; add {conditionType: %s} to the readiness gates, or set podUpdatePolicy to %s",
			policy, appsv1beta1.InPlaceUpdateReady, appsv1beta1.InPlaceUpdateReady, appsv1beta1.RecreatePodUpdatePolicy)))
}

func hasGate(spec *corev1.PodSpec) bool {
	for _, gate := range spec.ReadinessGates {
		if gate.ConditionType == appsv1beta1.InPlaceUpdateReady {
			return true
		}
	}
	return false
}

// validateClaimChange refuses changes of the claim templates that the pods that exist could not follow: which claims there are,
// and, where claims follow their templates, all but the size.
func validateClaimChange(old *judge.Workload, w judge.Workload, follow bool) (errs field.ErrorList) {
	if old == nil {
		return nil
	}
	path := field.NewPath("spec", "volumeClaimTemplates")
	const fix = "the pods that exist have the volumes that they were made with; for other claims create a new set"
	if len(old.Claims) != len(w.Claims) {
		return field.ErrorList{field.Forbidden(path, "templates can be neither added nor removed: "+fix)}
	}
	for i := range w.Claims {
		before := judge.TemplateNamed(old, w.Claims[i].Name)
		switch {
		case before == nil:
			errs = append(errs, field.Forbidden(path.Index(i).Child("metadata", "name"), "a template cannot be renamed: "+fix))
		case follow && !apiequality.Semantic.DeepEqual(bare(before), bare(&w.Claims[i])):
			errs = append(errs, field.Forbidden(path.Index(i), "with volumeClaimUpdateStrategy OnPodRollingUpdate only "+
				"resources.requests.storage may change: nothing else of a claim that exists can; set OnDelete to change it for new claims"))
		}
	}
	return errs
}

// bare is what of a claim template never changes, with what the API server would fill in.
func bare(tmpl *corev1.PersistentVolumeClaim) corev1.PersistentVolumeClaim {
	c := corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: tmpl.Name, Labels: tmpl.Labels, Annotations: tmpl.Annotations},
		Spec:       *tmpl.Spec.DeepCopy(),
	}
	judge.Fill(&c.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	delete(c.Spec.Resources.Requests, corev1.ResourceStorage)
	return c
}

// overlaps refuses a set that would fight with another one over its pods.
func (v *validator) overlaps(ctx context.Context, old *judge.Workload, w judge.Workload) field.ErrorList {
	return judge.Overlap(old, w, func() ([]judge.Workload, error) {
		var list appsv1beta1.StatefulSetList
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

// nameIsFree refuses a set beside one of the group apps that has its name.
func (v *validator) nameIsFree(ctx context.Context, set *appsv1beta1.StatefulSet) field.ErrorList {
	found, err := native(ctx, v.server.Live, set)
	switch {
	case err != nil:
		return nil // the controller asks again
	case found:
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), set.Name, nameConflict(set))}
	}
	return nil
}

// namesHook refuses a StatefulSet of the group apps that has the name of one of ours. It must never be in the way of others.
func namesHook(live client.Reader) admission.Hook {
	return admission.Hook{
		Name: "names.statefulsets.apps", Path: "/names/apps/statefulsets",
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"statefulsets"},
				Scope: ptr.To(admissionregistrationv1.NamespacedScope),
			},
		}},
		FailurePolicy: admissionregistrationv1.Ignore, TimeoutSeconds: 3,
		Handler: webhook.HandlerFunc(func(ctx context.Context, req webhook.Request) webhook.Response {
			if req.Operation != admissionv1.Create || req.Name == "" {
				return webhook.Allowed("")
			}
			var ours appsv1beta1.StatefulSet
			err := live.Get(ctx, client.ObjectKey{Namespace: req.Namespace, Name: req.Name}, &ours)
			if err != nil || ours.DeletionTimestamp != nil {
				return webhook.Allowed("") // there is none, as far as anybody knows
			}
			return webhook.Denied(fmt.Sprintf("metadata.name: there is a StatefulSet %s of the group %s in namespace %s: both would make "+
				"the pods %s-0, %s-1 and so on, and use the same claims; choose another name, or delete that one with --cascade=orphan first",
				req.Name, appsv1beta1.GroupName, req.Namespace, req.Name, req.Name))
		}),
	}
}
