package uniteddeployment

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	kjson "sigs.k8s.io/json"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// buildError is a subset's workload that cannot be made from the spec. It names the field.
type buildError struct {
	path string
	err  error
}

func (e *buildError) Error() string { return e.path + ": " + e.err.Error() }
func (e *buildError) Unwrap() error { return e.err }

var (
	errSelector = errors.New("spec.selector does not match the labels of the subset's pods; make them agree")
	errKind     = errors.New("set exactly one of statefulSetTemplate, advancedStatefulSetTemplate, cloneSetTemplate and deploymentTemplate")
)

// childName follows from the names alone, so that a workload is never made twice.
func childName(ud *appsv1beta1.UnitedDeployment, subset string) string { return ud.Name + "-" + subset }

// build makes the workload of a subset, but for its number of replicas.
func build(ud *appsv1beta1.UnitedDeployment, index int, revision string) (client.Object, error) {
	subset := &ud.Spec.Topology.Subsets[index]
	f, ok := familyOf(&ud.Spec.Template)
	if !ok {
		return nil, &buildError{"spec.template", errKind}
	}
	object := f.made(&ud.Spec.Template)
	s := shapeOf(object)
	*s.replicas = nil
	if err := podTemplate(s.template, ud, index); err != nil {
		return nil, err
	}
	selector := joined(ud.Spec.Selector, *s.selector, subset.Name)
	*s.selector = selector
	if matcher, err := metav1.LabelSelectorAsSelector(selector); err != nil {
		return nil, &buildError{"spec.selector", err}
	} else if !matcher.Matches(labels.Set(s.template.Labels)) {
		return nil, &buildError{
			fmt.Sprintf("spec.template.%s.spec.template.metadata.labels", f.field),
			fmt.Errorf("%w: the workload would select %q", errSelector, matcher),
		}
	}
	if n := kept(ud, subset.Name); n != nil {
		keep(object, *n)
	}
	name(object, ud, subset, revision)
	return object, seal(object)
}

// name gives the workload its name, its owner and what it is found by.
func name(object client.Object, ud *appsv1beta1.UnitedDeployment, subset *appsv1beta1.Subset, revision string) {
	object.SetNamespace(ud.Namespace)
	object.SetName(childName(ud, subset.Name))
	object.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(ud, kind())})
	marks := map[string]string{appsv1beta1.SubsetName: subset.Name}
	if revision != "" {
		marks[appsv1beta1.ControllerRevisionHash] = revision
	}
	object.SetLabels(merged(object.GetLabels(), ud.Spec.Selector.MatchLabels, marks))
	if len(subset.Patch.Raw) > 0 {
		object.SetAnnotations(merged(object.GetAnnotations(), map[string]string{appsv1beta1.SubsetPatch: string(subset.Patch.Raw)}))
	}
}

// seal notes a hash of all this on the object: an object that has another one was made from another spec. Behind it, after a
// point, stands a hash of the pod template alone.
func seal(object client.Object) error {
	shape := shapeOf(object)
	whole, err := hashOf([]any{object.GetLabels(), object.GetAnnotations(), shape.spec})
	if err != nil {
		return fmt.Errorf("encode the workload %s: %w", object.GetName(), err)
	}
	pods, err := hashOf(shape.template)
	if err != nil {
		return fmt.Errorf("encode the pod template of %s: %w", object.GetName(), err)
	}
	object.SetAnnotations(merged(object.GetAnnotations(), map[string]string{appsv1beta1.SubsetTemplateHash: whole + "." + pods}))
	return nil
}

func hashOf(what any) (string, error) {
	raw, err := json.Marshal(what)
	if err != nil {
		return "", err //nolint:wrapcheck // seal says what could not be encoded
	}
	sum := fnv.New64a()
	_, _ = sum.Write(raw) // a hash never fails to take bytes
	return rand.SafeEncodeString(fmt.Sprint(sum.Sum64())), nil
}

// label puts the revision on the pods that are to be made. One that leaves their template as it is leaves their label, too: they
// would be replaced for it. The workload as it is may be nil: there is none yet.
func label(is, want client.Object) {
	revision := want.GetLabels()[appsv1beta1.ControllerRevisionHash]
	if is != nil && samePods(is, want) {
		revision = shapeOf(is).template.Labels[appsv1beta1.ControllerRevisionHash]
	}
	if tmpl := shapeOf(want).template; revision != "" {
		tmpl.Labels = merged(tmpl.Labels, map[string]string{appsv1beta1.ControllerRevisionHash: revision})
	}
}

// samePods reports whether a workload was made with the same pod template. One that somebody else has made does not say so.
func samePods(is, want client.Object) bool {
	_, before, known := strings.Cut(is.GetAnnotations()[appsv1beta1.SubsetTemplateHash], ".")
	_, after, _ := strings.Cut(want.GetAnnotations()[appsv1beta1.SubsetTemplateHash], ".")
	if known {
		return before == after
	}
	return apiequality.Semantic.DeepDerivative(shapeOf(want).template, shapeOf(is).template)
}

func merged(all ...map[string]string) map[string]string {
	result := map[string]string{}
	for _, one := range all {
		maps.Copy(result, one)
	}
	return result
}

// podTemplate adds to the pod template what makes it the subset's. The patch comes last: it stands above all else.
func podTemplate(tmpl *corev1.PodTemplateSpec, ud *appsv1beta1.UnitedDeployment, index int) error {
	subset := &ud.Spec.Topology.Subsets[index]
	requireNodes(&tmpl.Spec, subset.NodeSelectorTerm)
	for _, toleration := range subset.Tolerations {
		if !slices.ContainsFunc(tmpl.Spec.Tolerations, func(t corev1.Toleration) bool { return apiequality.Semantic.DeepEqual(t, toleration) }) {
			tmpl.Spec.Tolerations = append(tmpl.Spec.Tolerations, toleration)
		}
	}
	if raw := subset.Patch.Raw; len(raw) > 0 && string(raw) != "null" {
		patched, err := patch(tmpl, raw)
		if err != nil {
			return &buildError{fmt.Sprintf("spec.topology.subsets[%d].patch", index), err}
		}
		*tmpl = *patched
	}
	tmpl.Labels = merged(tmpl.Labels, map[string]string{appsv1beta1.SubsetName: subset.Name})
	selector, err := metav1.LabelSelectorAsSelector(ud.Spec.Selector)
	if err == nil && !selector.Matches(labels.Set(tmpl.Labels)) {
		err = fmt.Errorf("%w: it is %q, and the labels are %q", errSelector, selector, labels.Set(tmpl.Labels))
	}
	if err != nil {
		return &buildError{"spec.selector", err}
	}
	return nil
}

// patch applies a strategic merge patch; fields that a pod template does not have are refused.
func patch(tmpl *corev1.PodTemplateSpec, raw []byte) (*corev1.PodTemplateSpec, error) {
	before, err := json.Marshal(tmpl)
	if err != nil {
		return nil, fmt.Errorf("encode the pod template: %w", err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, raw, corev1.PodTemplateSpec{})
	if err != nil {
		return nil, fmt.Errorf("it is no strategic merge patch of a pod template: %w", err)
	}
	patched := &corev1.PodTemplateSpec{}
	unknown, err := kjson.UnmarshalStrict(after, patched)
	if err = errors.Join(append(unknown, err)...); err != nil {
		return nil, fmt.Errorf("it makes no pod template: %w", err)
	}
	return patched, nil
}

// requireNodes adds a term to the required node affinity: terms stand beside each other as alternatives, so it becomes a part of each.
func requireNodes(spec *corev1.PodSpec, term corev1.NodeSelectorTerm) {
	if len(term.MatchExpressions)+len(term.MatchFields) == 0 {
		return
	}
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	if spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{}
	}
	required := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if len(required.NodeSelectorTerms) == 0 {
		required.NodeSelectorTerms = []corev1.NodeSelectorTerm{{}}
	}
	for i := range required.NodeSelectorTerms {
		one, more := &required.NodeSelectorTerms[i], term.DeepCopy()
		one.MatchExpressions = append(one.MatchExpressions, more.MatchExpressions...)
		one.MatchFields = append(one.MatchFields, more.MatchFields...)
	}
}

// joined selects the pods of one subset: what the whole and the template say, and the subset's name.
func joined(whole, template *metav1.LabelSelector, subset string) *metav1.LabelSelector {
	result := whole.DeepCopy()
	result.MatchLabels = merged(result.MatchLabels, map[string]string{appsv1beta1.SubsetName: subset})
	if template == nil {
		return result
	}
	for key, value := range template.MatchLabels {
		if _, said := result.MatchLabels[key]; !said {
			result.MatchLabels[key] = value
		} else if result.MatchLabels[key] != value { // never both: the pods' labels are held against it
			result.MatchExpressions = append(result.MatchExpressions,
				metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}})
		}
	}
	for _, requirement := range template.MatchExpressions {
		if !slices.ContainsFunc(result.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
			return apiequality.Semantic.DeepEqual(r, requirement)
		}) {
			result.MatchExpressions = append(result.MatchExpressions, *requirement.DeepCopy())
		}
	}
	return result
}

// kept is how many pods of a subset stay at the old revision; nil: the template decides.
func kept(ud *appsv1beta1.UnitedDeployment, subset string) *int32 {
	if ud.Spec.UpdateStrategy.ManualUpdate == nil {
		return nil
	}
	n, said := ud.Spec.UpdateStrategy.ManualUpdate.Partitions[subset]
	if !said {
		return nil
	}
	n = max(n, 0)
	return &n
}
