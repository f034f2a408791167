package cloneset_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	testclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/cloneset"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// world is one CloneSet on a real API server, with pretended nodes, in which nothing happens but what the test asks for.
type world struct {
	t       *testing.T
	env     *testkit.Env
	ns      string
	kubelet *testkit.Kubelet
	cache   *testkit.LagCache
	clock   *testclock.FakeClock
	faults  *testkit.Faults
	frame   *reconcile.Frame[*appsv1beta1.CloneSet]
	key     client.ObjectKey
	oracle  *testkit.Oracle
	// behind is how many events the cache lags in three passes out of four; in the fourth it catches up.
	behind, passes int
}

func newWorld(t *testing.T, set *appsv1beta1.CloneSet, faults *testkit.Faults) *world {
	t.Helper()
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	clock := testclock.NewFakeClock(time.Now())
	w := &world{t: t, env: env, ns: ns, clock: clock, faults: faults}
	w.kubelet = &testkit.Kubelet{Client: env.Client, Namespace: ns, Clock: clock}
	w.cache = testkit.NewLagCache(t, env, ns, &corev1.Pod{}, &corev1.PersistentVolumeClaim{}, &appsv1.ControllerRevision{})
	if err := workload.Index(t.Context(), w.cache); err != nil {
		t.Fatal(err)
	}
	set.Namespace = ns
	cloneset.Default(set)
	if err := env.Client.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	w.key = client.ObjectKeyFromObject(set)
	w.restart()
	w.oracle = testkit.NewOracle(t, env, set, set.Spec.Selector, limits(set))
	w.oracle.UseClock(clock.Now)
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

// restart replaces the controller by one that remembers nothing, and whose cache starts from a list.
func (w *world) restart() {
	w.t.Helper()
	if err := w.cache.CatchUp(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	c := client.Client(w.env.Client)
	if w.faults != nil {
		faulty, err := client.New(w.faults.Config(w.env.Config), client.Options{Scheme: w.env.Scheme})
		if err != nil {
			w.t.Fatal(err)
		}
		c = faulty
	}
	room := cloneset.New(cloneset.Deps{Client: w.cache.Client(c), Live: w.env.Client, Position: w.cache, Clock: w.clock})
	w.frame = reconcile.New(w.cache.Client(c), room, reconcile.Options{Name: "cloneset", Clock: w.clock, StatusInterval: -1})
}

// pass runs the controller once, on what the cache shows.
func (w *world) pass() error {
	w.t.Helper()
	w.cache.Behind = w.behind
	if w.passes++; w.passes%4 == 0 {
		w.cache.Behind = 0
	}
	if err := w.cache.Refresh(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	_, err := w.frame.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: w.key})
	return err
}

// settle runs controller and nodes in turns until the set is ready, or for good many rounds.
func (w *world) settle(done func(cs *appsv1beta1.CloneSet) error) {
	w.t.Helper()
	var last error
	for range 200 {
		if err := w.pass(); err != nil {
			last = err
			if w.faults != nil && w.faults.Dead() {
				w.faults.Revive()
				w.restart()
			}
		}
		if _, err := w.kubelet.Step(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		w.clock.Step(time.Second)
		if why := done(w.get()); why == nil {
			w.oracle.Check(w.t)
			return
		} else if last == nil {
			last = why
		}
	}
	cs := w.get()
	w.t.Fatalf("the set never settled: %v; %v\nstatus: %+v\npods: %s", done(cs), last, cs.Status, w.describe())
}

func (w *world) get() *appsv1beta1.CloneSet {
	w.t.Helper()
	var cs appsv1beta1.CloneSet
	if err := w.env.Client.Get(w.t.Context(), w.key, &cs); err != nil {
		w.t.Fatal(err)
	}
	return &cs
}

func (w *world) pods() []corev1.Pod {
	w.t.Helper()
	var pods corev1.PodList
	if err := w.env.Client.List(w.t.Context(), &pods, client.InNamespace(w.ns)); err != nil {
		w.t.Fatal(err)
	}
	return pods.Items
}

func (w *world) describe() (text string) {
	for _, p := range w.pods() {
		text += fmt.Sprintf("\n  %s %s %s ready=%v %s", p.Name, p.Labels["controller-revision-hash"], p.Spec.Containers[0].Image,
			p.Status.Conditions, p.Annotations["apps.kruise.io/inplace-update-state"])
	}
	return text
}

func (w *world) change(mutate func(cs *appsv1beta1.CloneSet)) {
	w.t.Helper()
	cs := w.get()
	mutate(cs)
	w.oracle.SetLimits(w.t, limits(cs))
	if err := w.env.Client.Update(w.t.Context(), cs); err != nil {
		w.t.Fatal(err)
	}
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
	w.settle(settled)
	w.change(replicas(2))
	w.settle(settled)
	if got := len(w.pods()); got != 2 {
		t.Fatalf("got %d pods, want 2: %s", got, w.describe())
	}
}

func TestInPlaceUpdateKeepsThePods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.CloneSet(replicas(5), policy(appsv1beta1.InPlaceIfPossiblePodUpdatePolicy)), nil)
	w.settle(settled)
	before := uids(w.pods())
	w.change(image("v2"))
	w.settle(settled)
	for _, p := range w.pods() {
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
			w.settle(settled)
			before := uids(w.pods())
			w.change(image("v2"))
			w.settle(settled)
			for _, p := range w.pods() {
				if before[p.UID] {
					t.Errorf("pod %s is the old one", p.Name)
				}
			}
		})
	}
}
