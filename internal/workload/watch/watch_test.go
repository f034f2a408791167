package watch_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/node"
	"github.com/holdfast-io/holdfast/internal/workload/watch"
)

func names(requests []ctrl.Request) string {
	var all []string
	for _, r := range requests {
		all = append(all, r.Namespace+"/"+r.Name)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func set(name string, change func(spec *corev1.PodSpec)) *appsv1beta1.DaemonSet {
	ds := &appsv1beta1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	change(&ds.Spec.Template.Spec)
	return ds
}

func TestNodes(t *testing.T) {
	everywhere := set("everywhere", func(*corev1.PodSpec) {})
	onGPUs := set("on-gpus", func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"gpu": "yes"} })
	unreadable := set("unreadable", func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"no key": ""} })
	list := func(context.Context) ([]watch.Placing, error) {
		var all []watch.Placing
		for _, ds := range []*appsv1beta1.DaemonSet{everywhere, onGPUs, unreadable} {
			all = append(all, watch.Placing{Object: ds, Template: &ds.Spec.Template, Tolerations: node.Daemon(false)})
		}
		return all, nil
	}
	w := watch.Nodes(list)
	gpu := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"gpu": "yes"}}}
	plain := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if got := names(w.Map(t.Context(), gpu)); got != "default/everywhere default/on-gpus" {
		t.Errorf("a node with a GPU concerns %q", got)
	}
	if got := names(w.Map(t.Context(), plain)); got != "default/everywhere" {
		t.Errorf("a node without concerns %q", got)
	}
	broken := watch.Nodes(func(context.Context) ([]watch.Placing, error) { return nil, errors.New("no") })
	if got := broken.Map(t.Context(), gpu); len(got) != 0 {
		t.Errorf("without a list it concerns %v", got)
	}
}

// Nodes report their state all the time; few of these events change where pods belong.
func TestNodeEventsThatMatter(t *testing.T) {
	w := watch.Nodes(func(context.Context) ([]watch.Placing, error) { return nil, nil })
	for _, test := range []struct {
		reason string
		change func(n *corev1.Node)
		want   bool
	}{
		{"a heartbeat", func(n *corev1.Node) { n.Status.Phase = corev1.NodeRunning; n.ResourceVersion = "2" }, false},
		{"another label", func(n *corev1.Node) { n.Labels = map[string]string{"zone": "b"} }, true},
		{"a taint", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "a", Effect: "NoSchedule"}} }, true},
		{"a cordon", func(n *corev1.Node) { n.Spec.Unschedulable = true }, true},
	} {
		before := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a"}}}
		after := before.DeepCopy()
		test.change(after)
		if got := w.Predicates[0].Update(event.UpdateEvent{ObjectOld: before, ObjectNew: after}); got != test.want {
			t.Errorf("%s: got %v, want %v", test.reason, got, test.want)
		}
	}
	if !w.Predicates[0].Create(event.CreateEvent{Object: &corev1.Node{}}) || !w.Predicates[0].Delete(event.DeleteEvent{Object: &corev1.Node{}}) {
		t.Error("nodes that come and go matter")
	}
}

func TestPods(t *testing.T) {
	kind := schema.GroupKind{Group: appsv1beta1.GroupName, Kind: "CloneSet"}
	web := testkit.CloneSet()
	mapped := watch.Pods(kind, func(_ context.Context, namespace string) ([]watch.Selecting, error) {
		if namespace != "default" {
			return nil, errors.New("asked for namespace " + namespace)
		}
		return []watch.Selecting{{Object: web, Selector: web.Spec.Selector}}, nil
	})
	for _, test := range []struct {
		reason string
		pod    client.Object
		want   string
	}{
		{"an orphan that the selector matches", testkit.Pod(func(p *corev1.Pod) { p.OwnerReferences = nil }), "default/web"},
		{"an orphan that it does not match", testkit.Pod(func(p *corev1.Pod) { p.OwnerReferences, p.Labels = nil, map[string]string{"a": "b"} }), ""},
		{"a pod without labels", testkit.Pod(func(p *corev1.Pod) { p.OwnerReferences, p.Labels = nil, nil }), ""},
		{"a pod of another owner", testkit.Pod(func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "x", Controller: new(true)}}
		}), ""},
		{"its own pod", testkit.Pod(func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps.kruise.io/v1alpha1", Kind: "CloneSet", Name: "api", Controller: new(true)}}
		}), "default/api"},
	} {
		if got := names(mapped(t.Context(), test.pod)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.reason, got, test.want)
		}
	}
}
