package sidecarset_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	testclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

type edit = func(*appsv1beta1.SidecarSet)

// world is one SidecarSet on a real API server, with pretended nodes, in which nothing happens but what the test asks for.
type world struct {
	t       *testing.T
	env     *testkit.Env
	ns      string
	kubelet *testkit.Kubelet
	cache   *testkit.LagCache
	clock   *testclock.FakeClock
	faults  *testkit.Faults
	turns   *disruption.Turns
	guard   disruption.Asker
	frame   *reconcile.Frame[*appsv1beta1.SidecarSet]
	key     client.ObjectKey
	oracle  *testkit.Oracle
	// before is what else runs in each round.
	before         func()
	behind, passes int
}

// log is a set that gives pods a container, for the pods of one namespace.
func log(edits ...edit) *appsv1beta1.SidecarSet {
	set := &appsv1beta1.SidecarSet{ObjectMeta: metav1.ObjectMeta{GenerateName: "log-"}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	set.Spec.Containers = []appsv1beta1.SidecarContainer{{Container: corev1.Container{Name: "log", Image: "registry.local/log:v1"}}}
	for _, change := range edits {
		change(set)
	}
	return set
}

func image(tag string) edit {
	return func(set *appsv1beta1.SidecarSet) { set.Spec.Containers[0].Image = "registry.local/log:" + tag }
}

func strategy(change func(s *appsv1beta1.SidecarSetUpdateStrategy)) edit {
	return func(set *appsv1beta1.SidecarSet) { change(&set.Spec.UpdateStrategy) }
}

func away(value string) edit {
	return strategy(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.MaxUnavailable = ptr.To(intstr.Parse(value)) })
}

// newWorld makes the set; its revisions are kept in the namespace of its pods.
func newWorld(t *testing.T, set *appsv1beta1.SidecarSet, faults *testkit.Faults) *world {
	t.Helper()
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	clock := testclock.NewFakeClock(time.Now())
	w := &world{t: t, env: env, ns: ns, clock: clock, faults: faults, turns: disruption.NewTurns()}
	w.kubelet = &testkit.Kubelet{Client: env.Client, Namespace: ns, Clock: clock}
	w.cache = testkit.NewLagCache(t, env, ns, &corev1.Pod{}, &corev1.PersistentVolumeClaim{}, &appsv1.ControllerRevision{})
	if err := workload.Index(t.Context(), w.cache); err != nil {
		t.Fatal(err)
	}
	if err := w.cache.IndexField(t.Context(), &corev1.Pod{}, sidecarset.Index, sidecarset.IndexPod); err != nil {
		t.Fatal(err)
	}
	set.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}}
	sidecarset.Default(set)
	if err := env.Client.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.Client.Delete(t.Context(), set) })
	w.key = client.ObjectKeyFromObject(set)
	w.restart()
	return w
}

// client is what a controller writes through.
func (w *world) client() client.Client {
	w.t.Helper()
	if w.faults == nil {
		return w.cache.Client(w.env.Client)
	}
	faulty, err := client.New(w.faults.Config(w.env.Config), client.Options{Scheme: w.env.Scheme})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.cache.Client(faulty)
}

func (w *world) deps() workload.Deps {
	return workload.Deps{Client: w.client(), Live: w.env.Client, Position: w.cache, Clock: w.clock, Turns: w.turns, Guard: w.guard}
}

// restart replaces the controller by one that remembers nothing, and whose cache starts from a list.
func (w *world) restart() {
	w.t.Helper()
	if err := w.cache.CatchUp(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	d := w.deps()
	w.frame = reconcile.New(d.Client, sidecarset.New(d, w.ns), reconcile.Options{Name: "sidecarset", Clock: w.clock, StatusInterval: -1})
}

// born makes pods that have the set's containers as it is now, and lets them run.
func (w *world) born(names ...string) {
	w.t.Helper()
	set := w.get()
	plan, errs := inject.Compile(inject.TemplateOf(&set.Spec), field.NewPath("spec"))
	if len(errs) > 0 {
		w.t.Fatal(errs)
	}
	for _, name := range names {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name, Labels: map[string]string{"app": "web", "name": name}}}
		p.Spec.Containers = []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}}
		w.create(p, inject.Injection{Set: set.Name, Revision: set.Status.LatestRevision, Plan: plan})
	}
	w.running()
}

func (w *world) create(p *corev1.Pod, in inject.Injection) {
	w.t.Helper()
	e, err := inject.Into(p, []inject.Injection{in}, w.clock.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	before, err := json.Marshal(p)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := json.Marshal(e.Patch(p))
	if err != nil {
		w.t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(raw)
	if err != nil {
		w.t.Fatal(err)
	}
	after, err := patch.Apply(before)
	if err != nil {
		w.t.Fatal(err)
	}
	made := &corev1.Pod{}
	if err := json.Unmarshal(after, made); err != nil {
		w.t.Fatal(err)
	}
	if err := w.env.Client.Create(w.t.Context(), made); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) running() {
	w.t.Helper()
	if err := w.kubelet.Settle(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// watch holds every event from now on against the limits.
func (w *world) watch(replicas, unavailable int) {
	w.t.Helper()
	w.oracle = testkit.NewOracle(w.t, w.env, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns}}, &metav1.LabelSelector{},
		testkit.Limits{Replicas: replicas, MaxUnavailable: unavailable})
	w.oracle.UseClock(w.clock.Now)
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

// settle runs controller and nodes in turns until done says so, or for good many rounds.
func (w *world) settle(done func(set *appsv1beta1.SidecarSet) error) {
	w.t.Helper()
	var last error
	for range 200 {
		if w.before != nil {
			w.before()
		}
		if err := w.pass(); err != nil {
			last = err
			if w.faults != nil && w.faults.Dead() {
				w.faults.Revive()
				w.turns = disruption.NewTurns()
				w.restart()
			}
		}
		if w.oracle != nil {
			if err := w.oracle.Sync(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
		}
		if _, err := w.kubelet.Step(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		w.clock.Step(time.Second)
		why := done(w.get())
		if why == nil {
			if w.oracle != nil {
				w.oracle.Check(w.t)
			}
			return
		}
		if last == nil {
			last = why
		}
	}
	set := w.get()
	w.t.Fatalf("the set never settled: %v; %v\nstatus: %+v\npods: %s", done(set), last, set.Status, w.describe())
}

func (w *world) get() *appsv1beta1.SidecarSet {
	w.t.Helper()
	var set appsv1beta1.SidecarSet
	if err := w.env.Client.Get(w.t.Context(), w.key, &set); err != nil {
		w.t.Fatal(err)
	}
	return &set
}

func (w *world) change(edits ...edit) {
	w.t.Helper()
	set := w.get()
	for _, change := range edits {
		change(set)
	}
	if err := w.env.Client.Update(w.t.Context(), set); err != nil {
		w.t.Fatal(err)
	}
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
		text += fmt.Sprintf("\n  %s %s %v %s", p.Name, images(&p), p.Status.Conditions, p.Annotations["kruise.io/sidecarset-inplace-update-state"])
	}
	return text
}

// images are those that run, by the tags: "log=v2 main=v1".
func images(p *corev1.Pod) string {
	var words []string
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, s := range list {
			words = append(words, s.Name+"="+s.Image[strings.LastIndex(s.Image, ":")+1:])
		}
	}
	return strings.Join(words, " ")
}

// ready is when the status says that all is as asked.
func ready(set *appsv1beta1.SidecarSet) error {
	for _, c := range set.Status.Conditions {
		if c.Type == "Ready" && c.Status == corev1.ConditionTrue && set.Status.ObservedGeneration == set.Generation {
			return nil
		}
	}
	return fmt.Errorf("generation %d of %d, %+v", set.Status.ObservedGeneration, set.Generation, set.Status)
}

// counts are the figures of the status.
func counts(set *appsv1beta1.SidecarSet) string {
	s := set.Status
	var held []string
	for _, h := range s.Held {
		held = append(held, fmt.Sprintf("%s %d", h.Reason, h.Count))
	}
	return fmt.Sprintf("matched %d, updated %d, ready %d, both %d %s", s.MatchedPods, s.UpdatedPods, s.ReadyPods, s.UpdatedReadyPods, held)
}

// says is when the figures are as wanted.
func says(want string) func(set *appsv1beta1.SidecarSet) error {
	return func(set *appsv1beta1.SidecarSet) error {
		if got := counts(set); got != want {
			return fmt.Errorf("%s, want %s", got, want)
		}
		return nil
	}
}

func quantity(cpu string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
}
