package cloneset_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/cloneset"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// world is one CloneSet on a real API server, with pretended nodes, in which nothing happens but what the test asks for.
type world struct {
	*testkit.World[*appsv1beta1.CloneSet]
}

func newWorld(t *testing.T, set *appsv1beta1.CloneSet, faults *testkit.Faults) *world {
	t.Helper()
	w := &world{testkit.NewWorld[*appsv1beta1.CloneSet](t, faults)}
	w.Index(workload.Index)
	cloneset.Default(set)
	w.Create(set)
	w.Runs(func(c client.Client) reconcile.Room[*appsv1beta1.CloneSet] {
		return cloneset.New(cloneset.Deps{Client: c, Live: w.Env.Client, Position: w.Lag, Clock: w.Clock})
	})
	w.Oracle = testkit.NewOracle(t, w.Env, set, set.Spec.Selector, limits(set))
	w.Oracle.UseClock(w.Clock.Now)
	return w
}

// limits are what a set promises, worked out by hand from its whole numbers.
func limits(set *appsv1beta1.CloneSet) testkit.Limits {
	rolling := set.Spec.UpdateStrategy.RollingUpdate
	replicas := int(*set.Spec.Replicas)
	unavailable := rolling.MaxUnavailable.IntValue()
	if rolling.MaxUnavailable.Type == intstr.String { // the default
		unavailable = (replicas*20 + 99) / 100
	}
	return testkit.Limits{Replicas: replicas, MaxUnavailable: unavailable, MaxSurge: rolling.MaxSurge.IntValue()}
}

func (w *world) describe() (text string) {
	for _, p := range w.Pods() {
		text += fmt.Sprintf("\n  %s %s %s ready=%v %s", p.Name, p.Labels["controller-revision-hash"], p.Spec.Containers[0].Image,
			p.Status.Conditions, p.Annotations["apps.kruise.io/inplace-update-state"])
	}
	return text
}

func (w *world) change(mutate func(cs *appsv1beta1.CloneSet)) {
	w.T.Helper()
	w.Change(mutate, func(cs *appsv1beta1.CloneSet) { w.Oracle.SetLimits(w.T, limits(cs)) })
}

// settled is when status and pods agree that all is done.
func settled(cs *appsv1beta1.CloneSet) error {
	s := cs.Status
	want := *cs.Spec.Replicas
	if s.ObservedGeneration != cs.Generation || s.Replicas != want || s.AvailableReplicas != want || s.UpdatedAvailableReplicas != s.ExpectedUpdatedReplicas {
		return fmt.Errorf("generation %d of %d, %d pods of %d, %d available, %d updated and available of %d",
			s.ObservedGeneration, cs.Generation, s.Replicas, want, s.AvailableReplicas, s.UpdatedAvailableReplicas, s.ExpectedUpdatedReplicas)
	}
	return nil
}

func replicas(n int32) func(*appsv1beta1.CloneSet) {
	return func(cs *appsv1beta1.CloneSet) { cs.Spec.Replicas = &n }
}

func image(tag string) func(*appsv1beta1.CloneSet) {
	return func(cs *appsv1beta1.CloneSet) {
		cs.Spec.Template.Spec.Containers[0].Image = "registry.local/web:" + tag
	}
}

func rolling(mutate func(r *appsv1beta1.RollingUpdateCloneSetStrategy)) func(*appsv1beta1.CloneSet) {
	return func(cs *appsv1beta1.CloneSet) {
		if cs.Spec.UpdateStrategy.RollingUpdate == nil {
			cs.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateCloneSetStrategy{}
		}
		mutate(cs.Spec.UpdateStrategy.RollingUpdate)
	}
}

func policy(p appsv1beta1.PodUpdatePolicyType) func(*appsv1beta1.CloneSet) {
	return rolling(func(r *appsv1beta1.RollingUpdateCloneSetStrategy) { r.PodUpdatePolicy = p })
}

func uids(pods []corev1.Pod) map[types.UID]bool {
	all := map[types.UID]bool{}
	for i := range pods {
		all[pods[i].UID] = true
	}
	return all
}

func TestScaleUpAndDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.CloneSet(replicas(5)), nil)
	w.Settle(settled)
	w.change(replicas(2))
	w.Settle(settled)
	if got := len(w.Pods()); got != 2 {
		t.Fatalf("got %d pods, want 2: %s", got, w.describe())
	}
}

func TestInPlaceUpdateKeepsThePods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.CloneSet(replicas(5), policy(appsv1beta1.InPlaceIfPossiblePodUpdatePolicy)), nil)
	w.Settle(settled)
	before := uids(w.Pods())
	w.change(image("v2"))
	w.Settle(settled)
	for _, p := range w.Pods() {
		if !before[p.UID] {
			t.Errorf("pod %s was made anew", p.Name)
		}
		if p.Status.ContainerStatuses[0].RestartCount != 1 || p.Status.ContainerStatuses[0].Image != "registry.local/web:v2" {
			t.Errorf("pod %s runs %s after %d restarts, want v2 after 1", p.Name, p.Status.ContainerStatuses[0].Image, p.Status.ContainerStatuses[0].RestartCount)
		}
	}
}

func TestRecreateUpdate(t *testing.T) {
	t.Parallel()
	for _, surge := range []int32{0, 2} {
		t.Run(fmt.Sprintf("surge %d", surge), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testkit.CloneSet(replicas(6), rolling(func(r *appsv1beta1.RollingUpdateCloneSetStrategy) {
				r.MaxSurge = ptr.To(intstr.FromInt32(surge))
				r.MaxUnavailable = ptr.To(intstr.FromInt32(max(0, 1-surge)))
			})), nil)
			w.Settle(settled)
			before := uids(w.Pods())
			w.change(image("v2"))
			w.Settle(settled)
			for _, p := range w.Pods() {
				if before[p.UID] {
					t.Errorf("pod %s is the old one", p.Name)
				}
			}
		})
	}
}
