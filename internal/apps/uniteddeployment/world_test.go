package uniteddeployment

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// world is one UnitedDeployment on a real API server. The workloads' controllers and the scheduler are pretended, one step at a time.
type world struct {
	*testkit.World[*appsv1beta1.UnitedDeployment]

	family family
	events *record.FakeRecorder
	// space is for how many pods each subset has nodes; a subset that is not named has nodes for all.
	space map[string]int
	// watch is called after every step.
	watch func()
}

var labelsOfAll = map[string]string{"app": "shop"} //nolint:gochecknoglobals // never changed

func podTemplateOf(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labelsOfAll},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}},
	}
}

// united makes an object of CloneSets, whose subsets are named a, b, c ... and read from words as in parseSubsets.
func united(replicas int32, subsets string, overrides ...func(*appsv1beta1.UnitedDeployment)) *appsv1beta1.UnitedDeployment {
	ud := &appsv1beta1.UnitedDeployment{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	ud.Spec.Replicas, ud.Spec.Selector = &replicas, &metav1.LabelSelector{MatchLabels: labelsOfAll}
	ud.Spec.Topology.Subsets = parseSubsets(subsets)
	ud.Spec.Template.CloneSetTemplate = &appsv1beta1.CloneSetTemplateSpec{Spec: appsv1beta1.CloneSetSpec{
		Selector: ud.Spec.Selector, Template: podTemplateOf("registry.local/shop:v1"),
	}}
	for _, override := range overrides {
		override(ud)
	}
	return ud
}

func adaptively(reserve bool) func(*appsv1beta1.UnitedDeployment) {
	return func(ud *appsv1beta1.UnitedDeployment) {
		ud.Spec.Topology.ScheduleStrategy = appsv1beta1.UnitedDeploymentScheduleStrategy{
			Type: "Adaptive", Adaptive: &appsv1beta1.AdaptiveUnitedDeploymentStrategy{ReserveUnschedulablePods: reserve},
		}
	}
}

func ofDeployments(ud *appsv1beta1.UnitedDeployment) {
	ud.Spec.Template = appsv1beta1.SubsetTemplate{DeploymentTemplate: &appsv1beta1.DeploymentTemplateSpec{
		Spec: appsv1.DeploymentSpec{Template: podTemplateOf("registry.local/shop:v1")},
	}}
}

func ofStatefulSets(ud *appsv1beta1.UnitedDeployment) {
	ud.Spec.Template = appsv1beta1.SubsetTemplate{StatefulSetTemplate: &appsv1beta1.StatefulSetTemplateSpec{
		Spec: appsv1.StatefulSetSpec{Template: podTemplateOf("registry.local/shop:v1"), ServiceName: "shop"},
	}}
}

func ofAdvancedStatefulSets(ud *appsv1beta1.UnitedDeployment) {
	ud.Spec.Template = appsv1beta1.SubsetTemplate{AdvancedStatefulSetTemplate: &appsv1beta1.AdvancedStatefulSetTemplateSpec{
		Spec: appsv1beta1.StatefulSetSpec{Selector: ud.Spec.Selector, Template: podTemplateOf("registry.local/shop:v1"), ServiceName: "shop"},
	}}
}

func newWorld(t *testing.T, ud *appsv1beta1.UnitedDeployment, faults *testkit.Faults) *world {
	t.Helper()
	f, _ := familyOf(&ud.Spec.Template)
	w := &world{
		World:  testkit.NewWorld[*appsv1beta1.UnitedDeployment](t, faults, f.empty(), &corev1.Pod{}, &appsv1.ControllerRevision{}),
		family: f, events: record.NewFakeRecorder(1000), space: map[string]int{}, watch: func() {},
	}
	w.Index(workload.Index)
	w.Events, w.Tick, w.Kubelet = w.events, 3*time.Second, nil
	Default(ud)
	w.Create(ud)
	w.Runs(func(c client.Client) reconcile.Room[*appsv1beta1.UnitedDeployment] {
		return New(Deps{Client: c, Live: w.Env.Client, Clock: w.Clock})
	})
	return w
}

// settle lets everybody act in turns until the object is as it is to be.
func (w *world) settle(done func() error) {
	w.T.Helper()
	w.Each = func() {
		w.watch()
		w.workloads()
		w.watch()
	}
	w.Until(done)
	w.Each = nil
}

// children are the workloads, by their names.
func (w *world) children() map[string]client.Object {
	w.T.Helper()
	list := w.family.list()
	if err := w.Env.Client.List(w.T.Context(), list, client.InNamespace(w.Namespace)); err != nil {
		w.T.Fatal(err)
	}
	all := map[string]client.Object{}
	err := meta.EachListItem(list, func(item runtime.Object) error {
		object := as[client.Object](w.T, item)
		all[object.GetName()] = object
		return nil
	})
	if err != nil {
		w.T.Fatal(err)
	}
	return all
}

// pods are those that stay.
func (w *world) pods() []corev1.Pod {
	w.T.Helper()
	return slices.DeleteFunc(w.Pods(), func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
}

func (w *world) podsOf(child string) []corev1.Pod {
	return slices.DeleteFunc(w.pods(), func(p corev1.Pod) bool { return p.Labels["child"] != child })
}

// spread are the pods of each subset, and of them those that have a node.
func (w *world) spread() string {
	all, placed := map[string]int{}, map[string]int{}
	for _, p := range w.pods() {
		subset := p.Labels[appsv1beta1.SubsetName]
		all[subset]++
		if pod.Ready(&p) {
			placed[subset]++
		}
	}
	var words []string
	for subset, n := range all {
		words = append(words, fmt.Sprintf("%s %d/%d", subset, placed[subset], n))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func (w *world) describe() string {
	var all []string
	for name, object := range w.children() {
		all = append(all, fmt.Sprintf("%s asked for %d: %+v", name, *(*shapeOf(object).replicas), countsOf(object)))
	}
	slices.Sort(all)
	return fmt.Sprintf("%s\n%+v\n%s", strings.Join(all, "\n"), w.Get().Status, w.spread())
}

// workloads pretends one step of every workload's controller, and of the scheduler.
func (w *world) workloads() {
	w.T.Helper()
	for name, object := range w.children() {
		if object.GetDeletionTimestamp() == nil {
			w.workload(name, object)
		}
	}
}

func (w *world) workload(name string, object client.Object) {
	w.T.Helper()
	asked, pods := int(*(*shapeOf(object).replicas)), w.podsOf(name)
	// Those without a node go first, but for pods with ordinals; the last one otherwise.
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		if readyA, readyB := pod.Ready(&a), pod.Ready(&b); readyA != readyB && !w.family.numbered {
			return cmp.Compare(btoi(readyB), btoi(readyA))
		}
		return cmp.Compare(a.Name, b.Name)
	})
	for i := len(pods); i < asked; i++ {
		w.newPod(name, object)
	}
	for i := len(pods) - 1; i >= asked; i-- {
		if err := w.Env.Client.Delete(w.T.Context(), &pods[i], client.GracePeriodSeconds(0)); err != nil {
			w.T.Fatal(err)
		}
	}
	w.schedule(name, object.GetLabels()[appsv1beta1.SubsetName])
	n := counts{}
	for _, p := range w.podsOf(name) {
		n.pods++
		if pod.Ready(&p) {
			n.ready++
		}
		n.updated++
	}
	w.writeStatus(object, n)
}

func btoi(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func (w *world) newPod(name string, object client.Object) {
	w.T.Helper()
	taken := map[string]bool{}
	for _, p := range w.podsOf(name) {
		taken[p.Name] = true
	}
	n := 0
	for taken[fmt.Sprintf("%s-%d", name, n)] {
		n++
	}
	tmpl := shapeOf(object).template.DeepCopy()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.Namespace, Name: fmt.Sprintf("%s-%d", name, n), Labels: merged(tmpl.Labels, map[string]string{"child": name}),
	}, Spec: tmpl.Spec}
	if err := w.Env.Client.Create(w.T.Context(), p); err != nil {
		w.T.Fatal(err)
	}
}

// schedule gives nodes to pods as long as there is space.
func (w *world) schedule(name, subset string) {
	w.T.Helper()
	space, bounded := w.space[subset]
	for _, p := range w.pods() {
		if p.Labels[appsv1beta1.SubsetName] == subset && pod.Ready(&p) {
			space--
		}
	}
	for _, p := range w.podsOf(name) {
		if pod.Ready(&p) {
			continue
		}
		now := metav1.NewTime(w.Clock.Now())
		condition := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available", LastTransitionTime: now}
		if has := pod.Condition(&p, corev1.PodScheduled); has != nil {
			condition.LastTransitionTime = has.LastTransitionTime
		}
		p.Status.Phase = corev1.PodPending
		p.Status.Conditions = []corev1.PodCondition{condition}
		if !bounded || space > 0 {
			space--
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now},
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
			}
		}
		if err := w.Env.Client.Status().Update(w.T.Context(), &p); err != nil {
			w.T.Fatal(err)
		}
	}
}

func (w *world) writeStatus(object client.Object, n counts) {
	w.T.Helper()
	switch o := object.(type) {
	case *appsv1beta1.CloneSet:
		s := &o.Status
		s.ObservedGeneration, s.Replicas, s.ReadyReplicas, s.UpdatedReplicas, s.UpdatedReadyReplicas = o.Generation, n.pods, n.ready, n.updated, n.ready
		s.AvailableReplicas = n.ready
	case *appsv1beta1.StatefulSet:
		s := &o.Status
		s.ObservedGeneration, s.Replicas, s.ReadyReplicas, s.UpdatedReplicas, s.UpdatedReadyReplicas = o.Generation, n.pods, n.ready, n.updated, n.ready
	case *appsv1.StatefulSet:
		s := &o.Status
		s.ObservedGeneration, s.Replicas, s.ReadyReplicas, s.UpdatedReplicas = o.Generation, n.pods, n.ready, n.updated
	case *appsv1.Deployment:
		s := &o.Status
		s.ObservedGeneration, s.Replicas, s.ReadyReplicas, s.UpdatedReplicas = o.Generation, n.pods, n.ready, n.updated
	}
	if err := w.Env.Client.Status().Update(w.T.Context(), object); err != nil {
		w.T.Fatal(err)
	}
}

// guard holds each moment against a promise: never more pods than most, never fewer ready ones than least, once there were that many.
func (w *world) guard(most, least int) {
	reached := false
	w.watch = func() {
		w.T.Helper()
		all, up, asked := w.pods(), 0, 0
		for _, p := range all {
			up += btoi(pod.Ready(&p))
		}
		for _, object := range w.children() {
			asked += int(ptr.Deref(*shapeOf(object).replicas, 1))
		}
		reached = reached || up >= least
		if len(all) > most || asked > most || (reached && up < least) {
			w.T.Errorf("%d pods, %d asked for, %d ready; at most %d and at least %d were promised\n%s", len(all), asked, up, most, least, w.describe())
		}
	}
}

func (w *world) condition(kind string) appsv1beta1.WorkloadCondition {
	for _, c := range w.Get().Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return appsv1beta1.WorkloadCondition{}
}

// as is an object as the type that it must be of.
func as[T any](t testing.TB, object any) T {
	t.Helper()
	typed, ok := object.(T)
	if !ok {
		t.Fatalf("it is a %T", object)
	}
	return typed
}
