package cloneset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/order"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// What judging CloneSets takes beyond what keeping them does.

// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=get

// Hooks are the admission of CloneSets. It asks the API server itself what it would say to the pods and claims.
func Hooks(scheme *runtime.Scheme, c client.Client, live client.Reader) []admission.Hook {
	v := &validator{client: c, live: live}
	return admission.ForKind(scheme, appsv1beta1.SchemeGroupVersion.WithResource("clonesets"), nil,
		admission.Kind[*appsv1beta1.CloneSet]{Default: Default, Validate: v.Validate})
}

// Default fills in what the user left out.
func Default(cs *appsv1beta1.CloneSet) {
	fill(&cs.Spec.Replicas, 1)
	fill(&cs.Spec.RevisionHistoryLimit, revision.DefaultHistoryLimit)
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
	fill(&rolling.Partition, intstr.FromInt32(0))
	fill(&rolling.MaxUnavailable, defaultMaxUnavailable)
	fill(&rolling.MaxSurge, intstr.FromInt32(0))
}

func fill[T any](value **T, otherwise T) {
	if *value == nil {
		*value = &otherwise
	}
}

// validator judges what the schema cannot.
type validator struct {
	client client.Client
	live   client.Reader
}

// Validate judges a new or a changed CloneSet.
func (v *validator) Validate(ctx context.Context, old, cs *appsv1beta1.CloneSet) (warnings []string, errs field.ErrorList) {
	if cs.DeletionTimestamp != nil {
		return nil, nil // only finalizers can still change; nothing may stand in their way
	}
	errs = append(errs, validateSelector(cs)...)
	errs = append(errs, validateClaims(old, cs)...)
	errs = append(errs, validateLimits(cs)...)
	errs = append(errs, validatePriority(cs)...)
	if old != nil {
		errs = append(errs, validateInPlaceOnly(old, cs)...)
	}
	warnings = append(warnings, warn(cs)...)
	if len(errs) > 0 {
		return warnings, errs
	}
	for _, check := range []func(context.Context, *appsv1beta1.CloneSet, *appsv1beta1.CloneSet) ([]string, field.ErrorList){
		v.overlaps, v.podIsAccepted, v.claimsAreAccepted,
	} {
		warned, found := check(ctx, old, cs)
		warnings, errs = append(warnings, warned...), append(errs, found...)
	}
	return warnings, errs
}

func validateSelector(cs *appsv1beta1.CloneSet) field.ErrorList {
	path := field.NewPath("spec", "selector")
	selector, err := metav1.LabelSelectorAsSelector(cs.Spec.Selector)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(path, metav1.FormatLabelSelector(cs.Spec.Selector), err.Error())}
	case selector.Empty():
		return field.ErrorList{field.Invalid(path, "",
			"an empty selector would match every pod of the namespace; name at least one label of spec.template.metadata.labels")}
	case !selector.Matches(labels.Set(cs.Spec.Template.Labels)):
		return field.ErrorList{field.Invalid(field.NewPath("spec", "template", "metadata", "labels"), cs.Spec.Template.Labels,
			fmt.Sprintf("spec.selector %q does not match them, so the set would not own its pods; make them agree", selector))}
	}
	return nil
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

// validatePriority refuses selectors that cannot be read: without an order nothing would be updated.
func validatePriority(cs *appsv1beta1.CloneSet) field.ErrorList {
	rolling := cs.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil {
		return nil
	}
	if _, err := order.Priority(rolling.PriorityStrategy); err != nil {
		path := field.NewPath("spec", "updateStrategy", "rollingUpdate", "priorityStrategy")
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, err.Error())}
	}
	return nil
}

// validateInPlaceOnly refuses a change that cannot be made in place, and names the field that prevents it.
func validateInPlaceOnly(old, cs *appsv1beta1.CloneSet) field.ErrorList {
	rolling := cs.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil || rolling.PodUpdatePolicy != appsv1beta1.InPlaceOnlyPodUpdatePolicy {
		return nil
	}
	delta, blocked := inplace.Between(&old.Spec.Template, &cs.Spec.Template)
	for _, name := range delta.NeedsDaemon(&corev1.Pod{}) {
		blocked = append(blocked, fmt.Sprintf("spec.containers[%s].env "+
			"(it follows a label or annotation that changes, and no node daemon restarts the container)", name))
	}
	errs := make(field.ErrorList, 0, len(blocked))
	for _, reason := range blocked {
		path, detail, _ := strings.Cut(reason, " ")
		errs = append(errs, field.Invalid(field.NewPath("spec", "template").Child(path), field.OmitValueType{},
			strings.TrimSpace(detail+" it cannot be changed in place, and spec.updateStrategy.rollingUpdate.podUpdatePolicy is InPlaceOnly; "+
				"take the change back, or set InPlaceIfPossible")))
	}
	return errs
}

// validateClaims refuses templates that Kubernetes could not follow.
func validateClaims(old, cs *appsv1beta1.CloneSet) (errs field.ErrorList) {
	path := field.NewPath("spec", "volumeClaimTemplates")
	seen := map[string]bool{}
	for i := range cs.Spec.VolumeClaimTemplates {
		tmpl := &cs.Spec.VolumeClaimTemplates[i]
		switch {
		case tmpl.Name == "":
			errs = append(errs, field.Required(path.Index(i).Child("metadata", "name"), "the name ties the claim to a volume mount of the pod"))
		case seen[tmpl.Name]:
			errs = append(errs, field.Duplicate(path.Index(i).Child("metadata", "name"), tmpl.Name))
		}
		seen[tmpl.Name] = true
		before := templateNamed(old, tmpl.Name)
		if before == nil {
			continue
		}
		was, is := before.Spec.Resources.Requests[corev1.ResourceStorage], tmpl.Spec.Resources.Requests[corev1.ResourceStorage]
		if is.Cmp(was) < 0 {
			errs = append(errs, field.Invalid(path.Index(i).Child("spec", "resources", "requests", "storage"), is.String(),
				fmt.Sprintf("a volume cannot shrink: it is %s now", was.String())))
		}
	}
	return errs
}

func templateNamed(cs *appsv1beta1.CloneSet, name string) *corev1.PersistentVolumeClaim {
	if cs == nil {
		return nil
	}
	for i := range cs.Spec.VolumeClaimTemplates {
		if cs.Spec.VolumeClaimTemplates[i].Name == name {
			return &cs.Spec.VolumeClaimTemplates[i]
		}
	}
	return nil
}

// warn tells of settings that have less effect than they seem to.
func warn(cs *appsv1beta1.CloneSet) (warnings []string) {
	rolling := ptr.Deref(cs.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateCloneSetStrategy{})
	if s := rolling.InPlaceUpdateStrategy; s != nil {
		const path = "spec.updateStrategy.rollingUpdate.inPlaceUpdateStrategy."
		recreate := rolling.PodUpdatePolicy == appsv1beta1.RecreatePodUpdatePolicy
		switch {
		case s.ImagePreDownloadParallelism != nil && recreate:
			warnings = append(warnings, path+"imagePreDownloadParallelism has no effect while podUpdatePolicy is ReCreate")
		case s.ImagePreDownloadParallelism == nil && (s.ImagePreDownloadTimeoutSeconds != nil || s.ImagePreDownloadMinUpdatedReadyPods != nil):
			warnings = append(warnings, path+
				"imagePreDownloadTimeoutSeconds and imagePreDownloadMinUpdatedReadyPods have no effect without imagePreDownloadParallelism")
		}
		if s.GracePeriodSeconds > 0 && recreate {
			warnings = append(warnings, path+"gracePeriodSeconds has no effect while podUpdatePolicy is ReCreate")
		}
	}
	return warnings
}

// overlaps refuses a set that would fight with another one over its pods.
func (v *validator) overlaps(ctx context.Context, old, cs *appsv1beta1.CloneSet) ([]string, field.ErrorList) {
	if old != nil && apiequality.Semantic.DeepEqual(old.Spec.Template.Labels, cs.Spec.Template.Labels) {
		return nil, nil
	}
	var others appsv1beta1.CloneSetList
	if err := v.client.List(ctx, &others, client.InNamespace(cs.Namespace)); err != nil {
		return nil, field.ErrorList{field.InternalError(nil, fmt.Errorf("list the CloneSets of namespace %s: %w", cs.Namespace, err))}
	}
	for i := range others.Items {
		other := &others.Items[i]
		if other.Name != cs.Name && other.DeletionTimestamp == nil && overlap(cs, other) {
			return nil, field.ErrorList{field.Invalid(field.NewPath("spec", "selector"), metav1.FormatLabelSelector(cs.Spec.Selector),
				fmt.Sprintf("it and CloneSet %s would select the same pods (its selector is %s); give each set a label of its own",
					other.Name, metav1.FormatLabelSelector(other.Spec.Selector)))}
		}
	}
	return nil, nil
}

func overlap(a, b *appsv1beta1.CloneSet) bool {
	selects := func(set, other *appsv1beta1.CloneSet) bool {
		selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		return err == nil && !selector.Empty() && selector.Matches(labels.Set(other.Spec.Template.Labels))
	}
	return selects(a, b) || selects(b, a)
}

// podIsAccepted asks the API server, in a dry run, whether it would take a pod of the template.
func (v *validator) podIsAccepted(ctx context.Context, old, cs *appsv1beta1.CloneSet) ([]string, field.ErrorList) {
	if old != nil && apiequality.Semantic.DeepEqual(old.Spec.Template, cs.Spec.Template) &&
		apiequality.Semantic.DeepEqual(old.Spec.VolumeClaimTemplates, cs.Spec.VolumeClaimTemplates) {
		return nil, nil
	}
	tmpl := cs.Spec.Template.DeepCopy()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		GenerateName: cs.Name + "-", Namespace: cs.Namespace,
		Labels: tmpl.Labels, Annotations: tmpl.Annotations, Finalizers: tmpl.Finalizers,
	}, Spec: tmpl.Spec}
	claim.Mount(&p.Spec, cs.Name, cs.Spec.VolumeClaimTemplates, "xxxxx") // the containers may mount them
	return v.tried(v.client.Create(ctx, p, client.DryRunAll), field.NewPath("spec", "template"))
}

func (v *validator) claimsAreAccepted(ctx context.Context, old, cs *appsv1beta1.CloneSet) (warnings []string, errs field.ErrorList) {
	for i := range cs.Spec.VolumeClaimTemplates {
		tmpl := &cs.Spec.VolumeClaimTemplates[i]
		before := templateNamed(old, tmpl.Name)
		if before != nil && apiequality.Semantic.DeepEqual(before.Spec, tmpl.Spec) {
			continue
		}
		path := field.NewPath("spec", "volumeClaimTemplates").Index(i)
		c := tmpl.DeepCopy()
		c.Name, c.GenerateName, c.Namespace = "", tmpl.Name+"-", cs.Namespace
		warned, found := v.tried(v.client.Create(ctx, c, client.DryRunAll), path)
		warnings, errs = append(warnings, warned...), append(errs, found...)
		warned, found = v.classFits(ctx, before, tmpl, path.Child("spec"))
		warnings, errs = append(warnings, warned...), append(errs, found...)
	}
	return warnings, errs
}

// classFits warns of a storage class that does not exist, and refuses growth that the class does not allow.
func (v *validator) classFits(
	ctx context.Context, before, tmpl *corev1.PersistentVolumeClaim, path *field.Path,
) ([]string, field.ErrorList) {
	name := ptr.Deref(tmpl.Spec.StorageClassName, "")
	if name == "" {
		return nil, nil
	}
	var class storagev1.StorageClass
	switch err := v.live.Get(ctx, types.NamespacedName{Name: name}, &class); {
	case apierrors.IsNotFound(err):
		return []string{fmt.Sprintf("%s: there is no StorageClass %q, so the claims wait until there is one, "+
			"or until volumes of that class are made by hand",
			path.Child("storageClassName"), name)}, nil
	case err != nil:
		return nil, nil // the pods will say what their claims wait for
	}
	if before == nil || ptr.Deref(class.AllowVolumeExpansion, false) {
		return nil, nil
	}
	was, is := before.Spec.Resources.Requests[corev1.ResourceStorage], tmpl.Spec.Resources.Requests[corev1.ResourceStorage]
	if is.Cmp(was) <= 0 {
		return nil, nil
	}
	return nil, field.ErrorList{field.Forbidden(path.Child("resources", "requests", "storage"),
		fmt.Sprintf("StorageClass %q does not allow expansion; set its allowVolumeExpansion to true, if the driver can", name))}
}

// tried turns the API server's answer to a dry run into errors at the fields of the template.
func (v *validator) tried(err error, path *field.Path) ([]string, field.ErrorList) {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil, nil
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run"):
		return nil, nil // a webhook in the way answers only when it is meant
	case apierrors.IsForbidden(err) || apierrors.IsBadRequest(err):
		// A quota, the pod security of the namespace, a webhook: it may be different when the pod is made.
		return []string{fmt.Sprintf("%s: as things are, the API server would not take it: %v", path, err)}, nil
	case !apierrors.IsInvalid(err):
		return nil, nil // the API server could not say
	}
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return nil, field.ErrorList{field.Invalid(path, field.OmitValueType{}, err.Error())}
	}
	var errs field.ErrorList
	for _, cause := range status.Status().Details.Causes {
		if slices.Contains([]string{"metadata.name", "metadata.generateName"}, cause.Field) {
			continue
		}
		kind := cmp.Or(field.ErrorType(cause.Type), field.ErrorTypeInvalid) // webhooks often give none
		errs = append(errs, &field.Error{
			Type: kind, Field: path.Child(cause.Field).String(), BadValue: field.OmitValueType{},
			Detail: strings.TrimPrefix(strings.TrimPrefix(cause.Message, kind.String()), ": "),
		})
	}
	return nil, errs
}
