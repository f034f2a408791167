package testkit

import (
	"context"
	"strings"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"
)

// Harness lives through a Scenario: it lets a controller, the pretended nodes and the clock take turns until the workload
// has come to its end, and replaces a controller that Faults has killed by a new one that remembers nothing.
type Harness struct {
	// New starts a controller with an empty memory and returns its pass. Called once, and after each kill.
	New func() func(ctx context.Context) error
	// Each is called after each pass, to look, or to do what others than the nodes do. Optional.
	Each func()
	// Kubelet pretends the nodes. Optional.
	Kubelet *Kubelet
	// Oracle watches the limits. Optional.
	Oracle *Oracle
	// Faults tells when the controller was killed. Optional.
	Faults *Faults
	// Lag is what the controller reads, refreshed before each pass. Optional. It catches up in every fourth round and
	// whenever nothing moves, since no cache stays behind for ever, and when a new controller starts, which lists anew.
	Lag *LagCache
	// Clock moves by Tick in each round. Optional.
	Clock *testclock.FakeClock
	// Tick is how far; zero means one second.
	Tick time.Duration
	// Rounds is how many rounds it may take; zero means 200.
	Rounds int

	pass   func(ctx context.Context) error
	errors []string
}

// Run goes on until done returns nil with nothing left to move, and then asks the Oracle for its verdict. Errors of the
// controller are no failure, as faults cause them; the last ones are shown when it does not converge.
func (h *Harness) Run(t testing.TB, done func(ctx context.Context) error) {
	t.Helper()
	rounds := h.Rounds
	if rounds == 0 {
		rounds = 200
	}
	var last error
	for n := range rounds {
		moved := h.round(t)
		if h.Lag != nil && n%4 == 3 {
			h.must(t, h.Lag.CatchUp(t.Context()))
		}
		if moved {
			continue
		}
		if last = done(t.Context()); last == nil {
			if h.Oracle != nil {
				h.Oracle.Check(t)
			}
			return
		}
	}
	t.Fatalf("it did not converge in %d rounds: %v\nlast errors of the controller:\n  %s\nwhat went wrong by plan: %q",
		rounds, last, strings.Join(h.errors[max(0, len(h.errors)-5):], "\n  "), h.struck())
}

// Pass makes one pass of the controller, starting a new one if the last was killed, and returns the pass's error.
func (h *Harness) Pass(t testing.TB) error {
	t.Helper()
	ctx := t.Context()
	if h.Faults != nil && h.Faults.Dead() {
		h.Faults.Revive()
		h.pass = nil
	}
	if h.pass == nil {
		if h.Lag != nil {
			h.must(t, h.Lag.CatchUp(ctx))
		}
		h.pass = h.New()
	} else if h.Lag != nil {
		h.must(t, h.Lag.Refresh(ctx))
	}
	err := h.pass(ctx)
	if h.Each != nil {
		h.Each()
	}
	return err
}

// Restart throws the controller away: the next pass is that of a new one, which remembers nothing.
func (h *Harness) Restart() { h.pass = nil }

// round lets everybody act once, and reports whether anything moved.
func (h *Harness) round(t testing.TB) bool {
	t.Helper()
	before := h.writes()
	err := h.Pass(t)
	if err != nil {
		h.errors = append(h.errors, err.Error())
	}
	if h.Oracle != nil {
		h.must(t, h.Oracle.Sync(t.Context()))
	}
	made := 0
	if h.Kubelet != nil {
		var stepErr error
		made, stepErr = h.Kubelet.Step(t.Context())
		h.must(t, stepErr)
	}
	if h.Clock != nil {
		tick := h.Tick
		if tick == 0 {
			tick = time.Second
		}
		h.Clock.Step(tick)
	}
	if made > 0 || err != nil || h.writes() != before {
		return true
	}
	if h.Lag != nil {
		h.must(t, h.Lag.Fetch(t.Context()))
		return h.Lag.Show(h.Lag.Pending()) > 0
	}
	return false
}

func (h *Harness) writes() int {
	if h.Faults == nil {
		return 0
	}
	return len(h.Faults.Writes())
}

func (h *Harness) struck() []string {
	if h.Faults == nil {
		return nil
	}
	return h.Faults.Struck()
}

func (h *Harness) must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("harness: %v", err)
	}
}
