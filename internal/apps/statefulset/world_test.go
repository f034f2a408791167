package statefulset_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/statefulset"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

type edit = func(s *appsv1beta1.StatefulSet)

// world is one StatefulSet on a real API server, with pretended nodes, in which nothing happens but what the test asks for.
type world struct {
	*testkit.World[*appsv1beta1.StatefulSet]
}

func newWorld(t *testing.T, faults *testkit.Faults, behind int, edits ...edit) *world {
	t.Helper()
	w := &world{testkit.NewWorld[*appsv1beta1.StatefulSet](t, faults)}
	w.Index(workload.Index)
	w.Lag.Behind = behind
	set := testkit.StatefulSet(edits...)
	statefulset.Default(set)
	w.Create(set)
	w.Runs(func(c client.Client) reconcile.Room[*appsv1beta1.StatefulSet] {
		return statefulset.New(statefulset.Deps{Client: c, Live: w.Env.Client, Position: w.Lag, Clock: w.Clock})
	})
	w.Oracle = testkit.NewOracle(t, w.Env, set, set.Spec.Selector, limits(set))
	w.Oracle.UseClock(w.Clock.Now)
	w.Oracle.KeepsClaims()
	w.Oracle.Also(oneToANumber)
	if set.Spec.PodManagementPolicy == appsv1beta1.OrderedReadyPodManagement {
		w.Oracle.Also(w.inOrder)
	}
	return w
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
		case before == nil && !later && !w.Oracle.Available(p):
			return fmt.Sprintf("%s was made before %s was available", after.Name, p.Name)
		case before == nil:
		case !w.Oracle.Available(p):
			return fmt.Sprintf("%s was taken away while %s was not available", after.Name, p.Name)
		case later && revision(p) != revision(after) && revision(p) == revision(before):
			return fmt.Sprintf("%s was changed before %s", after.Name, p.Name)
		}
	}
	return ""
}

// run lets everybody act until the set is done, and holds the state against the promises.
func (w *world) run() {
	w.T.Helper()
	w.Until(w.Ready)
}

// change edits the spec and runs until that is done.
func (w *world) change(edits ...edit) {
	w.T.Helper()
	w.Change(append(edits, func(set *appsv1beta1.StatefulSet) { w.Oracle.SetLimits(w.T, limits(set)) })...)
	w.run()
}

func (w *world) pods() map[string]*corev1.Pod {
	w.T.Helper()
	pods := map[string]*corev1.Pod{}
	for _, p := range w.Pods() {
		pods[p.Name] = &p
	}
	return pods
}

// names of the pods, in order.
func (w *world) names() string {
	w.T.Helper()
	pods := w.pods()
	names := make([]string, 0, len(pods))
	for name := range pods {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return number(pods[a]) - number(pods[b]) })
	return strings.Join(names, " ")
}

func (w *world) uids() map[string]types.UID {
	w.T.Helper()
	all := map[string]types.UID{}
	for name, p := range w.pods() {
		all[name] = p.UID
	}
	return all
}

func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	w.T.Helper()
	var c corev1.PersistentVolumeClaim
	if err := w.Env.Client.Get(w.T.Context(), client.ObjectKey{Namespace: w.Namespace, Name: name}, &c); err != nil {
		w.T.Fatal(err)
	}
	return &c
}

func (w *world) delete(o client.Object) {
	w.T.Helper()
	if err := w.Env.Client.Delete(w.T.Context(), o); err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) patch(o client.Object, body string) {
	w.T.Helper()
	if err := w.Env.Client.Patch(w.T.Context(), o, client.RawPatch(types.MergePatchType, []byte(body))); err != nil {
		w.T.Fatal(err)
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
