package cloneset_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestAFallingNumberLeavesThePodsSpread(t *testing.T) {
	t.Parallel()
	const topology = "example.com/zone"
	zones := map[string]string{"spread-1": "a", "spread-2": "a", "spread-3": "b"}
	w := newWorld(t, testkit.CloneSet(replicas(6), func(cs *appsv1beta1.CloneSet) {
		cs.Spec.Template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: topology, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: cs.Spec.Selector,
		}}
	}), nil)
	for name, zone := range zones {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{topology: zone}}}
		if err := w.Env.Client.Create(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.IgnoreNotFound(w.Env.Client.Delete(context.WithoutCancel(t.Context()), node)) })
		w.Kubelet.Nodes = append(w.Kubelet.Nodes, name)
	}
	w.Settle(settled)
	for _, step := range []struct {
		pods int32
		a, b int
	}{{6, 4, 2}, {4, 2, 2}, {2, 1, 1}} {
		w.change(replicas(step.pods))
		w.Settle(settled)
		in := map[string]int{}
		for _, p := range w.Pods() {
			in[zones[p.Spec.NodeName]]++
		}
		if in["a"] != step.a || in["b"] != step.b {
			t.Errorf("%d pods: %d in zone a, want %d; %d in zone b, want %d", step.pods, in["a"], step.a, in["b"], step.b)
		}
	}
}
