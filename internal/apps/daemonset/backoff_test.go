package daemonset

import (
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

// failed reads pods that have failed.
func failed(t testing.TB, words string, overrides ...func(*corev1.Pod)) []*corev1.Pod {
	t.Helper()
	fail := func(p *corev1.Pod) { p.UID, p.Status.Phase = types.UID(p.Name), corev1.PodFailed }
	return testkit.Pods(t, words, append([]func(*corev1.Pod){fail}, overrides...)...)
}

// seen says of every pod that it was seen to have failed then.
func seen(at time.Time) func(*corev1.Pod) time.Time { return func(*corev1.Pod) time.Time { return at } }

func after(count int) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{failuresBefore: strconv.Itoa(count)} }
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		reason string
		change func(p *corev1.Pod)
		lived  time.Duration
		passed time.Duration // since it failed
		count  int
		left   time.Duration
	}{
		{reason: "the first", count: 1, left: time.Second},
		{reason: "a part of the rest is over", passed: 400 * time.Millisecond, count: 1, left: 600 * time.Millisecond},
		{reason: "all of it is over", passed: time.Minute, count: 1},
		{reason: "each rest is twice the one before", change: after(3), count: 4, left: 8 * time.Second},
		{reason: "up to a quarter of an hour", change: after(10), count: 11, left: 15 * time.Minute},
		{reason: "and no longer", change: after(1 << 40), count: 1<<40 + 1, left: 15 * time.Minute},
		{reason: "it lived for half an hour", change: after(5), lived: 30*time.Minute + time.Second, count: 1, left: time.Second},
		{reason: "it lived for less", change: after(5), lived: 29 * time.Minute, count: 6, left: 32 * time.Second},
		{
			reason: "a count that cannot be read",
			change: func(p *corev1.Pod) { p.Annotations = map[string]string{failuresBefore: "many"} }, count: 1, left: time.Second,
		},
		{reason: "it was asked to go", change: func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: testkit.Epoch} }},
		{reason: "it has ended well", change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if test.change == nil {
				test.change = func(*corev1.Pod) {}
			}
			pods := failed(t, "a/v1@n1", test.change)
			at := pods[0].CreationTimestamp.Add(test.lived)
			got := failures(pods, seen(at), at.Add(test.passed))["n1"]
			switch {
			case got == nil && test.count > 0:
				t.Error("it does not count")
			case got != nil && (got.count != test.count || got.left != test.left):
				t.Errorf("failure %d, the node rests %s more; want failure %d, %s", got.count, got.left, test.count, test.left)
			}
		})
	}
}

func TestTheFailureWithTheHighestCountSpeaksForItsNode(t *testing.T) {
	pods := append(failed(t, "a/v1@n1", after(4)), failed(t, "b/v1@n1 c/v1@n2")...)
	at := testkit.Epoch.Add(time.Minute)
	got := failures(pods, seen(at), at)
	if got["n1"].pod.Name != "a" || got["n1"].count != 5 || got["n2"].count != 1 {
		t.Errorf("n1: %+v, n2: %+v", got["n1"], got["n2"])
	}
}

// What a failed pod knows reaches its successor, and only then it goes.
func TestCountsReachTheNextPod(t *testing.T) {
	state := observed(t, "v1", "")
	state.Gone = failed(t, "a/v2@n1 b/v1@n2", after(2))
	s, err := look(set(), cluster("n1 n2"), state, failures(state.Gone, seen(testkit.Epoch), testkit.Epoch.Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	for node, want := range map[string]string{"n1": "3", "n2": ""} { // the other one is of another revision
		next := testkit.Pods(t, "next/v2?")[0]
		s.shape(next, node)
		if got := next.Annotations[failuresBefore]; got != want {
			t.Errorf("on %s %q have failed before, want %q", node, got, want)
		}
	}
	if s.spent(state.Gone[0]) {
		t.Error("the failed pod may go before it has a successor")
	}
	state = observed(t, "v1", "next/v2@n1")
	state.Gone = failed(t, "a/v2@n1 c/v2@n3")
	if s, err = look(set(), cluster("n1"), state, failures(state.Gone, seen(testkit.Epoch), testkit.Epoch)); err != nil {
		t.Fatal(err)
	}
	if !s.spent(state.Gone[0]) || !s.spent(state.Gone[1]) {
		t.Error("failed pods stay although there is a successor, or the node is gone")
	}
}

func TestClocks(t *testing.T) {
	key, c := types.NamespacedName{Name: "agent"}, &clocks{}
	pods, then := failed(t, "a/v1@n1"), testkit.Epoch
	c.look(key, pods, then)
	if at := c.look(key, pods, then.Add(time.Minute))(pods[0]); !at.Equal(then) {
		t.Errorf("first seen at %s, want %s", at, then)
	}
	c.look(key, nil, then)
	if len(c.sets) != 0 {
		t.Errorf("%v is remembered of pods that are gone", c.sets)
	}
	c.look(key, pods, then)
	if c.forget(key); len(c.sets) != 0 {
		t.Errorf("%v is remembered of a set that is gone", c.sets)
	}
}
