package restart

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts restarts; a nil one counts nothing.
type Metrics struct{ restarts *prometheus.CounterVec }

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "holdfast_node_restarts_total",
		Help: "Containers that the node daemon stopped for a change of their environment, by result (done, failed).",
	}, []string{"result"})}
	if err := reg.Register(m.restarts); err != nil {
		return nil, fmt.Errorf("register the metrics of restarts: %w", err)
	}
	return m, nil
}

func (m *Metrics) done()   { m.count("done") }
func (m *Metrics) failed() { m.count("failed") }

func (m *Metrics) count(result string) {
	if m != nil {
		m.restarts.WithLabelValues(result).Inc()
	}
}
