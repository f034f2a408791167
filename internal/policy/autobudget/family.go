package autobudget

import (
	"errors"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
)

// How long until a cache that lacks an object is looked at again.
const cacheInterval = 200 * time.Millisecond

var errLimit = errors.New(`write a whole number of 0 or more, or a percentage from "0%" to "100%"`)

// family is one of the two kinds of budget.
type family struct {
	kind string
	// prefix of the annotations that ask for it.
	prefix string
	// of is what a rule says of the family; nil: nothing.
	of   func(Rule) *Default
	list func() client.ObjectList
	// make makes a budget for a workload.
	make func(f facts, l limits) client.Object
	// fill gives a budget the spec of another.
	fill func(into, from client.Object)
	// guards reports whether a budget is about the workload's pods.
	guards func(budget client.Object, f facts) bool
}

func families() []family {
	return []family{unavailable(), disruption()}
}

// unavailable are PodUnavailableBudgets.
func unavailable() family {
	return family{
		kind: "PodUnavailableBudget", prefix: policyv1beta1.GeneratePub,
		of:   func(r Rule) *Default { return r.Pub },
		list: func() client.ObjectList { return &policyv1beta1.PodUnavailableBudgetList{} },
		make: func(f facts, l limits) client.Object {
			version, kind := f.kind.ToAPIVersionAndKind()
			return &policyv1beta1.PodUnavailableBudget{Spec: policyv1beta1.PodUnavailableBudgetSpec{
				TargetRef:      &policyv1beta1.TargetReference{APIVersion: version, Kind: kind, Name: f.name},
				MaxUnavailable: l.maxUnavailable, MinAvailable: l.minAvailable,
			}}
		},
		fill: func(into, from client.Object) {
			a, isA := into.(*policyv1beta1.PodUnavailableBudget)
			b, isB := from.(*policyv1beta1.PodUnavailableBudget)
			if isA && isB {
				a.Spec = b.Spec
			}
		},
		guards: func(budget client.Object, f facts) bool {
			pub, ok := budget.(*policyv1beta1.PodUnavailableBudget)
			if !ok {
				return false
			}
			if t := pub.Spec.TargetRef; t != nil {
				gvk, err := t.GroupVersionKind()
				return err == nil && gvk.GroupKind() == f.kind.GroupKind() && t.Name == f.name
			}
			return selects(pub.Spec.Selector, f)
		},
	}
}

// disruption are PodDisruptionBudgets.
func disruption() family {
	return family{
		kind: "PodDisruptionBudget", prefix: policyv1beta1.GeneratePdb,
		of:   func(r Rule) *Default { return r.Pdb },
		list: func() client.ObjectList { return &policyv1.PodDisruptionBudgetList{} },
		make: func(f facts, l limits) client.Object {
			return &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{
				Selector: f.selector.DeepCopy(), MaxUnavailable: l.maxUnavailable, MinAvailable: l.minAvailable,
			}}
		},
		fill: func(into, from client.Object) {
			a, isA := into.(*policyv1.PodDisruptionBudget)
			b, isB := from.(*policyv1.PodDisruptionBudget)
			if isA && isB {
				a.Spec = b.Spec
			}
		},
		guards: func(budget client.Object, f facts) bool {
			pdb, ok := budget.(*policyv1.PodDisruptionBudget)
			return ok && selects(pdb.Spec.Selector, f)
		},
	}
}

func selects(selector *metav1.LabelSelector, f facts) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(f.podLabels))
}
