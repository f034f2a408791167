package daemonset_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/daemonset"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

type edit = func(ds *appsv1beta1.DaemonSet)

// world is one DaemonSet on a real API server, with Node objects of its own and pretended kubelets.
type world struct {
	*testkit.World[*appsv1beta1.DaemonSet]

	nodes int
	surge int
}

// newWorld makes so many nodes, n0, n1 ..., and the set.
func newWorld(t *testing.T, nodes int, faults *testkit.Faults, edits ...edit) *world {
	t.Helper()
	w := &world{World: testkit.NewWorld[*appsv1beta1.DaemonSet](t, faults)}
	w.Index(workload.Index)
	for i := range nodes {
		w.join(i)
	}
	labels := func() map[string]string { return map[string]string{"app": "agent"} }
	ds := &appsv1beta1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent"},
		Spec: appsv1beta1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels()},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels()}, Spec: corev1.PodSpec{
				NodeSelector: map[string]string{"test": w.Namespace},
				Containers:   []corev1.Container{{Name: "main", Image: "registry.local/agent:v1"}},
			}},
		},
	}
	for _, change := range edits {
		change(ds)
	}
	daemonset.Default(ds)
	w.Create(ds)
	w.Runs(func(c client.Client) reconcile.Room[*appsv1beta1.DaemonSet] {
		return daemonset.New(workload.Deps{Client: c, Live: w.Env.Client, Position: w.Lag, Clock: w.Clock})
	})
	w.Each = w.crowds
	w.Oracle = testkit.NewOracle(t, w.Env, ds, ds.Spec.Selector, w.limits(ds))
	w.Oracle.UseClock(w.Clock.Now)
	return w
}

func (w *world) name(i int) string { return fmt.Sprintf("%s-n%d", w.Namespace, i) }

// join makes node i.
func (w *world) join(i int, overrides ...func(*corev1.Node)) {
	w.T.Helper()
	w.Env.Node(w.T, w.name(i), map[string]string{"test": w.Namespace}, overrides...)
	w.nodes++
}

// limits are what a set promises, worked out by hand from its whole numbers.
func (w *world) limits(ds *appsv1beta1.DaemonSet) testkit.Limits {
	rolling := ds.Spec.UpdateStrategy.RollingUpdate
	w.surge = rolling.MaxSurge.IntValue()
	return testkit.Limits{
		Replicas: w.nodes, MaxUnavailable: rolling.MaxUnavailable.IntValue(), MaxSurge: w.surge, MinReadySeconds: ds.Spec.MinReadySeconds,
	}
}

// crowds fails the test when a node has more pods than the surge allows, terminating ones apart.
func (w *world) crowds() {
	w.T.Helper()
	on := map[string][]string{}
	for _, p := range w.pods() {
		if p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodFailed {
			on[nodeOf(&p)] = append(on[nodeOf(&p)], p.Name)
		}
	}
	second := 0
	for at, names := range on {
		if second += len(names) - 1; len(names) > 1+min(w.surge, 1) || second > w.surge {
			w.T.Errorf("node %s has the pods %v", at, names)
		}
	}
}

func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName
	}
	return p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
}

// pods are those of the set.
func (w *world) pods() []corev1.Pod {
	w.T.Helper()
	return slices.DeleteFunc(w.Pods(), func(p corev1.Pod) bool { return p.Labels[workload.PullFor] != "" })
}

func (w *world) change(mutate edit) {
	w.T.Helper()
	w.Change(mutate, func(ds *appsv1beta1.DaemonSet) { w.Oracle.SetLimits(w.T, w.limits(ds)) })
}

// settle runs until the set says that it is ready, and nothing moves.
func (w *world) settle() {
	w.T.Helper()
	w.Until(w.Ready)
}

func (w *world) describe() string {
	var words []string
	for _, p := range w.pods() {
		words = append(words, fmt.Sprintf("%s@%s %s %s", p.Name, nodeOf(&p), p.Labels["controller-revision-hash"], p.Status.Phase))
	}
	return strings.Join(words, "; ")
}

func image(tag string) edit {
	return func(ds *appsv1beta1.DaemonSet) {
		ds.Spec.Template.Spec.Containers[0].Image = "registry.local/agent:" + tag
	}
}

func rolling(change func(r *appsv1beta1.RollingUpdateDaemonSet)) edit {
	return func(ds *appsv1beta1.DaemonSet) {
		if ds.Spec.UpdateStrategy.RollingUpdate == nil {
			ds.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateDaemonSet{}
		}
		change(ds.Spec.UpdateStrategy.RollingUpdate)
	}
}

func inPlace(ds *appsv1beta1.DaemonSet) {
	rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) { r.Type = appsv1beta1.InplaceRollingUpdateType })(ds)
}

func surging(ds *appsv1beta1.DaemonSet) {
	rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) {
		r.MaxSurge, r.MaxUnavailable = ptr.To(intstr.FromInt32(1)), ptr.To(intstr.FromInt32(0))
	})(ds)
}

func uids(pods []corev1.Pod) map[types.UID]bool {
	all := map[types.UID]bool{}
	for i := range pods {
		all[pods[i].UID] = true
	}
	return all
}

func TestEveryNodeHasAPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, nil)
	w.settle()
	s := w.Get().Status
	if s.DesiredNumberScheduled != 3 || s.CurrentNumberScheduled != 3 || s.NumberReady != 3 || s.NumberAvailable != 3 ||
		s.UpdatedNumberScheduled != 3 || s.NumberUnavailable != 0 || s.NumberMisscheduled != 0 || s.UpdateRevision == "" {
		t.Errorf("the status is %+v", s)
	}
	for _, p := range w.pods() {
		if !slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == corev1.TaintNodeUnschedulable }) {
			t.Errorf("pod %s does not tolerate a cordon: %v", p.Name, p.Spec.Tolerations)
		}
	}
	w.Oracle.Done(t)
}

func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, nil)
	w.settle()
	w.join(2)
	w.Oracle.SetLimits(t, w.limits(w.Get()))
	w.settle()
	if got := len(w.pods()); got != 3 {
		t.Fatalf("%d pods on 3 nodes: %s", got, w.describe())
	}
	var node corev1.Node
	if err := w.Env.Client.Get(t.Context(), client.ObjectKey{Name: w.name(0)}, &node); err != nil {
		t.Fatal(err)
	}
	node.Spec.Taints = []corev1.Taint{{Key: "broken", Effect: corev1.TaintEffectNoExecute}}
	if err := w.Env.Client.Update(t.Context(), &node); err != nil {
		t.Fatal(err)
	}
	if err := w.Env.Client.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.name(1)}}); err != nil {
		t.Fatal(err)
	}
	w.nodes = 1
	w.Oracle.SetLimits(t, w.limits(w.Get()))
	w.settle()
	if pods := w.pods(); len(pods) != 1 || nodeOf(&pods[0]) != w.name(2) {
		t.Errorf("only %s should have a pod: %s", w.name(2), w.describe())
	}
}

func TestATemplateThatFitsNoNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0, nil)
	w.settle()
	conditions := w.Get().Status.Conditions
	if !slices.ContainsFunc(conditions, func(c appsv1beta1.WorkloadCondition) bool {
		return c.Type == "NoMatchingNodes" && c.Status == corev1.ConditionTrue && c.Message != ""
	}) {
		t.Errorf("nobody says so: %+v", conditions)
	}
}

func TestInPlaceUpdateKeepsThePods(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, nil, inPlace)
	w.settle()
	before := uids(w.pods())
	w.change(image("v2"))
	w.settle()
	for _, p := range w.pods() {
		if !before[p.UID] || p.Status.ContainerStatuses[0].Image != "registry.local/agent:v2" {
			t.Errorf("pod %s runs %s, made anew: %v", p.Name, p.Status.ContainerStatuses[0].Image, !before[p.UID])
		}
	}
	w.Oracle.Done(t)
}

// Kubernetes's own DaemonSets, and OpenKruise's, label pods with the hash alone.
func TestPodsOfAnotherControllerAreTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, nil)
	w.settle()
	before := uids(w.pods())
	for _, p := range w.pods() {
		short := strings.TrimPrefix(p.Labels["controller-revision-hash"], "agent-")
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"controller-revision-hash":%q}}}`, short))
		if err := w.Env.Client.Patch(t.Context(), &p, patch); err != nil {
			t.Fatal(err)
		}
	}
	w.settle()
	if s := w.Get().Status; s.UpdatedNumberScheduled != 3 || len(s.Held) != 0 {
		t.Errorf("status %+v", s)
	}
	for _, p := range w.pods() {
		if !before[p.UID] {
			t.Errorf("pod %s was made anew", p.Name)
		}
	}
	w.change(image("v2"))
	w.settle()
	for _, p := range w.pods() {
		if before[p.UID] {
			t.Errorf("pod %s is the old one", p.Name)
		}
	}
	w.Oracle.Done(t)
}

func TestUpdateWithAndWithoutSurge(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string]edit{"one away": func(*appsv1beta1.DaemonSet) {}, "one more": surging} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 3, nil, shape, func(ds *appsv1beta1.DaemonSet) { ds.Spec.MinReadySeconds = 3 })
			w.settle()
			before := uids(w.pods())
			w.change(image("v2"))
			w.settle()
			for _, p := range w.pods() {
				if before[p.UID] {
					t.Errorf("pod %s is the old one", p.Name)
				}
			}
			w.Oracle.Done(t)
		})
	}
}

func TestPartitionAndSelector(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, nil, inPlace)
	w.settle()
	w.change(image("v2"))
	w.change(rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) {
		r.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"canary": "yes"}}
	}))
	w.settle()
	if s := w.Get().Status; s.UpdatedNumberScheduled != 0 || len(s.Held) != 1 || !strings.Contains(s.Held[0].Message, "selector") {
		t.Fatalf("no node is a canary, and the status is %+v", s)
	}
	var node corev1.Node
	if err := w.Env.Client.Get(t.Context(), client.ObjectKey{Name: w.name(1)}, &node); err != nil {
		t.Fatal(err)
	}
	node.Labels["canary"] = "yes"
	if err := w.Env.Client.Update(t.Context(), &node); err != nil {
		t.Fatal(err)
	}
	w.Until(func() error {
		if s := w.Get().Status; s.UpdatedNumberScheduled != 1 || s.NumberAvailable != 3 || s.ExpectedUpdatedNumber != 1 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	w.change(rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) {
		r.Selector, r.Partition = nil, ptr.To(intstr.FromString("34%"))
	}))
	w.settle() // one of three stays, rounded up to two: the canary has changed already
	if s := w.Get().Status; s.UpdatedNumberScheduled != 1 || s.CurrentRevision == s.UpdateRevision {
		t.Fatalf("the partition keeps two: %+v", s)
	}
	w.change(rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) { r.Partition = nil }))
	w.settle()
	if s := w.Get().Status; s.UpdatedNumberScheduled != 3 || s.CurrentRevision != s.UpdateRevision || len(s.Held) != 0 {
		t.Errorf("nothing is kept any more: %+v", s)
	}
}

// A failed pod is made again and deleted, each time after a longer rest; that the operator is restarted makes no difference.
func TestFailedPodsBackOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, nil)
	w.settle()
	var rests []time.Duration
	for range 4 {
		w.Restart()
		p := w.pods()[0]
		changed := p.DeepCopy()
		changed.Status.Phase, changed.Status.Reason = corev1.PodFailed, "Evicted"
		if err := w.Env.Client.Status().Update(t.Context(), changed); err != nil {
			t.Fatal(err)
		}
		failed, made := w.Clock.Now(), time.Time{}
		for made.IsZero() {
			if err := w.Pass(t); err != nil && !errors.Is(err, context.Canceled) {
				t.Logf("pass: %v", err)
			}
			for _, now := range w.pods() {
				if now.UID != p.UID {
					made = w.Clock.Now()
				}
			}
			if _, err := w.Kubelet.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.Clock.Step(250 * time.Millisecond)
		}
		rests = append(rests, made.Sub(failed))
		w.settle()
		if all := w.pods(); len(all) != 1 || all[0].UID == p.UID {
			t.Fatalf("the failed pod has a successor, and is still there: %s", w.describe())
		}
	}
	for i, least := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second} {
		if rests[i] < least || rests[i] > least+time.Second {
			t.Errorf("the pods were made again after %v; the %d. rest should be %v", rests, i+1, least)
		}
	}
}

func TestAHookHoldsAPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, nil, func(ds *appsv1beta1.DaemonSet) {
		ds.Spec.Template.Labels["block"] = "yes"
		ds.Spec.Lifecycle = &appsv1beta1.Lifecycle{PreDelete: &appsv1beta1.LifecycleHook{LabelsHandler: map[string]string{"block": "yes"}}}
	})
	w.settle()
	before := w.pods()[0]
	w.change(image("v2"))
	w.Until(func() error {
		if held := w.Get().Status.Held; len(held) != 1 || held[0].Reason != appsv1beta1.HeldByHook {
			return fmt.Errorf("held is %+v", held)
		}
		return nil
	})
	p := w.pods()[0]
	if p.UID != before.UID || p.Labels[appsv1beta1.LifecycleStateKey] != string(appsv1beta1.LifecycleStatePreparingDelete) {
		t.Fatalf("pod %s has the labels %v", p.Name, p.Labels)
	}
	delete(p.Labels, "block")
	if err := w.Env.Client.Update(t.Context(), &p); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if after := w.pods()[0]; after.UID == before.UID || after.Spec.Containers[0].Image != "registry.local/agent:v2" {
		t.Errorf("pod %s was not replaced", after.Name)
	}
}

func TestImagesAhead(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string]edit{"in place": inPlace, "made anew": func(*appsv1beta1.DaemonSet) {}, "one more": surging} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2, nil, shape, func(ds *appsv1beta1.DaemonSet) {
				metav1.SetMetaDataAnnotation(&ds.ObjectMeta, appsv1beta1.ImagePreDownloadParallelism, "1")
				rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) { r.Partition = ptr.To(intstr.FromString("100%")) })(ds)
			})
			w.settle()
			w.change(image("v2"))
			pulled := map[string]bool{}
			for range 12 {
				if err := w.Pass(t); err != nil {
					t.Log(err)
				}
				for _, p := range w.Pods() {
					if p.Labels[workload.PullFor] != "" {
						pulled[p.Spec.NodeName+" "+p.Spec.Containers[0].Image] = true
					}
				}
				if _, err := w.Kubelet.Step(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.Clock.Step(time.Second)
			}
			if !pulled[w.name(0)+" registry.local/agent:v2"] || !pulled[w.name(1)+" registry.local/agent:v2"] {
				t.Errorf("pulled ahead: %v", pulled)
			}
		})
	}
}

// life takes a set through all it knows: up, changed, made anew, one node more, one less.
func life(behind int, shape ...edit) testkit.Scenario {
	return func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		w := newWorld(t, 2, f, shape...)
		w.Lag.Behind = behind
		w.settle()
		for _, step := range []edit{
			image("v2"),
			func(ds *appsv1beta1.DaemonSet) { ds.Spec.Template.Spec.Containers[0].Command = []string{"other"} },
		} {
			w.change(step)
			w.settle()
		}
		// The pod of a node that is gone goes whatever the limits say, and the new node's may come before that.
		w.Oracle.SetLimits(t, testkit.Limits{Replicas: 2, MaxUnavailable: 1, MaxSurge: 1})
		w.join(2)
		if err := w.Env.Client.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.name(0)}}); err != nil {
			t.Fatal(err)
		}
		w.nodes--
		f.Stop()
		w.Lag.Behind = 0
		w.Until(func() error {
			on := map[string]bool{}
			for _, p := range w.pods() {
				on[nodeOf(&p)] = p.DeletionTimestamp == nil
			}
			if s := w.Get().Status; s.NumberAvailable != 2 || on[w.name(0)] || !on[w.name(1)] || !on[w.name(2)] {
				return fmt.Errorf("status %+v, pods %s", s, w.describe())
			}
			return nil
		})
		w.Oracle.Done(t)
	}
}

// Each write of a set's life goes wrong in each way that there is.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string]edit{"one away": func(*appsv1beta1.DaemonSet) {}, "in place": inPlace, "one more": surging} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.Matrix(t, life(0, shape))
		})
	}
}

// Many writes go wrong, while the cache shows everything a few events late.
func TestRandomFaultsWithALaggingCache(t *testing.T) {
	t.Parallel()
	for _, behind := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("%d events behind", behind), func(t *testing.T) {
			t.Parallel()
			testkit.RandomMatrix(t, 4, 0.2, life(behind, surging))
		})
	}
}
