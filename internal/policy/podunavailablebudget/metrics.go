package podunavailablebudget

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the figures of the room. Their labels are few and fixed.
type Metrics struct {
	decisions *prometheus.CounterVec
	conflicts prometheus.Counter
}

// NewMetrics registers the figures of the room with reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_pub_decisions_total",
			Help: "Decisions of PodUnavailableBudgets, by operation and outcome: allowed, denied or error.",
		}, []string{"operation", "outcome"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "holdfast_pub_conflicts_total",
			Help: "Times that a decision was made again because another replica had decided meanwhile.",
		}),
	}
	reg.MustRegister(m.decisions, m.conflicts)
	return m
}

func (m *Metrics) decided(operation, outcome string) {
	if m != nil {
		m.decisions.WithLabelValues(operation, outcome).Inc()
	}
}

func (m *Metrics) conflict() {
	if m != nil {
		m.conflicts.Inc()
	}
}
