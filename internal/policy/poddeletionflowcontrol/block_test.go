package poddeletionflowcontrol

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// large is a replica that has set 500 permits of 1,000,000 aside.
func large(t *testing.T) (*single, *v1alpha1.PodDeletionFlowControl) {
	t.Helper()
	p := policyOf(rule(10*time.Minute, 1_000_000))
	p.Spec.CircuitBreaker = &v1alpha1.DeletionCircuitBreaker{Denials: 3}
	s := alone(t, p)
	s.owner.set(s.now().Add(time.Hour), "")
	s.take(deletion("first"))
	synctest.Wait()
	if l, _ := s.shelf.of("fleet").get(); l.Held(s.identity) != flow.MaxLargeBlock {
		t.Fatalf("%d permits are set aside, want %d", l.Held(s.identity), flow.MaxLargeBlock)
	}
	return s, p
}

// writes is what another replica writes into the ledger, and the watch shows.
func (s *single) writes(change func(*flow.Ledger)) {
	s.t.Helper()
	b := s.all()[0]
	stored, version := s.shelf.of("fleet").get()
	l := stored.Clone()
	l.Advance(s.now(), b.terms.Load().longest)
	change(l)
	version, err := s.shelf.of("fleet").put(version, l)
	if err != nil {
		s.t.Fatal(err)
	}
	b.see(l, version)
}

// TestLargeBlockComesBack: what is set aside of a large limit is not missing once it is not wanted any more.
func TestLargeBlockComesBack(t *testing.T) {
	for reason, happens := range map[string]func(s *single, p *v1alpha1.PodDeletionFlowControl){
		"nobody asks any more": func(_ *single, _ *v1alpha1.PodDeletionFlowControl) { elapse(spendable + time.Second) },
		"the replica leaves":   func(s *single, _ *v1alpha1.PodDeletionFlowControl) { s.end() },
		"the limit is lowered": func(s *single, p *v1alpha1.PodDeletionFlowControl) {
			p.Generation, p.Spec.LimitRules = 2, []v1alpha1.DeletionLimitRule{rule(10*time.Minute, 100)}
			s.See(p)
		},
		"the policy only observes": func(s *single, p *v1alpha1.PodDeletionFlowControl) {
			p.Generation, p.Spec.Mode = 2, v1alpha1.Observe
			s.See(p)
		},
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := large(t)
				happens(s, p.DeepCopy())
				synctest.Wait()
				l, _ := s.shelf.of("fleet").get()
				n, held := l.Count(l.Clock, 10*time.Minute), l.Held(s.identity)
				if n != 1+held || held > flow.MaxBlock { // of the lower limit a few may be set aside by now
					t.Errorf("1 pod was let go, and the ledger counts %d; %d are set aside", n, held)
				}
			})
		})
	}
}

// TestLowerLimitWithALargeBlockOut: of a limit that is lowered below what is set aside, all is there once that came back, and
// not one more.
func TestLowerLimitWithALargeBlockOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := large(t)
		lower := p.DeepCopy()
		lower.Generation, lower.Spec.LimitRules, lower.Spec.CircuitBreaker = 2, []v1alpha1.DeletionLimitRule{rule(10*time.Minute, 100)}, nil
		s.See(lower)
		synctest.Wait()
		allowed := 1
		for i := range 200 {
			if s.take(deletion(fmt.Sprint("pod-", i))).Outcome == disruption.Allow {
				allowed++
			}
			synctest.Wait()
		}
		if allowed != 100 {
			t.Errorf("%d were let go, want 100", allowed)
		}
	})
}

// TestLargeBlockUnderAnOpenBreaker: nothing of a block is handed out once the replica has seen that the breaker is open.
func TestLargeBlockUnderAnOpenBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := large(t)
		b := s.all()[0]
		terms := b.terms.Load()
		s.writes(func(l *flow.Ledger) {
			if !l.Deny(terms.breaker.Denials, terms.breaker, terms.closed) {
				t.Error("the breaker does not open")
			}
		})
		if v := s.take(deletion("a")); v.Reason != ReasonBreakerOpen {
			t.Errorf("%d permits are left, and the breaker is open: %+v", b.block.left, v)
		}
		if n := s.count("fleet"); n != 1 {
			t.Errorf("1 pod was let go, and the ledger counts %d", n)
		}
	})
}

// TestLargeBlockOfAnOlderPolicy: once the ledger tells that another replica knows a newer policy, nothing of a block is handed
// out: what it is written down for has the policy read.
func TestLargeBlockOfAnOlderPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := large(t)
		s.writes(func(l *flow.Ledger) { l.Generation = 2 })
		s.take(deletion("a"))
		if l, _ := s.shelf.of("fleet").get(); l.Pods() != 2 {
			t.Errorf("%d pods are written down when the second may go, want 2", l.Pods())
		}
	})
}

// TestNothingSetAsideAfterLeaving: a replica that stops still answers for a moment. Nobody would give back what it set aside
// then.
func TestNothingSetAsideAfterLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := large(t)
		s.end()
		for i := range 3 {
			if v := s.take(deletion(fmt.Sprint("late-", i))); v.Outcome != disruption.Allow {
				t.Errorf("%+v", v)
			}
		}
		if n := s.count("fleet"); n != 4 {
			t.Errorf("4 pods were let go, and the ledger counts %d", n)
		}
	})
}

// TestLargeBlockAfterACrash: the names of those that were let go are gone with the replica, and all that it had set aside stays
// counted.
func TestLargeBlockAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := large(t)
		for i := range 200 {
			s.take(deletion(fmt.Sprint("pod-", i)))
		}
		l, _ := s.shelf.of("fleet").get()
		l = l.Clone() // as it is when the replica dies
		l.Advance(s.now().Add(flow.Life+flow.Skew+time.Second), time.Hour)
		if n := l.Count(l.Clock, 10*time.Minute); n != flow.MaxLargeBlock+1 {
			t.Errorf("the ledger counts %d, want the named pod and the %d set aside", n, flow.MaxLargeBlock)
		}
	})
}
