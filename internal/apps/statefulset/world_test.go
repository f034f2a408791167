package statefulset_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	testclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/statefulset"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

type edit = func(s *appsv1beta1.StatefulSet)

// world is one StatefulSet on a real API server, with pretended nodes, in which nothing happens but what the test asks for.
type world struct {
	t       *testing.T
	env     *testkit.Env
	ns      string
	clock   *testclock.FakeClock
	key     client.ObjectKey
	oracle  *testkit.Oracle
	harness *testkit.Harness
}

func newWorld(t *testing.T, faults *testkit.Faults, behind int, edits ...edit) *world {
	t.Helper()
	env := testkit.APIServer(t)
	w := &world{t: t, env: env, ns: env.Namespace(t), clock: testclock.NewFakeClock(time.Now())}
	set := testkit.StatefulSet(edits...)
	set.Namespace = w.ns
	statefulset.Default(set)
	if err := env.Client.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	w.key = client.ObjectKeyFromObject(set)
	w.oracle = testkit.NewOracle(t, env, set, set.Spec.Selector, limits(set))
	w.oracle.UseClock(w.clock.Now)
	w.oracle.KeepsClaims()
	w.oracle.Also(oneToANumber)
	if set.Spec.PodManagementPolicy == appsv1beta1.OrderedReadyPodManagement {
		w.oracle.Also(w.inOrder)
	}
	lag := testkit.NewLagCache(t, env, w.ns, &corev1.Pod{}, &corev1.PersistentVolumeClaim{}, &appsv1.ControllerRevision{})
	lag.Behind = behind
	if err := workload.Index(t.Context(), lag); err != nil {
		t.Fatal(err)
	}
	w.harness = &testkit.Harness{
		New:     func() func(context.Context) error { return w.controller(lag, faults) },
		Kubelet: &testkit.Kubelet{Client: env.Client, Namespace: w.ns, Clock: w.clock},
		Oracle:  w.oracle, Faults: faults, Lag: lag, Clock: w.clock,
	}
	return w
}

// controller makes one that remembers nothing.
func (w *world) controller(lag *testkit.LagCache, faults *testkit.Faults) func(context.Context) error {
	c := client.Client(w.env.Client)
	if faults != nil {
		faulty, err := client.New(faults.Config(w.env.Config), client.Options{Scheme: w.env.Scheme})
		if err != nil {
			w.t.Fatal(err)
		}
		c = faulty
	}
	room := statefulset.New(statefulset.Deps{Client: lag.Client(c), Live: w.env.Client, Position: lag, Clock: w.clock})
	frame := reconcile.New(lag.Client(c), room, reconcile.Options{Name: "statefulset", Clock: w.clock, StatusInterval: -1})
	return func(ctx context.Context) error {
		_, err := frame.Reconcile(ctx, ctrl.Request{NamespacedName: w.key})
		return err
	}
}

// limits are what a set promises, worked out by hand from its whole numbers. The pod of a new number does not wait until the
// one of a reserved number is gone.
func limits(set *appsv1beta1.StatefulSet) testkit.Limits {
	rolling := set.Spec.UpdateStrategy.RollingUpdate
	return testkit.Limits{
		Replicas: int(*set.Spec.Replicas), MaxUnavailable: rolling.MaxUnavailable.IntValue(), MaxSurge: len(set.Spec.ReserveOrdinals), MinReadySeconds: *rolling.MinReadySeconds,
	}
}

func number(p *corev1.Pod) int {
	n, err := strconv.Atoi(p.Name[strings.LastIndex(p.Name, "-")+1:])
	if err != nil {
		return -1
	}
	return n
}

// oneToANumber: no two pods have one number, and each has the name and labels of its own.
func oneToANumber(_, after *corev1.Pod, now []*corev1.Pod) string {
	for _, p := range now {
		if after == nil {
			return ""
		}
		if p.UID != after.UID && p.Labels["apps.kubernetes.io/pod-index"] == after.Labels["apps.kubernetes.io/pod-index"] {
			return fmt.Sprintf("pods %s and %s have one number", p.Name, after.Name)
		}
	}
	return ""
}

// inOrder: pods come from the first to the last and go from the last to the first, each when all others that are wanted serve.
func (w *world) inOrder(before, after *corev1.Pod, now []*corev1.Pod) string {
	if after == nil {
		return "" // it was on its way already
	}
	revision := func(p *corev1.Pod) string { return p.Labels["controller-revision-hash"] }
	for _, p := range now {
		later := number(p) > number(after)
		switch {
		case p.UID == after.UID:
		case before == nil && !later && !w.oracle.Available(p):
			return fmt.Sprintf("%s was made before %s was available", after.Name, p.Name)
		case before == nil:
		case !w.oracle.Available(p):
			return fmt.Sprintf("%s was taken away while %s was not available", after.Name, p.Name)
		case later && revision(p) != revision(after) && revision(p) == revision(before):
			return fmt.Sprintf("%s was changed before %s", after.Name, p.Name)
		}
	}
	return ""
}

// run lets everybody act until the set is done, and holds the state against the promises.
func (w *world) run() {
	w.t.Helper()
	w.until(w.settled)
}

// until lets everybody act until that is so.
func (w *world) until(so func() error) {
	w.t.Helper()
	w.harness.Run(w.t, func(context.Context) error { return so() })
}

// settled is when the status says that all is done, of this spec.
func (w *world) settled() error {
	set := w.get()
	for _, c := range set.Status.Conditions {
		if c.Type == "Ready" && c.Status == corev1.ConditionTrue && set.Status.ObservedGeneration == set.Generation {
			return nil
		}
	}
	return fmt.Errorf("the set is not ready: %+v", set.Status)
}

func (w *world) get() *appsv1beta1.StatefulSet {
	w.t.Helper()
	var set appsv1beta1.StatefulSet
	if err := w.env.Client.Get(w.t.Context(), w.key, &set); err != nil {
		w.t.Fatal(err)
	}
	return &set
}

// change edits the spec and runs until that is done.
func (w *world) change(edits ...edit) {
	w.t.Helper()
	set := w.get()
	for _, e := range edits {
		e(set)
	}
	w.oracle.SetLimits(w.t, limits(set))
	if err := w.env.Client.Update(w.t.Context(), set); err != nil {
		w.t.Fatal(err)
	}
	w.run()
}

func (w *world) pods() map[string]*corev1.Pod {
	w.t.Helper()
	var list corev1.PodList
	if err := w.env.Client.List(w.t.Context(), &list, client.InNamespace(w.ns)); err != nil {
		w.t.Fatal(err)
	}
	pods := map[string]*corev1.Pod{}
	for i := range list.Items {
		pods[list.Items[i].Name] = &list.Items[i]
	}
	return pods
}

// names of the pods, in order.
func (w *world) names() string {
	w.t.Helper()
	pods := w.pods()
	names := make([]string, 0, len(pods))
	for name := range pods {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return number(pods[a]) - number(pods[b]) })
	return strings.Join(names, " ")
}

func (w *world) uids() map[string]types.UID {
	w.t.Helper()
	all := map[string]types.UID{}
	for name, p := range w.pods() {
		all[name] = p.UID
	}
	return all
}

func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	var c corev1.PersistentVolumeClaim
	if err := w.env.Client.Get(w.t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, &c); err != nil {
		w.t.Fatal(err)
	}
	return &c
}

func (w *world) delete(o client.Object) {
	w.t.Helper()
	if err := w.env.Client.Delete(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) patch(o client.Object, body string) {
	w.t.Helper()
	if err := w.env.Client.Patch(w.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
		w.t.Fatal(err)
	}
}

func replicas(n int32) edit { return func(s *appsv1beta1.StatefulSet) { s.Spec.Replicas = &n } }

func image(tag string) edit {
	return func(s *appsv1beta1.StatefulSet) {
		s.Spec.Template.Spec.Containers[0].Image = "registry.local/web:" + tag
	}
}

func command(s *appsv1beta1.StatefulSet) {
	s.Spec.Template.Spec.Containers[0].Command = []string{"other"}
}

func parallel(s *appsv1beta1.StatefulSet) { s.Spec.PodManagementPolicy = "Parallel" }

func rolling(change func(r *appsv1beta1.RollingUpdateStatefulSetStrategy)) edit {
	return func(s *appsv1beta1.StatefulSet) {
		if s.Spec.UpdateStrategy.RollingUpdate == nil {
			s.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateStatefulSetStrategy{}
		}
		change(s.Spec.UpdateStrategy.RollingUpdate)
	}
}

func away(n int32) edit {
	return rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) { r.MaxUnavailable = ptr.To(intstr.FromInt32(n)) })
}

func partition(n int32) edit {
	return rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) { r.Partition = &n })
}

// inPlace changes pods in place, with the gate that this needs.
func inPlace(s *appsv1beta1.StatefulSet) {
	rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) { r.PodUpdatePolicy = "InPlaceIfPossible" })(s)
	s.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}}
}

func claims(size string) edit {
	return func(s *appsv1beta1.StatefulSet) {
		s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{testkit.ClaimTemplate("data", size)}
	}
}

func reserving(values ...string) edit {
	return func(s *appsv1beta1.StatefulSet) {
		s.Spec.ReserveOrdinals = nil
		for _, v := range values {
			s.Spec.ReserveOrdinals = append(s.Spec.ReserveOrdinals, intstr.Parse(v))
		}
	}
}

func retention(whenDeleted, whenScaled appsv1beta1.PersistentVolumeClaimRetentionPolicyType) edit {
	return func(s *appsv1beta1.StatefulSet) {
		s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1beta1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: whenDeleted, WhenScaled: whenScaled,
		}
	}
}

func storageClass(name string) *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/none", AllowVolumeExpansion: ptr.To(true),
	}
}
