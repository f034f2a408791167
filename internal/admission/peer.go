package admission

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// The longest answer of another replica that is read.
	maxPeerAnswer = 64 << 10
	// How many connections to another replica are kept.
	peerConnections = 32
)

var errNoPeers = errors.New("no other replica can be reached yet: the certificates that all share are not read")

// Peers connects the replicas: each serves paths that only the others may ask. Both ends prove with the certificate that all
// share in the admission Secret what they are.
type Peers struct {
	mu     sync.Mutex
	keeper *Keeper
	routes map[string]http.Handler
	client *http.Client
}

// NewPeers connects nobody until it is bound.
func NewPeers() *Peers {
	p := &Peers{routes: map[string]http.Handler{}}
	p.client = &http.Client{Transport: &http.Transport{
		DialTLSContext:      p.dial,
		MaxIdleConnsPerHost: peerConnections,
		IdleConnTimeout:     time.Minute,
	}}
	return p
}

// Handle serves a path to other replicas. It must be called before the server starts.
func (p *Peers) Handle(path string, handler http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes[path] = handler
}

// Bind names the keeper of the certificates.
func (p *Peers) Bind(k *Keeper) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keeper = k
}

// Call asks the replica at address. Its name in the certificate is that of all.
func (p *Peers) Call(ctx context.Context, address, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask replica %s: %w", address, err)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask replica %s: %w", address, err)
	}
	defer func() { _ = response.Body.Close() }() // it was read as far as it matters
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxPeerAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of replica %s: %w", address, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("replica %s answers %s: %s", address, response.Status, bytes.TrimSpace(answer))
	}
	return answer, nil
}

// dial makes a connection with the certificates of now: they change while we run.
func (p *Peers) dial(ctx context.Context, network, address string) (net.Conn, error) {
	p.mu.Lock()
	keeper := p.keeper
	p.mu.Unlock()
	if keeper == nil || keeper.serving.Load() == nil {
		return nil, errNoPeers
	}
	dialer := &tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: keeper.pool(), ServerName: keeper.Names[0],
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return keeper.GetCertificate(nil) },
	}}
	connection, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return connection, nil
}

// serve adds the paths to a mux.
func (p *Peers) serve(mux *http.ServeMux) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for path, handler := range p.routes {
		mux.Handle("POST "+path, p.only(handler))
	}
}

// only lets other replicas pass: whoever holds a key that our authority has signed. API servers, too, show certificates
// here, of other authorities; so the handshake asks for one and judges none.
func (p *Peers) only(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.authenticate(r); err != nil {
			http.Error(w, "for other replicas of the operator alone: "+err.Error(), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (p *Peers) authenticate(r *http.Request) error {
	p.mu.Lock()
	keeper := p.keeper
	p.mu.Unlock()
	if keeper == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return errors.New("no client certificate")
	}
	_, err := r.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: keeper.pool(), DNSName: keeper.Names[0], CurrentTime: keeper.Clock.Now(),
		// The replicas' only certificate is for serving.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("the client certificate is not a replica's: %w", err)
	}
	return nil
}

// pool holds every authority that signs, will sign or has signed.
func (k *Keeper) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	if bundle := k.bundle.Load(); bundle != nil {
		pool.AppendCertsFromPEM(*bundle)
	}
	return pool
}
