package budget_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/budget"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func maxUnavailable(text string) budget.Limits {
	value := intstr.Parse(text)
	return budget.Limits{MaxUnavailable: &value}
}

func minAvailable(text string) budget.Limits {
	value := intstr.Parse(text)
	return budget.Limits{MinAvailable: &value}
}

func TestDesired(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason string
		limits budget.Limits
		total  int
		want   int
		failed bool
	}{
		{"a quarter of 20", maxUnavailable("25%"), 20, 15, false},
		{"a percentage rounds up: half of 3 is 2 away", maxUnavailable("50%"), 3, 1, false},
		{"and 1% of few is still one away", maxUnavailable("1%"), 3, 2, false},
		{"half of 3 must stay: 2", minAvailable("50%"), 3, 2, false},
		{"none away", maxUnavailable("0"), 5, 5, false},
		{"more away than there are", maxUnavailable("9"), 5, 0, false},
		{"more to stay than are wanted", minAvailable("9"), 5, 5, false},
		{"nothing is wanted", minAvailable("2"), 0, 0, false},
		{"all away", maxUnavailable("100%"), 5, 0, false},
		{"beyond all", maxUnavailable("101%"), 5, 5, true},
		{"negative", minAvailable("-1"), 5, 5, true},
		{"no number", maxUnavailable("many"), 5, 5, true},
		{"neither", budget.Limits{}, 5, 5, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			got, err := test.limits.Desired(test.total)
			if (err != nil) != test.failed || !test.failed && got != test.want {
				t.Errorf("got %d and error %v, want %d", got, err, test.want)
			}
		})
	}
}

// seen looks at pods as their words say: unready ones do not serve, those changed in place cannot be counted on.
func seen(pods []*corev1.Pod) []budget.Seen {
	all := make([]budget.Seen, 0, len(pods))
	for _, p := range pods {
		all = append(all, look(p))
	}
	return all
}

func look(p *corev1.Pod) budget.Seen {
	serving, _ := pod.Available(p, 0, time.Time{})
	return budget.Seen{Pod: p, Serving: serving, Available: serving && pod.Observed(p)}
}

func grant(name string, operation policyv1beta1.PodOperation, age time.Duration) policyv1beta1.PodGrant {
	return policyv1beta1.PodGrant{
		Pod: name, UID: testkit.Pod(func(p *corev1.Pod) { p.Name = name }).UID, Operation: operation, Generation: 1,
		Time: metav1.NewTime(now().Add(-age)),
	}
}

func now() time.Time { return testkit.Epoch.Add(time.Hour) }

func TestAsk(t *testing.T) {
	t.Parallel()
	const del, evict, update = policyv1beta1.PodDeleteOperation, policyv1beta1.PodEvictOperation, policyv1beta1.PodUpdateOperation
	grants := func(all ...policyv1beta1.PodGrant) []policyv1beta1.PodGrant { return all }
	released := grant("a", del, time.Second)
	released.Released = true
	for _, test := range []struct {
		reason    string
		pods      string
		grants    []policyv1beta1.PodGrant
		limits    budget.Limits
		total     int
		asked     string
		operation disruption.Operation
		allowed   bool
		why       budget.Reason
		write     bool
		grantsNow int
		leftNow   int // available afterwards
	}{
		{"all are there", "a/v1 b/v1 c/v1", nil, maxUnavailable("1"), 3, "a", disruption.Delete, true, "", true, 1, 2},
		{"one is not ready", "a/v1 b/v1! c/v1", nil, maxUnavailable("1"), 3, "a", disruption.Delete, false, budget.Exhausted, false, 0, 2},
		{
			"one was granted, and still looks fine", "a/v1 b/v1 c/v1", grants(grant("b", del, 0)), maxUnavailable("1"), 3, "a",
			disruption.Delete, false, budget.Exhausted, false, 1, 2,
		},
		{
			"what was granted has gone and is not replaced", "a/v1 c/v1", grants(grant("b", del, 0)), maxUnavailable("1"), 3, "a",
			disruption.Delete, false, budget.Exhausted, false, 0, 2,
		},
		{
			"what was granted terminates, and one came in its place", "a/v1 b/v1~ c/v1 d/v1", grants(grant("b", del, 0)), maxUnavailable("1"), 3,
			"a", disruption.Delete, true, "", true, 1, 2,
		},
		{
			"the same act again takes nothing", "a/v1 b/v1 c/v1", grants(grant("a", del, time.Second)), maxUnavailable("1"), 3, "a",
			disruption.Delete, true, "", false, 1, 2,
		},
		{
			"the same act again, later: the time begins anew", "a/v1 b/v1 c/v1", grants(grant("a", del, 20*time.Second)), maxUnavailable("1"), 3,
			"a", disruption.Delete, true, "", true, 1, 2,
		},
		{
			"an act that was given back is granted again", "a/v1 b/v1 c/v1", grants(released), maxUnavailable("1"), 3, "a",
			disruption.Delete, true, "", true, 1, 2,
		},
		{
			"a pod that is away already may go otherwise, too", "a/v1 b/v1 c/v1", grants(grant("a", update, 0)), maxUnavailable("1"), 3, "a",
			disruption.Evict, true, "", true, 2, 2,
		},
		{"a pod that does not serve may always go", "a/v1! b/v1! c/v1", nil, maxUnavailable("1"), 3, "a", disruption.Delete, true, "", true, 1, 1},
		{"even where none may be away", "a/v1! b/v1 c/v1", nil, maxUnavailable("0"), 3, "a", disruption.Delete, true, "", true, 1, 2},
		{"none may be away", "a/v1 b/v1 c/v1", nil, maxUnavailable("0"), 3, "a", disruption.Delete, false, budget.NeverAllows, false, 0, 3},
		{"as many must stay as are wanted", "a/v1 b/v1", nil, minAvailable("3"), 2, "a", disruption.Evict, false, budget.NeverAllows, false, 0, 2},
		{"more are there than wanted", "a/v1 b/v1 c/v1 d/v1!", nil, maxUnavailable("0"), 2, "a", disruption.Delete, true, "", true, 1, 2},
		{"scaled to nothing", "a/v1", nil, minAvailable("3"), 0, "a", disruption.Delete, true, "", true, 1, 0},
		{"one seen by nobody else counts as what it looks like", "b/v1 c/v1", nil, maxUnavailable("1"), 3, "a", disruption.Delete, true, "", true, 1, 2},
		{
			"a change that is still written down as another operation's", "a/v1 b/v1 c/v1", grants(grant("b", evict, 0), grant("b", del, 0)),
			maxUnavailable("2"), 3, "a", disruption.Resize, true, "", true, 3, 1,
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			pods := testkit.Pods(t, test.pods)
			asked := testkit.Pod(func(p *corev1.Pod) { p.Name = test.asked })
			for _, p := range pods {
				if p.Name == test.asked {
					asked = p
				}
			}
			ledger := budget.Ledger{Limits: test.limits, Total: test.total, Grants: test.grants}
			request := disruption.Request{Operation: test.operation, Pod: asked}
			got, err := ledger.Ask(request, budget.NewView(seen(pods)), look(asked), now())
			if err != nil {
				t.Fatal(err)
			}
			if got.Allowed != test.allowed || got.Reason != test.why || got.Write != test.write {
				t.Errorf("allowed %v %q write %v, want %v %q %v", got.Allowed, got.Reason, got.Write, test.allowed, test.why, test.write)
			}
			if len(got.Grants) != test.grantsNow || got.Figures.Available != test.leftNow {
				t.Errorf("%d grants and %d available afterwards, want %d and %d",
					len(got.Grants), got.Figures.Available, test.grantsNow, test.leftNow)
			}
		})
	}
}

// TestOver: a change in place counts until the container really runs anew and the pod is available again.
func TestOver(t *testing.T) {
	t.Parallel()
	before := testkit.Pods(t, "a/v1")[0]
	change := func(edit ...func(*corev1.Pod)) *corev1.Pod {
		p := before.DeepCopy()
		p.Generation, p.Spec.Containers[0].Image = 2, "registry.local/web@sha256:aaaa"
		for _, e := range edit {
			e(p)
		}
		return p
	}
	observed := func(p *corev1.Pod) { p.Status.ObservedGeneration = 2 }
	restarted := func(p *corev1.Pod) {
		// What a runtime reports of a pinned image may look like neither the spec nor what was there before.
		p.Status.ContainerStatuses[0].ContainerID = "containerd://new"
		p.Status.ContainerStatuses[0].ImageID = "sha256:config"
	}
	unready := func(p *corev1.Pod) { p.Status.Conditions[2].Status = corev1.ConditionFalse }
	terminating := func(p *corev1.Pod) { at := metav1.NewTime(now()); p.DeletionTimestamp = &at }
	granted := policyv1beta1.PodGrant{
		Pod: "a", UID: before.UID, Operation: policyv1beta1.PodUpdateOperation, Generation: 1, Time: metav1.NewTime(now()),
		Containers: []policyv1beta1.GrantedContainer{{
			Name: "main", Image: before.Spec.Containers[0].Image, ContainerID: before.Status.ContainerStatuses[0].ContainerID,
		}},
	}
	for _, test := range []struct {
		reason string
		pod    *corev1.Pod
		want   bool
	}{
		{"nothing has happened yet", before, false},
		{"changed, and the kubelet has not seen it: it still says ready", change(), false},
		{"the kubelet has seen it, and the old container still runs", change(observed), false},
		{"the container runs anew and is not ready", change(observed, restarted, unready), false},
		{"it crashed before the change reached the kubelet", change(restarted), false},
		{"it is ready again", change(observed, restarted), true},
		{"somebody deletes it meanwhile", change(terminating), true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			if got := budget.Over(&granted, budget.NewView([]budget.Seen{look(test.pod)})); got != test.want {
				t.Errorf("over: %v, want %v", got, test.want)
			}
		})
	}
	if !budget.Over(&granted, budget.NewView(nil)) {
		t.Error("a pod that is gone is over")
	}
}

func TestResizeIsOver(t *testing.T) {
	t.Parallel()
	granted := grant("a", policyv1beta1.PodResizeOperation, 0)
	pending := func(reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
				Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: reason,
			})
		}
	}
	for _, test := range []struct {
		reason string
		edit   func(*corev1.Pod)
		want   bool
	}{
		{"done", func(*corev1.Pod) {}, true},
		{"not seen by the kubelet", func(p *corev1.Pod) { p.Status.ObservedGeneration = 1 }, false},
		{"put off until there is room", pending("Deferred"), false},
		{"the node is too small for it: nothing will happen", pending("Infeasible"), true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			p := testkit.Pods(t, "a/v1")[0]
			p.Generation, p.Status.ObservedGeneration = 2, 2
			test.edit(p)
			if got := budget.Over(&granted, budget.NewView([]budget.Seen{look(p)})); got != test.want {
				t.Errorf("over: %v, want %v", got, test.want)
			}
		})
	}
}

func TestVoid(t *testing.T) {
	t.Parallel()
	update := grant("a", policyv1beta1.PodUpdateOperation, 10*time.Minute)
	update.Containers = []policyv1beta1.GrantedContainer{{Name: "main", Image: "registry.local/web:v1", ContainerID: "x"}}
	for _, test := range []struct {
		reason string
		grant  policyv1beta1.PodGrant
		word   string
		edit   func(*corev1.Pod)
		want   bool
	}{
		{"a deletion that never came", grant("a", policyv1beta1.PodDeleteOperation, 2*time.Minute), "a/v1", nil, true},
		{"a change that never came", update, "a/v1", nil, true},
		{"a change that was written and still waits for its image", update, "a/v2", func(p *corev1.Pod) { p.Generation = 2 }, false},
		{
			"a change that was taken back before the kubelet saw it", update, "a/v1",
			func(p *corev1.Pod) { p.Generation, p.Status.ObservedGeneration = 3, 3 }, true,
		},
		{
			"a change that was taken back, and the kubelet has not seen that", update, "a/v1",
			func(p *corev1.Pod) { p.Generation = 3 }, false,
		},
		{"another pod of that name", update, "a/v2", func(p *corev1.Pod) { p.UID, p.Generation = "other", 2 }, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			live := testkit.Pods(t, test.word)[0]
			if test.edit != nil {
				test.edit(live)
			}
			if got := budget.Void(&test.grant, live, now()); got != test.want {
				t.Errorf("void: %v, want %v", got, test.want)
			}
		})
	}
	given := grant("a", policyv1beta1.PodDeleteOperation, 6*time.Second)
	if budget.Lapses(&given, now()) <= 0 {
		t.Error("a grant holds as long as its request may still be on its way")
	}
	if given.Released = true; budget.Lapses(&given, now()) > 0 {
		t.Error("a grant that was given back lapses soon")
	}
}

func TestCountDoesNotGrowWithASurge(t *testing.T) {
	t.Parallel()
	pods := seen(testkit.Pods(t, "a/v1* b/v1* c/v1* d/v1* e/v1* f/v1* g/v2"))
	f, err := maxUnavailable("1").Count(6, budget.NewView(pods), nil)
	if err != nil || f.Allowed != 1 || f.Available != 7 || f.Desired != 5 {
		t.Errorf("got %+v and error %v: with a pod more than wanted, still only one may be away", f, err)
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	held := []policyv1beta1.PodGrant{grant("a", policyv1beta1.PodDeleteOperation, time.Minute)}
	r := disruption.Request{Operation: disruption.Delete, Pod: testkit.Pods(t, "a/v1")[0]}
	released, found := budget.Release(held, r, now())
	if !found || !released[0].Released || held[0].Released || !released[0].Time.Time.Equal(now()) {
		t.Errorf("got %+v %v, and before %+v", released, found, held)
	}
	if _, found := budget.Release(released, r, now()); found {
		t.Error("it was given back already")
	}
	r.Operation = disruption.Evict
	if _, found := budget.Release(held, r, now()); found {
		t.Error("the eviction was never granted")
	}
}

func TestLedgerIsBounded(t *testing.T) {
	t.Parallel()
	var pods []budget.Seen
	var grants []policyv1beta1.PodGrant
	for i := range 1001 {
		p := testkit.Pod(func(p *corev1.Pod) { p.Name = "p" + string(rune('a'+i%26)) + time.Duration(i).String() })
		pods = append(pods, look(p))
		if i > 0 {
			grants = append(grants, policyv1beta1.PodGrant{Pod: p.Name, UID: p.UID, Operation: policyv1beta1.PodUpdateOperation, Generation: 1})
		}
	}
	ledger := budget.Ledger{Limits: maxUnavailable("100%"), Total: 1001, Grants: grants}
	got, err := ledger.Ask(disruption.Request{Operation: disruption.Update, Pod: pods[0].Pod}, budget.NewView(pods), pods[0], now())
	if err != nil || got.Allowed || got.Reason != budget.Full {
		t.Errorf("got %v %q, error %v", got.Allowed, got.Reason, err)
	}
}
