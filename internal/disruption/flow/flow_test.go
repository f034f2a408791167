package flow

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
)

func after(d time.Duration) time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(d) }

func TestBlockSize(t *testing.T) {
	rules := func(limits ...int) (all []Rule) {
		for i, limit := range limits {
			all = append(all, Rule{time.Duration(i+1) * time.Minute, limit})
		}
		return all
	}
	for _, test := range []struct {
		reason string
		rules  []Rule
		left   int
		want   int
	}{
		{"a twentieth of the smallest limit", rules(100, 500, 5000), 100, 5},
		{"at most 10", rules(5000), 5000, 10},
		{"at most 10 of up to 10,000", rules(10_000, 1_000_000), 10_000, 10},
		{"a thousandth of a large limit", rules(100_000), 100_000, 100},
		{"at most 500", rules(2_000_000), 2_000_000, 500},
		{"less when less is left of a large one", rules(1_000_000), 4000, 200},
		{"as few as of a small one in the end", rules(1_000_000), 100, 10},
		{"1 near a large limit", rules(1_000_000), 20, 1},
		{"at least 1", rules(3), 3, 1},
		{"1 near the limit, where others lack what one sets aside", rules(100), 10, 1},
		{"as long as there is more", rules(100), 11, 5},
		{"nothing when nothing is left", rules(100), 0, 0},
		{"nothing below nothing", rules(100), -3, 0},
	} {
		if got := BlockSize(test.rules, test.left); got != test.want {
			t.Errorf("%s: got %d, want %d", test.reason, got, test.want)
		}
	}
}

func TestWindows(t *testing.T) {
	rules := []Rule{{10 * time.Minute, 3}, {time.Hour, 4}}
	l := &Ledger{}
	take := func(at time.Duration, pod string, want Grant, why string) {
		t.Helper()
		l.Advance(after(at), time.Hour)
		if got := l.Take(Hash(pod), rules); got != want {
			t.Errorf("at %s, %s: got %d, want %d: %s", at, pod, got, want, why)
		}
	}
	take(0, "a", Fresh, "the window is empty")
	take(time.Second, "b", Fresh, "")
	take(2*time.Second, "c", Fresh, "the third of 3")
	take(3*time.Second, "d", Denied, "the window is full")
	take(4*time.Second, "a", Again, "a pod counts once, at its last time")
	take(10*time.Minute, "d", Denied, "b is stamped at the end of its life")
	take(10*time.Minute+9*time.Second, "d", Fresh, "b has left: 1s + 5s of life + 2s of skew + 10m")
	take(10*time.Minute+9100*time.Millisecond, "e", Denied, "c has not")
	take(10*time.Minute+12*time.Second, "e", Denied, "10m has room, but 1h holds 4")
	u, full := Binding(l.Usage(l.Clock, rules))
	if want := after(time.Second + Life + Skew + time.Hour); !full || u.Interval != time.Hour || u.NextFree.Sub(want).Abs() > 10*time.Millisecond {
		t.Errorf("the binding rule is %v, free at %s; want 1h, free at %s", u.Rule, u.NextFree, want)
	}
	if l.Admitted != 4 {
		t.Errorf("%d admitted, want 4", l.Admitted)
	}
}

func TestBlocks(t *testing.T) {
	rules := []Rule{{10 * time.Minute, 100}}
	left := func(l *Ledger) int { return l.Left(l.Clock, rules) }
	l := &Ledger{}
	l.Advance(after(0), time.Hour)
	if n := l.Reserve("me", 5, rules); n != 5 || left(l) != 95 {
		t.Fatalf("set aside %d, left %d: want 5 and 95", n, left(l))
	}
	l.Settle("me", []uint64{1, 2}, l.StampOf("me"))
	if left(l) != 95 || l.Held("me") != 3 || l.Pods() != 2 {
		t.Errorf("writing down who got one changes nothing: left %d, held %d", left(l), l.Held("me"))
	}
	l.Settle("me", []uint64{1, 2}, l.StampOf("me"))
	if left(l) != 95 || l.Held("me") != 3 {
		t.Errorf("nor does writing it twice: left %d, held %d", left(l), l.Held("me"))
	}
	if n := l.Reserve("me", 0, rules); n != 0 || left(l) != 98 {
		t.Errorf("what is given back is free: left %d", left(l))
	}
	l.Reserve("dead", 10, rules)
	l.Advance(after(Life+Skew+time.Second), time.Hour)
	if len(l.Blocks) != 0 || left(l) != 88 {
		t.Errorf("the block of one that died stays counted: left %d, blocks %v", left(l), l.Blocks)
	}
	l.Settle("dead", []uint64{7}, l.StampOf("dead"))
	if left(l) != 88 || l.Pods() != 2 {
		t.Errorf("and is not counted twice when he is back: left %d", left(l))
	}
	l.Advance(after(10*time.Minute+Life+Skew+time.Second), time.Hour)
	if left(l) != 100 {
		t.Errorf("all windows are empty at last: left %d", left(l))
	}
}

// A pod whose deletion one replica has let pass, and another one later from its block, counts from the later one on.
func TestSettleAPodThatWasCountedEarlier(t *testing.T) {
	rules := []Rule{{10 * time.Minute, 100}}
	l := &Ledger{}
	l.Advance(after(0), time.Hour)
	l.Take(1, rules)
	l.Advance(after(9*time.Minute), time.Hour)
	l.Reserve("me", 5, rules)
	stamp := l.StampOf("me")
	l.Settle("me", []uint64{1}, stamp)
	if at, counted := l.Find(1); !counted || at != stamp || l.Held("me") != 4 || l.Pods() != 1 {
		t.Errorf("stamp %d, want that of the block %d; held %d, want 4; %d pods, want 1", at, stamp, l.Held("me"), l.Pods())
	}
	l.Advance(after(18*time.Minute), time.Hour)
	if left := l.Left(l.Clock, rules); left != 95 {
		t.Errorf("%d left within the window of the later deletion, want 95: the pod and what is left of the block", left)
	}
	// The answer to the write got lost, and the write had replaced the block: it must not shrink for what was of the former one.
	l.Advance(after(18*time.Minute+time.Second), time.Hour)
	l.Reserve("me", 7, rules)
	l.Settle("me", []uint64{1}, stamp)
	if l.Held("me") != 7 {
		t.Errorf("held %d after the same pods were written down twice, want 7", l.Held("me"))
	}
}

// A permit that two replicas have given for one pod stays when one of them gives it back.
func TestGiveWhatAnotherReplicaReliesOn(t *testing.T) {
	rules := []Rule{{10 * time.Minute, 100}}
	for reason, rely := range map[string]func(l *Ledger){
		"it was written again in the same millisecond": func(l *Ledger) { l.Take(1, rules) },
		"it is of a block, too":                        func(l *Ledger) { l.Settle("me", []uint64{1}, l.StampOf("me")) },
	} {
		t.Run(reason, func(t *testing.T) {
			l := &Ledger{}
			l.Advance(after(0), time.Hour)
			l.Reserve("me", 5, rules)
			l.Advance(after(time.Second), time.Hour)
			l.Take(1, rules)
			stamp, _ := l.Find(1)
			rely(l)
			if l.Give(1, stamp) || l.Pods() != 1 {
				t.Errorf("the pod is not counted any more: %d pods", l.Pods())
			}
		})
	}
}

func TestReserveNearTheLimit(t *testing.T) {
	rules := []Rule{{10 * time.Minute, 10}}
	l := &Ledger{}
	l.Advance(after(0), time.Hour)
	l.Reserve("other", 6, rules)
	if n := l.Reserve("me", 8, rules); n != 4 {
		t.Errorf("got %d of the 4 that are left", n)
	}
	if n := l.Reserve("me", 8, rules); n != 4 {
		t.Errorf("what one has one keeps: got %d, want 4", n)
	}
	if got := l.Aside(l.Clock, "me"); got != 6 {
		t.Errorf("others have %d aside, want 6", got)
	}
}

func TestGive(t *testing.T) {
	rules := []Rule{{time.Minute, 1}}
	l := &Ledger{}
	l.Advance(after(0), time.Hour)
	l.Take(1, rules)
	stamp, _ := l.Find(1)
	l.Advance(after(time.Second), time.Hour)
	l.Take(1, rules)
	if l.Give(1, stamp) {
		t.Error("a permit that was asked for again came back: somebody relies on it")
	}
	stamp, _ = l.Find(1)
	if !l.Give(1, stamp) || l.Left(l.Clock, rules) != 1 || l.Admitted != 0 {
		t.Error("a permit that nobody used does not come back")
	}
}

func TestBreaker(t *testing.T) {
	b := &Breaker{Denials: 3, Interval: time.Minute, CoolDown: 10 * time.Minute}
	l := &Ledger{}
	deny := func(at time.Duration, n int, closed int64, want bool, why string) {
		t.Helper()
		l.Advance(after(at), time.Hour)
		if got := l.Deny(n, b, closed); got != want {
			t.Errorf("at %s: opened %v, want %v: %s", at, got, want, why)
		}
	}
	open := func(at time.Duration, closed int64, want bool, why string) {
		t.Helper()
		if _, got := l.Open(Millis(after(at)), b, closed); got != want {
			t.Errorf("at %s: open %v, want %v: %s", at, got, want, why)
		}
	}
	deny(0, 2, 0, false, "2 of 3")
	deny(2*time.Minute, 2, 0, false, "the first two are too old")
	deny(2*time.Minute+10*time.Second, 1, 0, true, "3 within a minute")
	open(3*time.Minute, 0, true, "it cools down")
	open(3*time.Minute, 1, false, "a person has closed this trip")
	deny(3*time.Minute, 50, 0, false, "what an open breaker denies does not count")
	open(12*time.Minute+11*time.Second, 0, false, "it has cooled down")
	deny(13*time.Minute, 2, 0, false, "it counts from nothing again")
	deny(13*time.Minute, 1, 1, true, "the next trip")
	open(13*time.Minute+time.Second, 1, true, "closing the first trip does not close the second")
	if until, _ := l.Open(l.Clock, b, 1); until.Sub(after(23*time.Minute)).Abs() > time.Second {
		t.Errorf("open until %s", until)
	}
	if l.Deny(100, nil, 0) {
		t.Error("no breaker, no trip")
	}
}

func TestClock(t *testing.T) {
	l := &Ledger{}
	l.Advance(after(time.Minute), time.Hour)
	before := l.Clock
	l.Advance(after(0), time.Hour)
	if l.Clock != before+1 {
		t.Errorf("a clock that is behind moves the ledger's by %d ms, want 1", l.Clock-before)
	}
	if l.Now(after(0)) != l.Clock {
		t.Error("whoever is behind reads by the ledger's clock")
	}
}

func TestStored(t *testing.T) {
	rules := []Rule{{time.Hour, 1000}}
	l := &Ledger{PolicyUID: "u", Generation: 3, Trips: 2}
	l.Advance(after(0), time.Hour)
	l.Reserve("dead", 3, rules)
	for i := range 300 {
		l.Advance(after(time.Duration(i)*time.Second), time.Hour)
		l.Take(uint64(i), rules)
	}
	l.Reserve("me", 5, rules)
	l.Mark("me", 7)
	l.Deny(1, &Breaker{Denials: 9, Interval: time.Hour, CoolDown: time.Hour}, 2)
	stored := &v1alpha1.PodDeletionLedger{}
	l.Write(stored)
	back, err := Read(stored)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprintf("%+v", *back), fmt.Sprintf("%+v", *l); got != want {
		t.Errorf("read back:\n%s\nwant\n%s", got, want)
	}
	for part, text := range map[string]*[]byte{"names": &stored.Names, "older ones": &stored.Older} {
		whole := *text
		*text = whole[:len(whole)-1]
		if _, err := Read(stored); err == nil {
			t.Errorf("a ledger whose %s were cut off is read without an error", part)
		}
		*text = whole
	}
}

// TestForgetting holds a ledger that sums up what is old against one that remembers everything: it may count more, never less.
func TestForgetting(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // chance for a test
	rules := []Rule{{time.Minute, 1_000_000}, {24 * time.Hour, 1_000_000}}
	l := &Ledger{}
	var stamps []int64
	now := time.Duration(0)
	for i := range 30_000 {
		now += time.Duration(random.IntN(int(8 * time.Second)))
		l.Advance(after(now), 24*time.Hour)
		l.Take(uint64(i), rules)
		stamps = append(stamps, l.Stamp())
	}
	for _, r := range rules {
		cutoff := l.cutoff(l.Clock, r.Interval)
		exact := len(stamps) - slices.IndexFunc(stamps, func(s int64) bool { return s > cutoff })
		if got := l.Count(l.Clock, r.Interval); got < exact || got > exact+exact/50+1 {
			t.Errorf("%s: counted %d, and there were %d", r.Interval, got, exact)
		}
	}
	if l.Pods() > maxPods+1 || len(l.Sums) < 100 || len(l.Sums) > 2000 {
		t.Errorf("%d pods and %d sums are remembered", l.Pods(), len(l.Sums))
	}
	stored := &v1alpha1.PodDeletionLedger{}
	l.Write(stored)
	if text, err := json.Marshal(stored); err != nil || len(text) > 50_000 {
		t.Errorf("the ledger has %d bytes, want at most 50,000, since each write carries it whole (%v)", len(text), err)
	} else {
		t.Logf("%d bytes", len(text))
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Minute: "10m", time.Hour: "1h", 24 * time.Hour: "24h", 90 * time.Second: "1m30s", time.Second: "1s", 90 * time.Minute: "1h30m",
		20 * time.Second: "20s", 100 * time.Minute: "1h40m",
	} {
		if got := Short(d); got != want {
			t.Errorf("%d: got %s, want %s", d, got, want)
		}
	}
}

// full is a ledger that remembers n pods, as it is in memory.
func full(n int) *Ledger {
	rules := []Rule{{24 * time.Hour, 1_000_000}}
	l := &Ledger{}
	for i := range n {
		l.Advance(after(time.Duration(i)*time.Millisecond), 24*time.Hour)
		l.Take(Hash(fmt.Sprint("pod-", i)), rules)
	}
	return l
}

// BenchmarkMemory is what 100,000 remembered pods cost, in policies that each remember as many as one can by name.
func BenchmarkMemory(b *testing.B) {
	for range b.N {
		var before, afterwards runtime.MemStats
		one := full(maxPods)
		runtime.GC()
		runtime.GC() // what the first one set free
		runtime.ReadMemStats(&before)
		var all []*Ledger
		for range 100_000 / maxPods {
			all = append(all, one.Clone())
		}
		runtime.GC()
		runtime.ReadMemStats(&afterwards)
		pods := 0
		for _, l := range all {
			pods += l.Pods()
		}
		b.ReportMetric(float64(afterwards.HeapAlloc-before.HeapAlloc)/float64(pods), "bytes/pod")
		b.ReportMetric(float64(afterwards.HeapAlloc-before.HeapAlloc), "bytes/100000-pods")
		runtime.KeepAlive(one)
		runtime.KeepAlive(all)
	}
}

// BenchmarkTake is one permit in a ledger that remembers 5,000 pods, under three rules.
func BenchmarkTake(b *testing.B) {
	l := full(5000)
	rules := []Rule{{10 * time.Minute, 1_000_000}, {time.Hour, 1_000_000}, {24 * time.Hour, 1_000_000}}
	for i := range b.N {
		l.Take(uint64(i%1000), rules)
	}
}

// Whatever became of a block, a pod that was let go is counted.
func TestSettleMoreThanTheBlockHas(t *testing.T) {
	rules := []Rule{{10 * time.Minute, 100}}
	l := &Ledger{}
	l.Advance(after(0), time.Hour)
	l.Reserve("me", 1, rules)
	l.Settle("me", []uint64{1, 2}, l.StampOf("me"))
	if n := l.Count(l.Clock, 10*time.Minute); n != 2 {
		t.Errorf("%d are counted of 2", n)
	}
}
