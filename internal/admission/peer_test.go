package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"
)

// replica is a keeper whose certificates are read.
func replica(t *testing.T, certs Certificates) *Keeper {
	t.Helper()
	pair, err := tls.X509KeyPair(certs.Serving.Cert, certs.Serving.Key)
	if err != nil {
		t.Fatal(err)
	}
	k := &Keeper{Names: []string{"holdfast-operator.holdfast-system.svc"}, Clock: clock.RealClock{}}
	bundle := certs.Bundle()
	k.serving.Store(&pair)
	k.bundle.Store(&bundle)
	return k
}

func certificates(t *testing.T) Certificates {
	t.Helper()
	certs, _, err := Renew(Certificates{}, []string{"holdfast-operator.holdfast-system.svc"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return certs
}

func TestPeers(t *testing.T) {
	shared, other := certificates(t), certificates(t)
	server := &Server{Clock: clock.RealClock{}, Log: logr.Discard(), Peers: NewPeers(), GetCertificate: replica(t, shared).GetCertificate}
	server.Peers.Bind(replica(t, shared))
	server.Peers.Handle("/peer/echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener, time.Second) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	address := listener.Addr().String()

	friend := NewPeers()
	if _, err := friend.Call(ctx, address, "/peer/echo", []byte("early")); err == nil {
		t.Error("a replica without certificates connected")
	}
	friend.Bind(replica(t, shared))
	answer, err := friend.Call(ctx, address, "/peer/echo", []byte("who is there?"))
	if err != nil || string(answer) != "who is there?" {
		t.Errorf("a replica got %q and %v", answer, err)
	}
	if _, err := friend.Call(ctx, address, "/peer/other", nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a path that is not served: %v", err)
	}

	stranger := NewPeers()
	stranger.Bind(replica(t, other))
	if _, err := stranger.Call(ctx, address, "/peer/echo", nil); err == nil {
		t.Error("a stranger trusts our certificate")
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(shared.Bundle())
	strangers, err := tls.X509KeyPair(other.Serving.Cert, other.Serving.Key)
	if err != nil {
		t.Fatal(err)
	}
	for reason, shown := range map[string][]tls.Certificate{"none": nil, "another authority's": {strangers}} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: pool, ServerName: "holdfast-operator.holdfast-system.svc", Certificates: shown, MinVersion: tls.VersionTLS12,
		}}}
		response, err := client.Post("https://"+address+"/peer/echo", "text/plain", bytes.NewReader(nil)) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("with the certificate %s: %s, want 403", reason, response.Status)
		}
		client.CloseIdleConnections()
	}
}
