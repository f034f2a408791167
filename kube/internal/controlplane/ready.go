package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/kube/internal/pki"
)

const (
	readyTimeout = 2 * time.Minute
	readyEvery   = 20 * time.Millisecond
)

// WaitReady returns once the component behind url says that it is ready, or why it never was.
func WaitReady(ctx context.Context, certs *pki.Cluster, url string) error {
	client, err := probe(certs)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for last := error(nil); ; {
		err := ask(ctx, client, url)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err // the one that says more than "context canceled"
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not ready in time: %w", url, errors.Join(context.Cause(ctx), last))
		case <-tick.C:
		}
	}
}

func probe(certs *pki.Cluster) (*http.Client, error) {
	pair, err := tls.LoadX509KeyPair(certs.KubeletClient.Cert, certs.KubeletClient.Key)
	if err != nil {
		return nil, fmt.Errorf("load the probe's certificate: %w", err)
	}
	ca, err := os.ReadFile(certs.CA.Cert)
	if err != nil {
		return nil, fmt.Errorf("load the cluster's authority: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}, nil
}

func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("%s: %s", resp.Status, failing(string(body)))
}

// failing keeps the checks that failed of a verbose answer.
func failing(body string) string {
	var bad []string
	for line := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(line, "[-]") {
			bad = append(bad, line)
		}
	}
	return strings.Join(bad, "; ")
}
