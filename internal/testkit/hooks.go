package testkit

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/admission"
)

// Served are hooks that the API server of a test asks.
type Served struct {
	env  *Env
	name string
	stop context.CancelFunc
	done chan struct{}
}

// ServeHooks has the API server ask the hooks, under the given name of their configuration, until the test ends. Every test
// of the binary is asked about: hooks that reach far need a namespace or object selector.
func (e *Env) ServeHooks(t testing.TB, name string, hooks []admission.Hook) *Served {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for the hooks: %v", err)
	}
	endpoint := admission.Endpoint{Host: listener.Addr().String()}
	certificates, _, err := admission.Renew(admission.Certificates{}, endpoint.Names(), time.Now())
	if err != nil {
		t.Fatalf("make the certificate of the hooks: %v", err)
	}
	pair, err := tls.X509KeyPair(certificates.Serving.Cert, certificates.Serving.Key)
	if err != nil {
		t.Fatalf("read the certificate of the hooks: %v", err)
	}
	server := &admission.Server{
		Hooks: hooks, Clock: clock.RealClock{},
		// A discarding one would be replaced by the global one.
		Log:            funcr.New(func(string, string) {}, funcr.Options{}),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil },
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &Served{env: e, name: name, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		if err := server.Serve(ctx, listener, time.Second); err != nil {
			t.Errorf("serve the hooks: %v", err)
		}
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second) // the test's own context has ended
		defer cancel()
		s.unregister(ctx, t)
		s.Stop()
	})
	for _, target := range admission.Registered(e.Client, name, hooks, endpoint) {
		if _, err := target.Inject(t.Context(), certificates.Bundle()); err != nil {
			t.Fatalf("register the hooks: %v", err)
		}
	}
	return s
}

// Stop ends the server, as if every replica had died: the API server still wants to ask it.
func (s *Served) Stop() {
	s.stop()
	<-s.done
}

func (s *Served) unregister(ctx context.Context, t testing.TB) {
	t.Helper()
	for _, config := range []client.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{},
	} {
		config.SetName(s.name)
		if err := s.env.Client.Delete(ctx, config); client.IgnoreNotFound(err) != nil {
			t.Errorf("take the hooks away: %v", err)
		}
	}
}
