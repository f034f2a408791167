package flow

import (
	"slices"
	"time"
)

// Grant is what became of a wish for a permit.
type Grant int

// The grants.
const (
	// Denied: no window may hold one more.
	Denied Grant = iota
	// Fresh is a permit that was not there before.
	Fresh
	// Again is the permit that the pod had, at its new time: a pod counts once, at the last time that it was let go.
	Again
	// Above is a permit above a limit, for a deletion that is counted but not denied.
	Above
)

// Stamp is that of permits which are written now.
func (l *Ledger) Stamp() int64 { return l.Clock + Life.Milliseconds() }

// Find tells the stamp of a pod's permit.
func (l *Ledger) Find(hash uint64) (stamp int64, found bool) {
	at := l.index(hash)
	if at < 0 {
		return 0, false
	}
	return l.stamps[at], true
}

// index looks at the newest first: a pod that comes again comes soon.
func (l *Ledger) index(hash uint64) int {
	for i, other := range slices.Backward(l.hashes) {
		if other == hash {
			return i
		}
	}
	return -1
}

// Take writes a permit for a pod, if every window has room.
func (l *Ledger) Take(hash uint64, rules []Rule) Grant {
	at := l.index(hash)
	for _, r := range rules {
		count := l.Count(l.Clock, r.Interval)
		if at >= 0 && l.stamps[at] > l.cutoff(l.Clock, r.Interval) {
			count--
		}
		if count >= r.Limit {
			return Denied
		}
	}
	return l.put(hash, at, l.Stamp())
}

// Force writes a permit whether there is room or not.
func (l *Ledger) Force(hash uint64, rules []Rule) Grant {
	at := l.index(hash)
	full := l.Left(l.Clock, rules) == 0
	grant := l.put(hash, at, l.Stamp())
	if full && grant == Fresh {
		l.WouldDeny++
		return Above
	}
	return grant
}

// put writes the permit of a pod, of which at is the place of the former one or -1.
func (l *Ledger) put(hash uint64, at int, stamp int64) Grant {
	grant := Fresh
	if at >= 0 {
		grant = Again
		// Later than it was, even in the same millisecond: whoever took the former one must not give it back any more.
		stamp = max(stamp, l.stamps[at]+1)
		l.hashes, l.stamps = slices.Delete(l.hashes, at, at+1), slices.Delete(l.stamps, at, at+1)
	} else {
		l.Admitted++
	}
	to := l.after(stamp)
	l.hashes, l.stamps = slices.Insert(l.hashes, to, hash), slices.Insert(l.stamps, to, stamp)
	return grant
}

// Give takes a permit back that nobody used. One that has another stamp by now was asked for again in between, and stays.
func (l *Ledger) Give(hash uint64, stamp int64) bool {
	at := l.index(hash)
	if at < 0 || l.stamps[at] != stamp {
		return false
	}
	l.hashes, l.stamps = slices.Delete(l.hashes, at, at+1), slices.Delete(l.stamps, at, at+1)
	l.Admitted--
	return true
}

// Settle writes down which pods got permits of the holder's block, which had this stamp then. A block that is no longer there
// has become a sum: then they are counted already. So is a pod that is there with this stamp or a later one: this may be the
// second time, because the answer to the first write got lost, and the block must not shrink twice. One that is there with an
// older stamp was let go before, by another replica, and again now: it counts from now on.
func (l *Ledger) Settle(holder string, spent []uint64, stamp int64) {
	b := l.block(holder)
	if b == nil {
		return
	}
	for _, hash := range spent {
		at := l.index(hash)
		if at >= 0 && l.stamps[at] >= stamp {
			if l.stamps[at] > stamp { // of another replica, which might give it back otherwise
				l.put(hash, at, stamp)
			}
			continue
		}
		if at >= 0 && b.Stamp != stamp { // the first write has replaced the block: nothing of the new one was spent
			l.put(hash, at, stamp)
			continue
		}
		b.N = max(b.N-1, 0) // it is counted, whatever became of the block
		l.put(hash, at, b.Stamp)
	}
}

// Reserve makes the holder's block as large as n, with a new stamp, as far as every window has room; 0 gives it back. It
// returns its size.
func (l *Ledger) Reserve(holder string, n int, rules []Rule) int {
	old := 0
	if b := l.block(holder); b != nil {
		old = b.N
		l.Blocks = slices.DeleteFunc(l.Blocks, func(b Block) bool { return b.Holder == holder })
	}
	n = min(n, max(old, l.Left(l.Clock, rules)))
	if n > 0 {
		l.Blocks = append(l.Blocks, Block{Holder: holder, Stamp: l.Stamp(), N: n})
	}
	return n
}

func (l *Ledger) block(holder string) *Block {
	for i := range l.Blocks {
		if l.Blocks[i].Holder == holder {
			return &l.Blocks[i]
		}
	}
	return nil
}

// Held is the size of the holder's block.
func (l *Ledger) Held(holder string) int {
	if b := l.block(holder); b != nil {
		return b.N
	}
	return 0
}

// Mark notes a write.
func (l *Ledger) Mark(writer string, seq int64) {
	l.Marks = slices.DeleteFunc(l.Marks, func(m Mark) bool { return m.Writer == writer })
	l.Marks = append(l.Marks, Mark{writer, seq})
	if excess := len(l.Marks) - maxMarks; excess > 0 {
		l.Marks = slices.Delete(l.Marks, 0, excess)
	}
}

// Wrote tells whether a writer's write was made.
func (l *Ledger) Wrote(writer string, seq int64) bool {
	return slices.Contains(l.Marks, Mark{writer, seq})
}

// Breaker says when deletions stop altogether.
type Breaker struct {
	Denials            int
	Interval, CoolDown time.Duration
}

// Deny counts denials, and opens the breaker when there were too many; closed is the trip that a person has declared over.
// It tells whether it opened just now.
func (l *Ledger) Deny(n int, b *Breaker, closed int64) bool {
	if b == nil || n == 0 {
		return false
	}
	if _, open := l.Open(l.Clock, b, closed); open {
		return false // what an open breaker denies says nothing new
	}
	l.Denials = compact(insert(l.Denials, Sum{l.Clock, n}), l.Clock-b.Interval.Milliseconds(), l.Clock)
	sum := 0
	for _, d := range l.Denials {
		sum += d.N
	}
	if sum < b.Denials {
		return false
	}
	l.Trips, l.TrippedAt, l.Denials = l.Trips+1, l.Clock, nil
	return true
}

// Open tells whether the breaker is open at now, and until when.
func (l *Ledger) Open(now int64, b *Breaker, closed int64) (until time.Time, open bool) {
	if b == nil || l.Trips == 0 || l.Trips <= closed {
		return time.Time{}, false
	}
	end := l.TrippedAt + b.CoolDown.Milliseconds()
	return time.UnixMilli(end), now < end
}

// StampOf is the stamp of the holder's block.
func (l *Ledger) StampOf(holder string) int64 {
	if b := l.block(holder); b != nil {
		return b.Stamp
	}
	return 0
}
