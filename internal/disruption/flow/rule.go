// Package flow counts deletions in sliding windows so that no window ever holds more than its limit, whoever counts and
// whenever he dies: the arithmetic of the ledger that the replicas share, without any reading or writing.
package flow

import (
	"hash/fnv"
	"strings"
	"time"
)

const (
	// Life is how long a permit may be on its way: it is stamped at the end of it, so that it is in the window for as long as
	// the deletion can be in one.
	Life = 5 * time.Second
	// Reply is how long the API server waits for an answer. What is allowed later than Life-Reply after the count began may
	// take effect after the stamp, and is not allowed.
	Reply = 3 * time.Second
	// Skew is by how much the clocks of two replicas may differ. Windows are longer by that much, so that a clock that is ahead
	// frees nothing too early.
	Skew = 2 * time.Second
	// MaxBlock is the most permits that one replica sets aside, and so the most that get lost when it dies: a small limit is
	// not to be short by many.
	MaxBlock = 10
	// MaxLargeBlock is the same of a large limit, which allows so many deletions in a second that a few permits do not last for
	// a write.
	MaxLargeBlock = 500
	// largeShare is which part of a large limit a block may be.
	largeShare = 1000
	// enoughLeft is how many blocks of a large limit must be left: the blocks get smaller towards the limit.
	enoughLeft = 20
)

// Rule is a limit in a window.
type Rule struct {
	Interval time.Duration `json:"interval"`
	Limit    int           `json:"limit"`
}

// String is the rule in figures: "100 per 10m".
func (r Rule) String() string { return Figures(r.Limit, r.Interval) }

// Usage is a window as it is.
type Usage struct {
	Rule `json:"rule"`

	Count int `json:"count"`
	Left  int `json:"left"`
	// NextFree is when a full window has room again; zero while there is room.
	NextFree time.Time `json:"nextFree,omitzero"`
}

// Longest is the longest interval of the rules.
func Longest(rules []Rule) time.Duration {
	longest := time.Duration(0)
	for _, r := range rules {
		longest = max(longest, r.Interval)
	}
	return longest
}

// BlockSize is how many permits the preferred replica sets aside while left permits are left: a twentieth of the smallest
// limit, from 1 to MaxBlock, and 1 near the limit, where what one sets aside another one lacks. Of limits above 10,000 it is a
// thousandth, up to MaxLargeBlock, while there are 20 times as many left.
func BlockSize(rules []Rule, left int) int {
	smallest := 0
	for _, r := range rules {
		if smallest == 0 || r.Limit < smallest {
			smallest = r.Limit
		}
	}
	size := min(max(smallest/20, 1), MaxBlock)
	if left <= 2*size {
		return min(1, max(left, 0))
	}
	return max(size, min(smallest/largeShare, left/enoughLeft, MaxLargeBlock))
}

// Hash is the short name of a pod in the ledger.
func Hash(uid string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid)) // never fails
	return h.Sum64()
}

// Millis is a time as the ledger has it.
func Millis(t time.Time) int64 { return t.UnixMilli() }

// Short is a duration without the units that are zero: 10m, not 10m0s.
func Short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
