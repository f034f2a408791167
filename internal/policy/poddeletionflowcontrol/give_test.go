package poddeletionflowcontrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// moody is a store that does what it is told to.
type moody struct {
	shelf

	// lost: what is written is stored, and nobody hears of it, nor of anything else.
	lost bool
	// held: a write waits until it is closed.
	held chan struct{}
	// takes is how long a write takes.
	takes time.Duration
}

func (m *moody) Get(ctx context.Context, policy string) (*flow.Ledger, string, error) {
	if m.lost {
		return nil, "", errors.New("connection reset")
	}
	return m.shelf.Get(ctx, policy)
}

func (m *moody) Put(ctx context.Context, policy, version string, l *flow.Ledger) (string, error) {
	if m.held != nil {
		<-m.held
	}
	elapse(m.takes)
	made, err := m.shelf.Put(ctx, policy, version, l)
	if m.lost {
		return "", errors.New("connection reset")
	}
	return made, err
}

// holder is a replica that has set 5 permits aside, of which none is spent, and does not set aside more by itself.
func holder(t *testing.T) (*single, *moody) {
	t.Helper()
	store := &moody{}
	s := &single{t: t, shelf: &store.shelf}
	s.Keeper = New(Deps{Clock: clock.RealClock{}, Log: logr.Discard(), Store: store, SystemNamespace: "holdfast-system"})
	s.served.Store(present)
	s.See(policyOf(rule(10*time.Minute, 100)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	s.owner.set(s.now().Add(time.Hour), "")
	s.take(deletion("first"))
	s.owner.set(time.Time{}, "")
	if b := s.all()[0]; b.block.left != 5 {
		t.Fatalf("%d permits are set aside, want 5", b.block.left)
	}
	return s, store
}

// TestGivenBackAfterALostWrite: the ledger may hold the name of a pod although the write that told it failed. Its permit must
// not go to another pod then, or both rest on one.
func TestGivenBackAfterALostWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := holder(t)
		s.take(deletion("a"))
		s.take(deletion("b"))
		store.lost = true
		s.Release(t.Context(), deletion("first")) // has the ledger written, with both names
		synctest.Wait()
		store.lost = false
		s.Release(t.Context(), deletion("a"))
		for _, pod := range []string{"c", "d", "e", "f", "a"} {
			s.take(deletion(pod))
		}
		if n := s.count("fleet"); n < 6 {
			t.Errorf("6 pods were let go, and the ledger counts %d", n)
		}
	})
}

// TestGivenBackWhileWritten: a pod is asked about again while its former permit is on the way back.
func TestGivenBackWhileWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := holder(t)
		s.take(deletion("a"))
		store.held = make(chan struct{})
		s.Release(t.Context(), deletion("first")) // has the ledger written, with the name
		synctest.Wait()
		s.Release(t.Context(), deletion("a"))
		again := make(chan disruption.Outcome, 1)
		go func() { again <- s.take(deletion("a")).Outcome }()
		synctest.Wait()
		close(store.held)
		if got := <-again; got != disruption.Allow {
			t.Errorf("asked again: %v", got)
		}
		if n := s.count("fleet"); n != 1 {
			t.Errorf("1 pod was let go, and the ledger counts %d", n)
		}
	})
}

// TestGivenBackToAnotherReplica: the replica that is preferred by now has given the pod a permit of its own, on which somebody
// else relies.
func TestGivenBackToAnotherReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := holder(t)
		s.take(deletion("a"))
		former, err := json.Marshal(peerAsk{Policy: "fleet", UID: "policy-1", Pod: flow.Hash("uid-a"), Give: 12345})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Answer(t.Context(), former); err != nil {
			t.Fatal(err)
		}
		if n := s.count("fleet"); n != 2 {
			t.Errorf("2 pods were let go, and the ledger counts %d", n)
		}
	})
}

// TestGivenBackByOneOfTwo: two requests for a pod rely on permits of different replicas. What the first one gives back may be
// the second one's.
func TestGivenBackByOneOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := holder(t)
		peer := &other{}
		s.caller = peer
		s.take(deletion("a"))
		elapse(spendable)
		s.owner.set(time.Time{}, "preferred")
		s.take(deletion("a"))
		s.Release(t.Context(), deletion("a"))
		if peer.asked != 1 || peer.given != 0 {
			t.Errorf("the preferred replica was asked %d times and given back to %d times, want once and never", peer.asked, peer.given)
		}
	})
}

// other is the preferred replica, and allows everything.
type other struct{ asked, given int }

func (o *other) Call(_ context.Context, _, _ string, body []byte) ([]byte, error) {
	q := peerAsk{}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, err
	}
	if q.Give != 0 {
		o.given++
		return []byte("{}"), nil
	}
	o.asked++
	return json.Marshal(answer{Allowed: true, Reason: ReasonAdmitted, Stamp: 1, Fresh: true})
}

// TestPermitOfWhatPassesAnyway: a preemption is written down a little later. Until then nobody else may rely on it.
func TestPermitOfWhatPassesAnyway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone(t, policyOf(rule(10*time.Minute, 1)))
		s.take(deletion("a"))
		s.take(deletion("b", by("system:kube-scheduler")))
		if got := s.take(deletion("b")).Outcome; got != disruption.Deny {
			t.Errorf("a person's deletion above the limit: %v, want it denied", got)
		}
	})
}

// TestServedByTheWriteUnderWay: who comes while more is being set aside waits for that write, not for another one.
func TestServedByTheWriteUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := holder(t)
		store.takes = 100 * time.Millisecond
		s.owner.set(s.now().Add(time.Hour), "")
		begun := time.Now()
		for i := range 5 {
			s.take(deletion(fmt.Sprint("pod-", i))) // the third has more set aside
		}
		if took := time.Since(begun); took != 0 {
			t.Fatalf("what is set aside took %s", took)
		}
		elapse(40 * time.Millisecond)
		s.take(deletion("late"))
		if took := time.Since(begun); took != store.takes {
			t.Errorf("the answer came after %s, want that of the write, %s", took, store.takes)
		}
		s.owner.set(time.Time{}, "")
		elapse(spendable) // what is still set aside is given back
		if n := s.count("fleet"); n != 7 {
			t.Errorf("7 pods were let go, and the ledger counts %d", n)
		}
	})
}
