package poddeletionflowcontrol

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/internal/disruption/flow"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

const (
	// How often a write that lost against another replica's is made again.
	maxWrites = 12
	// The longest pause after a conflict.
	maxYield = 250 * time.Millisecond
	// How long one request to the API server may take.
	writeLimit = 2 * time.Second
	// How long after a failed write the next is made, when nobody waits for it.
	retryWrite = 500 * time.Millisecond
)

// work is what one write does, and what became of it.
type work struct {
	wishes  []*wish
	notes   notes
	spent   []uint64
	stamp   int64 // of the block that they are of
	reserve bool  // set permits aside
	over    bool  // the block may no longer be spent
	begun   time.Time
	sent    []attempt
}

// attempt is one write that was sent: should its answer get lost, the ledger tells by the number whether it was made.
type attempt struct {
	seq    int64
	grants []flow.Grant
	size   int // of our block; -1: as it was
	ledger *flow.Ledger
}

// scribe writes for a book until ctx ends or the policy is gone. All that waits goes into one write.
func (b *book) scribe(ctx context.Context) {
	for {
		var due <-chan time.Time
		stop := func() {}
		if wait, some := b.next(); some {
			timer := b.keeper.clock.NewTimer(wait)
			due, stop = timer.C(), func() { timer.Stop() }
		}
		select {
		case <-ctx.Done():
			stop()
			b.leave(context.WithoutCancel(ctx))
			return
		case <-b.gone:
			stop()
			return
		case <-b.wake:
		case <-due:
		}
		stop()
		b.pass(ctx)
	}
}

// next is how long until there is something to do without being asked.
func (b *book) next() (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if b.block.open {
		sooner(b.block.until)
	}
	if !b.lazy.IsZero() {
		sooner(b.lazy.Add(lazyWrite))
	}
	if b.notes.denied > 0 {
		sooner(b.notes.since.Add(noteWrite))
	}
	if at.IsZero() {
		return 0, false
	}
	if at.Before(b.retryAt) {
		at = b.retryAt
	}
	return max(at.Sub(b.keeper.now()), time.Millisecond), true
}

// leave gives back what is set aside.
func (b *book) leave(ctx context.Context) {
	b.mu.Lock()
	b.block.until = time.Time{}
	b.demand, b.retryAt = time.Time{}, time.Time{}
	b.retired = true
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	b.pass(ctx)
}

// pass is one write, if there is something to write.
func (b *book) pass(ctx context.Context) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return
	}
	t := b.terms.Load()
	w := b.begin(t)
	if w == nil {
		return
	}
	done, version, err := b.commit(ctx, t, w)
	b.finish(t, w, done, version, err)
}

// due is what there is to write.
type due struct {
	waited  bool // somebody waits for an answer
	given   bool // permits came back
	lazy    bool // what nobody waits for has waited long enough
	noted   bool // so have the denials
	over    bool // our block may no longer be spent
	low     bool // our block is nearly spent
	reserve bool // and another one is worth it
}

func (d due) any() bool { return d.waited || d.given || d.lazy || d.noted || d.over || d.low }

// due tells what there is to write at now.
func (b *book) due(t *terms, now time.Time) due {
	d := due{
		waited: slices.ContainsFunc(b.queue, func(w *wish) bool { return w.done != nil }),
		given:  slices.ContainsFunc(b.queue, func(w *wish) bool { return w.give != 0 }),
		lazy:   !b.lazy.IsZero() && now.Sub(b.lazy) >= lazyWrite,
		noted:  b.notes.denied > 0 && (b.notes.urgent || now.Sub(b.notes.since) >= noteWrite),
	}
	// Worth it are permits for a replica that the others ask, too, or that has nobody to ask, and only while somebody asks.
	// Once the scribe has left, nobody would give them back.
	busy := b.keeper.owner.setsAside(now) && !t.observe && now.Sub(b.demand) < spendable && !b.retired
	if b.block.open {
		d.over = !now.Before(b.block.until) || b.block.generation != t.generation
		d.low = busy && (b.scarce(now) || b.block.until.Sub(now) < renewAhead)
	}
	d.reserve = busy && (d.waited || d.low || d.over)
	return d
}

// begin gathers what is to be written; nil: nothing, or not yet.
func (b *book) begin(t *terms) *work {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.keeper.now()
	d := b.due(t, now)
	if !d.any() || !d.waited && now.Before(b.retryAt) {
		return nil
	}
	w := &work{begun: now, over: d.over, reserve: d.reserve}
	w.wishes, b.queue, b.lazy = b.queue, nil, time.Time{}
	// What comes back comes first: nobody is denied for want of it.
	slices.SortStableFunc(w.wishes, func(a, b *wish) int { return cmp.Compare(b.give, a.give) })
	w.notes, b.notes = b.notes, notes{}
	w.spent, w.stamp = slices.Clone(b.block.spent), b.block.stamp
	b.block.writing, b.block.sent = len(w.spent), len(w.spent)
	if w.over {
		b.block.left = 0
	}
	b.prune(now)
	return w
}

// commit writes, again and again while others write in between.
func (b *book) commit(ctx context.Context, t *terms, w *work) (done *attempt, version string, err error) {
	b.mu.Lock()
	base, at := b.view, b.version
	b.mu.Unlock()
	if base == nil {
		if base, at, err = b.read(ctx, t); err != nil {
			return nil, "", err
		}
	}
	for i := range maxWrites {
		if made := wrote(base, b.keeper.identity, w.sent); made != nil {
			made.ledger = base
			return made, at, nil
		}
		if t, err = b.current(ctx, t, base); err != nil {
			return nil, "", err
		}
		one, changed := b.apply(base, t, w)
		if !changed {
			return one, "", nil
		}
		w.sent = append(w.sent, *one)
		begun := b.keeper.now()
		version, putErr := b.put(ctx, t, at, one.ledger)
		if putErr == nil {
			b.keeper.metrics.written(t.name, b.wrote(begun))
			return one, version, nil
		}
		if errors.Is(putErr, errConflict) {
			b.keeper.metrics.conflict(t.name)
			b.yield(ctx, i)
			if shown, shownAt, news := b.shown(at); news {
				base, at = shown, shownAt
				continue
			}
		} else if ctx.Err() != nil {
			return nil, "", putErr
		}
		if base, at, err = b.read(ctx, t); err != nil {
			return nil, "", errors.Join(putErr, err)
		}
		if base == nil {
			base = b.remembered(t) // somebody deleted it: it is made again from what we know
		}
	}
	return nil, "", fmt.Errorf("write PodDeletionLedger %s: other replicas wrote it %d times in between: try again", t.name, maxWrites)
}

// wrote notes how long a write took.
func (b *book) wrote(begun time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	took := b.keeper.now().Sub(begun)
	b.took = (3*b.took + took) / 4
	return took
}

// yield waits a moment after a conflict. The preferred replica writes for all and goes first; the others leave it the time of
// a write, each time longer.
func (b *book) yield(ctx context.Context, conflicts int) {
	b.mu.Lock()
	took := max(b.took, time.Millisecond)
	b.mu.Unlock()
	most := min(took*time.Duration(1+conflicts), maxYield)
	if b.keeper.owner.mine(b.keeper.now()) {
		most = min(took/4, maxYield)
	}
	b.keeper.pause(ctx, rand.N(most)) //nolint:gosec // spreads writers, no secret
}

// shown is the ledger that the watch has shown, if it is newer than a version: that saves asking for it. Should it be old, too,
// the next write tells.
func (b *book) shown(than string) (*flow.Ledger, string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.view == nil || b.version == "" || than == "" || !reconcile.Newer(b.version, than) {
		return nil, "", false
	}
	return b.view, b.version, true
}

// current are the terms to write by: a ledger that was written for other ones is older, or ours are.
func (b *book) current(ctx context.Context, t *terms, base *flow.Ledger) (*terms, error) {
	if base == nil || base.PolicyUID == t.uid && base.Generation <= t.generation {
		return t, nil
	}
	return b.keeper.refresh(ctx, b, base)
}

func (b *book) read(ctx context.Context, t *terms) (*flow.Ledger, string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	l, version, err := b.keeper.store.Get(ctx, t.name)
	return l, version, err
}

func (b *book) put(ctx context.Context, t *terms, version string, l *flow.Ledger) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	return b.keeper.store.Put(ctx, t.name, version, l)
}

// remembered is the ledger that we saw last, if it is this policy's.
func (b *book) remembered(t *terms) *flow.Ledger {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.view == nil || b.view.PolicyUID != t.uid {
		return nil
	}
	return b.view
}

// wrote finds which of the writes was made after all.
func wrote(l *flow.Ledger, writer string, sent []attempt) *attempt {
	if l == nil {
		return nil
	}
	for i := range sent {
		if l.Wrote(writer, sent[i].seq) {
			return &sent[i]
		}
	}
	return nil
}

// apply makes the ledger that follows base; it tells whether it says anything new.
func (b *book) apply(base *flow.Ledger, t *terms, w *work) (*attempt, bool) {
	me := b.keeper.identity
	l := &flow.Ledger{PolicyUID: t.uid}
	if base != nil && base.PolicyUID == t.uid {
		l = base.Clone()
	}
	l.Generation = t.generation
	l.Advance(b.keeper.ledgerTime(b.keeper.now()), t.longest)
	one := &attempt{grants: make([]flow.Grant, len(w.wishes)), size: -1, ledger: l}
	changed := len(w.spent) > 0 || w.over || w.notes.denied > 0
	l.Settle(me, w.spent, w.stamp)
	if w.over {
		one.size = l.Reserve(me, 0, t.rules) // before anybody is denied for want of it
	}
	for i, wish := range w.wishes {
		one.grants[i] = grant(l, t, wish)
		changed = changed || one.grants[i] != flow.Denied
	}
	l.Denied += int64(w.notes.denied)
	for _, d := range slices.Backward(w.notes.recent) {
		l.Recent = remember(l.Recent, d)
	}
	l.Deny(w.notes.limited, t.breaker, t.closed)
	_, open := l.Open(l.Clock, t.breaker, t.closed)
	held := l.Held(me)
	if w.reserve && !open {
		if size := flow.BlockSize(t.rules, l.Left(l.Clock, t.rules)); size > held {
			one.size = l.Reserve(me, size, t.rules)
			changed = changed || one.size > held
		}
	}
	b.mu.Lock()
	b.seq++
	one.seq = b.seq
	b.mu.Unlock()
	l.Mark(me, one.seq)
	return one, changed
}

// grant writes what one wish wants.
func grant(l *flow.Ledger, t *terms, w *wish) flow.Grant {
	switch {
	case w.give != 0:
		l.Give(w.hash, w.give)
		return flow.Again
	case w.left.Load():
		return flow.Denied // nobody would hear the answer
	case w.force:
		_, open := l.Open(l.Clock, t.breaker, t.closed)
		g := l.Force(w.hash, t.rules)
		if open && g == flow.Fresh {
			l.WouldDeny++
			g = flow.Above
		}
		if g == flow.Above {
			d := w.about
			if d.Outcome == "" {
				d = told(d, answer{Reason: ReasonLimit, Usage: fullest(l.Usage(l.Clock, t.rules))}, time.UnixMilli(l.Clock), outcomeWouldDeny)
			}
			l.Recent = remember(l.Recent, d)
			l.Deny(1, t.breaker, t.closed)
		}
		return g
	}
	if _, open := l.Open(l.Clock, t.breaker, t.closed); open {
		return flow.Denied
	}
	return l.Take(w.hash, t.rules)
}

// finish takes in what was written, and answers.
func (b *book) finish(t *terms, w *work, done *attempt, version string, err error) {
	now := b.keeper.now()
	b.mu.Lock()
	if err == nil {
		b.retryAt = time.Time{}
		b.settle(w, done, version)
	} else {
		b.notes.back(w.notes)
		b.block.writing = 0
		b.retryAt = now.Add(retryWrite)
		if b.block.open && now.Sub(b.block.until) > flow.Life+flow.Skew {
			b.block = block{} // it is a sum by now
		}
	}
	for i, wish := range w.wishes {
		if wish.done == nil {
			if err != nil && len(b.queue) < maxQueue {
				b.queue = append(b.queue, wish)
				b.lazy = now
			}
			continue
		}
		if err != nil {
			wish.err = fmt.Errorf("count the deletion: %w", err)
		} else {
			b.reply(t, w, wish, done, i, now)
		}
	}
	served := b.serve(now)
	b.mu.Unlock()
	for _, wish := range slices.Concat(w.wishes, served) {
		if wish.done != nil {
			close(wish.done)
		}
	}
	if err != nil {
		b.keeper.log.V(1).Info("a ledger was not written", "policy", t.name, "error", err.Error())
		b.keeper.metrics.failed(t.name)
	}
}

// serve hands what has been set aside just now to those that came meanwhile: they need not wait for another write.
func (b *book) serve(now time.Time) (served []*wish) {
	t, open := b.terms.Load(), false
	if b.view != nil {
		_, open = b.view.Open(b.at(now), t.breaker, t.closed)
	}
	b.queue = slices.DeleteFunc(b.queue, func(w *wish) bool {
		if open || w.done == nil || w.force || !b.canSpend(w.hash, t, now) {
			return false
		}
		if !w.left.Load() {
			w.answer = b.spend(w.hash, t, now)
		}
		served = append(served, w)
		return true
	})
	return served
}

// settle makes what was written ours.
func (b *book) settle(w *work, done *attempt, version string) {
	if version != "" && (b.view == nil || b.version == "" || reconcile.Newer(version, b.version)) {
		b.view, b.version = done.ledger, version
	}
	if version == "" {
		b.block.writing = 0
		if b.view == nil {
			b.view = done.ledger
		}
		return // nothing was written
	}
	b.block.spent = slices.Clone(b.block.spent[b.block.writing:])
	b.block.writing, b.block.sent = 0, 0
	switch {
	case done.size < 0:
	case done.size == 0:
		b.block = block{}
	default:
		stamp := done.ledger.StampOf(b.keeper.identity)
		b.block = block{
			open: true, size: done.size, left: max(done.size-len(b.block.spent), 0), spent: b.block.spent,
			stamp: stamp, until: w.begun.Add(spendable), generation: done.ledger.Generation, since: w.begun,
		}
	}
}

// reply is the answer to one wish.
func (b *book) reply(t *terms, w *work, wish *wish, done *attempt, i int, now time.Time) {
	l := done.ledger
	switch done.grants[i] {
	case flow.Fresh, flow.Again:
		until := w.begun.Add(spendable)
		if !now.Before(until) {
			wish.err = errSlow
			return
		}
		stamp, _ := l.Find(wish.hash)
		fresh := done.grants[i] == flow.Fresh
		b.own(wish.hash, permit{stamp: stamp, until: until, fresh: fresh})
		wish.answer = answer{
			Allowed: true, Reason: ReasonAdmitted, Usage: fullest(l.Usage(l.Clock, t.rules)), Stamp: stamp, Fresh: fresh,
		}
	default:
		if until, open := l.Open(l.Clock, t.breaker, t.closed); open {
			wish.answer = answer{Reason: ReasonBreakerOpen, Until: until, Trips: l.Trips, Usage: fullest(l.Usage(l.Clock, t.rules))}
			return
		}
		u, _ := flow.Binding(l.Usage(l.Clock, t.rules))
		wish.answer = answer{Reason: ReasonLimit, Usage: u}
	}
}
