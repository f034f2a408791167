package reconcile

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the figures of every controller; their labels are the controllers' names and the outcomes, both few.
type Metrics struct {
	duration *prometheus.HistogramVec
	writes   *prometheus.CounterVec
	stalled  *prometheus.GaugeVec
	running  *prometheus.GaugeVec
}

// NewMetrics registers the figures of the controllers with reg.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "holdfast_reconcile_duration_seconds",
			Help:    "Duration of a pass over one object, by controller and by how it ended.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"controller", "outcome"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_reconcile_status_writes_total",
			Help: "Status changes, by controller and by what became of them: written, held (counters only, written soon) or failed.",
		}, []string{"controller", "result"}),
		stalled: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "holdfast_reconcile_stalled_objects",
			Help: "Objects that wait for their user to change them, by controller.",
		}, []string{"controller"}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "holdfast_controller_enabled",
			Help: "1 when the controller's kind is served by the cluster and the controller was started, else 0.",
		}, []string{"controller"}),
	}
	for _, c := range []prometheus.Collector{m.duration, m.writes, m.stalled, m.running} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of the controllers: %w", err)
		}
	}
	return m, nil
}

func (m *Metrics) observe(controller string, o outcome, d time.Duration) {
	if m != nil {
		m.duration.WithLabelValues(controller, string(o)).Observe(d.Seconds())
	}
}

func (m *Metrics) wrote(controller, result string) {
	if m != nil {
		m.writes.WithLabelValues(controller, result).Inc()
	}
}

func (m *Metrics) setStalled(controller string, n int) {
	if m != nil {
		m.stalled.WithLabelValues(controller).Set(float64(n))
	}
}

func (m *Metrics) setEnabled(controller string, enabled bool) {
	if m == nil {
		return
	}
	value := 0.0
	if enabled {
		value = 1
	}
	m.running.WithLabelValues(controller).Set(value)
}
