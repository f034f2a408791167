package poddeletionflowcontrol

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// Metrics are the figures of the limits. Their labels are policies, rules and a few words: never a pod, never a user.
type Metrics struct {
	decisions *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	write     *prometheus.HistogramVec
	usage     *prometheus.GaugeVec
	limit     *prometheus.GaugeVec
	open      *prometheus.GaugeVec
	trips     *prometheus.GaugeVec
	retries   *prometheus.CounterVec
	forwards  *prometheus.CounterVec
}

// NewMetrics registers the figures of the limits with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "holdfast_pod_deletion_" + name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_pod_deletion_" + name, Help: help}, labels)
	}
	m := &Metrics{
		decisions: counter("decisions_total",
			"Pod deletions that this replica decided about, by policy, outcome (allowed, denied, would-deny, exempt, error) and reason.",
			"policy", "outcome", "reason"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "holdfast_pod_deletion_count_duration_seconds", Help: "Time to count a pod deletion that was not denied, by policy.",
			Buckets: []float64{.0001, .0005, .001, .002, .005, .01, .025, .05, .1, .25, 1, 3},
		}, []string{"policy"}),
		write: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "holdfast_pod_deletion_ledger_write_duration_seconds",
			Help:    "Time to write the ledger, by policy: what deletions waited for that found no permit set aside.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2},
		}, []string{"policy"}),
		usage: gauge("window_usage", "Pod deletions in the window, by policy and rule.", "policy", "rule"),
		limit: gauge("window_limit", "Pod deletions that the window may hold, by policy and rule.", "policy", "rule"),
		open:  gauge("breaker_open", "1 while the policy's circuit breaker is open, else 0.", "policy"),
		trips: gauge("breaker_trips", "How often the policy's circuit breaker has opened.", "policy"),
		retries: counter("ledger_retries_total",
			"Ledger writes that were made again (conflict) or failed, and deletions that were given up (uncounted).", "policy", "reason"),
		forwards: counter("forward_failures_total", "Questions to the preferred replica that were not answered.", "policy"),
	}
	reg.MustRegister(m.decisions, m.duration, m.usage, m.limit, m.open, m.trips, m.write, m.retries, m.forwards)
	return m
}

func (m *Metrics) decided(policy, outcome, reason string, d time.Duration) {
	if m == nil {
		return
	}
	m.decisions.WithLabelValues(policy, outcome, reason).Inc()
	if outcome == "allowed" {
		m.duration.WithLabelValues(policy).Observe(d.Seconds())
	}
}

func (m *Metrics) conflict(policy string)  { m.retried(policy, "conflict") }
func (m *Metrics) failed(policy string)    { m.retried(policy, "failed") }
func (m *Metrics) uncounted(policy string) { m.retried(policy, "uncounted") }

func (m *Metrics) retried(policy, reason string) {
	if m != nil {
		m.retries.WithLabelValues(policy, reason).Inc()
	}
}

func (m *Metrics) written(policy string, took time.Duration) {
	if m != nil {
		m.write.WithLabelValues(policy).Observe(took.Seconds())
	}
}

func (m *Metrics) forwardFailed(policy string) {
	if m != nil {
		m.forwards.WithLabelValues(policy).Inc()
	}
}

// windows shows the windows and the breaker.
func (m *Metrics) windows(policy string, all []flow.Usage, open bool, trips int64) {
	if m == nil {
		return
	}
	m.usage.DeletePartialMatch(prometheus.Labels{"policy": policy})
	m.limit.DeletePartialMatch(prometheus.Labels{"policy": policy})
	for _, u := range all {
		m.usage.WithLabelValues(policy, flow.Short(u.Interval)).Set(float64(u.Count))
		m.limit.WithLabelValues(policy, flow.Short(u.Interval)).Set(float64(u.Limit))
	}
	m.open.WithLabelValues(policy).Set(map[bool]float64{true: 1}[open])
	m.trips.WithLabelValues(policy).Set(float64(trips))
}

func (m *Metrics) forget(policy string) {
	if m == nil {
		return
	}
	of := prometheus.Labels{"policy": policy}
	for _, v := range []*prometheus.GaugeVec{m.usage, m.limit, m.open, m.trips} {
		v.DeletePartialMatch(of)
	}
	m.decisions.DeletePartialMatch(of)
	m.duration.DeletePartialMatch(of)
	m.write.DeletePartialMatch(of)
	m.retries.DeletePartialMatch(of)
	m.forwards.DeletePartialMatch(of)
}
