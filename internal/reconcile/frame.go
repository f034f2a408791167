// Package reconcile is the frame of every controller: it fetches an object, calls the room, writes the status once, tells
// what happened after that, and keeps the figures, so that a room only observes, decides, acts and reports.
package reconcile

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Room is the part of a controller that differs from kind to kind.
type Room[T client.Object] interface {
	// Reconcile is one pass over obj, a copy of its own: it may change it, and the frame writes a changed status. A status
	// that the pass filled in is written even when the pass ends with an error.
	Reconcile(ctx context.Context, obj T) (Result, error)
}

// Forgetter is a room that keeps something for each object, and lets go of it when the object is gone.
type Forgetter interface {
	Forget(key types.NamespacedName)
}

// Options of a frame; the zero value of each field is a sensible default.
type Options struct {
	// Name of the controller in logs, metrics and switches, such as "cloneset".
	Name string
	// Clock, for tests to step.
	Clock clock.PassiveClock
	// Recorder publishes the events; without one they are dropped.
	Recorder record.EventRecorder
	// Metrics to count in; without them nothing is counted.
	Metrics *Metrics
	// StatusInterval is how long after a status write a change of mere counters waits, twice as long after many in a row; a
	// changed observedGeneration, condition or other text is written at once. Default 1 s; negative: never waits.
	StatusInterval time.Duration
	// Spacing is the time between the beginnings of two passes over one object, so that bursts of events fold into one.
	// The first pass comes at once. Default 50 ms; negative: none.
	Spacing time.Duration
	// Concurrency is how many objects are worked on at a time. Default 4.
	Concurrency int
	// Grace is how long a pass under way may go on after a stop was asked for, so that it leaves nothing half done.
	// Default 5 s; negative: none.
	Grace time.Duration
}

func (o Options) withDefaults() Options {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.StatusInterval == 0 {
		o.StatusInterval = time.Second
	}
	if o.Spacing == 0 {
		o.Spacing = 50 * time.Millisecond
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 4
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Second
	}
	return o
}

// Frame runs a room as a controller-runtime reconciler. Passes over different objects may run at the same time.
type Frame[T client.Object] struct {
	client client.Client
	room   Room[T]
	opts   Options

	mu    sync.Mutex
	memos map[types.NamespacedName]*memo
}

// New frames room; c reads the objects (from the cache, as a rule) and writes their status.
func New[T client.Object](c client.Client, room Room[T], opts Options) *Frame[T] {
	return &Frame[T]{client: c, room: room, opts: opts.withDefaults(), memos: map[types.NamespacedName]*memo{}}
}

var _ ctrl.Reconciler = &Frame[client.Object]{}

// Reconcile is one pass over the object of req.
func (f *Frame[T]) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	begun, how := f.opts.Clock.Now(), outcomePanic
	defer func() { f.opts.Metrics.observe(f.opts.Name, how, f.opts.Clock.Since(begun)) }()
	ctx, done := linger(ctx, f.opts.Grace)
	defer done()

	obj := newObject[T]()
	err := f.client.Get(ctx, req.NamespacedName, obj)
	if apierrors.IsNotFound(err) {
		how = outcomeGone
		f.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		how = outcomeError
		return ctrl.Result{}, fmt.Errorf("read %s: %w", req, err)
	}

	memo := f.memo(req.NamespacedName, obj)
	obj = freshest(memo, obj)
	passCtx, events := withBuffer(ctx)
	before, err := statusOf(obj)
	if err != nil {
		how = outcomeError
		return ctrl.Result{}, err
	}
	result, passErr := f.room.Reconcile(passCtx, obj)
	v := classify(passErr)
	f.noteStalled(memo, v, obj.GetGeneration(), events)
	held, writeErr := f.writeStatus(ctx, obj, before, memo, v)
	events.merge(memo.events)
	memo.events = nil
	if held > 0 || writeErr != nil {
		memo.events = events.notes
	} else {
		events.publish(f.opts.Recorder, obj)
	}
	if writeErr != nil {
		passErr = joinErrors(passErr, writeErr)
		v = classify(passErr)
	}
	how = v.outcome
	return f.answer(ctx, memo, v, soonest(result.After, held), passErr)
}

// linger is ctx, but ends only grace after it.
func linger(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	if grace < 0 {
		return ctx, func() {}
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-lasting.Done(): // the pass is over
		}
	})
	return lasting, func() { stop(); cancel() }
}

// answer tells the queue when to come back.
func (f *Frame[T]) answer(ctx context.Context, m *memo, v verdict, after time.Duration, err error) (ctrl.Result, error) {
	if v.outcome != outcomeConflict {
		m.conflicts = 0
	}
	switch v.outcome {
	case outcomeError:
		return ctrl.Result{}, err
	case outcomeConflict:
		// The cache is behind: the newer object is on its way, and brings the next pass itself as a rule.
		m.conflicts++
		after = soonest(after, conflictDelay(m.conflicts))
	case outcomeWait:
		logf.FromContext(ctx).V(1).Info("waiting", "for", err.Error())
		after = soonest(after, max(v.after, time.Millisecond))
	case outcomeStalled:
		logf.FromContext(ctx).V(1).Info("stalled", "why", err.Error())
	default:
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

func conflictDelay(times int) time.Duration {
	return min(50*time.Millisecond<<min(times-1, 7), 5*time.Second)
}

// soonest is the shorter of two times to wait, where zero is "need not".
func soonest(a, b time.Duration) time.Duration {
	if a <= 0 {
		return max(b, 0)
	}
	if b <= 0 {
		return a
	}
	return min(a, b)
}

func newObject[T client.Object]() T {
	return reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T) //nolint:forcetypeassert // made from T itself
}
