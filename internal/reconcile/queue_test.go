package reconcile

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// ledger is a queue that only writes down what it is asked, and hands out what it is told to.
type ledger struct {
	priorityqueue.PriorityQueue[ctrl.Request]
	added []priorityqueue.AddOpts
	next  ctrl.Request
}

func (l *ledger) AddWithOpts(o priorityqueue.AddOpts, _ ...ctrl.Request) {
	l.added = append(l.added, o)
}
func (l *ledger) GetWithPriority() (ctrl.Request, int, bool) { return l.next, 0, false }

func request(name string) ctrl.Request {
	return ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "default", Name: name}}
}

func TestSpacing(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	under := &ledger{}
	q := newSpacedQueue(under, clock, 50*time.Millisecond)
	last := func() priorityqueue.AddOpts { return under.added[len(under.added)-1] }

	q.Add(request("a"))
	if got := last().After; got != 0 {
		t.Errorf("the first pass waits %v, want none", got)
	}
	under.next = request("a")
	q.GetWithPriority()
	clock.SetTime(clock.Now().Add(10 * time.Millisecond))
	q.Add(request("a"))
	if got := last().After; got != 40*time.Millisecond {
		t.Errorf("an event 10 ms after a pass waits %v, want 40ms", got)
	}
	q.Add(request("b"))
	if got := last().After; got != 0 {
		t.Errorf("another object waits %v, want none", got)
	}
	q.AddAfter(request("a"), time.Minute)
	if got := last().After; got != time.Minute {
		t.Errorf("a later pass is asked for in %v, want 1m", got)
	}
	q.AddAfter(request("a"), time.Millisecond)
	if got := last().After; got != 40*time.Millisecond {
		t.Errorf("a pass in 1 ms comes in %v, want 40ms", got)
	}
	q.AddRateLimited(request("a"))
	if got := last(); !got.RateLimited || got.After != 0 {
		t.Errorf("a failure is added with %+v, want its own backoff", got)
	}
	clock.SetTime(clock.Now().Add(time.Second))
	q.Add(request("a"))
	if got := last().After; got != 0 {
		t.Errorf("after a quiet time a pass waits %v, want none", got)
	}
}

func TestSpacingForgets(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0))
	under := &ledger{}
	q := newSpacedQueue(under, clock, 50*time.Millisecond)
	for i := range 10 * sweepAt {
		under.next = request(fmt.Sprint(i))
		q.GetWithPriority()
		clock.SetTime(clock.Now().Add(time.Millisecond))
	}
	if len(q.begun) > sweepAt+1 {
		t.Errorf("the queue remembers %d passes, want at most %d", len(q.begun), sweepAt+1)
	}
}

// Over the real queue: of a burst of events one pass is left, it comes, and nothing else waits for it.
func TestSpacingLosesNothing(t *testing.T) {
	q, ok := Options{}.withDefaults().queue("test", nil).(*spacedQueue)
	if !ok {
		t.Fatal("the queue is not spaced")
	}
	defer q.ShutDown()
	passes := map[string]int{}
	q.Add(request("a"))
	take := func() {
		t.Helper()
		req, _, shutdown := q.GetWithPriority()
		if shutdown {
			t.Fatal("the queue shut down")
		}
		passes[req.Name]++
		q.Done(req)
	}
	take()
	for range 100 {
		q.Add(request("a"))
	}
	q.Add(request("b"))
	take()
	if passes["b"] != 1 {
		t.Errorf("passes %v: b waited for a", passes)
	}
	take()
	if passes["a"] != 2 {
		t.Errorf("passes %v: want a second one of a", passes)
	}
	if q.Len() != 0 {
		t.Errorf("%d requests are left, want none", q.Len())
	}
}
