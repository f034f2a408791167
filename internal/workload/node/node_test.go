package node_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/internal/workload/node"
)

// aNode is n1 with the labels zone=a and cores=8, and with what the overrides add.
func aNode(overrides ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a", "cores": "8"}}}
	for _, override := range overrides {
		override(n)
	}
	return n
}

func taint(key string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: "x", Effect: effect})
	}
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

func affinity(terms ...corev1.NodeSelectorTerm) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}
	}
}

func label(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
}

func named(op corev1.NodeSelectorOperator, name string) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
		{Key: "metadata.name", Operator: op, Values: []string{name}},
	}}
}

func tolerates(key string, effect corev1.TaintEffect) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.Tolerations = append(s.Tolerations, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect})
	}
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		reason string
		node   *corev1.Node
		spec   func(*corev1.PodSpec)
		daemon bool
		want   node.Verdict
		why    string
	}{
		{reason: "nothing is asked for", node: aNode(), want: node.Run},
		{
			reason: "the label is there", node: aNode(), want: node.Run,
			spec: func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"zone": "a"} },
		},
		{
			reason: "the label is another", node: aNode(), want: node.Away, why: "nodeSelector",
			spec: func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"zone": "b"} },
		},
		{
			reason: "another node is named", node: aNode(), want: node.Away, why: "nodeName",
			spec: func(s *corev1.PodSpec) { s.NodeName = "n2" },
		},
		{reason: "this node is named", node: aNode(), want: node.Run, spec: func(s *corev1.PodSpec) { s.NodeName = "n1" }},
		{reason: "In", node: aNode(), want: node.Run, spec: affinity(label("zone", "In", "a", "b"))},
		{reason: "NotIn", node: aNode(), want: node.Away, why: "affinity", spec: affinity(label("zone", "NotIn", "a", "b"))},
		{reason: "Exists", node: aNode(), want: node.Run, spec: affinity(label("zone", "Exists"))},
		{reason: "DoesNotExist", node: aNode(), want: node.Away, why: "affinity", spec: affinity(label("zone", "DoesNotExist"))},
		{reason: "Gt", node: aNode(), want: node.Run, spec: affinity(label("cores", "Gt", "4"))},
		{reason: "Lt", node: aNode(), want: node.Away, why: "affinity", spec: affinity(label("cores", "Lt", "4"))},
		{
			reason: "one term is enough", node: aNode(), want: node.Run,
			spec: affinity(label("zone", "In", "b"), named("In", "n1")),
		},
		{reason: "by name", node: aNode(), want: node.Away, why: "affinity", spec: affinity(named("NotIn", "n1"))},
		{reason: "an empty term matches nothing", node: aNode(), want: node.Away, why: "affinity", spec: affinity(corev1.NodeSelectorTerm{})},
		{reason: "no terms match nothing", node: aNode(), want: node.Away, why: "affinity", spec: affinity()},
		{
			reason: "NoSchedule keeps new pods away, not old ones", node: aNode(taint("maintenance", "NoSchedule")), want: node.Stay,
			why: "maintenance",
		},
		{reason: "NoExecute keeps all away", node: aNode(taint("maintenance", "NoExecute")), want: node.Away, why: "maintenance"},
		{
			reason: "NoExecute weighs more", want: node.Away, why: "second",
			node: aNode(taint("first", "NoSchedule"), taint("second", "NoExecute")),
		},
		{reason: "PreferNoSchedule is a wish", node: aNode(taint("maintenance", "PreferNoSchedule")), want: node.Run},
		{
			reason: "a taint that is tolerated", node: aNode(taint("maintenance", "NoExecute")), want: node.Run,
			spec: tolerates("maintenance", ""),
		},
		{
			reason: "a toleration of another effect", node: aNode(taint("maintenance", "NoExecute")), want: node.Away, why: "maintenance",
			spec: tolerates("maintenance", "NoSchedule"),
		},
		{reason: "everything is tolerated", node: aNode(taint("any", "NoExecute"), cordoned), want: node.Run, spec: tolerates("", "")},
		{reason: "a cordoned node", node: aNode(cordoned), want: node.Stay, why: "unschedulable"},
		{reason: "is no matter to a daemon", node: aNode(cordoned), daemon: true, want: node.Run},
		{
			reason: "nor is pressure", daemon: true, want: node.Run,
			node: aNode(taint(corev1.TaintNodeDiskPressure, "NoSchedule"), taint(corev1.TaintNodeNotReady, "NoExecute")),
		},
		{
			reason: "a node that is not ready takes no new daemon, as in Kubernetes", daemon: true, want: node.Stay, why: "not-ready",
			node: aNode(taint(corev1.TaintNodeNotReady, "NoSchedule")),
		},
		{
			reason: "a node without network", daemon: true, want: node.Stay, why: "network-unavailable",
			node: aNode(taint(corev1.TaintNodeNetworkUnavailable, "NoSchedule")),
		},
		{
			reason: "is no matter to those that bring it", daemon: true, want: node.Run,
			node: aNode(taint(corev1.TaintNodeNetworkUnavailable, "NoSchedule")),
			spec: func(s *corev1.PodSpec) { s.HostNetwork = true },
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			template := &corev1.PodTemplateSpec{}
			if test.spec != nil {
				test.spec(&template.Spec)
			}
			var more []corev1.Toleration
			if test.daemon {
				more = node.Daemon(template.Spec.HostNetwork)
			}
			asks, err := node.NewTemplate(template, more...)
			if err != nil {
				t.Fatal(err)
			}
			got, why := asks.Judge(test.node)
			if got != test.want || !strings.Contains(why, test.why) || (why == "") != (test.why == "") {
				t.Errorf("got %d, %q; want %d, %q", got, why, test.want, test.why)
			}
		})
	}
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	for want, spec := range map[string]func(*corev1.PodSpec){
		"nodeSelectorTerms[1]: matchExpressions[0]": affinity(label("zone", "Exists"), label("zone", "Near", "a")),
		"matchExpressions[0]":                       affinity(label("cores", "Gt", "many")),
		"only metadata.name":                        affinity(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.uid"}}}),
		"nodeSelector":                              func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"no key": "x"} },
	} {
		template := &corev1.PodTemplateSpec{}
		spec(&template.Spec)
		if _, err := node.NewTemplate(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
}

func TestPin(t *testing.T) {
	preferred := []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: label("zone", "Exists")}}
	spec := &corev1.PodSpec{}
	affinity(label("zone", "Exists"))(spec)
	spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution = preferred
	spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{}
	node.Pin(spec, "n1")
	p := &corev1.Pod{Spec: *spec}
	if got := node.Of(p); got != "n1" {
		t.Errorf("the pod is pinned to %q", got)
	}
	if len(spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) != 1 || spec.Affinity.PodAntiAffinity == nil {
		t.Error("what else the template says of affinity is gone")
	}
	if kept := node.OnlyPin(spec.Affinity); node.Of(&corev1.Pod{Spec: corev1.PodSpec{Affinity: kept}}) != "n1" || kept.PodAntiAffinity != nil {
		t.Errorf("of the affinity %+v is kept", kept)
	}
	p.Spec.NodeName = "n2"
	if got := node.Of(p); got != "n2" {
		t.Errorf("where it is bound counts more, got %q", got)
	}
	free := &corev1.PodSpec{}
	affinity(label("zone", "Exists"))(free)
	if got := node.Of(&corev1.Pod{Spec: *free}); got != "" || node.OnlyPin(free.Affinity) != nil {
		t.Errorf("a pod that is free is pinned to %q", got)
	}
}

func TestTolerateAddsWhatIsMissing(t *testing.T) {
	spec := &corev1.PodSpec{}
	tolerates(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)(spec)
	node.Tolerate(spec, node.Daemon(false))
	node.Tolerate(spec, node.Daemon(false))
	if got, want := len(spec.Tolerations), len(node.Daemon(false)); got != want {
		t.Errorf("got %d tolerations, want %d: %v", got, want, spec.Tolerations)
	}
}
