package reconcile

import (
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// How many objects the queue remembers the last pass of before it looks for those that it can forget.
const sweepAt = 256

// spacedQueue puts off what is added for an object until spacing after its last pass began. It only ever delays one
// object: the others go on, and as the queue beneath folds equal requests, a burst of events becomes one pass.
type spacedQueue struct {
	priorityqueue.PriorityQueue[ctrl.Request]
	clock   clock.PassiveClock
	spacing time.Duration

	mu    sync.Mutex
	begun map[ctrl.Request]time.Time
}

var _ priorityqueue.PriorityQueue[ctrl.Request] = &spacedQueue{}

func newSpacedQueue(q priorityqueue.PriorityQueue[ctrl.Request], c clock.PassiveClock, spacing time.Duration) *spacedQueue {
	return &spacedQueue{PriorityQueue: q, clock: c, spacing: spacing, begun: map[ctrl.Request]time.Time{}}
}

// left is how long req has to wait until its next pass may begin.
func (q *spacedQueue) left(req ctrl.Request) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	begun, ok := q.begun[req]
	if !ok {
		return 0
	}
	return max(q.spacing-q.clock.Since(begun), 0)
}

// begin notes that a pass begins, and forgets those that no longer hold anything back.
func (q *spacedQueue) begin(req ctrl.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	if len(q.begun) >= sweepAt {
		for other, begun := range q.begun {
			if now.Sub(begun) >= q.spacing {
				delete(q.begun, other)
			}
		}
	}
	q.begun[req] = now
}

func (q *spacedQueue) Add(req ctrl.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{}, req)
}

func (q *spacedQueue) AddAfter(req ctrl.Request, after time.Duration) {
	q.AddWithOpts(priorityqueue.AddOpts{After: after}, req)
}

func (q *spacedQueue) AddRateLimited(req ctrl.Request) {
	q.AddWithOpts(priorityqueue.AddOpts{RateLimited: true}, req)
}

func (q *spacedQueue) AddWithOpts(opts priorityqueue.AddOpts, reqs ...ctrl.Request) {
	if opts.RateLimited { // a failure has its own, longer delays
		q.PriorityQueue.AddWithOpts(opts, reqs...)
		return
	}
	for _, req := range reqs {
		spaced := opts
		spaced.After = max(opts.After, q.left(req))
		q.PriorityQueue.AddWithOpts(spaced, req)
	}
}

func (q *spacedQueue) Get() (ctrl.Request, bool) {
	req, _, shutdown := q.GetWithPriority()
	return req, shutdown
}

func (q *spacedQueue) GetWithPriority() (ctrl.Request, int, bool) {
	req, priority, shutdown := q.PriorityQueue.GetWithPriority()
	if !shutdown {
		q.begin(req)
	}
	return req, priority, shutdown
}

// queue makes the queue of a controller.
func (o Options) queue(name string, limiter workqueue.TypedRateLimiter[ctrl.Request]) workqueue.TypedRateLimitingInterface[ctrl.Request] {
	q := priorityqueue.New(name, func(opts *priorityqueue.Opts[ctrl.Request]) { opts.RateLimiter = limiter })
	if o.Spacing < 0 {
		return q
	}
	return newSpacedQueue(q, o.Clock, o.Spacing)
}
