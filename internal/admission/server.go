package admission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// Metrics are the figures of the hooks; their labels are the hooks' names and the outcomes.
type Metrics struct {
	duration *prometheus.HistogramVec
}

// NewMetrics registers the figures of the hooks with reg.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "holdfast_admission_duration_seconds",
		Help:    "Duration of an admission or conversion, by hook and by outcome: allowed, denied or error.",
		Buckets: []float64{.0001, .00025, .0005, .001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"hook", "outcome"})}
	if err := reg.Register(m.duration); err != nil {
		return nil, fmt.Errorf("register the metrics of the admission: %w", err)
	}
	return m, nil
}

func (m *Metrics) observe(hook, outcome string, d time.Duration) {
	if m != nil {
		m.duration.WithLabelValues(hook, outcome).Observe(d.Seconds())
	}
}

// Server serves hooks and conversions over HTTPS.
type Server struct {
	Hooks   []Hook
	Convert ConvertFunc
	// Disabled are hooks of parts that are switched off: a configuration that still names them is answered with yes.
	Disabled []Hook
	Metrics  *Metrics
	Clock    clock.PassiveClock
	Log      logr.Logger
	// Peers are paths for other replicas; nil: none.
	Peers *Peers
	// GetCertificate as in tls.Config.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Handler routes the hooks by their paths. It fails when two hooks want the same path or name.
func (s *Server) Handler() (http.Handler, error) {
	mux := http.NewServeMux()
	seen := map[string]string{}
	add := func(h Hook) error {
		if other, taken := seen[h.Path]; taken {
			return fmt.Errorf("webhooks %s and %s want the same path %s", other, h.Name, h.Path)
		}
		seen[h.Path] = h.Name
		mux.Handle("POST "+h.Path, s.reviews(h))
		return nil
	}
	for _, h := range s.Hooks {
		if err := add(h); err != nil {
			return nil, err
		}
	}
	for _, h := range s.Disabled {
		h.Handler = admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
			return admission.Allowed("this part of Holdfast is switched off")
		})
		if err := add(h); err != nil {
			return nil, err
		}
	}
	if s.Convert != nil {
		mux.Handle("POST "+ConvertPath, s.countedConversion())
	}
	if s.Peers != nil {
		s.Peers.serve(mux)
	}
	return mux, nil
}

func outcomeOf(r *admission.Response) string {
	switch {
	case r.Allowed:
		return "allowed"
	case r.Result != nil && r.Result.Code >= http.StatusInternalServerError:
		return "error"
	}
	return "denied"
}

func (s *Server) countedConversion() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := s.Clock.Now()
		converter(s.Convert, func(err error) {
			outcome := "allowed"
			if err != nil {
				outcome = "error"
				s.Log.Error(err, "conversion failed")
			}
			s.Metrics.observe("convert", outcome, s.Clock.Since(begun))
		}).ServeHTTP(w, r)
	})
}

// Serve answers on listener until ctx ends, then lets the requests under way finish for as long as grace.
func (s *Server) Serve(ctx context.Context, listener net.Listener, grace time.Duration) error {
	handler, err := s.Handler()
	if err != nil {
		return err
	}
	// HTTP/1.1 spreads an API server's requests over the replicas as its connections come and go; one HTTP/2 connection
	// would stay with one replica.
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler:   handler,
		Protocols: protocols,
		TLSConfig: &tls.Config{
			GetCertificate: s.GetCertificate, MinVersion: tls.VersionTLS12,
			ClientAuth: tls.RequestClientCert, // judged by the paths of peers alone
		},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    1 << 16,
		ErrorLog:          quietLog(s.Log),
		BaseContext:       func(net.Listener) context.Context { return logf.IntoContext(context.WithoutCancel(ctx), s.Log) },
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(listener, "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve admission on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err = server.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // who is not done by now is asked again elsewhere
	}
	if err != nil {
		return fmt.Errorf("stop serving admission on %s: %w", listener.Addr(), err)
	}
	return nil
}
