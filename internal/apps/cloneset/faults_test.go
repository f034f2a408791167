package cloneset_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// gated is a set whose pods are taken out of service before they change in place, so that every kind of write occurs.
func gated(cs *appsv1beta1.CloneSet) {
	cs.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: appsv1beta1.InPlaceUpdateReady}}
}

func oneAway(surge int32) func(*appsv1beta1.CloneSet) {
	return rolling(func(r *appsv1beta1.RollingUpdateCloneSetStrategy) {
		r.MaxUnavailable, r.MaxSurge = ptr.To(intstr.FromInt32(1-surge)), ptr.To(intstr.FromInt32(surge))
	})
}

// nothingLeftBehind holds the pods against the set: as many as wanted, each owned, each of the revision, no name twice.
func (w *world) nothingLeftBehind() {
	w.T.Helper()
	if _, err := w.Kubelet.Step(w.T.Context()); err != nil { // pods that are terminating go
		w.T.Fatal(err)
	}
	cs := w.Get()
	ids := map[string]bool{}
	alive := 0
	for _, p := range w.Pods() {
		if p.DeletionTimestamp != nil {
			continue
		}
		alive++
		if !metav1.IsControlledBy(&p, cs) || p.Labels["controller-revision-hash"] != cs.Status.UpdateRevision {
			w.T.Errorf("pod %s is an orphan, or of revision %s: %s", p.Name, p.Labels["controller-revision-hash"], w.describe())
		}
		if id := p.Labels[appsv1beta1.CloneSetInstanceID]; ids[id] {
			w.T.Errorf("two pods have the id %s", id)
		} else {
			ids[id] = true
		}
	}
	if alive != int(*cs.Spec.Replicas) {
		w.T.Errorf("%d pods are left, want %d: %s", alive, *cs.Spec.Replicas, w.describe())
	}
}

// life takes a set through all it knows: up, changed in place, made anew, down.
func life(behind int, shape ...func(*appsv1beta1.CloneSet)) testkit.Scenario {
	return func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		shape := append([]func(*appsv1beta1.CloneSet){replicas(2), policy(appsv1beta1.InPlaceIfPossiblePodUpdatePolicy)}, shape...)
		w := newWorld(t, testkit.CloneSet(shape...), f)
		w.Lag.Behind = behind
		steps := []func(*appsv1beta1.CloneSet){
			func(*appsv1beta1.CloneSet) {},
			image("v2"),
			func(cs *appsv1beta1.CloneSet) { cs.Spec.Template.Spec.Containers[0].Command = []string{"other"} },
			replicas(1),
		}
		for _, step := range steps {
			w.change(step)
			w.Settle(settled)
		}
		f.Stop()
		w.Lag.Behind = 0
		w.Settle(settled)
		w.nothingLeftBehind()
	}
}

// Each write of a set's life goes wrong in each way that there is.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	shapes := map[string][]func(*appsv1beta1.CloneSet){
		"one away":            {oneAway(0)},
		"surge":               {oneAway(1)},
		"one away, with gate": {oneAway(0), gated},
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.Matrix(t, life(0, shape...))
		})
	}
}

// Many writes go wrong, while the cache shows everything a few events late.
func TestRandomFaultsWithALaggingCache(t *testing.T) {
	t.Parallel()
	for _, behind := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("%d events behind", behind), func(t *testing.T) {
			t.Parallel()
			testkit.RandomMatrix(t, 4, 0.2, life(behind, oneAway(0)))
		})
	}
}
