package broadcastjob

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// job is a BroadcastJob that began a minute ago, changed by the overrides.
func job(overrides ...func(*appsv1beta1.BroadcastJob)) *appsv1beta1.BroadcastJob {
	j := &appsv1beta1.BroadcastJob{
		ObjectMeta: metav1.ObjectMeta{Name: "scan", Namespace: "default", Generation: 1, UID: "uid"},
		Spec: appsv1beta1.BroadcastJobSpec{
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "main", Image: "registry.local/scan:v1"}},
			}},
		},
		Status: appsv1beta1.BroadcastJobStatus{StartTime: ptr.To(metav1.NewTime(testkit.Epoch))},
	}
	Default(j)
	for _, override := range overrides {
		override(j)
	}
	return j
}

func parallelism(text string) func(*appsv1beta1.BroadcastJob) {
	return func(j *appsv1beta1.BroadcastJob) { j.Spec.Parallelism = ptr.To(intstr.Parse(text)) }
}

func policy(p appsv1beta1.FailurePolicyType) func(*appsv1beta1.BroadcastJob) {
	return func(j *appsv1beta1.BroadcastJob) { j.Spec.FailurePolicy.Type = p }
}

func limit(restarts int32) func(*appsv1beta1.BroadcastJob) {
	return func(j *appsv1beta1.BroadcastJob) { j.Spec.FailurePolicy.RestartLimit = restarts }
}

func deadlineOf(seconds int64) func(*appsv1beta1.BroadcastJob) {
	return func(j *appsv1beta1.BroadcastJob) { j.Spec.CompletionPolicy.ActiveDeadlineSeconds = &seconds }
}

func paused(j *appsv1beta1.BroadcastJob) { j.Spec.Paused = true }

func endless(j *appsv1beta1.BroadcastJob) {
	j.Spec.CompletionPolicy.Type = appsv1beta1.CompletionPolicyNever
}

func finished(kind appsv1beta1.JobConditionType) func(*appsv1beta1.BroadcastJob) {
	return func(j *appsv1beta1.BroadcastJob) {
		j.Status.Conditions = []appsv1beta1.JobCondition{{Type: kind, Status: corev1.ConditionTrue, Reason: "Earlier"}}
	}
}

// cluster reads nodes from words: a name, then t for a NoSchedule taint, x for a NoExecute taint, d for a node that does not answer.
func cluster(words string) []corev1.Node {
	var nodes []corev1.Node
	for word := range strings.FieldsSeq(words) {
		name, marks, _ := strings.Cut(word, "/")
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for _, mark := range marks {
			n.Spec.Taints = append(n.Spec.Taints, map[rune][]corev1.Taint{
				't': {{Key: "busy", Effect: corev1.TaintEffectNoSchedule}},
				'x': {{Key: "busy", Effect: corev1.TaintEffectNoExecute}},
				'd': {
					{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule},
					{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute},
				},
			}[mark]...)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// observed is the state with pods of the shorthand. After a colon follow ok for one that has succeeded, bad for one that
// has failed, or the number of its restarts.
func observed(t *testing.T, words string) workload.State {
	t.Helper()
	state := workload.NewState(&metav1.ObjectMeta{Name: "scan", UID: "uid"})
	state.Update = &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "v1"}}
	state.Current, state.History = state.Update, []*appsv1.ControllerRevision{state.Update}
	state.Paths = map[string]workload.Path{"v1": {}}
	var pods []*corev1.Pod
	for word := range strings.FieldsSeq(words) {
		text, fate, _ := strings.Cut(word, ":")
		p := testkit.Pods(t, text)[0]
		switch fate {
		case "":
		case "ok":
			p.Status.Phase = corev1.PodSucceeded
		case "bad":
			p.Status.Phase = corev1.PodFailed
		default:
			p.Status.ContainerStatuses[0].RestartCount = int32(fate[0] - '0')
		}
		pods = append(pods, p)
	}
	state.Divide(pods, func(p *corev1.Pod) (workload.Member, bool) {
		return workload.NewMember(p, 0, testkit.Epoch), true
	})
	return state
}

// told writes an outcome and a plan in words.
func told(o outcome, t tally, plan workload.Plan) string {
	var words []string
	for _, s := range plan.Steps {
		words = append(words, fmt.Sprintf("%s %s", s.Change.Verb, s.Change.Member.Pod.Name))
	}
	for _, b := range plan.Births {
		words = append(words, "create on "+b.Key)
	}
	for _, h := range plan.Held {
		words = append(words, fmt.Sprintf("hold %s: %s", h.Change.Key, h.Reason))
	}
	for _, m := range t.spent {
		words = append(words, "halt "+m.Pod.Name)
	}
	slices.Sort(words)
	text := fmt.Sprintf("%s %d/%d/%d", o.phase, t.desired, t.succeeded, t.failed)
	return strings.Join(append([]string{text}, words...), "; ")
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		reason, nodes, pods string
		job                 *appsv1beta1.BroadcastJob
		after               time.Duration
		want                string
	}{
		{reason: "every node runs a pod", nodes: "n1 n2", job: job(), want: "running 2/0/0; create on n1; create on n2"},
		{
			reason: "one that has ended is not run again", nodes: "n1 n2 n3", pods: "a/v1@n1:ok b/v1@n2", job: job(),
			want: "running 3/1/0; create on n3",
		},
		{reason: "no node fits", nodes: "n1/x n2/t", job: job(), want: "running 0/0/0"},
		{reason: "all are done", nodes: "n1 n2", pods: "a/v1@n1:ok b/v1@n2:ok", job: job(), want: "completed 2/2/0"},
		{
			reason: "a node that is tainted later counts where it has a pod", nodes: "n1/t n2/t", pods: "a/v1@n1", job: job(),
			want: "running 1/0/0",
		},
		{
			reason: "what runs on a node that has left is stopped, what ran there does not count", nodes: "n1", pods: "a/v1@n1 b/v1@n2 c/v1@n3:ok",
			job: job(), want: "running 1/0/0; delete b",
		},
		{
			reason: "never two pods on one node: the terminating one goes first", nodes: "n1 n2", pods: "a/v1~@n1", job: job(),
			want: "running 2/0/0; create on n2; hold n1: Termination",
		},
		{
			reason: "some at a time", nodes: "n1 n2 n3", pods: "a/v1@n1", job: job(parallelism("2")),
			want: "running 3/0/0; create on n2; hold n3: ScaleStrategy",
		},
		{
			reason: "terminating pods take part", nodes: "n1 n2 n3", pods: "a/v1~@n1", job: job(parallelism("1")),
			want: "running 3/0/0; hold n1: ScaleStrategy; hold n2: ScaleStrategy; hold n3: ScaleStrategy",
		},
		{
			reason: "but not for ever: their node may be dead", nodes: "n1/d n2 n3", pods: "a/v1~@n1", after: time.Hour,
			job: job(parallelism("1")), want: "running 2/0/0; create on n2; hold n3: ScaleStrategy",
		},
		{
			reason: "a node that does not answer keeps its pod for now", nodes: "n1/d n2", pods: "a/v1@n1 b/v1@n2:ok", job: job(),
			want: "running 2/1/0",
		},
		{
			reason: "until Kubernetes takes it away: then the job ends without that node", nodes: "n1/d n2", pods: "a/v1~@n1 b/v1@n2:ok",
			job: job(), want: "completed 1/1/0",
		},
		{
			reason: "what it has ended counts", nodes: "n1/d n2", pods: "a/v1@n1:ok b/v1@n2:ok", job: job(), want: "completed 2/2/0",
		},
		{reason: "it gets no pod", nodes: "n1/d n2", job: job(), want: "running 1/0/0; create on n2"},
		{
			reason: "a part of the nodes, rounded up", nodes: "n1 n2 n3", job: job(parallelism("34%")),
			want: "running 3/0/0; create on n1; create on n2; hold n3: ScaleStrategy",
		},
		{reason: "none at all", nodes: "n1", job: job(parallelism("0")), want: "running 1/0/0; hold n1: ScaleStrategy"},
		{
			reason: "paused: those that run go on", nodes: "n1 n2", pods: "a/v1@n1", job: job(paused),
			want: "paused 2/0/0; hold n2: Paused",
		},
		{reason: "paused, and nothing is left to do", nodes: "n1", pods: "a/v1@n1:ok", job: job(paused), want: "completed 1/1/0"},
		{
			reason: "FailFast: a failed pod ends the job", nodes: "n1 n2 n3", pods: "a/v1@n1:bad b/v1@n2", job: job(),
			want: "failed 3/0/1; delete b",
		},
		{
			reason: "Continue: the others go on", nodes: "n1 n2 n3", pods: "a/v1@n1:bad b/v1@n2",
			job: job(policy(appsv1beta1.FailurePolicyContinue)), want: "running 3/0/1; create on n3",
		},
		{
			reason: "and the job completes", nodes: "n1 n2", pods: "a/v1@n1:bad b/v1@n2:ok",
			job: job(policy(appsv1beta1.FailurePolicyContinue)), want: "completed 2/1/1",
		},
		{
			reason: "Pause: no further pods", nodes: "n1 n2 n3", pods: "a/v1@n1:bad b/v1@n2",
			job: job(policy(appsv1beta1.FailurePolicyPause)), want: "paused 3/0/1; hold n3: Paused",
		},
		{
			reason: "until the failed one is deleted", nodes: "n1 n2 n3", pods: "b/v1@n2",
			job: job(policy(appsv1beta1.FailurePolicyPause)), want: "running 3/0/0; create on n1; create on n3",
		},
		{reason: "restarts within the limit", nodes: "n1", pods: "a/v1@n1:2", job: job(limit(2)), want: "running 1/0/0"},
		{
			reason: "and beyond it: the pod has failed, and is stopped where it is", nodes: "n1 n2", pods: "a/v1@n1:3 b/v1@n2",
			job: job(limit(2)), want: "failed 2/0/1; delete b; halt a",
		},
		{
			reason: "others go on there, too", nodes: "n1 n2", pods: "a/v1@n1:3 b/v1@n2",
			job: job(limit(2), policy(appsv1beta1.FailurePolicyContinue)), want: "running 2/0/1; halt a",
		},
		{
			reason: "the deadline", nodes: "n1 n2", pods: "a/v1@n1:ok b/v1@n2", job: job(deadlineOf(30)), after: 30 * time.Second,
			want: "failed 2/1/0; delete b",
		},
		{
			reason: "which is no matter when all is done", nodes: "n1", pods: "a/v1@n1:ok", job: job(deadlineOf(30)), after: time.Hour,
			want: "completed 1/1/0",
		},
		{
			reason: "it also ends a job that no node fits", nodes: "n1/x", job: job(deadlineOf(30)), after: time.Hour, want: "failed 0/0/0",
		},
		{
			reason: "not before", nodes: "n1", pods: "a/v1@n1", job: job(deadlineOf(30)), after: 29 * time.Second, want: "running 1/0/0",
		},
		{
			reason: "Never: the job goes on for new nodes", nodes: "n1 n2", pods: "a/v1@n1:ok", job: job(endless, deadlineOf(1)),
			after: time.Hour, want: "running 2/1/0; create on n2",
		},
		{reason: "Never: and waits for them", nodes: "n1", pods: "a/v1@n1:ok", job: job(endless), want: "running 1/1/0"},
		{
			reason: "Never and FailFast: stopped, until somebody has looked", nodes: "n1 n2 n3", pods: "a/v1@n1:bad b/v1@n2", job: job(endless),
			want: "failed 3/0/1; delete b",
		},
		{
			reason: "a job that has ended starts nothing", nodes: "n1 n2", pods: "a/v1@n1:ok", job: job(finished(appsv1beta1.JobComplete)),
			want: " 2/1/0",
		},
		{
			reason: "and stops what still runs", nodes: "n1 n2", pods: "a/v1@n1", job: job(finished(appsv1beta1.JobFailed)),
			want: " 2/0/0; delete a",
		},
		{
			reason: "a pod of a former template is left alone", nodes: "n1 n2", pods: "a/v0@n1", job: job(),
			want: "running 2/0/0; create on n2",
		},
		{reason: "a second pod on a node that is done goes", nodes: "n1", pods: "a/v1@n1:ok b/v1@n1", job: job(), want: "completed 1/1/0; delete b"},
		{reason: "and one of two that run", nodes: "n1", pods: "a/v1@n1 b/v1@n1", job: job(), want: "running 1/0/0; delete b"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			state, now := observed(t, test.pods), testkit.Epoch.Add(test.after)
			counted, err := look(test.job, cluster(test.nodes), state, now)
			if err != nil {
				t.Fatal(err)
			}
			o := conclude(test.job, counted, now)
			plan, err := decide(test.job, state, counted, o, now)
			if err != nil {
				t.Fatal(err)
			}
			if got := told(o, counted, plan); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}
