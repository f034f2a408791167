// Package node says which nodes a pod template fits, as the scheduler and Kubernetes' own daemon controller judge it, and
// ties a pod to one node.
package node

import (
	"fmt"
	"slices"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Verdict is what a node means for a template.
type Verdict int

// The verdicts.
const (
	// Away: the node should have no pod.
	Away Verdict = iota
	// Stay: a pod that is there may stay, but none is sent: a taint keeps new pods away.
	Stay
	// Run: the node should have a pod.
	Run
)

// Template is what a pod template asks of nodes, read once for many of them.
type Template struct {
	name        string // the one node that the template names; "": any
	selector    labels.Selector
	affinity    []term // any of them; nil: no affinity is asked for
	tolerations []corev1.Toleration
}

// term is one term of a node affinity: all its requirements hold.
type term struct {
	labels labels.Selector
	names  []name
}

type name struct {
	is     bool // the node's name is this one, or is not
	values []string
}

// NewTemplate reads what the template asks for; its pods will also have the tolerations given.
func NewTemplate(template *corev1.PodTemplateSpec, more ...corev1.Toleration) (Template, error) {
	spec := &template.Spec
	t := Template{name: spec.NodeName, tolerations: slices.Concat(spec.Tolerations, more)}
	var err error
	if t.selector, err = labels.ValidatedSelectorFromSet(spec.NodeSelector); err != nil {
		return t, fmt.Errorf("spec.template.spec.nodeSelector: %w", err)
	}
	if a := spec.Affinity; a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return t, nil
	}
	t.affinity = []term{}
	for i, one := range spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		read, matches, err := newTerm(one)
		if err != nil {
			return t, fmt.Errorf("spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."+
				"nodeSelectorTerms[%d]: %w", i, err)
		}
		if matches {
			t.affinity = append(t.affinity, read)
		}
	}
	return t, nil
}

// newTerm reads one term; false: it is empty, and an empty term matches nothing.
func newTerm(one corev1.NodeSelectorTerm) (term, bool, error) {
	read := term{labels: labels.NewSelector()}
	for i, e := range one.MatchExpressions {
		requirement, err := labels.NewRequirement(e.Key, operator(e.Operator), e.Values)
		if err != nil {
			return read, false, fmt.Errorf("matchExpressions[%d]: %w", i, err)
		}
		read.labels = read.labels.Add(*requirement)
	}
	for i, f := range one.MatchFields {
		known := f.Key == metadataName && (f.Operator == corev1.NodeSelectorOpIn || f.Operator == corev1.NodeSelectorOpNotIn)
		if !known {
			return read, false, fmt.Errorf("matchFields[%d]: only %s with In or NotIn can be asked for", i, metadataName)
		}
		read.names = append(read.names, name{is: f.Operator == corev1.NodeSelectorOpIn, values: f.Values})
	}
	return read, len(one.MatchExpressions)+len(one.MatchFields) > 0, nil
}

func operator(o corev1.NodeSelectorOperator) selection.Operator {
	switch o {
	case corev1.NodeSelectorOpIn:
		return selection.In
	case corev1.NodeSelectorOpNotIn:
		return selection.NotIn
	case corev1.NodeSelectorOpExists:
		return selection.Exists
	case corev1.NodeSelectorOpDoesNotExist:
		return selection.DoesNotExist
	case corev1.NodeSelectorOpGt:
		return selection.GreaterThan
	case corev1.NodeSelectorOpLt:
		return selection.LessThan
	default:
		return selection.Operator(o) // not known: the requirement says so
	}
}

// Judge says what the node means for pods of the template, and when it gets none why.
func (t *Template) Judge(n *corev1.Node) (verdict Verdict, why string) {
	switch {
	case t.name != "" && t.name != n.Name:
		return Away, "spec.template.spec.nodeName names another one"
	case !t.selector.Matches(labels.Set(n.Labels)):
		return Away, "spec.template.spec.nodeSelector does not match its labels"
	case t.affinity != nil && !slices.ContainsFunc(t.affinity, func(one term) bool { return one.matches(n) }):
		return Away, "the required node affinity of spec.template does not match it"
	}
	verdict = Run
	for i := range n.Spec.Taints {
		switch taint := &n.Spec.Taints[i]; {
		case t.tolerates(taint):
		case taint.Effect == corev1.TaintEffectNoExecute:
			return Away, untolerated(taint)
		case taint.Effect == corev1.TaintEffectNoSchedule && verdict == Run:
			verdict, why = Stay, untolerated(taint)
		}
	}
	// The taint follows the field after a while.
	cordon := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if n.Spec.Unschedulable && verdict == Run && !t.tolerates(&cordon) {
		return Stay, untolerated(&cordon)
	}
	return verdict, why
}

func untolerated(taint *corev1.Taint) string {
	return "spec.template.spec.tolerations do not tolerate its taint " + taint.ToString()
}

func (t *Template) tolerates(taint *corev1.Taint) bool {
	return slices.ContainsFunc(t.tolerations, func(one corev1.Toleration) bool {
		return one.ToleratesTaint(logr.Discard(), taint, true)
	})
}

func (t term) matches(n *corev1.Node) bool {
	for _, f := range t.names {
		if slices.Contains(f.values, n.Name) != f.is {
			return false
		}
	}
	return t.labels.Matches(labels.Set(n.Labels))
}
