package daemonset

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
	"github.com/holdfast-io/holdfast/internal/workload/node"
	"github.com/holdfast-io/holdfast/internal/workload/pull"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// Hooks are the admission of DaemonSets. It asks the API server itself what it would say to the pods.
func Hooks(scheme *runtime.Scheme, c client.Client, live client.Reader) []admission.Hook {
	v := &validator{server: judge.Server{Client: c, Live: live}}
	return admission.ForKind(scheme, appsv1beta1.SchemeGroupVersion.WithResource("daemonsets"), nil,
		admission.Kind[*appsv1beta1.DaemonSet]{Default: Default, Validate: v.Validate})
}

// Default fills in what the user left out.
func Default(ds *appsv1beta1.DaemonSet) {
	judge.Fill(&ds.Spec.RevisionHistoryLimit, revision.DefaultHistoryLimit)
	judge.Fill(&ds.Spec.BurstReplicas, intstr.FromInt32(defaultBurst))
	if ds.Spec.UpdateStrategy.Type == "" {
		ds.Spec.UpdateStrategy.Type = appsv1beta1.RollingUpdateDaemonSetStrategyType
	}
	if ds.Spec.UpdateStrategy.RollingUpdate == nil {
		ds.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateDaemonSet{}
	}
	rolling := ds.Spec.UpdateStrategy.RollingUpdate
	if rolling.Type == "" {
		rolling.Type = appsv1beta1.StandardRollingUpdateType
	}
	judge.Fill(&rolling.Partition, intstr.FromInt32(0))
	judge.Fill(&rolling.MaxUnavailable, defaultMaxUnavailable(*rolling))
	judge.Fill(&rolling.MaxSurge, intstr.FromInt32(0))
}

// validator judges what the schema cannot.
type validator struct {
	server judge.Server
}

func judged(ds *appsv1beta1.DaemonSet) judge.Workload {
	return judge.Workload{
		Kind: kind().Kind, Namespace: ds.Namespace, Name: ds.Name, Selector: ds.Spec.Selector,
		Template: &ds.Spec.Template, Leaving: ds.DeletionTimestamp != nil,
	}
}

// Validate judges a new or a changed DaemonSet.
func (v *validator) Validate(ctx context.Context, old, ds *appsv1beta1.DaemonSet) (warnings []string, errs field.ErrorList) {
	if ds.DeletionTimestamp != nil {
		return nil, nil // only finalizers can still change; nothing may stand in their way
	}
	w := judged(ds)
	var before *judge.Workload
	if old != nil {
		before = ptr.To(judged(old))
	}
	errs = append(errs, judge.Selector(w)...)
	errs = append(errs, validateLimits(ds)...)
	errs = append(errs, validateTemplate(ds)...)
	errs = append(errs, validateUpdateSelector(ds)...)
	if len(errs) > 0 {
		return nil, errs
	}
	warnings = append(warnings, warn(ds)...)
	errs = append(errs, judge.Overlap(before, w, func() ([]judge.Workload, error) { return v.others(ctx, ds.Namespace) })...)
	warned, found := v.server.Accepts(ctx, before, w)
	return append(warnings, warned...), append(errs, found...)
}

func (v *validator) others(ctx context.Context, namespace string) ([]judge.Workload, error) {
	var sets appsv1beta1.DaemonSetList
	if err := v.server.Client.List(ctx, &sets, client.InNamespace(namespace)); err != nil {
		return nil, err //nolint:wrapcheck // the caller says what was asked for
	}
	others := make([]judge.Workload, 0, len(sets.Items))
	for i := range sets.Items {
		others = append(others, judged(&sets.Items[i]))
	}
	return others, nil
}

// validateLimits refuses an update that could never move, and one that says two things at once, as Kubernetes does.
func validateLimits(ds *appsv1beta1.DaemonSet) field.ErrorList {
	rolling := ptr.Deref(ds.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateDaemonSet{})
	path := field.NewPath("spec", "updateStrategy", "rollingUpdate")
	surges := !share.Zero(rolling.MaxSurge, true)
	takes := !share.Zero(rolling.MaxUnavailable, surges)
	switch {
	case !surges && !takes:
		return field.ErrorList{field.Invalid(path.Child("maxUnavailable"), rolling.MaxUnavailable.String(),
			"maxUnavailable and maxSurge must not both be 0: no pod could ever be updated; raise one of them, or use paused to stop the update")}
	case surges && takes:
		return field.ErrorList{field.Invalid(path.Child("maxSurge"), rolling.MaxSurge.String(),
			"a node has either a second pod first or none in between: set maxUnavailable to 0, or leave out maxSurge")}
	case surges && rolling.Type == appsv1beta1.InplaceRollingUpdateType:
		return field.ErrorList{field.Invalid(path.Child("maxSurge"), rolling.MaxSurge.String(),
			"a pod that is changed in place needs no second one: with rollingUpdateType InPlaceIfPossible set maxUnavailable, not maxSurge")}
	}
	return nil
}

// validateTemplate refuses pods that could not stay on their nodes, and what is asked of nodes that cannot be read.
func validateTemplate(ds *appsv1beta1.DaemonSet) (errs field.ErrorList) {
	path := field.NewPath("spec", "template", "spec")
	spec := &ds.Spec.Template.Spec
	if spec.RestartPolicy != "" && spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("restartPolicy"), spec.RestartPolicy,
			[]corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("activeDeadlineSeconds"),
			"a daemon has no end; a BroadcastJob runs pods that have one on every node"))
	}
	if _, err := node.NewTemplate(&ds.Spec.Template); err != nil {
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, err.Error()))
	}
	return errs
}

func validateUpdateSelector(ds *appsv1beta1.DaemonSet) field.ErrorList {
	if _, err := updateSelector(ds); err != nil {
		path := field.NewPath("spec", "updateStrategy", "rollingUpdate", "selector")
		return field.ErrorList{field.Invalid(path, metav1.FormatLabelSelector(ds.Spec.UpdateStrategy.RollingUpdate.Selector), err.Error())}
	}
	return nil
}

// warn tells of settings that have less effect than they seem to.
func warn(ds *appsv1beta1.DaemonSet) (warnings []string) {
	rolling := ptr.Deref(ds.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateDaemonSet{})
	const path = "spec.updateStrategy.rollingUpdate."
	if _, err := pull.Annotated(ds.Annotations, 1); err != nil {
		warnings = append(warnings, fmt.Sprintf("metadata.annotations: images are not pulled ahead as asked for: %v", err))
	}
	if port := hostPort(&ds.Spec.Template.Spec); port != 0 && !share.Zero(rolling.MaxSurge, true) {
		warnings = append(warnings, fmt.Sprintf("%smaxSurge: port %d of the host can be had by one pod of a node only, so the second one will "+
			"never start; use maxUnavailable, or take the host port out", path, port))
	}
	if rolling.Selector != nil && ds.Spec.UpdateStrategy.Type == appsv1beta1.OnDeleteDaemonSetStrategyType {
		warnings = append(warnings, path+"selector has no effect while updateStrategy.type is OnDelete")
	}
	return warnings
}

// hostPort is a port of the host that the pod takes; 0: none.
func hostPort(spec *corev1.PodSpec) int32 {
	for i := range spec.Containers {
		for _, port := range spec.Containers[i].Ports {
			if port.HostPort != 0 {
				return port.HostPort
			}
			if spec.HostNetwork && port.ContainerPort != 0 {
				return port.ContainerPort
			}
		}
	}
	return 0
}
