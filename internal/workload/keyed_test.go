package workload

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// ordinals makes the slots of a scene places with keys 0, 1, 2 ..., each with its pod p0, p1, p2 ... The first of them keep
// the old revision.
func ordinals(more ...func(*Set)) func(*Set) {
	return func(s *Set) {
		for i := range s.Slots {
			s.Slots[i].Key = fmt.Sprint(i)
		}
		s.Place = func(p *corev1.Pod) string { return strings.TrimPrefix(p.Name, "p") }
		s.PodName = func(key string) string { return "p" + key }
		for _, change := range more {
			change(s)
		}
	}
}

// onNodes makes the slots the nodes n0, n1, n2 ...
func onNodes(more ...func(*Set)) func(*Set) {
	return func(s *Set) {
		for i := range s.Slots {
			s.Slots[i].Key = fmt.Sprintf("n%d", i)
		}
		s.Place = func(p *corev1.Pod) string { return p.Spec.NodeName }
		for _, change := range more {
			change(s)
		}
	}
}

func ordered(s *Set) { s.Ordered = true }

func TestKeyedSlots(t *testing.T) {
	t.Parallel()
	scenes := []scene{
		{
			reason: "empty places are filled, full ones are left alone", slots: 3, unavailable: 1,
			pods: "p1/v2", set: ordinals(), want: "create v2; create v2",
		},
		{
			reason: "a place is filled again only when its pod is gone", slots: 2, unavailable: 1,
			pods: "p0/v2~ p1/v2", set: ordinals(), want: "hold create: Termination",
		},
		{
			reason: "pods without a place go at once", slots: 1, unavailable: 1,
			pods: "p0/v2 p1/v2 p2/v2", set: ordinals(), want: "delete p2; delete p1",
		},
		{
			reason: "the last place changes first, as many as may be away", slots: 3, unavailable: 2,
			pods: "p0/v1 p1/v1 p2/v1", set: ordinals(), want: "replace p2; replace p1; hold p0: Budget",
		},
		{
			reason: "in place where that can be", slots: 3, unavailable: 1,
			pods: "p0/v1 p1/v1 p2/v1", set: ordinals(inPlaceSet), want: "update p2; hold p1: Budget; hold p0: Budget",
		},
		{
			reason: "a place at the old revision keeps its pod, and gets one of that revision", slots: 4, old: 2, unavailable: 1,
			pods: "p0/v1 p2/v2 p3/v2", set: ordinals(), want: "create v1; hold p0: Partition",
		},
		{
			reason: "a pod that is away counts once, and costs nothing to change", slots: 3, unavailable: 1,
			pods: "p0/v1! p1/v1 p2/v1", set: ordinals(), want: "replace p0; hold p2: Budget; hold p1: Budget",
		},
		{
			reason: "a surplus pod that serves does not stand in for a place that lacks one", slots: 2, unavailable: 1,
			pods: "p0/v1 p7/v1", set: ordinals(), want: "delete p7; create v2; hold p0: Budget",
		},
		{
			reason: "a named pod is replaced, within the budget", slots: 2, unavailable: 1,
			pods: "p0/v2* p1/v2*", set: ordinals(), want: "replace p1; hold p0: Budget",
		},
		{
			reason: "a limit on starting pods", slots: 3, unavailable: 3, starting: 2,
			set: ordinals(), want: "create v2; create v2; hold create: ScaleStrategy",
		},
		{
			reason: "a place may be kept empty", slots: 2, unavailable: 1, want: "create v2; hold create: Container",
			set: ordinals(func(s *Set) { s.Slots[0].Hold = appsv1beta1.HeldByContainer }),
		},

		{
			reason: "in order: the first pod first", slots: 3, unavailable: 1,
			set: ordinals(ordered), want: "create v2; hold create: Order; hold create: Order",
		},
		{
			reason: "in order: the next only when the ones before are available", slots: 3, unavailable: 1,
			pods: "p0/v2!", set: ordinals(ordered), want: "hold create: Order; hold create: Order",
		},
		{
			reason: "in order: one change at a time, from the last", slots: 3, unavailable: 1,
			pods: "p0/v1 p1/v1 p2/v1", set: ordinals(ordered), want: "replace p2; hold p1: Order; hold p0: Order",
		},
		{
			reason: "in order: a pod that is broken is put right first, wherever it is", slots: 3, unavailable: 1,
			pods: "p0/v1 p1/v1! p2/v1", set: ordinals(ordered), want: "replace p1; hold p2: Order; hold p0: Order",
		},
		{
			reason: "in order: the last goes first, when all others serve", slots: 1, unavailable: 1,
			pods: "p0/v2 p1/v2 p10/v2 p9/v2", set: ordinals(ordered), want: "delete p10; hold p9: Order; hold p1: Order",
		},
		{
			reason: "in order: the next goes when the one before is gone", slots: 1, unavailable: 1,
			pods: "p0/v2 p1/v2 p2/v2~", set: ordinals(ordered), want: "hold p1: Order",
		},
		{
			reason: "in order: nothing goes while a place is without a pod that serves", slots: 2, unavailable: 1,
			pods: "p0/v2 p2/v2", set: ordinals(ordered), want: "create v2; hold p2: Order",
		},

		{
			reason: "on nodes: a successor starts beside the old pod, on as many nodes as the surge says", slots: 3, surge: 2,
			pods: "a/v1@n0 b/v1@n1 c/v1@n2", set: onNodes(),
			want: "create v2; create v2; hold c: Surge; hold b: Surge; hold a: Budget",
		},
		{
			reason: "on nodes: the old pod goes when its successor is available", slots: 2, surge: 1,
			pods: "a/v1@n0 b/v1@n1 x/v2@n1", set: onNodes(), want: "delete b; hold a: Budget",
		},
		{
			reason: "on nodes: and stays until then", slots: 2, surge: 1,
			pods: "a/v1@n0 b/v1@n1 x/v2!@n1", set: onNodes(), want: "hold b: Surge; hold a: Budget",
		},
		{
			reason: "on nodes: of two pods without a surge the younger goes", slots: 1, unavailable: 1,
			pods: "a/v2@n0 b/v2@n0", set: onNodes(), want: "delete b",
		},
		{
			reason: "an ended pod that counts keeps its place", slots: 2, unavailable: 1,
			pods: "a/v2@n0",
			set:  onNodes(func(s *Set) { s.Ended = KeepEnded }),
			state: func(s *State) {
				dead := s.Members[0].Pod.DeepCopy()
				dead.Name, dead.Spec.NodeName, dead.Status.Phase = "b", "n1", corev1.PodSucceeded
				s.Gone = append(s.Gone, dead)
			},
			want: "",
		},
	}
	for _, s := range scenes {
		t.Run(s.reason, func(t *testing.T) {
			t.Parallel()
			set, state := s.wanted(), s.observed(t)
			if got := say(Limit(set, state, Diff(set, state), at)); got != s.want {
				t.Errorf("pods %q, %d places:\n got: %s\nwant: %s", s.pods, s.slots, got, s.want)
			}
		})
	}
}

// Two who believe that a place is empty try the same name; a second pod beside the first has another.
func TestNamesOfKeyedSlots(t *testing.T) {
	t.Parallel()
	n := newNames("uid")
	if again := newNames("uid"); again.keyed("node-1", 0) != n.keyed("node-1", 0) {
		t.Error("the same place gave two names")
	}
	seen := map[string]string{}
	for i := range 5000 {
		for k := range 2 {
			id := n.keyed(fmt.Sprintf("node-%d", i), k)
			if other := seen[id]; other != "" {
				t.Fatalf("node-%d/%d and %s share the id %s", i, k, other, id)
			}
			seen[id] = fmt.Sprintf("node-%d/%d", i, k)
		}
	}
}
