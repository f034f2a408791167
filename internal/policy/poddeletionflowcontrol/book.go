package poddeletionflowcontrol

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

const (
	// spendable is how long a permit of a block, or one just written, may be handed out.
	spendable = flow.Life - flow.Reply
	// A block is renewed this long before it may no longer be spent.
	renewAhead = 500 * time.Millisecond
	// For how many writes what is left of a block must last.
	lasting = 2
	// How many wishes may wait for a write: more come only from an attack, or while the API server is away.
	maxQueue = 10_000
	// How often what is over is looked for in what is remembered.
	sweepInterval = flow.Life
	// How long counted deletions that nobody waits for, and denials, are gathered before they are written.
	lazyWrite = 200 * time.Millisecond
	noteWrite = time.Second
)

var (
	errQueue = errors.New("too many deletions wait to be counted: try again in a few seconds")
	errAnew  = errors.New("the policy was deleted and made anew: try again")
	errSlow  = errors.New("the deletion was counted too slowly for the API server to wait: try again, it is not counted twice")
)

// ask is a question whether one pod may go.
type ask struct {
	hash uint64
	// force counts it, and never denies.
	force bool
	// here asks no other replica.
	here bool
	// patient: one of our own controllers asks, and waits when it is denied.
	patient bool
	// about is what would be told of it.
	about v1alpha1.DeletionDecision
}

// answer is what the book says.
type answer struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"`
	// Usage is the window that decided, or the fullest one.
	Usage flow.Usage `json:"usage"`
	// Until is when an open breaker closes, and Trips which opening that is.
	Until time.Time `json:"until,omitzero"`
	Trips int64     `json:"trips,omitempty"`
	// Stamp of the permit; Fresh when there was none before.
	Stamp int64 `json:"stamp,omitempty"`
	Fresh bool  `json:"fresh,omitempty"`
}

// wish is a question that waits for a write.
type wish struct {
	ask

	give   int64         // not a question: the permit with this stamp comes back
	done   chan struct{} // nil: nobody waits
	left   atomic.Bool   // whoever waited has left
	answer answer
	err    error
}

// permit is one that this replica has given.
type permit struct {
	stamp int64
	until time.Time // asking again costs nothing before
	// takes is how many requests rely on it. It comes back when all of them say so.
	takes int
	fresh bool
	// there: the preferred replica has given it.
	there bool
}

// block is what is left of the permits that this replica has set aside.
type block struct {
	open  bool
	size  int
	left  int
	stamp int64
	until time.Time
	// generation of the policy under which it was set aside.
	generation int64
	// since when it is there.
	since time.Time
	// spent are pods that got one and are not known to be written down yet, each once. The first writing of them are being so
	// now; the first sent of them may be, by a write that nobody heard of.
	spent         []uint64
	writing, sent int
}

// book answers for one policy on this replica. What it hands out is counted in the ledger before.
type book struct {
	keeper *Keeper
	terms  atomic.Pointer[terms]
	wake   chan struct{}
	gone   chan struct{}
	turn   chan struct{} // one write at a time

	mu      sync.Mutex
	view    *flow.Ledger // never changed, only replaced
	version string
	block   block
	mine    map[uint64]*permit
	queue   []*wish
	lazy    time.Time // since when wishes wait that nobody waits for
	notes   notes
	kept    map[uint64]time.Time // pods that were denied lately, and since when
	swept   time.Time            // when what is over was dropped from kept last
	pruned  time.Time            // the same of mine
	demand  time.Time            // when it was asked last
	retryAt time.Time
	took    time.Duration // a write, lately
	seq     int64
	retired bool // the scribe has ended: whoever asks writes himself
}

func newBook(k *Keeper, t *terms) *book {
	b := &book{
		keeper: k, wake: make(chan struct{}, 1), gone: make(chan struct{}), turn: make(chan struct{}, 1),
		mine: map[uint64]*permit{}, kept: map[uint64]time.Time{},
	}
	b.terms.Store(t)
	return b
}

// stir has the scribe look.
func (b *book) stir() {
	select {
	case b.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// see takes in what the cache shows, if it is news.
func (b *book) see(l *flow.Ledger, version string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.view == nil || reconcile.Newer(version, b.version) {
		b.view, b.version = l, version
	}
}

// check answers from memory what take would certainly answer.
func (b *book) check(a ask) (answer, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, now := b.terms.Load(), b.keeper.now()
	if a.force {
		return b.usage(t, now), true
	}
	if p := b.mine[a.hash]; p.good(now) {
		return answer{Allowed: true, Reason: ReasonAdmitted, Stamp: p.stamp}, true
	}
	return b.denied(a, t, now)
}

// take lets a pod go, if there is a permit for it: one it has, one set aside, one of the preferred replica, one written now.
func (b *book) take(ctx context.Context, a ask) (answer, error) {
	if a.force {
		return b.count(a)
	}
	ans, decided, near := b.fromMemory(a)
	if decided {
		return ans, nil
	}
	w := &wish{ask: a, done: make(chan struct{})}
	if near || a.here {
		return b.write(ctx, w, nil)
	}
	there := b.forward(ctx, a)
	timer := b.keeper.clock.NewTimer(b.keeper.patience)
	defer timer.Stop()
	select {
	case ans, ok := <-there:
		if ok {
			return b.accept(a, ans), nil
		}
		there = nil
	case <-timer.C():
		b.keeper.owner.slow(b.keeper.now())
	case <-ctx.Done(): // told below
	}
	return b.write(ctx, w, there)
}

// fromMemory decides without I/O; near tells that this replica is the preferred one, or the only one it knows.
func (b *book) fromMemory(a ask) (ans answer, decided, near bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, now := b.terms.Load(), b.keeper.now()
	b.demand = now
	near = b.keeper.owner.near(now)
	if p := b.mine[a.hash]; p.good(now) {
		p.takes++
		return answer{Allowed: true, Reason: ReasonAdmitted, Stamp: p.stamp}, true, near
	}
	if ans, no := b.denied(a, t, now); no {
		return ans, true, near
	}
	if !b.canSpend(a.hash, t, now) {
		return answer{}, false, near
	}
	ans = b.spend(a.hash, t, now)
	if b.scarce(now) {
		b.stir()
	}
	return ans, true, near
}

// canSpend tells whether the block has a permit for a pod. One that is counted already has its permit moved, instead of a
// second one being spent.
func (b *book) canSpend(hash uint64, t *terms, now time.Time) bool {
	if b.view == nil || !b.hasPermit(t, now) {
		return false
	}
	_, counted := b.view.Find(hash)
	return !counted && !slices.Contains(b.block.spent, hash)
}

// spend hands a permit of the block out.
func (b *book) spend(hash uint64, t *terms, now time.Time) answer {
	b.block.left--
	b.block.spent = append(b.block.spent, hash)
	b.own(hash, permit{stamp: b.block.stamp, until: b.block.until, fresh: true})
	ans := b.usage(t, now)
	ans.Reason, ans.Stamp, ans.Fresh = ReasonAdmitted, b.block.stamp, true // what is full now was not before this one
	return ans
}

// good tells whether it may be handed out again.
func (p *permit) good(now time.Time) bool {
	return p != nil && p.stamp != 0 && now.Before(p.until) // 0: of one that passes anyway, and is not written yet
}

// own remembers a permit that one more request relies on, beside those that rely on a former one of the pod: none of them can
// give it back alone.
func (b *book) own(hash uint64, p permit) {
	p.takes = 1
	if former := b.mine[hash]; former != nil {
		p.takes += former.takes
	}
	b.mine[hash] = &p
}

// hasPermit tells whether the block has a permit to hand out. One of an older spec has not, even if it is the ledger alone that
// tells of a newer one: it may have allowed more.
func (b *book) hasPermit(t *terms, now time.Time) bool {
	newer := b.view != nil && b.view.PolicyUID == t.uid && b.view.Generation > t.generation
	return b.block.left > 0 && now.Before(b.block.until) && b.block.generation == t.generation && !newer
}

// scarce tells whether more must be set aside now, to be there before the last one is handed out: when half of the block is
// left, or sooner, when it goes so fast that the rest may not last for the time of a write.
func (b *book) scarce(now time.Time) bool {
	spent := b.block.size - b.block.left
	if spent <= 0 {
		return false
	}
	pace := now.Sub(b.block.since) / time.Duration(spent)
	return spent >= b.block.left || time.Duration(b.block.left)*pace < lasting*b.took
}

// at is a local time as the ledger has it.
func (b *book) at(now time.Time) int64 { return b.view.Now(b.keeper.ledgerTime(now)) }

// denied tells whether no replica could allow it.
func (b *book) denied(a ask, t *terms, now time.Time) (answer, bool) {
	if b.view == nil || b.view.PolicyUID != t.uid {
		return answer{}, false
	}
	at := b.at(now)
	if until, open := b.view.Open(at, t.breaker, t.closed); open {
		return answer{Reason: ReasonBreakerOpen, Until: until, Trips: b.view.Trips, Usage: fullest(b.view.Usage(at, t.rules))}, true
	}
	if b.view.Left(at, t.rules) > 0 || b.hasPermit(t, now) {
		return answer{}, false
	}
	if _, counted := b.view.Find(a.hash); counted {
		return answer{}, false
	}
	if !a.here && !b.keeper.owner.near(now) && b.view.Aside(at, b.keeper.identity) > 0 {
		return answer{}, false // the preferred replica may have one left
	}
	u, _ := flow.Binding(b.view.Usage(at, t.rules))
	return answer{Reason: ReasonLimit, Usage: u}, true
}

// usage is the answer yes, with the figures.
func (b *book) usage(t *terms, now time.Time) answer {
	ans := answer{Allowed: true, Reason: ReasonAdmitted}
	if b.view == nil || b.view.PolicyUID != t.uid {
		return ans
	}
	at := b.at(now)
	ans.Usage = fullest(b.view.Usage(at, t.rules))
	if until, open := b.view.Open(at, t.breaker, t.closed); open {
		ans.Reason, ans.Until, ans.Trips = ReasonBreakerOpen, until, b.view.Trips
	} else if u, full := flow.Binding(b.view.Usage(at, t.rules)); full {
		ans.Reason, ans.Usage = ReasonLimit, u
	}
	return ans
}

// fullest is the window with the least left.
func fullest(all []flow.Usage) flow.Usage {
	if u, full := flow.Binding(all); full {
		return u
	}
	found := flow.Usage{}
	for i, u := range all {
		if i == 0 || u.Left < found.Left {
			found = u
		}
	}
	return found
}

// count writes a deletion down soon, and lets it pass.
func (b *book) count(a ask) (answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.keeper.now()
	ans := b.usage(b.terms.Load(), now)
	if p := b.mine[a.hash]; p != nil && now.Before(p.until) {
		return ans, nil
	}
	if len(b.queue) >= maxQueue {
		b.keeper.metrics.uncounted(b.terms.Load().name)
		return ans, nil
	}
	if ans.Reason != ReasonAdmitted {
		a.about = told(a.about, ans, now, outcomeWouldDeny)
	}
	b.mine[a.hash] = &permit{until: now.Add(spendable)}
	b.queue = append(b.queue, &wish{ask: a})
	if b.lazy.IsZero() {
		b.lazy = now
	}
	b.stir()
	return ans, nil
}

// write has the scribe write, and waits; there is what the preferred replica may still answer: whichever is first. Both may let
// the pod go; then its permits become one in the ledger.
func (b *book) write(ctx context.Context, w *wish, there <-chan answer) (answer, error) {
	b.mu.Lock()
	full, retired := len(b.queue) >= maxQueue, b.retired
	if !full {
		b.queue = append(b.queue, w)
	}
	b.mu.Unlock()
	if full {
		return answer{}, errQueue
	}
	if retired {
		b.pass(ctx)
	}
	b.stir()
	for {
		select {
		case <-w.done:
			return w.answer, w.err
		case ans := <-there:
			if ans.Allowed {
				w.left.Store(true)
				return b.accept(w.ask, ans), nil
			}
			there = nil // it has none, or no answer: what is written decides
		case <-b.gone:
			if b.keeper.book(b.terms.Load().name) != nil {
				return answer{}, errAnew
			}
			return answer{Allowed: true, Reason: ReasonAdmitted}, nil // the policy was deleted
		case <-ctx.Done():
			w.left.Store(true)
			return answer{}, fmt.Errorf("count the deletion in PodDeletionLedger %s: %w", b.terms.Load().name, context.Cause(ctx))
		}
	}
}

// release gives a permit back, once nobody relies on it. Whoever got it from here names its stamp; 0: the one of now.
func (b *book) release(ctx context.Context, hash uint64, stamp int64) {
	b.mu.Lock()
	p := b.mine[hash]
	if p == nil || p.takes == 0 || stamp != 0 && stamp != p.stamp {
		b.mu.Unlock()
		return
	}
	p.takes--
	if p.takes > 0 || !p.fresh {
		b.mu.Unlock()
		return
	}
	delete(b.mine, hash)
	if p.there {
		b.mu.Unlock()
		b.giveThere(ctx, hash, p.stamp)
		return
	}
	if i := slices.Index(b.block.spent, hash); i >= b.block.sent { // the ledger has not got its name
		b.block.spent = slices.Delete(b.block.spent, i, i+1)
		b.block.left++
		b.mu.Unlock()
		return
	}
	if len(b.queue) < maxQueue {
		b.queue = append(b.queue, &wish{ask: ask{hash: hash}, give: p.stamp})
	}
	b.mu.Unlock()
	b.stir()
}

// note remembers a denial, to be written down and weighed by the breaker.
func (b *book) note(a ask, ans answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, now := b.terms.Load(), b.keeper.now()
	lately := defaultBreakerInterval
	if t.breaker != nil {
		lately = t.breaker.Interval
	}
	news := b.news(a.hash, lately, now)
	if a.patient && !news {
		return // it waits, and only looks whether it may go on
	}
	first := b.notes.denied == 0
	b.notes.add(told(a.about, ans, now, outcomeDenied), now)
	if t.breaker != nil && ans.Reason == ReasonLimit && !a.patient && news {
		b.notes.limited++
		b.notes.urgent = b.notes.urgent || b.notes.limited >= t.breaker.Denials
	}
	if first || b.notes.urgent {
		b.stir()
	}
}

// prune drops permits that are long over; the lock is held.
func (b *book) prune(now time.Time) {
	if now.Sub(b.pruned) < sweepInterval {
		return
	}
	b.pruned = now
	maps.DeleteFunc(b.mine, func(_ uint64, p *permit) bool { return now.Sub(p.until) > flow.Life })
}

// news tells whether this pod was not denied lately: a drain that tries again every few seconds is no flood.
func (b *book) news(hash uint64, lately time.Duration, now time.Time) bool {
	if at, found := b.kept[hash]; found && now.Sub(at) < lately {
		return false
	}
	if len(b.kept) >= maxQueue && now.Sub(b.swept) >= sweepInterval { // not for every pod of a flood
		b.swept = now
		for other, at := range b.kept {
			if now.Sub(at) >= lately {
				delete(b.kept, other)
			}
		}
	}
	if len(b.kept) < maxQueue {
		b.kept[hash] = now
	}
	return true
}
