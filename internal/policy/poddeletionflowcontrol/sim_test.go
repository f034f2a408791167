package poddeletionflowcontrol

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// memory is a store in memory whose only promise is that of the API server: compare and swap by version.
type memory struct {
	mu      sync.Mutex
	ledger  *flow.Ledger
	version int64
	history []past
	watch   func(*flow.Ledger, string)
}

// past is a ledger that was stored, and since when.
type past struct {
	since  time.Time
	ledger *flow.Ledger
}

func (m *memory) get() (*flow.Ledger, string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ledger == nil {
		return nil, ""
	}
	return m.ledger, strconv.FormatInt(m.version, 10)
}

func (m *memory) put(version string, l *flow.Ledger) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ledger == nil && version != "" || m.ledger != nil && version != strconv.FormatInt(m.version, 10) {
		return "", errConflict
	}
	stored := &v1alpha1.PodDeletionLedger{}
	l.Write(stored)
	read, err := flow.Read(stored) // as through the API server
	if err != nil {
		return "", err
	}
	m.version++
	m.ledger = read
	m.history = append(m.history, past{time.Now(), read})
	if m.watch != nil {
		m.watch(read, strconv.FormatInt(m.version, 10))
	}
	return strconv.FormatInt(m.version, 10), nil
}

var errDead = errors.New("killed")

// replica is one keeper with all that can happen to it.
type replica struct {
	*Keeper

	world *world
	name  string
	dead  atomic.Bool
	stop  context.CancelFunc
	stall atomic.Int64 // until when it stands still, in nanoseconds of the world's clock
}

// skewed is a clock that is wrong.
type skewed struct {
	clock.RealClock

	by time.Duration
}

func (s skewed) Now() time.Time                  { return time.Now().Add(s.by) }
func (s skewed) Since(t time.Time) time.Duration { return s.Now().Sub(t) }

// breathe is the time that a request takes, and that the replica stands still.
func (r *replica) breathe(ctx context.Context, most time.Duration) error {
	wait := time.Duration(r.world.intn(int(most)))
	if until := time.Unix(0, r.stall.Load()); time.Now().Before(until) {
		wait += time.Until(until)
		ctx = context.WithoutCancel(ctx) // who stands still does not see his deadlines pass
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.dead.Load() {
		return errDead
	}
	return nil
}

// Get and Put are the store as this replica reaches it.
func (r *replica) Get(ctx context.Context, _ string) (*flow.Ledger, string, error) {
	if err := r.breathe(ctx, 4*time.Millisecond); err != nil {
		return nil, "", err
	}
	l, version := r.world.store.get()
	if err := r.breathe(ctx, 4*time.Millisecond); err != nil {
		return nil, "", err
	}
	return l, version, nil
}

func (r *replica) Put(ctx context.Context, _, version string, l *flow.Ledger) (string, error) {
	if err := r.breathe(ctx, 5*time.Millisecond); err != nil {
		return "", err
	}
	fault := r.world.intn(100)
	switch {
	case fault < r.world.faults:
		return "", errors.New("refused")
	case fault < 2*r.world.faults: // the request is under way for longer than anybody waits
		go func() {
			elapse(time.Duration(r.world.intn(int(3 * time.Second))))
			_, _ = r.world.store.put(version, l)
		}()
		return "", errors.New("timeout")
	}
	made, err := r.world.store.put(version, l)
	if err != nil {
		return "", err
	}
	if r.world.severe && !r.world.immortal && r.world.intn(150) == 0 {
		r.world.replace(r) // it has written, and nobody hears of it
		return "", errDead
	}
	if fault < 3*r.world.faults {
		return "", errors.New("connection reset")
	}
	if err := r.breathe(ctx, 5*time.Millisecond); err != nil {
		return "", err
	}
	return made, nil
}

// Call reaches another replica.
func (r *replica) Call(ctx context.Context, address, _ string, body []byte) ([]byte, error) {
	other := r.world.named(address)
	if other == nil || other.dead.Load() {
		return nil, errDead
	}
	if err := r.breathe(ctx, time.Millisecond); err != nil {
		return nil, err
	}
	raw, err := other.Answer(ctx, body)
	if err != nil {
		return nil, err
	}
	if err := other.breathe(ctx, time.Millisecond); err != nil {
		return nil, err
	}
	return raw, r.breathe(ctx, time.Millisecond)
}

// world is a cluster of replicas with requests, faults and a judge.
type world struct {
	t      *testing.T
	policy *v1alpha1.PodDeletionFlowControl
	store  *memory
	faults int // percent of writes, of each kind
	// immortal: nobody is killed or stands still, so that each admission must be written down by name.
	immortal bool
	// severe: whatever is rare comes often, and at the worst moment.
	severe bool
	// patience with the preferred replica; 0: as usual.
	patience time.Duration
	// another starts a replica.
	another func()
	// lag is how late the watch shows a write at most.
	lag time.Duration
	// prior is how many deletions every window holds from before, for all of the history.
	prior int

	mu       sync.Mutex
	random   *rand.Rand
	replicas []*replica
	admitted []passage
	denied   []denial
	history  []*operation
	failed   int
	kills    int
	born     int
}

// passage is a pod that was let go, when the API server heard of it.
type passage struct {
	uid string
	at  time.Time
	by  *replica
}

// denial is a pod that was kept.
type denial struct {
	asked, at time.Time
	reason    string
}

func (w *world) intn(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(max(n, 1))
}

func (w *world) named(name string) *replica {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.replicas {
		if r.name == name {
			return r
		}
	}
	return nil
}

// start brings up a replica.
func (w *world) start(ctx context.Context, skew time.Duration) *replica {
	w.mu.Lock()
	w.born++
	r := &replica{world: w, name: fmt.Sprintf("r%d", w.born)}
	w.mu.Unlock()
	r.Keeper = New(Deps{
		Clock: skewed{by: skew}, Log: logr.Discard(), Identity: r.name, Caller: r, Store: r, SystemNamespace: "holdfast-system",
	})
	if w.patience > 0 {
		r.patience = w.patience
	}
	r.served.Store(present)
	r.See(w.policy)
	ctx, r.stop = context.WithCancel(ctx)
	go r.Run(ctx)
	w.mu.Lock()
	w.replicas = append(w.replicas, r)
	w.mu.Unlock()
	return r
}

// kill ends a replica as a lost node does: nothing of it is heard again.
func (w *world) kill(r *replica) {
	r.dead.Store(true)
	r.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kills++
	w.replicas = slices.DeleteFunc(w.replicas, func(other *replica) bool { return other == r })
}

// replace ends a replica, and starts another one.
func (w *world) replace(r *replica) {
	w.mu.Lock()
	gone := !slices.Contains(w.replicas, r)
	w.mu.Unlock()
	if !gone {
		w.kill(r)
		w.another()
	}
}

// skew is by how much a clock is wrong: by as much as is allowed, where times are severe.
func (w *world) skew() time.Duration {
	by := time.Duration(w.intn(int(flow.Skew))) - flow.Skew/2
	if !w.severe {
		return by
	}
	return []time.Duration{-flow.Skew / 2, by, flow.Skew / 2}[w.intn(3)]
}

// pause is how long a replica stands still: where times are severe, mostly until just before or after something ends.
func (w *world) pause() time.Duration {
	if !w.severe {
		return time.Duration(w.intn(int(8 * time.Second)))
	}
	ends := []time.Duration{spendable, flow.Reply, flow.Life, flow.Life + flow.Skew}
	return ends[w.intn(len(ends))] + time.Duration(w.intn(int(200*time.Millisecond))) - 100*time.Millisecond
}

// crown makes one the preferred replica, in the eyes of those that notice.
func (w *world) crown(leader *replica, notice int) {
	w.mu.Lock()
	all := slices.Clone(w.replicas)
	w.mu.Unlock()
	for _, r := range all {
		switch {
		case r == leader:
			r.owner.set(r.now().Add(leaseDuration), "")
		case w.intn(100) < notice:
			r.owner.set(time.Time{}, leader.name)
		}
	}
}

// request is what the API server does: it waits for three seconds, and takes silence for a no.
func (w *world) request(ctx context.Context, r *replica, uid string) *operation {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, flow.Reply)
	defer cancel()
	v, err := r.Guard().Take(ctx, disruption.Request{
		Operation: disruption.Delete, User: authenticationv1.UserInfo{Username: "script"},
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: uid, UID: types.UID(uid)}},
	})
	if stall := time.Unix(0, r.stall.Load()); time.Now().Before(stall) {
		elapse(time.Until(stall))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	op := &operation{uid: uid, call: begun, returned: now}
	w.history = append(w.history, op)
	switch {
	case r.dead.Load(), err != nil, now.Sub(begun) > flow.Reply:
		w.failed++
		op.outcome = unanswered
	case v.Outcome == disruption.Allow:
		w.admitted = append(w.admitted, passage{uid, now, r})
		op.outcome = admitted
	default:
		w.denied = append(w.denied, denial{begun, now, v.Reason})
		op.outcome = refused
	}
	return op
}

// judge looks for a window that held more pods than its limit, and for a no without a reason.
func (w *world) judge() {
	w.t.Helper()
	slices.SortFunc(w.admitted, func(a, b passage) int { return a.at.Compare(b.at) })
	for _, rule := range w.policy.Spec.LimitRules {
		in := map[string]int{}
		from, most := 0, 0
		for _, a := range w.admitted {
			in[a.uid]++
			for ; a.at.Sub(w.admitted[from].at) > rule.Interval.Duration; from++ {
				if old := w.admitted[from].uid; in[old] == 1 {
					delete(in, old)
				} else {
					in[old]--
				}
			}
			most = max(most, len(in))
		}
		if most+w.prior > int(rule.Limit) {
			w.t.Errorf("%d pods were let go within %s after %d, and the limit is %d", most, rule.Interval.Duration, w.prior, rule.Limit)
		}
	}
	t, err := read(w.policy)
	if err != nil {
		w.t.Fatal(err)
	}
	for i, p := range w.store.history {
		for _, u := range p.ledger.Usage(p.ledger.Clock, t.rules) {
			if u.Count > u.Limit {
				w.t.Errorf("write %d: the ledger holds %s in %s", i, counted(u), u.Interval)
			}
		}
		if i > 0 && p.ledger.Clock <= w.store.history[i-1].ledger.Clock {
			w.t.Errorf("write %d: the ledger's clock went back", i)
		}
	}
	for _, a := range w.admitted {
		if !a.by.dead.Load() && !w.counted(a) {
			w.t.Errorf("%s was let go at %s, and no ledger has a permit that is stamped as late", a.uid, a.at)
			return
		}
	}
	for _, d := range w.denied {
		if !w.justified(t, d) {
			w.t.Errorf("denied (%s) at %s, and the ledger had room all the time since a second before it was asked", d.reason, d.at)
			return
		}
	}
}

// counted tells whether a permit was written for an admission, with a stamp that covers the time at which it took effect: by
// name, or in the block of a replica that died, or stood still, before it wrote the name down.
func (w *world) counted(a passage) bool {
	for i, p := range w.store.history {
		if i+1 < len(w.store.history) && w.store.history[i+1].since.Before(a.at) {
			continue // it was replaced before
		}
		least := a.at.Add(-flow.Skew / 2).UnixMilli() // by the clock of whoever wrote it
		stamp, found := p.ledger.Find(flow.Hash(a.uid))
		if found && stamp >= least {
			return true
		}
		left := func(stamp int64, n int) bool { return !w.immortal && n > 0 && stamp >= least }
		if slices.ContainsFunc(p.ledger.Blocks, func(b flow.Block) bool { return left(b.Stamp, b.N) }) ||
			slices.ContainsFunc(p.ledger.Sums, func(s flow.Sum) bool { return left(s.Stamp, s.N) }) {
			return true
		}
	}
	return false
}

// justified tells whether the ledger was full at some time since shortly before the question: it may have been read then.
func (w *world) justified(t *terms, d denial) bool {
	for i, p := range w.store.history {
		until := d.at
		if i+1 < len(w.store.history) {
			until = w.store.history[i+1].since
		}
		if p.since.After(d.at) || until.Before(d.asked.Add(-time.Second)) {
			continue
		}
		// The first moment at which the replica may have looked at it, when it was made: later ones have more room.
		first := p.ledger.Clock
		if earliest := d.asked.Add(-time.Second); earliest.After(p.since) {
			first = p.ledger.Now(earliest.Add(-flow.Skew / 2)) // by the slowest clock: another replica may have answered
		}
		if p.ledger.Left(first, t.rules) == 0 {
			return true
		}
	}
	return false
}

func seed(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv("HOLDFAST_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("HOLDFAST_SEED: %v", err)
		}
		return n
	}
	return rand.Uint64() //nolint:gosec // chance for a test
}

func chance(seed, game uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, game)) //nolint:gosec // chance for a test
}

func policyOf(rules ...v1alpha1.DeletionLimitRule) *v1alpha1.PodDeletionFlowControl {
	return &v1alpha1.PodDeletionFlowControl{
		ObjectMeta: metav1.ObjectMeta{Name: "fleet", UID: "policy-1", Generation: 1},
		Spec:       v1alpha1.PodDeletionFlowControlSpec{LimitRules: rules},
	}
}

func rule(interval time.Duration, limit int32) v1alpha1.DeletionLimitRule {
	return v1alpha1.DeletionLimitRule{Interval: metav1.Duration{Duration: interval}, Limit: limit}
}

// TestHistories plays random histories and holds each against the limits: replicas are killed, stand still and have wrong
// clocks, writes fail or get lost, permits come back, the preferred replica changes, and two believe to be it.
func TestHistories(t *testing.T) {
	first := seed(t)
	runs := uint64(15)
	if os.Getenv("HOLDFAST_SEED") != "" {
		runs = 1
	}
	if text := os.Getenv("HOLDFAST_HISTORIES"); text != "" {
		var err error
		if runs, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("HOLDFAST_HISTORIES: %v", err)
		}
	}
	for s := first; s != first+runs; s++ {
		t.Run(fmt.Sprintf("HOLDFAST_SEED=%d", s), func(t *testing.T) {
			var w *world
			synctest.Test(t, func(t *testing.T) { w = play(t, s) })
			w.linearize(t)
		})
	}
}

func play(t *testing.T, seed uint64) *world {
	t.Helper()
	random := chance(seed, 1)
	limit := []int32{10, 40, 100, 200}[random.IntN(4)]
	w := &world{
		t: t, random: random, store: &memory{}, faults: random.IntN(6), immortal: random.IntN(3) == 0,
		policy: policyOf(rule(15*time.Second, limit), rule(40*time.Second, limit*3/2)), severe: random.IntN(3) == 0,
		patience: []time.Duration{0, 750 * time.Millisecond}[random.IntN(2)], lag: 100 * time.Millisecond,
	}
	pods, returned := 2000, 10
	if w.severe {
		pods, returned, w.lag = []int{60, 300, 2000}[random.IntN(3)], 3, 900*time.Millisecond
	}
	if random.IntN(3) == 0 {
		limit = []int32{300, 600, 1200}[random.IntN(3)]
		w.crowd(int(limit))
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.another = func() { w.start(ctx, w.skew()) }
	w.store.watch = func(l *flow.Ledger, version string) {
		w.mu.Lock()
		all := slices.Clone(w.replicas)
		w.mu.Unlock()
		for _, r := range all {
			delay := time.Duration(w.intn(int(w.lag)))
			time.AfterFunc(delay, func() { r.all()[0].see(l, version) })
		}
	}
	for range 3 {
		w.another()
	}
	var requests sync.WaitGroup
	for range 900 {
		elapse(time.Duration(w.intn(int(180 * time.Millisecond))))
		w.mu.Lock()
		r := w.replicas[w.random.IntN(len(w.replicas))]
		w.mu.Unlock()
		switch event := w.intn(1000); {
		case event < 6 && !w.immortal:
			w.replace(r)
		case event < 12 && !w.immortal, event < 25 && w.severe && !w.immortal:
			r.stall.Store(time.Now().Add(w.pause()).UnixNano())
		case event < 60:
			w.crown(r, 80)
		}
		for range w.intn(12) {
			uid := fmt.Sprintf("pod-%d", w.intn(pods))
			requests.Go(func() {
				if op := w.request(ctx, r, uid); op.outcome == admitted && w.intn(returned) == 0 {
					r.Guard().Release(ctx, disruption.Request{
						Operation: disruption.Delete,
						Pod:       &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: uid, UID: types.UID(uid)}},
					})
					w.take(uid, op)
				}
			})
		}
	}
	requests.Wait()
	cancel()
	elapse(20 * time.Second) // until all have left, and those that stand still go on
	synctest.Wait()
	w.judge()
	t.Logf("limit %d: %d let go, %d denied, %d failed, %d killed, %d writes, %d percent of them wrong in each way",
		limit, len(w.admitted), len(w.denied), w.failed, w.kills, len(w.store.history), w.faults)
	return w
}

// crowd has a policy with a large limit, of which blocks are large, and leaves room for so many alone.
func (w *world) crowd(room int) {
	const limit = 1_000_000
	w.policy, w.prior = policyOf(rule(time.Hour, limit)), limit-room
	before := time.Now().Add(-2 * flow.Life).UnixMilli()
	_, err := w.store.put("", &flow.Ledger{
		PolicyUID: string(w.policy.UID), Generation: 1, Clock: before, Sums: []flow.Sum{{Stamp: before, N: w.prior}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// take removes the last admission of a pod, whose permit was given back: it was not deleted.
func (w *world) take(uid string, op *operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	op.outcome = unanswered // it may be counted, and nothing was deleted by it
	for i, a := range slices.Backward(w.admitted) {
		if a.uid == uid {
			w.admitted = slices.Delete(w.admitted, i, i+1)
			return
		}
	}
}

// TestShortfall kills preferred replicas again and again, and nothing else, while callers ask again until they are answered:
// each death costs no more than the block that was set aside.
func TestShortfall(t *testing.T) {
	first := seed(t)
	for s := first; s < first+10; s++ {
		t.Run(fmt.Sprintf("HOLDFAST_SEED=%d", s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { shortfall(t, s, s%2 == 0) })
		})
	}
}

func shortfall(t *testing.T, seed uint64, large bool) {
	t.Helper()
	limit, block := 200, flow.MaxBlock
	w := &world{
		t: t, random: chance(seed, 2), store: &memory{}, policy: policyOf(rule(10*time.Minute, 200)),
	}
	if large {
		limit, block = 300, 300/20
		w.crowd(limit)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for range 3 {
		w.start(ctx, 0)
	}
	w.crown(w.replicas[0], 100)
	var requests sync.WaitGroup
	for i := range 400 {
		elapse(time.Duration(w.intn(int(60 * time.Millisecond))))
		if w.intn(40) == 0 {
			w.kill(w.replicas[0])
			w.start(ctx, 0)
			w.crown(w.replicas[0], 100)
		}
		requests.Go(func() {
			for range 20 {
				w.mu.Lock()
				r, lost := w.replicas[w.random.IntN(len(w.replicas))], w.failed
				w.mu.Unlock()
				w.request(ctx, r, fmt.Sprintf("pod-%d", i))
				w.mu.Lock()
				answered := w.failed == lost
				w.mu.Unlock()
				if answered {
					return
				}
			}
		})
	}
	requests.Wait()
	cancel()
	elapse(10 * time.Second) // until all have left
	synctest.Wait()
	w.judge()
	got := map[string]bool{}
	for _, a := range w.admitted {
		got[a.uid] = true
	}
	bound := block * w.kills
	t.Logf("%d of %d let go, %d replicas killed, at most %d may be lost", len(got), limit, w.kills, bound)
	if len(got) < limit-bound || w.kills == 0 {
		t.Errorf("%d of %d let go with %d killed, want at least %d", len(got), limit, w.kills, limit-bound)
	}
}
