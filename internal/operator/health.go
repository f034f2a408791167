package operator

import (
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health answers the probes.
type health struct {
	stopping atomic.Bool
	// ready tells what is still missing before requests can be served.
	ready []func() error
}

func (h *health) check() error {
	if h.stopping.Load() {
		return errors.New("stopping")
	}
	for _, ready := range h.ready {
		if err := ready(); err != nil {
			return err
		}
	}
	return nil
}

// handler serves /healthz, which only tells that the process answers, and /readyz.
func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := h.check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		ok(w, r)
	})
	return mux
}

func metricsHandler(gatherers prometheus.Gatherers) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return mux
}
