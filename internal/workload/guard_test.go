package workload

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
)

// keeper is a guard that keeps pods by name and writes down what it is asked.
type keeper struct {
	keeps map[string]disruption.Verdict
	fails error
	asked []string
}

func (k *keeper) Ask(_ context.Context, r disruption.Request) (disruption.Verdict, error) {
	word := string(r.Operation)
	if r.Changed != nil {
		word += " to " + r.Changed.Spec.Containers[0].Image
	}
	k.asked = append(k.asked, word)
	return k.keeps[r.Pod.Name], k.fails
}

// act decides for the pods that exist and does so, and returns the plan with what was held back.
func (b *bench) act() (Plan, error) {
	b.t.Helper()
	if err := b.cache.CatchUp(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	src := b.source()
	state, err := b.engine.Observe(b.t.Context(), src)
	if err != nil {
		b.t.Fatal(err)
	}
	set := Set{Slots: make([]Slot, b.slots), Change: inPlace, Limits: Limits{Unavailable: b.slots, Starting: -1}}
	for i := range set.Slots {
		set.Slots[i].Revision = state.Update.Name
	}
	plan := Limit(set, state, Diff(set, state), at)
	err = b.engine.Act(b.t.Context(), src, state, &plan)
	return plan, err
}

func TestGuardIsAskedBeforePodsGo(t *testing.T) {
	t.Parallel()
	b := newBench(t, 3)
	b.passes()
	b.slots = 1
	kept := b.pods()[0].Name
	guard := &keeper{keeps: map[string]disruption.Verdict{}}
	for _, p := range b.pods() {
		guard.keeps[p.Name] = disruption.Verdict{Outcome: disruption.Deny, Throttled: p.Name == kept, After: time.Minute, Message: "too many"}
	}
	b.engine.Guard = guard
	plan, err := b.act()
	if err != nil {
		t.Fatalf("a guard that keeps pods is no failure: %v", err)
	}
	if got := len(b.pods()); got != 3 {
		t.Errorf("%d pods are left, want all 3", got)
	}
	if held := Summary(plan.Held); len(held) == 0 || held[0].Reason != appsv1beta1.HeldByGuard || held[0].Count != 2 {
		t.Errorf("held: %+v; want 2 by Guard", held)
	}
	if plan.Again != time.Minute {
		t.Errorf("again after %s, want the guard's minute", plan.Again)
	}
	guard.keeps = nil
	if _, err := b.act(); err != nil {
		t.Fatal(err)
	}
	if got := len(b.pods()); got != 1 {
		t.Errorf("%d pods are left when the guard lets them go, want 1", got)
	}
}

// Pods that are not available cost nothing of maxUnavailable, and may all be replaced at once; the guards are asked for each.
func TestGuardBoundsTheReplacementOfUnavailablePods(t *testing.T) {
	t.Parallel()
	b := newBench(t, 4)
	b.passes()
	old := b.pods()
	guard := &keeper{keeps: map[string]disruption.Verdict{}}
	for _, p := range old[:3] {
		guard.keeps[p.Name] = disruption.Verdict{Outcome: disruption.Deny, Throttled: true, After: time.Minute, Message: "too many lately"}
	}
	b.engine.Guard = guard
	b.update(b.owner, func() { b.owner.Spec.Template.Spec.Containers[0].Command = []string{"next"} })
	plan, err := b.act()
	if err != nil {
		t.Fatal(err)
	}
	left := 0
	for _, p := range b.pods() {
		if len(p.Spec.Containers[0].Command) == 0 {
			left++
		}
	}
	if left != 3 || len(guard.asked) != 4 {
		t.Errorf("%d old pods are left, and the guard was asked %v; want the 3 that it keeps, of 4", left, guard.asked)
	}
	if held := Summary(plan.Held); len(held) == 0 || held[0].Reason != appsv1beta1.HeldByGuard || held[0].Count != 3 {
		t.Errorf("held: %+v; want 3 by Guard", held)
	}
	if Throttled(plan.Held) != "too many lately" {
		t.Errorf("the status is not told why: %+v", plan.Held)
	}
}

func TestGuardSeesWhatAPodBecomes(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1)
	b.passes()
	b.update(b.owner, func() { b.owner.Spec.Template.Spec.Containers[0].Image = "registry.local/web:next" })
	guard := &keeper{fails: errors.New("no answer")}
	b.engine.Guard = guard
	_, err := b.act()
	if failed := (*Error)(nil); !errors.As(err, &failed) || failed.Update == nil {
		t.Errorf("a guard without an answer: %v; want a failed update", err)
	}
	if got := b.pods()[0].Spec.Containers[0].Image; strings.HasSuffix(got, "next") {
		t.Error("the pod was changed although the guard did not answer")
	}
	if got := strings.Join(guard.asked, ", "); got != "UPDATE to registry.local/web:next" {
		t.Errorf("asked: %s", got)
	}
}

// A controller that changes pods of the workload at the same time makes the engine look again before it acts.
func TestTurns(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2)
	b.passes()
	b.engine.Turns = disruption.NewTurns()
	b.slots = 0
	_, done, ok := b.engine.Turns.Take(b.owner.UID)
	if !ok {
		t.Fatal("nobody has the turn, and it was not given")
	}
	if _, err := b.act(); err == nil || !strings.HasPrefix(err.Error(), "waiting") {
		t.Errorf("while somebody else has the turn: %v; want a wait", err)
	}
	b.engine.Turns.Wrote(b.owner.UID, "999999999")
	done()
	if _, err := b.act(); err == nil || !strings.HasPrefix(err.Error(), "waiting") {
		t.Errorf("after a write that the cache does not show: %v; want a wait", err)
	}
	if got := len(b.pods()); got != 2 {
		t.Errorf("%d pods are left, want 2: nothing may be done on old evidence", got)
	}
	b.engine.Turns = disruption.NewTurns()
	gone := b.pods()[0].UID
	if _, err := b.act(); err != nil {
		t.Fatal(err)
	}
	if !b.engine.Turns.HasLeft(b.owner.UID, gone) {
		t.Error("others are not told of a pod that was deleted")
	}
	if _, done, ok := b.engine.Turns.Take(b.owner.UID); !ok {
		t.Error("the turn was not given back")
	} else {
		done()
	}
}
