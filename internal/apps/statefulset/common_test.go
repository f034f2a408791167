package statefulset_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// What all workloads can, seen once with a StatefulSet: hooks, images pulled ahead, pods that the API server refuses.

// hold is a hook that holds pods with the label hold.
func hold(s *appsv1beta1.StatefulSet) {
	s.Spec.Template.Labels = map[string]string{"app": "web", "hold": "yes"}
	s.Spec.Lifecycle = &appsv1beta1.Lifecycle{PreDelete: &appsv1beta1.LifecycleHook{
		LabelsHandler: map[string]string{"hold": "yes"}, MarkPodNotReady: true,
	}}
}

func (w *world) held(reason appsv1beta1.HeldReason) string {
	for _, h := range w.Get().Status.Held {
		if h.Reason == reason {
			return h.Message
		}
	}
	return ""
}

func TestAHookHoldsScalingDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, hold)
	w.run()
	set := w.Get()
	set.Spec.Replicas = ptr.To[int32](1)
	w.Oracle.SetLimits(t, limits(set))
	if err := w.Env.Client.Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	w.Until(func() error {
		if w.held(appsv1beta1.HeldByHook) == "" {
			return fmt.Errorf("nothing is held: %+v", w.Get().Status)
		}
		return nil
	})
	if got := w.names(); got != "web-0 web-1 web-2" {
		t.Fatalf("got %s", got)
	}
	pods := w.pods()
	if pods["web-2"].Labels[appsv1beta1.LifecycleStateKey] != "PreparingDelete" || pods["web-1"].Labels[appsv1beta1.LifecycleStateKey] == "PreparingDelete" {
		t.Error("the last one should prepare to go, and it alone")
	}
	for _, name := range []string{"web-2", "web-1"} {
		w.patch(w.pods()[name], `{"metadata":{"labels":{"hold":null}}}`)
	}
	w.Until(w.Ready)
	if got := w.names(); got != "web-0" {
		t.Errorf("got %s", got)
	}
}

func TestImagesArePulledAhead(t *testing.T) {
	t.Parallel()
	for where, ask := range map[string]edit{
		"by field": rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) {
			r.InPlaceUpdateStrategy = &appsv1beta1.InPlaceUpdateStrategy{ImagePreDownloadParallelism: ptr.To(intstr.FromInt32(5))}
		}),
		"by annotation": func(s *appsv1beta1.StatefulSet) {
			s.Annotations = map[string]string{appsv1beta1.ImagePreDownloadParallelism: "5"}
		},
	} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			pulledAhead(t, ask)
		})
	}
}

func pulledAhead(t *testing.T, ask edit) {
	t.Helper()
	w := newWorld(t, nil, 0, inPlace, partition(3), ask)
	w.run()
	set := w.Get()
	image("v2")(set)
	if err := w.Env.Client.Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	w.Kubelet.Hold = func(p *corev1.Pod, _ testkit.Transition) bool { return p != nil && p.Labels[workload.PullFor] != "" }
	pulls := func(want int) func() error {
		return func() error {
			nodes := map[string]bool{}
			for _, p := range w.pods() {
				if p.Labels[workload.PullFor] != "" {
					nodes[p.Spec.NodeName] = true
				}
			}
			if len(nodes) != want {
				return fmt.Errorf("%v pull, want %d nodes", nodes, want)
			}
			return nil
		}
	}
	w.Until(pulls(3))
	w.Kubelet.Hold = nil
	w.Until(pulls(0))
	if w.held(appsv1beta1.HeldByPartition) == "" {
		t.Error("the update has begun")
	}
}

func TestPodsThatTheAPIServerRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, func(s *appsv1beta1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = "" })
	if err := w.Pass(t); err != nil {
		t.Errorf("only the user can help, so it must not be tried again: %v", err)
	}
	said := map[string]string{}
	for _, c := range w.Get().Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			said[c.Type] = c.Message
		}
	}
	for _, kind := range []string{"Stalled", appsv1beta1.StatefulSetConditionFailedCreatePod} {
		if !strings.Contains(said[kind], "spec.containers[0].image: Required value") {
			t.Errorf("%s does not say what is wrong: %v", kind, said)
		}
	}
}

func TestAPodOfSomebodyElseIsInTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, replicas(1))
	other := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.local/other:v1"}}}}
	other.Namespace, other.Name = w.Namespace, "web-0"
	if err := w.Env.Client.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := w.Pass(t); err == nil {
		t.Error("nothing is said of it")
	}
	for _, c := range w.Get().Status.Conditions {
		if c.Type == "Ready" && c.Status == corev1.ConditionFalse && strings.Contains(c.Message, "not ours") {
			w.delete(other)
			w.Until(w.Ready)
			return
		}
	}
	t.Errorf("the status does not say what is wrong: %+v", w.Get().Status)
}
