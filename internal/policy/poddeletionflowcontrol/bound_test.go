package poddeletionflowcontrol

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	testclock "k8s.io/utils/clock/testing"

	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// yes is the preferred replica, and allows everything.
type yes struct{}

func (yes) Call(context.Context, string, string, []byte) ([]byte, error) {
	return json.Marshal(answer{Allowed: true, Reason: ReasonAdmitted, Stamp: 1, Fresh: true})
}

// TestMemoryOfAFollower: a replica that only asks another one never writes, and forgets what is over all the same.
func TestMemoryOfAFollower(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(1_900_000_000, 0))
	k := New(Deps{Clock: clock, Log: logr.Discard(), Caller: yes{}, Store: &shelf{}, SystemNamespace: "holdfast-system"})
	k.served.Store(present)
	k.See(policyOf(rule(time.Hour, 1_000_000)))
	k.owner.set(time.Time{}, "preferred")
	for i := range 20_000 {
		v, err := k.Take(t.Context(), deletion(fmt.Sprint("pod-", i)))
		if err != nil || v.Outcome != disruption.Allow {
			t.Fatalf("%+v, %v", v, err)
		}
		clock.Step(10 * time.Millisecond)
	}
	if n, most := len(k.all()[0].mine), int(3*flow.Life/(10*time.Millisecond)); n > most {
		t.Errorf("%d permits of a second's life are remembered, want at most %d", n, most)
	}
}

// TestMemoryOfDenials: the pods that were denied are bounded, and a flood of them is not looked through for each.
func TestMemoryOfDenials(t *testing.T) {
	clock := testclock.NewFakeClock(time.Unix(1_900_000_000, 0))
	k := New(Deps{Clock: clock, Log: logr.Discard(), Store: &shelf{}, SystemNamespace: "holdfast-system"})
	k.See(policyOf(rule(time.Hour, 1)))
	b := k.all()[0]
	for i := range 3 * maxQueue {
		b.note(ask{hash: uint64(i)}, answer{Reason: ReasonLimit})
	}
	if n := len(b.kept); n != maxQueue {
		t.Errorf("%d denied pods are remembered, want %d", n, maxQueue)
	}
	clock.Step(2 * defaultBreakerInterval)
	b.note(ask{hash: 1 << 40}, answer{Reason: ReasonLimit})
	if n := len(b.kept); n != 1 {
		t.Errorf("%d denied pods are remembered later, want the one", n)
	}
}
