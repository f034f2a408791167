package node

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// metadataName is the field by which an affinity names a node.
const metadataName = "metadata.name"

// Pin makes the pod run on that node and no other. The scheduler still binds it, as with pods of a Kubernetes DaemonSet, so
// that it waits for room there. What the template asks of nodes was judged before, and gives way.
func Pin(spec *corev1.PodSpec, to string) {
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = pin(to)
}

func pin(to string) *corev1.NodeSelector {
	return &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{
			{Key: metadataName, Operator: corev1.NodeSelectorOpIn, Values: []string{to}},
		},
	}}}
}

// Of is the node that the pod is on, or pinned to; "" when it has none yet.
func Of(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	return pinned(p.Spec.Affinity)
}

func pinned(a *corev1.Affinity) string {
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	terms := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) != 1 {
		return ""
	}
	for _, f := range terms[0].MatchFields {
		if f.Key == metadataName && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 {
			return f.Values[0]
		}
	}
	return ""
}

// OnlyPin is what Of needs of a pod's affinity; nil when the pod is not pinned.
func OnlyPin(a *corev1.Affinity) *corev1.Affinity {
	to := pinned(a)
	if to == "" {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: pin(to)}}
}

// Unanswering are the tolerations that keep a pod on a node that does not answer.
func Unanswering() []corev1.Toleration {
	return []corev1.Toleration{
		{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	}
}

// Daemon are the tolerations that pods have which belong to a node as long as it exists.
// https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#taints-and-tolerations
func Daemon(hostNetwork bool) []corev1.Toleration {
	all := Unanswering()
	refusing := []string{
		corev1.TaintNodeDiskPressure, corev1.TaintNodeMemoryPressure, corev1.TaintNodePIDPressure, corev1.TaintNodeUnschedulable,
	}
	if hostNetwork {
		refusing = append(refusing, corev1.TaintNodeNetworkUnavailable)
	}
	for _, key := range refusing {
		all = append(all, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	return all
}

// Tolerate adds tolerations that the pod does not have yet.
func Tolerate(spec *corev1.PodSpec, more []corev1.Toleration) {
	for _, one := range more {
		if !slices.ContainsFunc(spec.Tolerations, func(have corev1.Toleration) bool { return have.MatchToleration(&one) }) {
			spec.Tolerations = append(spec.Tolerations, one)
		}
	}
}
