package admission_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/internal/admission"
)

const day = 24 * time.Hour

func begin() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// trusts tells whether an API server with this bundle would accept the certificate under the name.
func trusts(bundle []byte, serving admission.Pair, name string, now time.Time) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	pair, err := tls.X509KeyPair(serving.Cert, serving.Key)
	if err != nil {
		return err
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

func count(bundle []byte) int {
	n := 0
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		n++
	}
	return n
}

// Three years, looked at every twelve hours, by an API server that always learns of a bundle that late and by replicas
// that take up a certificate that late: every pair of old and new must be trusted.
func TestRotationIsNeverSeen(t *testing.T) {
	names := []string{"holdfast-operator.holdfast-system.svc"}
	now := begin()
	certs, changed, err := admission.Renew(admission.Certificates{}, names, now)
	if err != nil || !changed {
		t.Fatalf("first certificates: changed %v, %v", changed, err)
	}
	leaves, authorities := 1, 1
	for range 3 * 365 * 2 {
		now = now.Add(12 * time.Hour)
		next, changed, err := admission.Renew(certs, names, now)
		if err != nil {
			t.Fatalf("at %s: %v", now, err)
		}
		if !bytes.Equal(next.Serving.Cert, certs.Serving.Cert) {
			leaves++
		}
		if !bytes.Equal(next.Authority.Cert, certs.Authority.Cert) {
			authorities++
		}
		before := certs
		certs = next
		if !changed {
			continue
		}
		for _, bundle := range [][]byte{before.Bundle(), certs.Bundle()} {
			for _, serving := range []admission.Pair{before.Serving, certs.Serving} {
				if err := trusts(bundle, serving, names[0], now); err != nil {
					t.Fatalf("at %s, after %d leaves and %d authorities: %v", now, leaves, authorities, err)
				}
			}
		}
		if n := count(certs.Bundle()); n > 3 {
			t.Fatalf("at %s: the bundle has grown to %d authorities", now, n)
		}
	}
	if leaves < 18 || authorities < 4 {
		t.Errorf("in three years: %d leaves and %d authorities; want a leaf every 60 days and an authority every 243", leaves, authorities)
	}
}

func TestRenew(t *testing.T) {
	names := []string{"127.0.0.1"}
	fresh, _, err := admission.Renew(admission.Certificates{}, names, begin())
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := admission.Renew(admission.Certificates{}, names, begin())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name      string
		change    func(c *admission.Certificates)
		names     []string
		after     time.Duration
		changed   bool
		leaf      bool // is made anew
		authority bool
	}{
		{name: "nothing to do", after: day},
		{name: "nothing to do on the 59th day", after: 59 * day},
		{name: "a leaf with a third left", after: 61 * day, changed: true, leaf: true},
		{name: "everything expired", after: 400 * day, changed: true, leaf: true, authority: true},
		{name: "another name", names: []string{"10.0.0.1"}, changed: true, leaf: true},
		{name: "a broken leaf", change: func(c *admission.Certificates) { c.Serving.Cert = []byte("rubbish") }, changed: true, leaf: true},
		{name: "a broken authority", change: func(c *admission.Certificates) { c.Authority.Key = nil }, changed: true, leaf: true, authority: true},
		{name: "a leaf of another authority", change: func(c *admission.Certificates) { c.Serving = other.Serving }, changed: true, leaf: true},
		{name: "a key of another leaf", change: func(c *admission.Certificates) { c.Serving.Key = other.Serving.Key }, changed: true, leaf: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := fresh
			if tc.change != nil {
				tc.change(&in)
			}
			want := names
			if tc.names != nil {
				want = tc.names
			}
			now := begin().Add(tc.after)
			out, changed, err := admission.Renew(in, want, now)
			if err != nil {
				t.Fatal(err)
			}
			if changed != tc.changed {
				t.Errorf("changed %v, want %v", changed, tc.changed)
			}
			if leaf := !bytes.Equal(out.Serving.Cert, in.Serving.Cert); leaf != tc.leaf {
				t.Errorf("a new leaf: %v, want %v", leaf, tc.leaf)
			}
			if authority := !bytes.Equal(out.Authority.Cert, in.Authority.Cert); authority != tc.authority {
				t.Errorf("a new authority: %v, want %v", authority, tc.authority)
			}
			if err := trusts(out.Bundle(), out.Serving, want[0], now); err != nil {
				t.Errorf("the result is not trusted: %v", err)
			}
		})
	}
}
