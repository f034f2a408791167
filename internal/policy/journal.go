package policy

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

const (
	// How often decisions are written down.
	flushInterval = 2 * time.Second
	// How long, and how many, decisions wait that nobody is waiting for: our own controllers' acts that no guard had a say in.
	// A rollout makes many, and each flush is a write.
	routineInterval = 6 * time.Second
	maxRoutine      = 500
	// How many decisions wait to be written at most; what comes beyond is counted as lost.
	maxPending = 10000
	// How long the same denial, asked for again and again, is one decision.
	repeatWindow = time.Minute
	// How many denials are remembered for that.
	maxRepeats = 5000
	// How long the last write of a process that ends may take.
	lastFlush = 5 * time.Second
)

// Metrics count decisions. No label names a pod or a user.
type Metrics struct {
	decisions *prometheus.CounterVec
	lost      prometheus.Counter
}

// NewMetrics registers the figures of the decisions with reg.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_guard_decisions_total",
			Help: "Decisions about taking pods and other objects away, by the guard that decided, operation, outcome and reason.",
		}, []string{"guard", "operation", "outcome", "reason"}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_guard_decisions_lost_total",
			Help: "Decisions that could not be written down for kubectl holdfast who-deleted; the audit log has them.",
		}),
	}
	for _, c := range []prometheus.Collector{m.decisions, m.lost} {
		if err := reg.Register(c); err != nil {
			return nil, err //nolint:wrapcheck // names the metric itself
		}
	}
	return m, nil
}

// Sink is where decisions are kept.
type Sink interface {
	Append(ctx context.Context, decisions []Decision) error
}

// Journal gathers decisions in memory and writes them down in batches: deciding never waits for a write.
type Journal struct {
	sink    Sink
	metrics *Metrics
	clock   clock.WithTicker
	log     logr.Logger
	replica string
	// told hears of every batch, after it was gathered: events and the uses of break-glass come from here.
	told []func(context.Context, []Decision)

	mu      sync.Mutex
	pending []Decision
	// at is where a key's decision waits in pending.
	at map[string]int
	// former are denials that were written lately.
	former map[string]*denial
}

// denial is one that was written down at since, and what repeated it from then on.
type denial struct {
	since time.Time
	again Decision
}

// NewJournal makes the journal of one replica. The listeners hear of every batch when it is written.
func NewJournal(sink Sink, m *Metrics, c clock.WithTicker, log logr.Logger, replica string,
	listeners ...func(context.Context, []Decision),
) *Journal {
	return &Journal{
		sink: sink, metrics: m, clock: c, log: log, replica: replica, told: listeners,
		at: map[string]int{}, former: map[string]*denial{},
	}
}

// Note takes a decision in, without any I/O, and returns it with the id that it is kept under: a repetition has that of the
// first. A dry run leaves no trace here.
func (j *Journal) Note(d Decision, dryRun bool) Decision {
	if j == nil || dryRun {
		return d
	}
	if j.metrics != nil {
		j.metrics.decisions.WithLabelValues(d.GuardKind(), d.Operation, string(d.Outcome), d.Reason).Inc()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	key := d.key()
	if i, waits := j.at[key]; waits {
		j.pending[i].repeated(d.Time)
		d.ID = j.pending[i].ID
		return d
	}
	if first, known := j.former[key]; known && d.Time.Sub(first.since) < repeatWindow {
		if first.again.Times == 0 {
			first.again.Time = d.Time
		}
		first.again.Times++
		first.again.Until = d.Time
		d.ID = first.again.ID
		return d
	}
	if len(j.pending) >= maxPending {
		if j.metrics != nil {
			j.metrics.lost.Inc()
		}
		return d
	}
	kept := d
	kept.Message, kept.Replica = shorten(d.Message), j.replica
	j.keep(kept)
	return d
}

// keep adds a decision to what waits; the lock is held.
func (j *Journal) keep(d Decision) {
	j.at[d.key()] = len(j.pending)
	j.pending = append(j.pending, d)
}

// repeated counts one more of the same.
func (d *Decision) repeated(now time.Time) {
	d.Times, d.Until = max(d.Times, 1)+1, now
}

// Run writes the decisions down until ctx ends, and then what is left.
func (j *Journal) Run(ctx context.Context) {
	ticker := j.clock.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C():
			if j.due() {
				j.Flush(ctx)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			j.Flush(last)
			return
		}
	}
}

// due reports whether what waits may be written down now: all but a few routine decisions that came just now.
func (j *Journal) due() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.pending) == 0 || len(j.pending) >= maxRoutine || j.clock.Since(j.pending[0].Time) >= routineInterval ||
		slices.ContainsFunc(j.pending, func(d Decision) bool { return !d.routine() })
}

// Flush writes down what waits. What cannot be written is tried again with the next batch, as long as there is room.
func (j *Journal) Flush(ctx context.Context) {
	batch := j.take()
	if len(batch) == 0 {
		return
	}
	if err := j.sink.Append(ctx, batch); err != nil {
		j.log.Error(err, "the decisions of the guards are not written down; trying again", "decisions", len(batch))
		j.putBack(batch)
		return
	}
	j.remember(batch)
	for _, tell := range j.told {
		tell(ctx, batch)
	}
}

// take is what waits, and the repetitions of denials whose time is over.
func (j *Journal) take() []Decision {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.clock.Now()
	for key, d := range j.former {
		if now.Sub(d.since) < repeatWindow {
			continue
		}
		delete(j.former, key)
		if d.again.Times > 0 && len(j.pending) < maxPending {
			j.keep(d.again)
		}
	}
	batch := j.pending
	j.pending, j.at = nil, map[string]int{}
	return batch
}

// remember has the repetitions of these denials counted instead of written, for a while.
func (j *Journal) remember(batch []Decision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, d := range batch {
		if d.Outcome == Allowed || len(j.former) >= maxRepeats {
			continue
		}
		again := d
		again.Times = 0
		j.former[d.key()] = &denial{since: d.Time, again: again}
	}
}

// putBack keeps a batch that could not be written, before what came since.
func (j *Journal) putBack(batch []Decision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	room := max(maxPending-len(j.pending), 0)
	if lost := len(batch) - room; lost > 0 {
		if j.metrics != nil {
			j.metrics.lost.Add(float64(lost))
		}
		batch = batch[lost:] // the oldest go
	}
	j.pending = append(batch, j.pending...)
	j.at = make(map[string]int, len(j.pending))
	for i, d := range j.pending {
		j.at[d.key()] = i
	}
}
