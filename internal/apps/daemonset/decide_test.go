package daemonset

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

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// parse reads "3", "20%" or "", which is unset.
func parse(text string) *intstr.IntOrString {
	if text == "" {
		return nil
	}
	v := intstr.Parse(text)
	return &v
}

// set is a DaemonSet changed by the overrides.
func set(overrides ...func(*appsv1beta1.DaemonSet)) *appsv1beta1.DaemonSet {
	labels := map[string]string{"app": "agent"}
	ds := &appsv1beta1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "agent", Namespace: "default", Generation: 1},
		Spec: appsv1beta1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.local/agent:v1"}}},
			},
		},
	}
	for _, override := range overrides {
		override(ds)
	}
	return ds
}

func rolling(change func(r *appsv1beta1.RollingUpdateDaemonSet)) func(*appsv1beta1.DaemonSet) {
	return func(ds *appsv1beta1.DaemonSet) {
		if ds.Spec.UpdateStrategy.RollingUpdate == nil {
			ds.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateDaemonSet{}
		}
		change(ds.Spec.UpdateStrategy.RollingUpdate)
	}
}

func partition(text string) func(*appsv1beta1.DaemonSet) {
	return rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) { r.Partition = parse(text) })
}

func away(text string) func(*appsv1beta1.DaemonSet) {
	return rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) { r.MaxUnavailable = parse(text) })
}

func surge(text string) func(*appsv1beta1.DaemonSet) {
	return rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) { r.MaxSurge = parse(text) })
}

func inPlace(ds *appsv1beta1.DaemonSet) {
	rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) { r.Type = appsv1beta1.InplaceRollingUpdateType })(ds)
}

func canaries(ds *appsv1beta1.DaemonSet) {
	rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) {
		r.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"canary": "yes"}}
	})(ds)
}

func partitionedScaling(ds *appsv1beta1.DaemonSet) {
	ds.Spec.ScaleStrategy = &appsv1beta1.DaemonSetScaleStrategy{PartitionedScaling: true}
}

// cluster reads nodes from words: a name, then c for a canary, t for a NoSchedule taint, x for a NoExecute taint.
func cluster(words string) []corev1.Node {
	var nodes []corev1.Node
	for word := range strings.FieldsSeq(words) {
		name, marks, _ := strings.Cut(word, "/")
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
		for _, mark := range marks {
			switch mark {
			case 'c':
				n.Labels["canary"] = "yes"
			case 't':
				n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "busy", Effect: corev1.TaintEffectNoSchedule})
			case 'x':
				n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "broken", Effect: corev1.TaintEffectNoExecute})
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// observed is the state with pods of the shorthand; the update revision is v2, the current one as given.
func observed(t testing.TB, current, pods string) workload.State {
	t.Helper()
	state := workload.NewState(&metav1.ObjectMeta{Name: "agent", UID: "uid"})
	state.Update = &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "v2"}}
	state.Current = &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: current}}
	state.History = []*appsv1.ControllerRevision{state.Current, state.Update}
	image := inplace.Delta{Images: map[string]string{"main": "registry.local/agent:v2"}}
	state.Paths = map[string]workload.Path{"v1": {Delta: image}, "v2": {}}
	state.Divide(testkit.Pods(t, pods), func(p *corev1.Pod) (workload.Member, bool) {
		return workload.NewMember(p, 0, testkit.Epoch.Add(time.Hour)), true
	})
	return state
}

// told writes a plan in words, in no particular order of equal things.
func told(plan workload.Plan) string {
	var words []string
	for _, s := range plan.Steps {
		if s.Change.Verb != workload.Refresh {
			words = append(words, fmt.Sprintf("%s %s", s.Change.Verb, s.Change.Member.Pod.Name))
		}
	}
	for _, b := range plan.Births {
		words = append(words, fmt.Sprintf("create %s on %s", b.Revision, b.Key))
	}
	for _, h := range plan.Held {
		who := "create on " + h.Change.Key
		if h.Change.Member != nil {
			who = h.Change.Member.Pod.Name
		}
		words = append(words, fmt.Sprintf("hold %s: %s", who, h.Reason))
	}
	slices.Sort(words)
	return strings.Join(words, "; ")
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		reason, nodes, pods, current string
		set                          *appsv1beta1.DaemonSet
		failed                       string // pods that have just failed
		want                         string
	}{
		{reason: "every node gets a pod", nodes: "n1 n2", set: set(), want: "create v2 on n1; create v2 on n2"},
		{reason: "and one only", nodes: "n1 n2", pods: "a/v2@n1 b/v2@n2", set: set()},
		{reason: "a node that is gone loses its pod", nodes: "n1", pods: "a/v2@n1 b/v2@n2", set: set(), want: "delete b"},
		{reason: "a pod that is on no node and for none goes", nodes: "n1", pods: "a/v2?", set: set(), want: "create v2 on n1; delete a"},
		{reason: "a taint keeps new pods away", nodes: "n1/t n2/x", set: set()},
		{reason: "and old ones only if it says so", nodes: "n1/t n2/x", pods: "a/v2@n1 b/v2@n2", set: set(), want: "delete b"},
		{
			reason: "a pod that may only stay stays as it is", nodes: "n1/t n2", pods: "a/v1@n1 b/v1@n2", set: set(),
			want: "hold a: Scheduling; replace b",
		},
		{reason: "of two pods on a node one goes", nodes: "n1", pods: "a/v2@n1 b/v2@n1", set: set(), want: "delete b"},
		{
			reason: "one may be away", nodes: "n1 n2 n3", pods: "a/v1@n1 b/v1@n2 c/v1@n3", set: set(),
			want: "hold a: Budget; hold b: Budget; replace c",
		},
		{
			reason: "or a part, rounded up", nodes: "n1 n2 n3", pods: "a/v1@n1 b/v1@n2 c/v1@n3", set: set(away("34%")),
			want: "hold a: Budget; replace b; replace c",
		},
		{
			reason: "a node without a pod counts as away", nodes: "n1 n2 n3", pods: "a/v1@n1 b/v1@n2", set: set(),
			want: "create v2 on n3; hold a: Budget; hold b: Budget",
		},
		{
			reason: "the place of a terminating pod is not free yet", nodes: "n1 n2", pods: "a/v1~@n1 b/v1@n2", set: set(),
			want: "hold b: Budget; hold create on n1: Termination",
		},
		{reason: "in place", nodes: "n1 n2", pods: "a/v1@n1 b/v1@n2", set: set(inPlace), want: "hold a: Budget; update b"},
		{
			reason: "a second pod beside the old one", nodes: "n1 n2", pods: "a/v1@n1 b/v1@n2", set: set(surge("1")),
			want: "create v2 on n2; hold a: Budget; hold b: Surge",
		},
		{
			reason: "takes over when it is available", nodes: "n1 n2", pods: "a/v1@n1 b/v1@n2 c/v2!@n2", set: set(surge("1")),
			want: "hold a: Budget; hold b: Surge",
		},
		{
			reason: "and the old one goes", nodes: "n1", pods: "b/v1@n1 c/v2@n1", set: set(surge("1")), want: "delete b",
		},
		{
			reason: "paused", nodes: "n1 n2", pods: "a/v1@n1", set: set(rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) { r.Paused = true })),
			want: "create v2 on n2; hold a: Paused",
		},
		{
			reason: "OnDelete", nodes: "n1 n2", pods: "a/v1@n1", want: "create v2 on n2; hold a: OnDelete",
			set: set(func(ds *appsv1beta1.DaemonSet) {
				ds.Spec.UpdateStrategy.Type = appsv1beta1.OnDeleteDaemonSetStrategyType
			}),
		},
		{
			reason: "the partition keeps nodes", nodes: "n1 n2 n3", pods: "a/v1@n1 b/v1@n2 c/v1@n3", set: set(partition("2")),
			want: "hold b: Partition; hold c: Partition; replace a",
		},
		{
			reason: "a part of them, rounded up", nodes: "n1 n2 n3", pods: "a/v1@n1 b/v1@n2 c/v1@n3", set: set(partition("50%")),
			want: "hold b: Partition; hold c: Partition; replace a",
		},
		{
			reason: "but below 100% at least one is updated", nodes: "n1 n2", pods: "a/v1@n1 b/v1@n2", set: set(partition("99%")),
			want: "hold b: Partition; replace a",
		},
		{
			reason: "those that are updated count", nodes: "n1 n2 n3", pods: "a/v1@n1 b/v1@n2 c/v2@n3", set: set(partition("2")),
			want: "hold a: Partition; hold b: Partition",
		},
		{
			reason: "and are never taken back", nodes: "n1 n2 n3", pods: "a/v1@n1 b/v2@n2 c/v2@n3", set: set(partition("3")),
			want: "hold a: Partition",
		},
		{
			reason: "a place that is empty between two pods gets the new one", nodes: "n1 n2 n3", pods: "a/v1@n1 c/v1@n3", set: set(partition("2")),
			want: "create v2 on n2; hold a: Partition; hold c: Partition",
		},
		{
			reason: "a kept place gets its pod back at the old revision", nodes: "n1 n2 n3", pods: "a/v2@n1 c/v1@n3", set: set(partition("2")),
			want: "create v1 on n2; hold c: Partition",
		},
		{
			reason: "the selector leaves nodes out", nodes: "n1 n2/c n3", pods: "a/v1@n1 b/v1@n2 c/v1@n3", set: set(canaries),
			want: "hold a: Partition; hold c: Partition; replace b",
		},
		{
			reason: "they count for the partition", nodes: "n1 n2/c n3/c", pods: "a/v1@n1 b/v1@n2 c/v1@n3", set: set(canaries, partition("2")),
			want: "hold a: Partition; hold c: Partition; replace b",
		},
		{
			reason: "first pods come to all nodes", nodes: "n1 n2 n3", current: "v2", set: set(partition("2"), canaries),
			want: "create v2 on n1; create v2 on n2; create v2 on n3",
		},
		{
			reason: "but where the partition holds for them, too", nodes: "n1 n2 n3", current: "v2", set: set(partition("2"), partitionedScaling),
			want: "create v2 on n1; hold create on n2: Partition; hold create on n3: Partition",
		},
		{
			reason: "further ones when it is lowered", nodes: "n1 n2 n3", current: "v2", pods: "b/v2@n2", set: set(partition("1"), partitionedScaling),
			want: "create v2 on n1; hold create on n3: Partition",
		},
		{
			reason: "a node whose pod failed waits", nodes: "n1 n2", failed: "a/v2@n1", set: set(),
			want: "create v2 on n2; hold create on n1: Container",
		},
		{
			reason: "but not for another revision, which may be the cure", nodes: "n1 n2", failed: "a/v1@n1", set: set(),
			want: "create v2 on n1; create v2 on n2",
		},
		{
			reason: "in bursts", nodes: "n1 n2 n3", set: set(func(ds *appsv1beta1.DaemonSet) { ds.Spec.BurstReplicas = parse("2") }),
			want: "create v2 on n1; create v2 on n2; hold create on n3: ScaleStrategy",
		},
		{
			reason: "deletions, too", nodes: "n9", pods: "a/v2@n1 b/v2@n2 c/v2@n9",
			set:  set(func(ds *appsv1beta1.DaemonSet) { ds.Spec.BurstReplicas = parse("1%") }),
			want: "delete b; hold a: ScaleStrategy",
		},
		{
			reason: "a pod named to go is made again", nodes: "n1 n2", pods: "a/v2*@n1 b/v2@n2", set: set(), want: "replace a",
		},
		{
			reason: "kept nodes keep their revision also then", nodes: "n1 n2", pods: "a/v1*@n1 b/v1@n2", set: set(partition("2")),
			want: "hold b: Partition; replace a",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if test.current == "" {
				test.current = "v1"
			}
			state := observed(t, test.current, test.pods)
			state.Gone = append(state.Gone, failed(t, test.failed)...)
			s, err := look(test.set, cluster(test.nodes), state, failures(state.Gone, seen(testkit.Epoch), testkit.Epoch))
			if err != nil {
				t.Fatal(err)
			}
			plan, err := decide(test.set, state, s, testkit.Epoch.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if got := told(plan); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		reason, away, surge string
		paused              bool
		want                workload.Limits
	}{
		{"one may be away", "", "", false, workload.Limits{Unavailable: 1}},
		{"none where there is a surge", "", "1", false, workload.Limits{Surge: 1}},
		{"percentages round up", "11%", "", false, workload.Limits{Unavailable: 2}},
		{"of the surge, too", "0", "11%", false, workload.Limits{Surge: 2}},
		{"both 0: nothing would move, so one may be missing", "0", "0", false, workload.Limits{Unavailable: 1}},
		{"paused there is no surge", "0", "2", true, workload.Limits{}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			test.want.Starting = -1
			got, err := limitsOf(appsv1beta1.RollingUpdateDaemonSet{
				MaxUnavailable: parse(test.away), MaxSurge: parse(test.surge), Paused: test.paused,
			}, 10)
			if err != nil || got != test.want {
				t.Errorf("got %+v (%v), want %+v", got, err, test.want)
			}
		})
	}
}
