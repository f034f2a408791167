package flow

import (
	"fmt"
	"math/bits"
	"slices"
	"sort"
	"time"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
)

const (
	// maxPods is how many pods are remembered one by one; the permits of older ones are kept as sums. What is tried again comes
	// soon, and each write carries all of them.
	maxPods = 2_000
	// maxMarks is how many replicas' last writes are remembered.
	maxMarks = 16
	// MaxRecent is how many decisions are remembered.
	MaxRecent = 20
	// Sums become one when they are closer than this part of their age: the older, the coarser.
	sumsPerAge = 256
)

// Sum is a number of permits, or denials, of one time.
type Sum struct {
	Stamp int64
	N     int
}

// Block is a number of permits that a replica has set aside.
type Block struct {
	Holder string
	Stamp  int64
	N      int
}

// Mark is the last write of a replica.
type Mark struct {
	Writer string
	Seq    int64
}

// Ledger is what was counted for one policy. It is not safe for concurrent use: whoever changes it changes a Clone.
type Ledger struct {
	PolicyUID  string
	Generation int64
	// Clock is the newest time that was written, in milliseconds.
	Clock int64

	// The pods that were admitted, by the stamps of their permits, oldest first.
	hashes []uint64
	stamps []int64

	Sums    []Sum
	Blocks  []Block
	Marks   []Mark
	Denials []Sum

	Trips     int64
	TrippedAt int64

	Admitted, Denied, WouldDeny int64
	// Recent is shared by clones, and replaced when it changes.
	Recent []v1alpha1.DeletionDecision
}

// Clone is a copy that can be changed.
func (l *Ledger) Clone() *Ledger {
	c := *l
	c.hashes, c.stamps = slices.Clone(l.hashes), slices.Clone(l.stamps)
	c.Sums, c.Blocks, c.Marks, c.Denials = slices.Clone(l.Sums), slices.Clone(l.Blocks), slices.Clone(l.Marks), slices.Clone(l.Denials)
	return &c
}

// Pods is how many pods are remembered one by one.
func (l *Ledger) Pods() int { return len(l.hashes) }

// Now is the time by which the ledger is read: that of the reader, unless somebody has written with a later one.
func (l *Ledger) Now(local time.Time) int64 { return max(Millis(local), l.Clock) }

// Advance sets the clock for a write, and forgets what no window holds any more. Blocks that were not given back in time
// become sums: their holder has died, and nobody knows which of the permits it has handed out.
func (l *Ledger) Advance(local time.Time, longest time.Duration) {
	l.Clock = max(l.Clock+1, Millis(local))
	l.Blocks = slices.DeleteFunc(l.Blocks, func(b Block) bool {
		over := b.Stamp+Skew.Milliseconds() < l.Clock
		if over && b.N > 0 {
			l.Sums = insert(l.Sums, Sum{b.Stamp, b.N})
		}
		return over
	})
	cutoff := l.cutoff(l.Clock, longest)
	gone := l.after(cutoff)
	if excess := len(l.stamps) - gone - maxPods; excess > 0 {
		for _, stamp := range l.stamps[gone : gone+excess] {
			l.Sums = insert(l.Sums, Sum{stamp, 1})
		}
		gone += excess
	}
	l.hashes, l.stamps = slices.Delete(l.hashes, 0, gone), slices.Delete(l.stamps, 0, gone)
	l.Sums = compact(l.Sums, cutoff, l.Clock)
}

// insert keeps sums in the order of their stamps.
func insert(sums []Sum, s Sum) []Sum {
	at := sort.Search(len(sums), func(i int) bool { return sums[i].Stamp >= s.Stamp })
	if at < len(sums) && sums[at].Stamp == s.Stamp {
		sums[at].N += s.N
		return sums
	}
	return slices.Insert(sums, at, s)
}

// compact drops sums up to the cutoff, and joins neighbours under the later one's stamp: they are counted for longer than
// they need be, never for less.
func compact(sums []Sum, cutoff, now int64) []Sum {
	out := sums[:0]
	for i, s := range sums {
		if s.Stamp <= cutoff {
			continue
		}
		if i+1 < len(sums) && neighbours(s.Stamp, sums[i+1].Stamp, now) {
			sums[i+1].N += s.N
			continue
		}
		out = append(out, s)
	}
	return out
}

// neighbours tells whether two stamps are in the same cell of a grid that gets coarser with their age, by powers of two, so
// that cells only ever join.
func neighbours(a, b, now int64) bool {
	cell := (now - b) / sumsPerAge
	if cell <= 0 {
		return false
	}
	shift := bits.Len64(uint64(cell)) - 1
	return a>>shift == b>>shift
}

// cutoff is the newest stamp that a window which ends at now no longer holds.
func (l *Ledger) cutoff(now int64, interval time.Duration) int64 {
	return now - (interval + Skew).Milliseconds()
}

// after is the index of the oldest pod with a later stamp.
func (l *Ledger) after(stamp int64) int {
	return sort.Search(len(l.stamps), func(i int) bool { return l.stamps[i] > stamp })
}

// Count is how many permits the window holds that ends at now.
func (l *Ledger) Count(now int64, interval time.Duration) int {
	return l.since(l.cutoff(now, interval))
}

func (l *Ledger) since(cutoff int64) int {
	n := len(l.stamps) - l.after(cutoff)
	for i := len(l.Sums) - 1; i >= 0 && l.Sums[i].Stamp > cutoff; i-- {
		n += l.Sums[i].N
	}
	for _, b := range l.Blocks {
		if b.Stamp > cutoff {
			n += b.N
		}
	}
	return n
}

// Left is how many deletions all rules together allow at now.
func (l *Ledger) Left(now int64, rules []Rule) int {
	left := 0
	for i, r := range rules {
		one := max(r.Limit-l.Count(now, r.Interval), 0)
		if i == 0 || one < left {
			left = one
		}
	}
	return left
}

// Aside is how many permits others than holder have set aside.
func (l *Ledger) Aside(now int64, holder string) int {
	n := 0
	for _, b := range l.Blocks {
		if b.Holder != holder && b.Stamp >= now {
			n += b.N
		}
	}
	return n
}

// Usage is every window at now.
func (l *Ledger) Usage(now int64, rules []Rule) []Usage {
	all := make([]Usage, len(rules))
	for i, r := range rules {
		count := l.Count(now, r.Interval)
		all[i] = Usage{Rule: r, Count: count, Left: max(r.Limit-count, 0)}
		if all[i].Left == 0 {
			all[i].NextFree = l.nextFree(now, r)
		}
	}
	return all
}

// Binding is the window that has room last: the one that decides.
func Binding(all []Usage) (Usage, bool) {
	found, full := Usage{}, false
	for _, u := range all {
		if u.Left == 0 && (!full || u.NextFree.After(found.NextFree)) {
			found, full = u, true
		}
	}
	return found, full
}

// nextFree is when so many permits have left the window that one more fits.
func (l *Ledger) nextFree(now int64, r Rule) time.Time {
	cutoff := l.cutoff(now, r.Interval)
	most := int((r.Interval + 2*Skew + Life).Milliseconds()) + 1
	wait := sort.Search(most, func(ms int) bool { return l.since(cutoff+int64(ms)) < r.Limit })
	return time.UnixMilli(now + int64(wait))
}

// NextChange is when the oldest permit leaves a window; zero: all are empty.
func (l *Ledger) NextChange(now int64, rules []Rule) time.Time {
	var next int64
	for _, r := range rules {
		cutoff := l.cutoff(now, r.Interval)
		consider := func(stamp int64) {
			if at := stamp + (now - cutoff); stamp > cutoff && (next == 0 || at < next) {
				next = at
			}
		}
		if at := l.after(cutoff); at < len(l.stamps) {
			consider(l.stamps[at])
		}
		for _, s := range l.Sums {
			consider(s.Stamp)
		}
		for _, b := range l.Blocks {
			consider(b.Stamp)
		}
	}
	if next == 0 {
		return time.Time{}
	}
	return time.UnixMilli(next)
}

// Figures name a count and its interval: "100 per 10m".
func Figures(n int, interval time.Duration) string {
	return fmt.Sprintf("%d per %s", n, Short(interval))
}
