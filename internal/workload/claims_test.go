package workload

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
)

func TestClaims(t *testing.T) {
	for _, test := range []struct {
		reason string
		pods   string // each with an instance of its own name
		claims string // instances that have a claim; "~" behind one that is being deleted, "?" behind one that is not bound
		slots  int
		reuse  bool
		births string // instances of the pods to be made; "new" for one without claims
		spent  string // instances whose claims are deleted
		held   string
		lacks  string // instances whose claims are looked after
	}{
		{reason: "a claim for each pod", pods: "a/v2 b/v2", claims: "a b", slots: 2},
		{reason: "the claim of a pod that is gone", pods: "a/v2", claims: "a b", slots: 1, spent: "b"},
		{reason: "is not for the next pod, unless reuse is asked for", pods: "a/v2", claims: "a b", slots: 2, births: "new", spent: "b"},
		{reason: "and then it is", pods: "a/v2", claims: "a b", slots: 2, reuse: true, births: "b"},
		{reason: "of two the first", pods: "a/v2", claims: "c b a", slots: 2, reuse: true, births: "b", spent: "c"},
		{reason: "kept for as long as pods are missing", claims: "a b", slots: 2, reuse: true, births: "a b"},
		{reason: "a claim that is being deleted is no use", pods: "a/v2", claims: "a b~", slots: 2, reuse: true, births: "new"},
		{
			reason: "a pod on its way out keeps its claim, and the next pod waits for it", pods: "a/v2 b/v2~", claims: "a b", slots: 2, reuse: true,
			held: "create: Termination",
		},
		{reason: "a pod that waits for a node may lack a claim", pods: "a/v2?", claims: "", slots: 1, lacks: "a"},
		{reason: "a claim that is not bound is told", pods: "a/v2", claims: "a?", slots: 1, held: "refresh: PVC"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			s := scene{pods: test.pods, slots: test.slots, unavailable: 1, set: func(set *Set) {
				set.ReuseClaims, set.Claims = test.reuse, make([]corev1.PersistentVolumeClaim, 1)
			}}
			set, state := s.wanted(), NewState(&metav1.ObjectMeta{Name: "web", UID: "uid"})
			state.Current, state.Update = revisionNamed("v2"), revisionNamed("v2")
			for word := range strings.FieldsSeq(test.claims) {
				id := strings.TrimRight(word, "~?")
				c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
					Name:   "data-web-" + id,
					Labels: map[string]string{appsv1beta1.CloneSetInstanceID: id},
				}}
				c.Status.Phase = corev1.ClaimBound
				if strings.HasSuffix(word, "~") {
					c.DeletionTimestamp = &metav1.Time{Time: at}
				}
				if strings.HasSuffix(word, "?") {
					c.Status.Phase = corev1.ClaimPending
				}
				state.Claims = append(state.Claims, c)
			}
			pods := testkit.Pods(t, test.pods)
			for _, p := range pods {
				p.Labels[appsv1beta1.CloneSetInstanceID] = p.Name
			}
			state.Divide(pods, func(p *corev1.Pod) (Member, bool) { return NewMember(p, 0, at), true })
			checkClaims(t, Limit(set, state, Diff(set, state), at), [4]string{test.births, test.spent, test.held, test.lacks})
		})
	}
}

// checkClaims wants births, spent claims, held changes and looked-after instances.
func checkClaims(t *testing.T, plan Plan, want [4]string) {
	t.Helper()
	var births, spent, held []string
	for _, b := range plan.Births {
		if len(b.ID) == idLength {
			b.ID = "new"
		}
		births = append(births, b.ID)
	}
	for _, c := range plan.Spent {
		spent = append(spent, claim.Instance(c))
	}
	for _, h := range plan.Held {
		held = append(held, string(h.Change.Verb)+": "+string(h.Reason))
	}
	slices.Sort(spent)
	for i, got := range [][]string{births, spent, held, plan.Instances} {
		if what := []string{"births", "spent", "held", "lacks"}[i]; strings.Join(got, " ") != want[i] {
			t.Errorf("%s: got %q, want %q", what, got, want[i])
		}
	}
}

func TestSummary(t *testing.T) {
	var held []Held
	for _, p := range testkit.Pods(t, "g/v1 f/v1 e/v1 d/v1 c/v1 b/v1 a/v1") {
		held = append(held, Held{Change: Change{Verb: Replace, Member: &Member{Pod: p}}, Reason: "Budget", Message: "wait " + p.Name})
	}
	held = append(held, Held{Change: Change{Verb: Create}, Reason: "PVC", Message: "a claim"}, Held{Reason: "Image"})
	for range 3 {
		slices.Reverse(held)
		got := Summary(held)
		if len(got) != 3 || got[2].Reason != "Budget" || got[2].Count != 7 || got[2].Message != "wait a" ||
			strings.Join(got[2].Pods, "") != "abcde" || got[0].Reason != "Image" || got[1].Pods != nil {
			t.Errorf("got %+v", got)
		}
	}
	if Summary(nil) != nil {
		t.Error("nothing held, nothing told")
	}
}

func TestMemory(t *testing.T) {
	var all memories
	key := types.NamespacedName{Namespace: "ns", Name: "web"}
	first := all.of(key, "uid")
	if all.of(key, "uid") != first {
		t.Error("the same workload has the same memory")
	}
	if all.of(key, "other") == first {
		t.Error("one made anew under the name has an empty memory")
	}
	all.forget(key)
	if len(all.all) != 0 {
		t.Error("what is forgotten is gone")
	}
	first.wrote(podKind(), "9")
	first.wrote(podKind(), "10")
	first.wrote(podKind(), "8")
	if first.written[podKind()] != "10" {
		t.Errorf("the newest write is %s, want 10", first.written[podKind()])
	}
}

type position string

func (p position) Synced(context.Context, schema.GroupVersionKind) (string, bool) {
	return string(p), p != ""
}

func TestCaughtUp(t *testing.T) {
	for _, test := range []struct {
		reason, written string
		at              position
		ready           bool
	}{
		{"nothing was written", "", "5", true},
		{"the cache is behind", "10", "9", false},
		{"the cache has it", "10", "10", true},
		{"the cache is further", "10", "100", true},
		{"the cache does not know", "10", "", true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			m := newMemory()
			m.wrote(podKind(), test.written)
			if err := (&Engine{Position: test.at}).caughtUp(t.Context(), m); (err == nil) != test.ready {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestADeadPodThatACacheStillShowsHoldsNoPlace(t *testing.T) {
	e := &Engine{Clock: fixed(at)}
	m := newMemory()
	pods := testkit.Pods(t, "a/v1 b/v1")
	m.gone(pods[0].UID)
	m.passOver("bcdfg")
	state := NewState(&metav1.ObjectMeta{Name: "web"})
	e.sort(Source{}, m, pods, &state)
	if len(state.Members) != 1 || len(state.Gone) != 1 || !state.taken["bcdfg"] {
		t.Errorf("got %d members, %d gone, taken %v", len(state.Members), len(state.Gone), state.taken)
	}
	e.sort(Source{}, m, pods[1:], &state)
	if len(m.deleted) != 0 {
		t.Error("a pod that the cache does not show any more need not be remembered")
	}
}

// fixed is a clock that stands still.
type fixed time.Time

func (f fixed) Now() time.Time                  { return time.Time(f) }
func (f fixed) Since(t time.Time) time.Duration { return time.Time(f).Sub(t) }

func TestErrorsReadTheSame(t *testing.T) {
	quoted := func(texts ...string) string {
		var errs []error
		for _, text := range texts {
			errs = append(errs, textError(text))
		}
		return (&Error{Scale: join(errs)}).Error()
	}
	if a, b := quoted("c", "a", "e", "b", "d"), quoted("e", "d", "c", "b", "a"); a != b || a != "a\nb\nc\nand 2 more failures" {
		t.Errorf("got %q and %q", a, b)
	}
}

type textError string

func (e textError) Error() string { return string(e) }
