package order

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func names(pods []*corev1.Pod) string {
	all := make([]string, 0, len(pods))
	for _, p := range pods {
		all = append(all, p.Name)
	}
	return strings.Join(all, " ")
}

// on changes the pod of that name.
func on(name string, change func(p *corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if p.Name == name {
			change(p)
		}
	}
}

func label(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

func cost(value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: value} }
}

func readyAt(d time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for i := range p.Status.Conditions {
			p.Status.Conditions[i].LastTransitionTime = metav1.NewTime(testkit.Epoch.Add(d))
		}
	}
}

func TestLeastMissed(t *testing.T) {
	for _, test := range []struct {
		reason, pods string
		change       func(*corev1.Pod)
		want         string
	}{
		{"the youngest first", "a/v1@n1 b/v1@n2 c/v1@n3", nil, "c b a"},
		{"on no node before not ready", "a/v1! b/v1? c/v1", nil, "b a c"},
		{"pending on a node before running", "a/v1 b/v1", on("a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }), "a b"},
		{"a pod on a node that is not heard of before a running one", "a/v1 b/v1", on("a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodUnknown }), "a b"},
		{"marked unavailable before not ready", "a/v1 b/v1!", on("a", label("unavailable-pod.kruise.io/x", "")), "a b"},
		{"not ready before ready", "a/v1! b/v1", nil, "a b"},
		{"cheap before dear", "a/v1 b/v1", on("b", cost("5")), "a b"},
		{"a negative cost before none", "a/v1 b/v1", on("a", cost("-5")), "a b"},
		{"not ready before cheap", "a/v1! b/v1", on("b", cost("-5")), "a b"},
		{"from the fuller node first", "a/v1@n1 b/v1@n1 c/v1@n2", nil, "b c a"},
		{"cheap before crowded", "a/v1@n1 b/v1@n1 c/v1@n2", on("c", cost("-1")), "c b a"},
		{"ready for a shorter time first", "a/v1@n1 b/v1@n2", on("a", readyAt(time.Minute)), "a b"},
		{"more restarts first", "a/v1@n1 b/v1@n2", func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: map[string]int32{"a": 3}[p.Name]}}
		}, "a b"},
		{"a tie is settled by name", "b/v1@n1 a/v1@n2", func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(testkit.Epoch) }, "a b"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			pods := testkit.Pods(t, test.pods)
			for _, p := range pods {
				if test.change != nil {
					test.change(p)
				}
			}
			before := names(pods)
			for range 5 { // the order of the list must not matter
				rand.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
				if got := names(Sort(pods, LeastMissed(pods))); got != test.want {
					t.Errorf("pods %s: got %q, want %q", before, got, test.want)
				}
			}
		})
	}
}

func TestPriority(t *testing.T) {
	weigh := func(weight int32, key, value string) appsv1beta1.UpdatePriorityWeightTerm {
		return appsv1beta1.UpdatePriorityWeightTerm{Weight: weight, MatchSelector: metav1.LabelSelector{MatchLabels: map[string]string{key: value}}}
	}
	keys := func(keys ...string) *appsv1beta1.UpdatePriorityStrategy {
		s := &appsv1beta1.UpdatePriorityStrategy{}
		for _, key := range keys {
			s.OrderPriority = append(s.OrderPriority, appsv1beta1.UpdatePriorityOrderTerm{OrderedKey: key})
		}
		return s
	}
	// Labels of pods a, b, c, d: "a:x=1,y=2 b:x=1".
	labelled := func(text string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			for word := range strings.FieldsSeq(text) {
				name, labels, _ := strings.Cut(word, ":")
				for pair := range strings.SplitSeq(labels, ",") {
					if key, value, _ := strings.Cut(pair, "="); name == p.Name {
						p.Labels[key] = value
					}
				}
			}
		}
	}
	for _, test := range []struct {
		reason   string
		strategy *appsv1beta1.UpdatePriorityStrategy
		labels   string
		want     string
	}{
		{"none", nil, "", "a b c d"},
		{
			"the heavier first", &appsv1beta1.UpdatePriorityStrategy{WeightPriority: []appsv1beta1.UpdatePriorityWeightTerm{weigh(10, "x", "1")}},
			"c:x=1", "c a b d",
		},
		{"weights add up", &appsv1beta1.UpdatePriorityStrategy{WeightPriority: []appsv1beta1.UpdatePriorityWeightTerm{
			weigh(10, "x", "1"), weigh(20, "y", "1"), weigh(15, "z", "1"),
		}}, "a:z=1 b:x=1 c:y=1 d:x=1,y=1", "d c a b"},
		{"a larger number first, without the label last", keys("n"), "a:n=2 c:n=10 d:n=-", "c a d b"},
		{"the number at the end", keys("n"), "a:n=zone-9 b:n=zone-12 c:n=9-x d:n=zone-0", "b a c d"},
		{"the first key that tells them apart", keys("n", "m"), "a:n=1,m=1 b:n=1,m=2 c:n=2,m=0", "c b a d"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			less, err := Priority(test.strategy)
			if err != nil {
				t.Fatal(err)
			}
			pods := testkit.Pods(t, "a/v1 b/v1 c/v1 d/v1", labelled(test.labels))
			for _, p := range pods {
				labelled(test.labels)(p)
			}
			if got := names(Sort(pods, less)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPriorityNamesTheSelectorThatIsWrong(t *testing.T) {
	bad := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Like"}}}
	_, err := Priority(&appsv1beta1.UpdatePriorityStrategy{WeightPriority: []appsv1beta1.UpdatePriorityWeightTerm{{}, {MatchSelector: bad}}})
	if err == nil || !strings.Contains(err.Error(), "weightPriority[1].matchSelector") {
		t.Errorf("got %v", err)
	}
}

func TestTrailingNumber(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "x": 0, "7": 7, "a-7": 7, "7-a": 0, "a7b12": 12, "99999999999999999999": 0} {
		if got := trailingNumber(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

// The example that OpenKruise's manual gives of SidecarSets: of ten pods, three have the label.
func TestThreeOfTenAreScattered(t *testing.T) {
	pods := testkit.Pods(t, "a/v1 b/v1 c/v1 d/v1 e/v1 f/v1 g/v1 h/v1 i/v1 j/v1")
	for _, p := range pods[:3] {
		p.Labels["x"] = "1"
	}
	got := names(Scatter(pods, appsv1beta1.UpdateScatterStrategy{{Key: "x", Value: "1"}}))
	if want := "a d e f g b h i j c"; got != want {
		t.Errorf("got %q, want the first, sixth and tenth to be a, b and c: %q", got, want)
	}
}

func TestScatter(t *testing.T) {
	term := func(key string) appsv1beta1.UpdateScatterTerm {
		return appsv1beta1.UpdateScatterTerm{Key: key, Value: "1"}
	}
	for _, test := range []struct {
		reason, x, y string // names of the pods with the label x=1, or y=1
		terms        appsv1beta1.UpdateScatterStrategy
		want         string
	}{
		{"no term", "abc", "", nil, "a b c d e f"},
		{"one", "c", "", appsv1beta1.UpdateScatterStrategy{term("x")}, "c a b d e f"},
		{"two: the first and the last", "ab", "", appsv1beta1.UpdateScatterStrategy{term("x")}, "a c d e f b"},
		{"three: evenly", "abc", "", appsv1beta1.UpdateScatterStrategy{term("x")}, "a d e b f c"},
		{"all", "abcdef", "", appsv1beta1.UpdateScatterStrategy{term("x")}, "a b c d e f"},
		{"none", "", "", appsv1beta1.UpdateScatterStrategy{term("x")}, "a b c d e f"},
		{"five", "abcde", "", appsv1beta1.UpdateScatterStrategy{term("x")}, "a b f c d e"},
		{"the last of two terms has the final word", "ab", "cd", appsv1beta1.UpdateScatterStrategy{term("x"), term("y")}, "c a e f b d"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			pods := testkit.Pods(t, "a/v1 b/v1 c/v1 d/v1 e/v1 f/v1")
			for _, p := range pods {
				if strings.Contains(test.x, p.Name) {
					p.Labels["x"] = "1"
				}
				if strings.Contains(test.y, p.Name) {
					p.Labels["y"] = "1"
				}
			}
			if got := names(Scatter(pods, test.terms)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
