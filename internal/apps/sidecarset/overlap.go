package sidecarset

import (
	"fmt"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
)

// clash is what two SidecarSets would both give to one pod; "" for nothing, or when no pod can match both.
func clash(a, b *appsv1beta1.SidecarSet) string {
	if baseOf(a) == b.Name || baseOf(b) == a.Name {
		return "" // a pod that both select gets the canary alone
	}
	if disjoint(a.Spec.Selector, b.Spec.Selector) || disjoint(a.Spec.NamespaceSelector, b.Spec.NamespaceSelector) {
		return ""
	}
	names := sets.New(podNames(&a.Spec)...)
	for _, name := range podNames(&b.Spec) {
		if names.Has(name) {
			return "container " + name
		}
	}
	for i := range a.Spec.Volumes {
		for j := range b.Spec.Volumes {
			if v, w := a.Spec.Volumes[i], b.Spec.Volumes[j]; v.Name == w.Name && !apiequality.Semantic.DeepEqual(v, w) {
				return "volume " + v.Name + " with another content"
			}
		}
	}
	return sameAnnotation(a, b)
}

// podNames are the names of all containers in the pods.
func podNames(spec *appsv1beta1.SidecarSetSpec) []string {
	var names []string
	for _, list := range [][]appsv1beta1.SidecarContainer{spec.Containers, spec.InitContainers} {
		for i := range list {
			if inject.Hot(&list[i]) {
				pair := inject.Pair(list[i].Name)
				names = append(names, pair[:]...)
			} else {
				names = append(names, list[i].Name)
			}
		}
	}
	return names
}

// sameAnnotation finds an annotation of which only one of two values can be on a pod. JSON objects can be merged.
func sameAnnotation(a, b *appsv1beta1.SidecarSet) string {
	for _, p := range a.Spec.PatchPodMetadata {
		for _, q := range b.Spec.PatchPodMetadata {
			const merge = appsv1beta1.SidecarSetMergePatchJSONPatchPolicy
			if p.PatchPolicy == merge && q.PatchPolicy == merge {
				continue
			}
			for key, value := range p.Annotations {
				if other, both := q.Annotations[key]; both && other != value {
					return "annotation " + key + " with another value"
				}
			}
		}
	}
	return ""
}

// disjoint reports whether it is certain that nothing matches both selectors: they ask for contrary things of one key.
func disjoint(a, b *metav1.LabelSelector) bool {
	if a == nil || b == nil {
		return false
	}
	others := admission.Requirements(b)
	for _, r := range admission.Requirements(a) {
		for _, s := range others {
			if r.Key == s.Key && (contrary(r, s) || contrary(s, r)) {
				return true
			}
		}
	}
	return false
}

func contrary(r, s metav1.LabelSelectorRequirement) bool {
	switch r.Operator {
	case metav1.LabelSelectorOpIn:
		switch s.Operator {
		case metav1.LabelSelectorOpIn:
			return !slices.ContainsFunc(r.Values, func(v string) bool { return slices.Contains(s.Values, v) })
		case metav1.LabelSelectorOpNotIn:
			return !slices.ContainsFunc(r.Values, func(v string) bool { return !slices.Contains(s.Values, v) })
		case metav1.LabelSelectorOpDoesNotExist:
			return true
		default:
			return false
		}
	case metav1.LabelSelectorOpExists:
		return s.Operator == metav1.LabelSelectorOpDoesNotExist
	default:
		return false
	}
}

// clashes tells with which of the others a set clashes.
func clashes(set *appsv1beta1.SidecarSet, others []appsv1beta1.SidecarSet) (messages []string) {
	for i := range others {
		other := &others[i]
		if other.Name == set.Name || other.DeletionTimestamp != nil {
			continue
		}
		if what := clash(set, other); what != "" {
			messages = append(messages, fmt.Sprintf("SidecarSet %s has %s, too, and one pod can match both: rename it, or give the two "+
				"selectors contrary values of one label (its selector is %s)", other.Name, what, metav1.FormatLabelSelector(other.Spec.Selector)))
		}
	}
	return messages
}
