package broadcastjob_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/broadcastjob"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

type edit = func(job *appsv1beta1.BroadcastJob)

// world is one BroadcastJob on a real API server, with Node objects of its own and pretended kubelets.
type world struct {
	*testkit.World[*appsv1beta1.BroadcastJob]

	// fate of a pod that runs, by its node: how it ends. A node without one lets it run on.
	fate map[string]corev1.PodPhase
	// most is the largest number of pods that ran at a time.
	most int
}

// newWorld makes so many nodes, n0, n1 ..., whose pods succeed, and the job.
func newWorld(t *testing.T, nodes int, faults *testkit.Faults, edits ...edit) *world {
	t.Helper()
	w := &world{World: testkit.NewWorld[*appsv1beta1.BroadcastJob](t, faults), fate: map[string]corev1.PodPhase{}}
	w.Index(workload.Index)
	for i := range nodes {
		w.join(i)
	}
	job := &appsv1beta1.BroadcastJob{
		ObjectMeta: metav1.ObjectMeta{Name: "scan"},
		Spec: appsv1beta1.BroadcastJobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"test": w.Namespace},
			Containers:   []corev1.Container{{Name: "main", Image: "registry.local/scan:v1"}},
		}}},
	}
	for _, change := range edits {
		change(job)
	}
	broadcastjob.Default(job)
	w.Create(job)
	w.Runs(func(c client.Client) reconcile.Room[*appsv1beta1.BroadcastJob] {
		return broadcastjob.New(workload.Deps{Client: c, Live: w.Env.Client, Position: w.Lag, Clock: w.Clock})
	})
	w.Each = w.watch
	return w
}

func (w *world) name(i int) string { return fmt.Sprintf("%s-n%d", w.Namespace, i) }

// join makes node i, whose pods succeed.
func (w *world) join(i int) {
	w.T.Helper()
	w.Env.Node(w.T, w.name(i), map[string]string{"test": w.Namespace})
	w.fate[w.name(i)] = corev1.PodSucceeded
}

// watch fails the test when a node runs the pod twice at a time, or again, and lets pods meet their fate.
func (w *world) watch() {
	w.T.Helper()
	on, running := map[string]string{}, 0
	for _, p := range w.Pods() {
		at := nodeOf(&p)
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if other := on[at]; other != "" {
			w.T.Errorf("node %s has the pods %s and %s", at, other, p.Name)
		}
		on[at] = p.Name
		if ended {
			continue
		}
		running++
		if p.Status.Phase == corev1.PodRunning && w.fate[at] != "" && p.DeletionTimestamp == nil {
			w.end(&p, w.fate[at])
		}
	}
	w.most = max(w.most, running)
}

func (w *world) end(p *corev1.Pod, how corev1.PodPhase) {
	w.T.Helper()
	changed := p.DeepCopy()
	changed.Status.Phase = how
	err := w.Env.Client.Status().Update(w.T.Context(), changed)
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		w.T.Fatal(err)
	}
}

func nodeOf(p *corev1.Pod) string {
	return p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values[0]
}

// until runs until the status reads so, and nothing moves: phase, desired/active/succeeded/failed.
func (w *world) until(want string) {
	w.T.Helper()
	w.Settle(func(job *appsv1beta1.BroadcastJob) error {
		if got := told(job); got != want {
			return fmt.Errorf("the job is %q, want %q; pods %s; %+v", got, want, w.describe(), job.Status.Held)
		}
		return nil
	})
}

func told(job *appsv1beta1.BroadcastJob) string {
	s := job.Status
	return fmt.Sprintf("%s %d/%d/%d/%d", s.Phase, s.Desired, s.Active, s.Succeeded, s.Failed)
}

func (w *world) describe() string {
	var words []string
	for _, p := range w.Pods() {
		words = append(words, fmt.Sprintf("%s@%s %s", p.Name, nodeOf(&p), p.Status.Phase))
	}
	return strings.Join(words, "; ")
}

// says returns the message of a condition that is True, or "".
func says(job *appsv1beta1.BroadcastJob, kind appsv1beta1.JobConditionType) string {
	for _, c := range job.Status.Conditions {
		if c.Type == kind && c.Status == corev1.ConditionTrue {
			return c.Reason + ": " + c.Message
		}
	}
	return ""
}

func policy(p appsv1beta1.FailurePolicyType) edit {
	return func(job *appsv1beta1.BroadcastJob) { job.Spec.FailurePolicy.Type = p }
}

func endless(job *appsv1beta1.BroadcastJob) {
	job.Spec.CompletionPolicy.Type = appsv1beta1.CompletionPolicyNever
}

func TestOnePodPerNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4, nil, func(job *appsv1beta1.BroadcastJob) { job.Spec.Parallelism = ptr.To(intstr.FromInt32(2)) })
	w.until("completed 4/0/4/0")
	job := w.Get()
	if says(job, "Complete") == "" || says(job, "Ready") == "" || job.Status.StartTime == nil || job.Status.CompletionTime == nil {
		t.Errorf("the status is %+v", job.Status)
	}
	if len(w.Pods()) != 4 || w.most > 2 {
		t.Errorf("%d pods on 4 nodes, %d at a time, want 2: %s", len(w.Pods()), w.most, w.describe())
	}
	for _, p := range w.Pods() {
		if p.Labels[appsv1beta1.BroadcastJobName] != "scan" || p.Labels[appsv1beta1.BroadcastJobControllerUID] != string(job.UID) {
			t.Errorf("pod %s has the labels %v", p.Name, p.Labels)
		}
	}
	w.join(4)
	w.until("completed 4/0/4/0") // a job that has ended is not for new nodes
}

// A name may be as long as a label value may: jobs of a schedule add its time to a name that is long already.
func TestALongName(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("scan-", 12) + "all"
	w := newWorld(t, 1, nil, func(j *appsv1beta1.BroadcastJob) { j.Name = name })
	w.until("completed 1/0/1/0")
	if pods := w.Pods(); len(name) != 63 || len(pods) != 1 || pods[0].Labels[appsv1beta1.BroadcastJobName] != name || !strings.HasPrefix(pods[0].Name, name+"-") {
		t.Errorf("got %s", w.describe())
	}
}

func TestFailFast(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, nil)
	w.fate[w.name(0)], w.fate[w.name(1)] = corev1.PodFailed, ""
	w.until("failed 3/0/1/1")
	job := w.Get()
	if !strings.HasPrefix(says(job, "Failed"), "PodFailed: pod scan-") || says(job, "Stalled") == "" {
		t.Errorf("the conditions are %+v", job.Status.Conditions)
	}
	if len(w.Pods()) != 2 {
		t.Errorf("the pod that was running should be gone: %s", w.describe())
	}
}

func TestContinueAndTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, nil, policy(appsv1beta1.FailurePolicyContinue), func(job *appsv1beta1.BroadcastJob) {
		job.Spec.CompletionPolicy.TTLSecondsAfterFinished = ptr.To[int32](600)
	})
	w.fate[w.name(0)] = corev1.PodFailed
	w.until("completed 3/0/2/1")
	w.Clock.Step(10 * time.Minute)
	if err := w.Pass(t); err != nil {
		t.Fatal(err)
	}
	var job appsv1beta1.BroadcastJob
	if err := w.Env.Client.Get(t.Context(), w.Key, &job); !apierrors.IsNotFound(err) {
		t.Errorf("after its time the job is still there (%v)", err)
	}
}

func TestAJobThatIsNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, nil, func(job *appsv1beta1.BroadcastJob) { job.Spec.CompletionPolicy.TTLSecondsAfterFinished = new(int32) })
	for range 20 {
		if err := w.Pass(t); err != nil {
			t.Log(err)
		}
		if _, err := w.Kubelet.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Clock.Step(time.Second)
	}
	var job appsv1beta1.BroadcastJob
	if err := w.Env.Client.Get(t.Context(), w.Key, &job); !apierrors.IsNotFound(err) {
		t.Errorf("the job is still there: %s (%v)", told(&job), err)
	}
}

func TestATemplateThatNeverEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, nil, func(job *appsv1beta1.BroadcastJob) { job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways })
	if err := w.Pass(t); err != nil {
		t.Log(err)
	}
	if got := says(w.Get(), "Stalled"); !strings.Contains(got, "restartPolicy is Always") || len(w.Pods()) != 0 {
		t.Errorf("the condition says %q, pods: %s", got, w.describe())
	}
}

func TestPauseAndTryAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, nil, policy(appsv1beta1.FailurePolicyPause), func(job *appsv1beta1.BroadcastJob) {
		job.Spec.Parallelism = ptr.To(intstr.FromInt32(1))
	})
	w.fate[w.name(0)] = corev1.PodFailed
	w.until("paused 2/0/0/1")
	if held := w.Get().Status.Held; len(held) != 1 || held[0].Reason != appsv1beta1.HeldByPaused {
		t.Errorf("held is %+v", held)
	}
	w.fate[w.name(0)] = corev1.PodSucceeded
	failed := w.Pods()[0]
	if err := w.Env.Client.Delete(t.Context(), &failed, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	w.until("completed 2/0/2/0")
}

func TestPaused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, nil, func(job *appsv1beta1.BroadcastJob) { job.Spec.Paused = true })
	w.until("paused 2/0/0/0")
	w.Change(func(job *appsv1beta1.BroadcastJob) { job.Spec.Paused = false })
	w.until("completed 2/0/2/0")
}

func TestNeverEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, nil, endless)
	w.until("running 1/0/1/0")
	if says(w.Get(), "Ready") == "" || says(w.Get(), "Complete") != "" {
		t.Errorf("the conditions are %+v", w.Get().Status.Conditions)
	}
	w.join(1)
	w.until("running 2/0/2/0")
	var node corev1.Node
	if err := w.Env.Client.Get(t.Context(), client.ObjectKey{Name: w.name(0)}, &node); err != nil {
		t.Fatal(err)
	}
	node.Spec.Unschedulable = true
	if err := w.Env.Client.Update(t.Context(), &node); err != nil {
		t.Fatal(err)
	}
	w.until("running 2/0/2/0") // what ran there counts
	if len(w.Pods()) != 2 {
		t.Errorf("nothing is run twice: %s", w.describe())
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, nil, func(job *appsv1beta1.BroadcastJob) {
		job.Spec.CompletionPolicy.ActiveDeadlineSeconds = ptr.To[int64](300)
	})
	w.fate[w.name(0)] = ""
	w.until("running 2/1/1/0")
	w.Clock.Step(5 * time.Minute)
	w.until("failed 2/0/1/0")
	if !strings.HasPrefix(says(w.Get(), "Failed"), "DeadlineExceeded") {
		t.Errorf("the conditions are %+v", w.Get().Status.Conditions)
	}
}

func TestRestartLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, nil, policy(appsv1beta1.FailurePolicyContinue), func(job *appsv1beta1.BroadcastJob) {
		job.Spec.FailurePolicy.RestartLimit = 2
	})
	w.fate[w.name(0)] = ""
	for restarts, want := range []string{"running 1/1/0/0", "running 1/1/0/0", "running 1/1/0/0", "completed 1/0/0/1"} {
		if restarts > 0 {
			p := w.Pods()[0]
			p.Status.ContainerStatuses[0].RestartCount = int32(restarts)
			if err := w.Env.Client.Status().Update(t.Context(), &p); err != nil {
				t.Fatal(err)
			}
		}
		w.until(want)
	}
	if p := w.Pods()[0]; ptr.Deref(p.Spec.ActiveDeadlineSeconds, 0) != 1 {
		t.Errorf("the kubelet is not told to stop pod %s", p.Name)
	}
}

func TestAPodThatIsDeletedIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, nil)
	w.fate[w.name(0)] = ""
	w.until("running 1/1/0/0")
	first := w.Pods()[0]
	if err := w.Env.Client.Delete(t.Context(), &first); err != nil {
		t.Fatal(err)
	}
	w.fate[w.name(0)] = corev1.PodSucceeded
	w.until("completed 1/0/1/0")
	if second := w.Pods()[0]; second.UID == first.UID {
		t.Error("the deleted pod counts")
	}
}

func TestNoNodeFits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0, nil)
	w.until("running 0/0/0/0")
	if says(w.Get(), "NoMatchingNodes") == "" {
		t.Errorf("nobody says so: %+v", w.Get().Status.Conditions)
	}
	w.join(0)
	w.until("completed 1/0/1/0")
}

// life takes a job to its end, over a node that leaves and one that joins.
func life(behind int) testkit.Scenario {
	return func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		w := newWorld(t, 3, f, policy(appsv1beta1.FailurePolicyContinue), endless, func(job *appsv1beta1.BroadcastJob) {
			job.Spec.Parallelism = ptr.To(intstr.FromInt32(2))
		})
		w.Lag.Behind = behind
		w.fate[w.name(0)], w.fate[w.name(1)] = "", corev1.PodFailed
		w.until("running 3/1/1/1")
		if err := w.Env.Client.Delete(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.name(0)}}); err != nil {
			t.Fatal(err)
		}
		w.join(3)
		w.until("running 3/0/2/1")
		f.Stop()
		w.Lag.Behind = 0
		w.until("running 3/0/2/1")
		if len(w.Pods()) != 3 || w.most > 2 {
			t.Errorf("%d pods on 3 nodes, %d at a time, want 2: %s", len(w.Pods()), w.most, w.describe())
		}
	}
}

// Each write of a job's life goes wrong in each way that there is.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	testkit.Matrix(t, life(0))
}

// Many writes go wrong, while the cache shows everything a few events late.
func TestRandomFaultsWithALaggingCache(t *testing.T) {
	t.Parallel()
	for _, behind := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("%d events behind", behind), func(t *testing.T) {
			t.Parallel()
			testkit.RandomMatrix(t, 4, 0.2, life(behind))
		})
	}
}
