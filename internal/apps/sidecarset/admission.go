package sidecarset

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
)

// AdmissionDeps are what the admission needs from the operator.
type AdmissionDeps struct {
	Scheme *runtime.Scheme
	// Cache reads what is needed for every new pod.
	Cache client.Reader
	// Client reads and writes to the API server.
	Client client.Client
	Clock  clock.Clock
	// SystemNamespace is where revisions and the white list are; its pods are left alone.
	SystemNamespace string
	// Configuration is the name of the webhook configuration that the hooks are registered in.
	Configuration string
}

// Hooks are the admission of SidecarSets, and of the pods that get their containers.
func Hooks(d AdmissionDeps) []admission.Hook {
	v := &validator{client: d.Client, namespace: d.SystemNamespace, scope: newScope(d.Client, d.Clock, d.Configuration)}
	i := &injector{book: newBook(d.Cache, d.Client, d.SystemNamespace), spared: inject.Spared(d.SystemNamespace), clock: d.Clock}
	return append(i.hooks(d.SystemNamespace),
		admission.ForKind(d.Scheme, appsv1beta1.SchemeGroupVersion.WithResource("sidecarsets"), nil,
			admission.Kind[*appsv1beta1.SidecarSet]{Default: Default, Validate: v.Validate, Prepare: v.Prepare})...)
}

// Default fills in what the user left out.
func Default(set *appsv1beta1.SidecarSet) {
	judge.Fill(&set.Spec.RevisionHistoryLimit, revision.DefaultHistoryLimit)
	s := &set.Spec.UpdateStrategy
	if s.Type == "" {
		s.Type = appsv1beta1.RollingUpdateSidecarSetStrategyType
	}
	judge.Fill(&s.Partition, intstr.FromInt32(0))
	judge.Fill(&s.MaxUnavailable, intstr.FromInt32(1))
	if r := set.Spec.InjectionStrategy.Revision; r != nil && r.Policy == "" {
		r.Policy = appsv1beta1.AlwaysSidecarSetInjectRevisionPolicy
	}
	for i := range set.Spec.PatchPodMetadata {
		if p := &set.Spec.PatchPodMetadata[i]; p.PatchPolicy == "" {
			p.PatchPolicy = appsv1beta1.SidecarSetRetainPatchPolicy
		}
	}
	for i := range set.Spec.Containers {
		defaultContainer(&set.Spec.Containers[i], appsv1beta1.BeforeAppContainerType)
	}
	for i := range set.Spec.InitContainers {
		defaultContainer(&set.Spec.InitContainers[i], appsv1beta1.AfterAppContainerType)
	}
}

func defaultContainer(c *appsv1beta1.SidecarContainer, policy appsv1beta1.PodInjectPolicyType) {
	if c.PodInjectPolicy == "" {
		c.PodInjectPolicy = policy
	}
	if c.UpgradeStrategy.UpgradeType == "" {
		c.UpgradeStrategy.UpgradeType = appsv1beta1.SidecarContainerColdUpgrade
	}
	if c.ShareVolumePolicy.Type == "" {
		c.ShareVolumePolicy.Type = appsv1beta1.ShareVolumePolicyDisabled
	}
}

// What judging SidecarSets, and new pods, takes beyond what keeping them does.

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=holdfast-system,resources=configmaps,resourceNames=kruise-configuration,verbs=get

// validator judges what the schema cannot.
type validator struct {
	client    client.Client
	namespace string
	scope     *admission.Scope
}

// Validate judges a new or a changed SidecarSet.
func (v *validator) Validate(ctx context.Context, old, set *appsv1beta1.SidecarSet) (warnings []string, errs field.ErrorList) {
	if set.DeletionTimestamp != nil {
		return nil, nil // only finalizers can still change; nothing may stand in their way
	}
	path := field.NewPath("spec")
	errs = append(errs, validateSelectors(set, path)...)
	errs = append(errs, validateContainers(set, path)...)
	errs = append(errs, validateCanary(set)...)
	if _, found := inject.Compile(inject.TemplateOf(&set.Spec), path); len(found) > 0 {
		errs = append(errs, found...)
	}
	errs = append(errs, judge.Priority(set.Spec.UpdateStrategy.PriorityStrategy, path.Child("updateStrategy", "priorityStrategy"))...)
	if len(errs) > 0 {
		return nil, errs
	}
	warnings = append(warn(old, set), v.spares(set)...)
	errs = append(errs, v.overlaps(ctx, set)...)
	errs = append(errs, v.revisionExists(ctx, old, set)...)
	errs = append(errs, v.annotationsAreAllowed(ctx, old, set)...)
	warned, found := v.podIsAccepted(ctx, old, set)
	return append(warnings, warned...), append(errs, found...)
}

// validateSelectors refuses selectors that cannot be read, and one that would match everything.
func validateSelectors(set *appsv1beta1.SidecarSet, path *field.Path) (errs field.ErrorList) {
	for _, s := range []struct {
		at       *field.Path
		selector *metav1.LabelSelector
	}{
		{path.Child("selector"), set.Spec.Selector},
		{path.Child("namespaceSelector"), set.Spec.NamespaceSelector},
		{path.Child("updateStrategy", "selector"), set.Spec.UpdateStrategy.Selector},
	} {
		if _, err := metav1.LabelSelectorAsSelector(s.selector); err != nil {
			errs = append(errs, field.Invalid(s.at, metav1.FormatLabelSelector(s.selector), err.Error()))
		}
	}
	if s := set.Spec.Selector; s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Required(path.Child("selector"),
			"without one every pod of the cluster would get the containers; name at least one label, such as matchLabels: {app: web}"))
	}
	return errs
}

// validateContainers refuses what could never become part of a pod.
func validateContainers(set *appsv1beta1.SidecarSet, path *field.Path) (errs field.ErrorList) {
	if len(set.Spec.Containers)+len(set.Spec.InitContainers)+len(set.Spec.PatchPodMetadata)+len(set.Spec.ImagePullSecrets) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), "the set gives pods nothing; name a container"))
	}
	seen := map[string]bool{}
	for i := range set.Spec.Containers {
		errs = append(errs, validateContainer(&set.Spec.Containers[i], false, seen, path.Child("containers").Index(i))...)
	}
	for i := range set.Spec.InitContainers {
		errs = append(errs, validateContainer(&set.Spec.InitContainers[i], true, seen, path.Child("initContainers").Index(i))...)
	}
	return errs
}

func validateContainer(c *appsv1beta1.SidecarContainer, init bool, seen map[string]bool, path *field.Path) (errs field.ErrorList) {
	names := []string{c.Name}
	if inject.Hot(c) {
		pair := inject.Pair(c.Name)
		names = pair[:]
	}
	for _, name := range names {
		for _, problem := range validation.IsDNS1123Label(name) {
			errs = append(errs, field.Invalid(path.Child("name"), name, problem))
		}
		if seen[name] {
			errs = append(errs, field.Duplicate(path.Child("name"), name))
		}
		seen[name] = true
	}
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), "a pod's container needs one"))
	}
	reserved := []string{appsv1beta1.SidecarInjectedEnv, appsv1beta1.SidecarSetVersionEnv, appsv1beta1.SidecarSetVersionAltEnv}
	for i, e := range c.Env {
		if slices.Contains(reserved, e.Name) {
			errs = append(errs, field.Forbidden(path.Child("env").Index(i).Child("name"),
				e.Name+" is set by Holdfast in every pod; choose another name"))
		}
	}
	if c.ResourcesPolicy != nil && len(c.Resources.Limits)+len(c.Resources.Requests) > 0 {
		errs = append(errs, field.Forbidden(path.Child("resources"), "resourcesPolicy computes them; take one of the two out"))
	}
	return append(errs, validateUpgrade(c, init, path.Child("upgradeStrategy"))...)
}

func validateUpgrade(c *appsv1beta1.SidecarContainer, init bool, path *field.Path) field.ErrorList {
	switch {
	case !inject.Hot(c):
		return nil
	case init:
		return field.ErrorList{field.Invalid(path.Child("upgradeType"), c.UpgradeStrategy.UpgradeType,
			"an init container can only be changed cold; move it to spec.containers, or set ColdUpgrade")}
	case c.UpgradeStrategy.HotUpgradeEmptyImage == "":
		return field.ErrorList{field.Required(path.Child("hotUpgradeEmptyImage"),
			"the idle container of a HotUpgrade needs an image that does nothing but stay ready")}
	case c.UpgradeStrategy.HotUpgradeEmptyImage == c.Image:
		return field.ErrorList{field.Invalid(path.Child("hotUpgradeEmptyImage"), c.Image,
			"it is the image of the container itself, so that both would work at once; name one that does nothing but stay ready")}
	}
	return nil
}

// validateCanary refuses a canary of nothing.
func validateCanary(set *appsv1beta1.SidecarSet) field.ErrorList {
	path := field.NewPath("metadata", "annotations")
	canary, base := set.Annotations[appsv1beta1.SidecarSetCanary], set.Annotations[appsv1beta1.SidecarSetBase]
	switch {
	case canary == "true" && base == "":
		return field.ErrorList{field.Required(path.Key(appsv1beta1.SidecarSetBase),
			"a canary needs the name of the SidecarSet that it stands in for")}
	case canary == "true" && base == set.Name:
		return field.ErrorList{field.Invalid(path.Key(appsv1beta1.SidecarSetBase), base, "a set cannot be its own canary")}
	case canary != "" && canary != "true":
		return field.ErrorList{field.NotSupported(path.Key(appsv1beta1.SidecarSetCanary), canary, []string{"true"})}
	}
	return nil
}

// warn tells of a change that pods which are there cannot follow, with the fields that prevent it.
func warn(old, set *appsv1beta1.SidecarSet) (warnings []string) {
	strategy := &set.Spec.UpdateStrategy
	if r := set.Spec.InjectionStrategy.Revision; r != nil && r.Policy == appsv1beta1.PartialSidecarSetInjectRevisionPolicy &&
		strategy.Selector == nil && (strategy.Partition == nil || strategy.Partition.Type == intstr.Int) {
		warnings = append(warnings, "spec.injectionStrategy.revision has no effect: with the policy Partial it goes by updateStrategy.selector "+
			"and by a partition that is a percentage, and there is neither")
	}
	for i := range set.Spec.Containers {
		if c := &set.Spec.Containers[i]; !inject.Hot(c) && c.UpgradeStrategy.HotUpgradeEmptyImage != "" {
			warnings = append(warnings, fmt.Sprintf("spec.containers[%d].upgradeStrategy.hotUpgradeEmptyImage has no effect while upgradeType "+
				"is ColdUpgrade", i))
		}
	}
	if old == nil {
		return warnings
	}
	if fields := unchangeable(inject.TemplateOf(&old.Spec), inject.TemplateOf(&set.Spec)); len(fields) > 0 {
		warnings = append(warnings, "pods that are there keep what they have until they are made anew: only images can change in place, and "+
			strings.Join(fields, ", ")+" changed")
	}
	return warnings
}

// spares tells of a namespace that the set asks for and whose pods are left alone all the same.
func (v *validator) spares(set *appsv1beta1.SidecarSet) (warnings []string) {
	for _, r := range admission.Requirements(set.Spec.NamespaceSelector) {
		for _, name := range inject.Spared(v.namespace) {
			if r.Key == corev1.LabelMetadataName && r.Operator == metav1.LabelSelectorOpIn && slices.Contains(r.Values, name) {
				warnings = append(warnings, "spec.namespaceSelector: pods of namespace "+name+" get nothing: the cluster, and Holdfast, "+
					"must be able to start without Holdfast")
			}
		}
	}
	return warnings
}

// unchangeable names the fields in which two templates differ and that cannot change in a running pod.
func unchangeable(from, to inject.Template) []string {
	_, before, err := from.Hashes()
	_, after, other := to.Hashes()
	if err != nil || other != nil || before == after {
		return nil
	}
	_, blocked := inplace.Between(podOf(from), podOf(to))
	for i := range blocked {
		blocked[i], _ = strings.CutPrefix(blocked[i], "spec.")
	}
	if len(blocked) == 0 {
		blocked = []string{"how the containers are injected"}
	}
	return blocked
}

// podOf is a pod made of nothing but what a set gives.
func podOf(t inject.Template) *corev1.PodTemplateSpec {
	p := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: t.Volumes}}
	for i := range t.Containers {
		p.Spec.Containers = append(p.Spec.Containers, t.Containers[i].Container)
	}
	for i := range t.InitContainers {
		p.Spec.InitContainers = append(p.Spec.InitContainers, t.InitContainers[i].Container)
	}
	return p
}

// overlaps refuses a set that would give a pod what another one gives it, too.
func (v *validator) overlaps(ctx context.Context, set *appsv1beta1.SidecarSet) field.ErrorList {
	var others appsv1beta1.SidecarSetList
	if err := v.client.List(ctx, &others); err != nil {
		return field.ErrorList{field.InternalError(nil, fmt.Errorf("list SidecarSets: %w", err))}
	}
	var errs field.ErrorList
	for _, message := range clashes(set, others.Items) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "selector"), metav1.FormatLabelSelector(set.Spec.Selector), message))
	}
	return errs
}

// revisionExists refuses to inject a revision that is not there.
func (v *validator) revisionExists(ctx context.Context, old, set *appsv1beta1.SidecarSet) field.ErrorList {
	wanted := set.Spec.InjectionStrategy.Revision
	if wanted == nil || old != nil && old.Spec.InjectionStrategy.Revision != nil && *old.Spec.InjectionStrategy.Revision == *wanted {
		return nil
	}
	path := field.NewPath("spec", "injectionStrategy", "revision")
	if wanted.RevisionName == "" && wanted.CustomVersion == "" {
		if wanted.Policy == appsv1beta1.PartialSidecarSetInjectRevisionPolicy {
			return nil // it is the one that most pods have
		}
		return field.ErrorList{field.Required(path.Child("revisionName"),
			"name a revision by revisionName or customVersion, set policy to Partial, or take revision out")}
	}
	if wanted.CustomVersion != "" && wanted.CustomVersion == set.Spec.CustomVersion {
		return nil // it is the one that the set is at
	}
	all, err := v.revisions(ctx, set)
	if err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	if named(all, set.Name, wanted) != nil {
		return nil
	}
	names := make([]string, 0, len(all))
	for _, rev := range all {
		names = append(names, rev.Name)
	}
	slices.Sort(names)
	return field.ErrorList{field.Invalid(path, wantedName(wanted),
		fmt.Sprintf("there is no such revision; ControllerRevisions of the set in namespace %s: %s", v.namespace, strings.Join(names, ", ")))}
}

// podIsAccepted asks the API server, in a dry run, whether it would take the containers as part of a pod.
func (v *validator) podIsAccepted(ctx context.Context, old, set *appsv1beta1.SidecarSet) ([]string, field.ErrorList) {
	t := inject.TemplateOf(&set.Spec)
	if old != nil && apiequality.Semantic.DeepEqual(inject.TemplateOf(&old.Spec), t) {
		return nil, nil
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		GenerateName: set.Name + "-", Namespace: metav1.NamespaceDefault,
		Labels: map[string]string{workload.PullFor: "nobody"}, // such a pod is given no containers
	}, Spec: podOf(t).Spec}
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: appContainer, Image: "app"})
	p.Spec.Volumes = append(slices.Clip(p.Spec.Volumes), missingVolumes(&p.Spec)...)
	warnings, errs := judge.Tried(v.client.Create(ctx, p, client.DryRunAll), nil) // the fields have the same paths in both
	for i := range warnings {
		warnings[i] = strings.TrimPrefix(warnings[i], "<nil>: ")
	}
	return warnings, errs
}

// appContainer stands for the containers of a pod itself. No name that a user may choose is as long.
const appContainer = "holdfast-stands-for-the-containers-of-the-pods-themselves-here"

// missingVolumes stand for the volumes of pods themselves, which the containers may mount.
func missingVolumes(spec *corev1.PodSpec) (missing []corev1.Volume) {
	has := map[string]bool{}
	for i := range spec.Volumes {
		has[spec.Volumes[i].Name] = true
	}
	for _, list := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			for _, m := range list[i].VolumeMounts {
				if !has[m.Name] {
					has[m.Name] = true
					missing = append(missing, corev1.Volume{Name: m.Name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
				}
			}
		}
	}
	return missing
}
