package testkit

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Node makes a node that is ready, and removes it when the test ends. Nodes are shared by all tests of the binary: give it a
// name and a label that no other test uses.
func (e *Env) Node(t testing.TB, name string, labels map[string]string, overrides ...func(*corev1.Node)) *corev1.Node {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if err := e.Client.Create(t.Context(), node); err != nil {
		t.Fatalf("make node %s: %v", name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanLimit) // the test's own context has ended
		defer cancel()
		if err := client.IgnoreNotFound(e.Client.Delete(ctx, node)); err != nil {
			t.Logf("delete node %s: %v", name, err)
		}
	})
	node.Spec.Taints = nil // admission taints a new node until its kubelet says that it is ready
	for _, override := range overrides {
		override(node)
	}
	if err := e.Client.Update(t.Context(), node); err != nil {
		t.Fatalf("make node %s ready: %v", name, err)
	}
	return node
}
