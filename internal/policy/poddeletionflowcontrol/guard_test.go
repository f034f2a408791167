package poddeletionflowcontrol

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// shelf is a store of many ledgers in memory.
type shelf struct {
	mu  sync.Mutex
	all map[string]*memory
}

func (s *shelf) of(policy string) *memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]*memory{}
	}
	if s.all[policy] == nil {
		s.all[policy] = &memory{}
	}
	return s.all[policy]
}

func (s *shelf) Get(_ context.Context, policy string) (*flow.Ledger, string, error) {
	l, version := s.of(policy).get()
	return l, version, nil
}

func (s *shelf) Put(_ context.Context, policy, version string, l *flow.Ledger) (string, error) {
	return s.of(policy).put(version, l)
}

// elapse lets time pass that is not real: all of these tests run in bubbles of synctest.
func elapse(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // see above
}

// single is one keeper alone.
type single struct {
	*Keeper

	t     *testing.T
	shelf *shelf
	// end has it leave, as at a shutdown.
	end func()
}

func alone(t *testing.T, policies ...*v1alpha1.PodDeletionFlowControl) *single {
	t.Helper()
	s := &single{t: t, shelf: &shelf{}}
	s.Keeper = New(Deps{Clock: clock.RealClock{}, Log: logr.Discard(), Store: s.shelf, SystemNamespace: "holdfast-system"})
	s.served.Store(present)
	for _, p := range policies {
		s.See(p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	s.end = func() { cancel(); <-done }
	t.Cleanup(s.end)
	return s
}

func (s *single) take(r disruption.Request) disruption.Verdict {
	s.t.Helper()
	v, err := s.Take(s.t.Context(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// count is what the policy's ledger holds once everything is written.
func (s *single) count(policy string) int {
	elapse(2 * noteWrite)
	synctest.Wait()
	l, _ := s.shelf.of(policy).get()
	if l == nil {
		return 0
	}
	return l.Count(l.Clock, 10*time.Minute)
}

func deletion(name string, change ...func(*disruption.Request)) disruption.Request {
	r := disruption.Request{
		Operation: disruption.Delete, User: authenticationv1.UserInfo{Username: "jane", Groups: []string{"dev"}},
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)}},
	}
	for _, one := range change {
		one(&r)
	}
	return r
}

func by(user string, groups ...string) func(*disruption.Request) {
	return func(r *disruption.Request) { r.User = authenticationv1.UserInfo{Username: user, Groups: groups} }
}

func labelled(key, value string) func(*disruption.Request) {
	return func(r *disruption.Request) { r.Pod.Labels = map[string]string{key: value} }
}

func disrupted(reason string) func(*disruption.Request) {
	return func(r *disruption.Request) {
		r.Pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason}}
	}
}

func TestWhoIsLimited(t *testing.T) {
	const manager = "system:kube-controller-manager"
	for _, test := range []struct {
		reason  string
		request disruption.Request
		denied  bool
		counted bool
	}{
		{"a person", deletion("a"), true, true},
		{"an eviction", deletion("a", func(r *disruption.Request) { r.Operation = disruption.Evict }), true, true},
		{"the garbage collector: that is how deletions cascade", deletion("a", by("system:serviceaccount:kube-system:generic-garbage-collector")), true, true},
		{"a controller in one account with all others", deletion("a", by(manager)), true, true},
		{"an update takes nothing away for good", deletion("a", func(r *disruption.Request) { r.Operation = disruption.Update }), false, false},
		{"the kubelet finishes what was decided", deletion("a", by("system:node:n1", "system:nodes")), false, false},
		{"the pod garbage collector", deletion("a", by("system:serviceaccount:kube-system:pod-garbage-collector")), false, false},
		{"the pod garbage collector without its own account", deletion("a", by(manager), disrupted("DeletionByPodGC")), false, false},
		{"a pod that is going already", deletion("a", func(r *disruption.Request) { r.Pod.DeletionTimestamp = ptr.To(metav1.Now()) }), false, false},
		{"a pod that is done", deletion("a", func(r *disruption.Request) { r.Pod.Status.Phase = corev1.PodSucceeded }), false, false},
		{"a pod that failed", deletion("a", func(r *disruption.Request) { r.Pod.Status.Phase = corev1.PodFailed }), false, false},
		{"kube-system", deletion("a", func(r *disruption.Request) { r.Pod.Namespace = "kube-system" }), false, false},
		{"our own namespace", deletion("a", func(r *disruption.Request) { r.Pod.Namespace = "holdfast-system" }), false, false},
		{"the white list", deletion("a", labelled("batch", "yes")), false, false},
		{"another value than the white list's", deletion("a", labelled("batch", "no")), true, true},
		{"an exempt user", deletion("a", by("cleaner")), false, false},
		{"an exempt group", deletion("a", by("joe", "dev", "sre")), false, false},
		{"preemption is counted, not denied", deletion("a", by("system:kube-scheduler")), false, true},
		{"taint eviction is counted, not denied", deletion("a", by("system:serviceaccount:kube-system:node-controller")), false, true},
		{"taint eviction without its own account", deletion("a", by(manager), disrupted("DeletionByTaintManager")), false, true},
		{"a dry run is answered, not counted", deletion("a", func(r *disruption.Request) { r.DryRun = true }), true, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := policyOf(rule(10*time.Minute, 2))
				p.Spec.WhiteListSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"batch": "yes"}}
				p.Spec.Exempt = &v1alpha1.DeletionExemptions{Users: []string{"cleaner"}, Groups: []string{"sre"}}
				s := alone(t, p)
				if v := s.take(test.request); v.Outcome != disruption.Allow {
					t.Errorf("denied while there is room: %s", v.Message)
				}
				if n := s.count("fleet"); (n == 1) != test.counted {
					t.Errorf("counted %d", n)
				}
				for i := range 2 {
					s.take(deletion(fmt.Sprint("filler-", i)))
				}
				again := test.request
				again.Pod = test.request.Pod.DeepCopy()
				again.Pod.UID = "another"
				v := s.take(again)
				if (v.Outcome == disruption.Deny) != test.denied {
					t.Errorf("when the window is full: %+v", v)
				}
				if check := s.Check(t.Context(), again); check.Outcome != v.Outcome && !test.denied {
					t.Errorf("check says %+v", check)
				}
			})
		})
	}
}

func TestDenialSaysAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policyOf(rule(10*time.Minute, 1), rule(time.Hour, 5))
		s := alone(t, p)
		s.take(deletion("a"))
		v := s.take(deletion("b"))
		if v.Outcome != disruption.Deny || v.Reason != ReasonLimit || !v.Throttled || v.Guard != "PodDeletionFlowControl fleet" {
			t.Fatalf("%+v", v)
		}
		if v.After < 10*time.Minute || v.After > 10*time.Minute+flow.Life+flow.Skew {
			t.Errorf("asking again may help in %s", v.After)
		}
		for _, part := range []string{"1/1 pod deletions of the last 10m", "next is free in 10m7s, at 2000-01-01T00:10:07Z", "whiteListSelector", "spec.limitRules", "exempt"} {
			if !strings.Contains(v.Message, part) {
				t.Errorf("%q does not say %q", v.Message, part)
			}
		}
		if v.Notes["rule"] != "10m" || v.Notes["count"] != "1/1" || v.Notes["policy"] != "fleet" {
			t.Errorf("notes: %v", v.Notes)
		}
		elapse(v.After)
		if v := s.take(deletion("b")); v.Outcome != disruption.Allow {
			t.Errorf("not free when it was said to be: %s", v.Message)
		}
		l, _ := s.shelf.of("fleet").get()
		if l.Denied != 1 || len(l.Recent) != 1 || l.Recent[0].User != "jane" || l.Recent[0].Pod != "shop/b" || l.Recent[0].Count != "1/1" {
			t.Errorf("denied %d, recent %+v", l.Denied, l.Recent)
		}
	})
}

func TestAllPoliciesMustAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wide, narrow := policyOf(rule(10*time.Minute, 10)), policyOf(rule(10*time.Minute, 1))
		wide.Name, narrow.Name, narrow.UID = "a-wide", "b-narrow", "policy-2"
		narrow.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
		s := alone(t, wide, narrow)
		if v := s.take(deletion("a", labelled("app", "web"))); v.Outcome != disruption.Allow {
			t.Fatal(v.Message)
		}
		if v := s.take(deletion("b", labelled("app", "web"))); v.Outcome != disruption.Deny || v.Guard != "PodDeletionFlowControl b-narrow" {
			t.Errorf("%+v", v)
		}
		if v := s.take(deletion("c", labelled("app", "db"))); v.Outcome != disruption.Allow {
			t.Errorf("a pod that the narrow one does not pick: %+v", v)
		}
		if n := s.count("a-wide"); n != 2 {
			t.Errorf("the wide one counts %d, want 2: what the narrow one denied came back", n)
		}
		s.Forget(narrow)
		if v := s.take(deletion("b", labelled("app", "web"))); v.Outcome != disruption.Allow {
			t.Errorf("after the narrow one is gone: %+v", v)
		}
	})
}

func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policyOf(rule(10*time.Minute, 2))
		p.Spec.Mode = v1alpha1.Observe
		p.Spec.CircuitBreaker = &v1alpha1.DeletionCircuitBreaker{Denials: 1}
		s := alone(t, p)
		for i := range 5 {
			v := s.take(deletion(fmt.Sprint("a", i)))
			if v.Outcome != disruption.Allow {
				t.Fatalf("observing denies: %s", v.Message)
			}
			if n := s.count("fleet"); n != i+1 {
				t.Errorf("counted %d, want %d", n, i+1)
			}
			if would := v.Notes["would-deny"] == "true"; would != (i >= 2) {
				t.Errorf("deletion %d: %+v", i, v)
			}
		}
		l, _ := s.shelf.of("fleet").get()
		if l.WouldDeny != 3 || l.Denied != 0 || l.Admitted != 5 || l.Recent[0].Outcome != "WouldDeny" {
			t.Errorf("would deny %d, denied %d, admitted %d, %+v", l.WouldDeny, l.Denied, l.Admitted, l.Recent)
		}
	})
}

func TestSystemDeletionsOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policyOf(rule(10*time.Minute, 1))
		p.Spec.EnforceFor = []v1alpha1.SystemDeletion{v1alpha1.Preemption}
		s := alone(t, p)
		s.take(deletion("a"))
		if v := s.take(deletion("b", by("system:kube-scheduler"))); v.Outcome != disruption.Deny {
			t.Errorf("preemption, on request: %+v", v)
		}
		if v := s.take(deletion("c", by("system:serviceaccount:kube-system:node-controller"))); v.Outcome != disruption.Allow || v.Notes["would-deny"] == "" {
			t.Errorf("taint eviction, which was not named: %+v", v)
		}
	})
}

func TestBreakerStopsAndIsClosedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policyOf(rule(20*time.Second, 2))
		p.Spec.CircuitBreaker = &v1alpha1.DeletionCircuitBreaker{Denials: 5, CoolDown: &metav1.Duration{Duration: time.Hour}}
		s := alone(t, p)
		for i := range 7 {
			s.take(deletion(fmt.Sprint("a", i)))
		}
		synctest.Wait()
		v := s.take(deletion("b"))
		if v.Outcome != disruption.Deny || v.Reason != ReasonBreakerOpen || v.After < 59*time.Minute {
			t.Fatalf("after 5 denials: %+v", v)
		}
		if !strings.Contains(v.Message, "kubectl annotate pdfc fleet --overwrite policy.kruise.io/close-breaker=1") {
			t.Errorf("no way out: %s", v.Message)
		}
		elapse(time.Minute)
		if v := s.take(deletion("b")); v.Reason != ReasonBreakerOpen {
			t.Errorf("the window has room, but the breaker is open: %+v", v)
		}
		closed := p.DeepCopy()
		closed.Annotations = map[string]string{v1alpha1.CloseBreaker: "1"}
		s.See(closed)
		if v := s.take(deletion("b")); v.Outcome != disruption.Allow {
			t.Errorf("closed by hand: %+v", v)
		}
		for i := range 7 {
			s.take(deletion(fmt.Sprint("c", i)))
		}
		synctest.Wait()
		if v := s.take(deletion("d")); v.Reason != ReasonBreakerOpen {
			t.Errorf("the second trip is not closed by the first one's number: %+v", v)
		}
		elapse(time.Hour + time.Second)
		if v := s.take(deletion("d")); v.Outcome != disruption.Allow {
			t.Errorf("it has cooled down: %+v", v)
		}
	})
}

func TestRetryAfterALongTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone(t, policyOf(rule(10*time.Minute, 2)))
		for range 20 { // a drain that a PodDisruptionBudget holds up
			if v := s.take(deletion("a")); v.Outcome != disruption.Allow {
				t.Fatal(v.Message)
			}
			elapse(time.Minute)
		}
		if n := s.count("fleet"); n != 1 {
			t.Errorf("one pod counts %d times", n)
		}
	})
}

func TestReleaseGivesBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone(t, policyOf(rule(10*time.Minute, 100)))
		s.owner.set(time.Now().Add(time.Hour), "") // so that permits come from a block
		for range 2 {
			s.take(deletion("a"))
		}
		s.Release(t.Context(), deletion("a"))
		elapse(3 * time.Second)
		if n := s.count("fleet"); n != 1 {
			t.Errorf("two relied on the permit, one gave it back: %d left, want 1", n)
		}
		s.take(deletion("b"))
		s.Release(t.Context(), deletion("b"))
		s.Release(t.Context(), deletion("b"))
		s.Release(t.Context(), deletion("never"))
		elapse(3 * time.Second)
		if n := s.count("fleet"); n != 1 {
			t.Errorf("%d left, want 1", n)
		}
	})
}

func TestNotReady(t *testing.T) {
	s := &single{t: t, shelf: &shelf{}}
	s.Keeper = New(Deps{Clock: clock.RealClock{}, Log: logr.Discard(), Store: s.shelf})
	if _, err := s.Take(t.Context(), deletion("a")); err == nil {
		t.Error("answers before it knows the policies")
	}
	s.served.Store(absent)
	if v := s.take(deletion("a")); v.Outcome != disruption.Allow || v.Guard != "" {
		t.Errorf("without the kind in the cluster: %+v", v)
	}
}

func TestCorrectedClock(t *testing.T) {
	at := func(s float64) time.Time { return time.Unix(0, int64(s*float64(time.Second))) }
	for _, test := range []struct {
		reason                string
		known                 time.Duration
		before, after, server float64
		want                  time.Duration
	}{
		{"the same second", 0, 100.2, 100.3, 100, 0},
		{"ahead by a little", 0, 101.1, 101.2, 100, -100 * time.Millisecond},
		{"ahead by a minute", 0, 160, 160.1, 100, -59 * time.Second},
		{"behind by a minute", 0, 40, 40.1, 100, 59900 * time.Millisecond},
		{"what is known still fits", -59500 * time.Millisecond, 160, 160.1, 100, -59500 * time.Millisecond},
		{"our clock was set right", -59 * time.Second, 100.2, 100.3, 100, -300 * time.Millisecond},
	} {
		if got := corrected(test.known, at(test.before), at(test.after), at(test.server)); (got - test.want).Abs() > time.Millisecond {
			t.Errorf("%s: %s, want %s", test.reason, got, test.want)
		}
	}
}

func TestLowerLimitHoldsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policyOf(rule(10*time.Minute, 100))
		s := alone(t, p)
		s.owner.set(time.Now().Add(time.Hour), "")
		for i := range 3 {
			s.take(deletion(fmt.Sprint("a", i)))
		}
		synctest.Wait()
		if l, _ := s.shelf.of("fleet").get(); len(l.Blocks) == 0 {
			t.Fatal("nothing is set aside: nothing is tested")
		}
		lower := p.DeepCopy()
		lower.Generation, lower.Spec.LimitRules = 2, []v1alpha1.DeletionLimitRule{rule(10*time.Minute, 3)}
		s.See(lower)
		if v := s.take(deletion("b")); v.Outcome != disruption.Deny {
			t.Errorf("what was set aside under the former limit is handed out: %+v", v)
		}
	})
}

func TestPolicyMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policyOf(rule(10*time.Minute, 2))
		s := alone(t, p)
		for i := range 2 {
			s.take(deletion(fmt.Sprint("a", i)))
		}
		anew := p.DeepCopy()
		anew.UID = "policy-2"
		s.See(anew)
		for i := range 3 {
			if v := s.take(deletion(fmt.Sprint("b", i))); (v.Outcome == disruption.Allow) != (i < 2) {
				t.Errorf("deletion %d: %+v", i, v)
			}
		}
	})
}

func TestBreakerCountsPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policyOf(rule(time.Hour, 1))
		p.Spec.CircuitBreaker = &v1alpha1.DeletionCircuitBreaker{Denials: 5}
		s := alone(t, p)
		s.take(deletion("a"))
		ours := func(r *disruption.Request) { r.Cause = "update of CloneSet shop/web" }
		for i := range 60 {
			s.take(deletion("drained"))
			s.take(deletion(fmt.Sprint("ours-", i), ours))
			elapse(100 * time.Millisecond)
		}
		synctest.Wait()
		if v := s.take(deletion("drained")); v.Reason != ReasonLimit {
			t.Errorf("one pod that is tried again, and our own controllers, opened the breaker: %+v", v)
		}
		for i := range 5 {
			s.take(deletion(fmt.Sprint("flood-", i)))
		}
		synctest.Wait()
		if v := s.take(deletion("drained")); v.Reason != ReasonBreakerOpen {
			t.Errorf("five more pods: %+v", v)
		}
	})
}
