package sidecarset

import (
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

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// sidecars is a set at the second of its images.
func sidecars(changes ...func(*appsv1beta1.SidecarSet)) *appsv1beta1.SidecarSet {
	set := &appsv1beta1.SidecarSet{ObjectMeta: metav1.ObjectMeta{Name: "log", UID: "log"}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	set.Spec.Containers = []appsv1beta1.SidecarContainer{{Container: corev1.Container{Name: "main", Image: "log:v2"}}}
	for _, change := range changes {
		change(set)
	}
	return set
}

// carrying gives pods the record of a revision: those of v2 have the newest, those of v1 one that differs by its image, and
// those of v0 one that differs by more.
func carrying(t *testing.T, e *entry, text string) []*corev1.Pod {
	t.Helper()
	pods := testkit.Pods(t, text)
	for _, p := range pods {
		all := inject.Record{Hash: "other", SidecarSetName: "log"}
		fixed := inject.Record{Hash: e.plan.HashWithoutImage, SidecarSetName: "log"}
		switch p.Labels["controller-revision-hash"] {
		case "v2":
			all.Hash = e.plan.Hash
		case "v0":
			fixed.Hash = "other"
		}
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[appsv1beta1.SidecarSetHash] = inject.Text(inject.Records{"log": all})
		p.Annotations[appsv1beta1.SidecarSetHashWithoutImage] = inject.Text(inject.Records{"log": fixed})
		p.Spec.Containers[0].Image = "log:v1"
	}
	return pods
}

// words writes a plan on one line.
func words(p plan) string {
	var lines, updates []string
	for _, s := range p.steps {
		updates = append(updates, s.member.Pod.Name)
	}
	if len(updates) > 0 {
		lines = append(lines, "update "+strings.Join(updates, " "))
	}
	held := map[appsv1beta1.HeldReason][]string{}
	for _, h := range p.held {
		held[h.Reason] = append(held[h.Reason], h.Change.Member.Pod.Name)
	}
	for _, reason := range slices.Sorted(mapKeys(held)) {
		slices.Sort(held[reason])
		lines = append(lines, fmt.Sprintf("hold %s: %s", strings.Join(held[reason], " "), strings.ToLower(string(reason))))
	}
	return strings.Join(lines, "; ")
}

func mapKeys(m map[appsv1beta1.HeldReason][]string) func(yield func(appsv1beta1.HeldReason) bool) {
	return func(yield func(appsv1beta1.HeldReason) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

func update(change func(s *appsv1beta1.SidecarSetUpdateStrategy)) func(*appsv1beta1.SidecarSet) {
	return func(set *appsv1beta1.SidecarSet) { change(&set.Spec.UpdateStrategy) }
}

func most(value string) func(*appsv1beta1.SidecarSet) {
	return update(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.MaxUnavailable = ptr.To(intstr.Parse(value)) })
}

func TestDecide(t *testing.T) {
	kept := func(value string) func(*appsv1beta1.SidecarSet) {
		return update(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Partition = ptr.To(intstr.Parse(value)) })
	}
	for _, test := range []struct {
		reason string
		set    *appsv1beta1.SidecarSet
		pods   string
		lends  string // pods of a workload that may all be taken but for this many; "" has no workload
		want   string
	}{
		{"nothing to do", sidecars(), "a/v2 b/v2", "", ""},
		{"one at a time; of equals the youngest goes first", sidecars(), "a/v1 b/v1 c/v1", "", "update c; hold a b: budget"},
		{"a share of all, rounded up", sidecars(most("50%")), "a/v1 b/v1 c/v1", "", "update c b; hold a: budget"},
		{"a pod that is not ready goes first, and uses up the budget", sidecars(), "a/v1 b/v1! c/v1", "", "update b; hold a c: budget"},
		{"pods that do not serve cost nothing", sidecars(), "a/v1! b/v1? c/v1", "", "update b a; hold c: budget"},
		{"an updated one that does not serve yet uses up the budget", sidecars(), "a/v1 b/v2!", "", "hold a: budget"},
		{"terminating pods do not count", sidecars(), "a/v1 b/v2~", "", "update a"},
		{"a partition", sidecars(kept("2"), most("3")), "a/v1 b/v1 c/v1", "", "update c; hold a b: partition"},
		{"a partition that has been reached", sidecars(kept("2"), most("3")), "a/v1 b/v1 c/v2", "", "hold a b: partition"},
		{"a share leaves one to be updated", sidecars(kept("99%"), most("3")), "a/v1 b/v1", "", "update b; hold a: partition"},
		{"but not all of them", sidecars(kept("100%")), "a/v1 b/v1", "", "hold a b: partition"},
		{"what cannot change in place is none of the others' business", sidecars(), "a/v0 b/v1", "", "update b; hold a: inplaceonly"},
		{"paused", sidecars(update(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Paused = true })), "a/v1", "", "hold a: paused"},
		{
			"never", sidecars(update(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Type = appsv1beta1.NotUpdateSidecarSetStrategyType })),
			"a/v1", "", "hold a: ondelete",
		},
		{
			"a priority", sidecars(update(func(s *appsv1beta1.SidecarSetUpdateStrategy) {
				s.PriorityStrategy = &appsv1beta1.UpdatePriorityStrategy{WeightPriority: []appsv1beta1.UpdatePriorityWeightTerm{{
					Weight: 10, MatchSelector: metav1.LabelSelector{MatchLabels: map[string]string{"first": "yes"}},
				}}}
			})), "a/v1 b/v1 c/v1", "", "update a; hold b c: budget",
		},
		{"the workload has none to spare", sidecars(most("3")), "a/v1 b/v1 c/v1", "3", "hold a b c: budget"},
		{"the workload is the tighter", sidecars(most("3")), "a/v1 b/v1 c/v1", "1", "update c b; hold a: budget"},
		{"the set is the tighter", sidecars(most("1")), "a/v1 b/v1 c/v1", "0", "update c; hold a b: budget"},
		{"the workload's own update has taken some", sidecars(most("3")), "a/v1 b/v1! c/v1", "2", "update b; hold a c: budget"},
		{"the workload works just now", sidecars(most("3")), "a/v1 b/v1", "busy", "hold a b: budget"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			e := read(test.set, "system")
			if e.err != nil {
				t.Fatal(e.err)
			}
			pods := carrying(t, e, test.pods)
			pods[0].Labels["first"] = "yes"
			seen := observe(pods, "log", e, func(inject.Record) string { return "more than images changed" }, map[types.UID]remembered{}, testkit.Epoch)
			got, err := decide(test.set, e, seen, lender(pods, test.lends), testkit.Epoch)
			if err != nil || words(got) != test.want {
				t.Errorf("got %q (%v), want %q", words(got), err, test.want)
			}
		})
	}
}

// lender lends the pods of one workload, of which some must stay.
func lender(pods []*corev1.Pod, stay string) lend {
	if stay == "" {
		return func(*corev1.Pod) (*owner, string) { return nil, "" }
	}
	if stay == "busy" {
		return func(*corev1.Pod) (*owner, string) { return &owner{}, "CloneSet web changes pods of its own just now" }
	}
	o := &owner{name: "CloneSet web", available: map[types.UID]bool{}}
	for _, p := range pods {
		if serving(p, 0, testkit.Epoch) {
			o.available[p.UID] = true
		}
	}
	var least int
	_, _ = fmt.Sscan(stay, &least)
	o.budget = len(o.available) - least
	return func(*corev1.Pod) (*owner, string) { return o, "" }
}

func TestPromised(t *testing.T) {
	for _, test := range []struct {
		reason             string
		desired            int
		unavailable, surge string
		want               int
	}{
		{"a number", 10, "3", "", 3},
		{"a share, rounded up where nothing else makes up for it", 10, "25%", "", 3},
		{"and down beside a surge, as the workload itself does", 10, "25%", "25%", 2},
		{"a share that comes to none stands for one", 3, "25%", "25%", 1},
		{"none is none", 3, "0", "1", 0},
		{"none is none in percent, too", 3, "0%", "1", 0},
		{"the default", 10, "", "", 2},
	} {
		t.Run(test.reason, func(t *testing.T) {
			of := func(text string) *intstr.IntOrString {
				if text == "" {
					return nil
				}
				return ptr.To(intstr.Parse(text))
			}
			got, err := promised(test.desired, of(test.unavailable), of(test.surge), intstr.FromString("20%"), none, 0)
			if err != nil || got.unavailable != test.want {
				t.Errorf("got %d (%v), want %d", got.unavailable, err, test.want)
			}
		})
	}
}

func TestDisjoint(t *testing.T) {
	labels := func(key, value string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	}
	expr := func(key string, operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
	}
	for _, test := range []struct {
		reason string
		a, b   *metav1.LabelSelector
		want   bool
	}{
		{"the same", labels("a", "1"), labels("a", "1"), false},
		{"other values", labels("a", "1"), labels("a", "2"), true},
		{"other keys", labels("a", "1"), labels("b", "2"), false},
		{"one value in common", expr("a", "In", "1", "2"), expr("a", "In", "2", "3"), false},
		{"all values excluded", expr("a", "In", "1", "2"), expr("a", "NotIn", "1", "2", "3"), true},
		{"one value left", expr("a", "In", "1", "2"), expr("a", "NotIn", "1"), false},
		{"there and not there", expr("a", "Exists"), expr("a", "DoesNotExist"), true},
		{"not there, and with a value", expr("a", "DoesNotExist"), labels("a", "1"), true},
		{"all namespaces", nil, labels("a", "1"), false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if disjoint(test.a, test.b) != test.want || disjoint(test.b, test.a) != test.want {
				t.Errorf("got %v and %v, want %v", disjoint(test.a, test.b), disjoint(test.b, test.a), test.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	old := sidecars()
	for _, test := range []struct {
		reason string
		change func(*appsv1beta1.SidecarSet)
		want   string
	}{
		{"an image", func(set *appsv1beta1.SidecarSet) { set.Spec.Containers[0].Image = "log:v3" }, ""},
		{
			"a command", func(set *appsv1beta1.SidecarSet) { set.Spec.Containers[0].Command = []string{"x"} },
			"only images can change in place, and containers[main].command changed",
		},
		{
			"how it is injected", func(set *appsv1beta1.SidecarSet) { set.Spec.Containers[0].ShareVolumePolicy.Type = "enabled" },
			"how the containers are injected changed",
		},
		{
			"a revision without effect", func(set *appsv1beta1.SidecarSet) {
				set.Spec.InjectionStrategy.Revision = &appsv1beta1.SidecarSetInjectRevision{CustomVersion: "x", Policy: "Partial"}
			}, "spec.injectionStrategy.revision has no effect",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			got := strings.Join(warn(old, sidecars(test.change)), "\n")
			if !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestLacks(t *testing.T) {
	set := sidecars(func(set *appsv1beta1.SidecarSet) { set.CreationTimestamp = metav1.NewTime(testkit.Epoch) })
	for _, test := range []struct {
		reason string
		change func(p *corev1.Pod)
		want   bool
	}{
		{"younger than the set", func(*corev1.Pod) {}, true},
		{"older than the set", func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(testkit.Epoch.Add(-time.Hour)) }, false},
		{"it has them", func(p *corev1.Pod) { p.Annotations[appsv1beta1.SidecarSetInjectedList] = "other,log" }, false},
		{"it has those of the canary", func(p *corev1.Pod) { p.Annotations[appsv1beta1.SidecarSetBase] = "log" }, false},
		{"it only brings an image", func(p *corev1.Pod) { p.Labels["holdfast.io/pull-for"] = "x" }, false},
		{"it shows what runs on a node", func(p *corev1.Pod) { p.Annotations[corev1.MirrorPodAnnotationKey] = "x" }, false},
		{"it is done", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := testkit.Pod(func(p *corev1.Pod) {
				p.CreationTimestamp = metav1.NewTime(testkit.Epoch.Add(time.Hour))
				p.Annotations = map[string]string{}
				test.change(p)
			})
			if got := lacks(p, set); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	set := sidecars()
	e := read(set, "system")
	for _, test := range []struct {
		reason, pods string
		missed       []string
		clashed      []string
		acted        error
		want         string
	}{
		{"all is well", "a/v2 b/v2", nil, nil, nil, "Ready=True"},
		{"an update is on its way", "a/v1 b/v2", nil, nil, nil, "Ready=False Reconciling=True"},
		{"a pod cannot follow", "a/v0 b/v2", nil, nil, nil, "NotUpgradable=True Ready=False Reconciling=True"},
		{"a pod was missed", "a/v2", []string{"x/1", "x/2", "x/3", "x/4"}, nil, nil, "NotInjected=True Ready=True"},
		{"another set does the same", "a/v2", nil, []string{"SidecarSet other has container main, too"}, nil, "Clashing=True Ready=False Reconciling=True"},
		{"a write failed", "a/v1", nil, nil, fmt.Errorf("no"), "FailedUpdate=True Ready=False Reconciling=True"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			set := set.DeepCopy()
			pods := carrying(t, e, test.pods)
			seen := observe(pods, "log", e, func(inject.Record) string { return "more" }, map[types.UID]remembered{}, testkit.Epoch)
			seen.missed = test.missed
			p, err := decide(set, e, seen, lender(pods, ""), testkit.Epoch)
			if err != nil {
				t.Fatal(err)
			}
			summarize(set, seen, p, test.acted, test.clashed, testkit.Epoch)
			var got []string
			for _, c := range set.Status.Conditions {
				got = append(got, fmt.Sprintf("%s=%s", c.Type, c.Status))
				if c.Type == notInjected && !strings.Contains(c.Message, "x/1, x/2, x/3 and 1 more") {
					t.Errorf("message %q", c.Message)
				}
			}
			if text := strings.Join(got, " "); text != test.want {
				t.Errorf("got %s, want %s", text, test.want)
			}
		})
	}
}

// Pods that have not changed are not read again; those that are gone are forgotten.
func TestObserveRemembers(t *testing.T) {
	set := sidecars()
	e := read(set, "system")
	pods := carrying(t, e, "a/v0 b/v0")
	asked := 0
	why := func(inject.Record) string { asked++; return "more" }
	known := map[types.UID]remembered{}
	for i, p := range pods {
		p.ResourceVersion = fmt.Sprint(i + 1)
	}
	observe(pods, "log", e, why, known, testkit.Epoch)
	observe(pods, "log", e, why, known, testkit.Epoch)
	if asked != 2 {
		t.Errorf("2 pods were read %d times", asked)
	}
	pods[1].ResourceVersion = "9"
	observe(pods, "log", e, why, known, testkit.Epoch)
	if asked != 3 {
		t.Errorf("a pod that changed was not read again: %d", asked)
	}
	observe(pods, "log", read(set, "system"), why, known, testkit.Epoch)
	if asked != 5 {
		t.Errorf("pods were not held against a new spec: %d", asked)
	}
	if observe(pods[:1], "log", e, why, known, testkit.Epoch); len(known) != 1 {
		t.Errorf("%d pods are remembered, want the one that is there", len(known))
	}
}

func BenchmarkPass(b *testing.B) {
	set := sidecars()
	e := read(set, "system")
	t := &testing.T{}
	pods := carrying(t, e, strings.Repeat("a/v1 ", 10000))
	for i, p := range pods {
		p.Name, p.UID, p.ResourceVersion = fmt.Sprintf("p-%d", i), types.UID(fmt.Sprint(i)), "1"
	}
	known := map[types.UID]remembered{}
	b.ReportAllocs()
	for b.Loop() {
		seen := observe(pods, "log", e, func(inject.Record) string { return "" }, known, testkit.Epoch)
		if _, err := decide(set, e, seen, lender(pods, ""), testkit.Epoch); err != nil {
			b.Fatal(err)
		}
	}
}
