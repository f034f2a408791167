package pki

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestIssueKeepsWhatStillFits(t *testing.T) {
	made := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	request := Request{Name: "server", CommonName: "server", Organization: []string{"g"}, Hosts: []string{"localhost", "127.0.0.1"}}
	for _, test := range []struct {
		name   string
		after  time.Duration
		change func(*Request)
		damage func(t *testing.T, dir string)
		same   bool
	}{
		{name: "the next day", after: 24 * time.Hour, same: true},
		{name: "61 days before its end", after: leafLife - 61*24*time.Hour, same: true},
		{name: "59 days before its end", after: leafLife - 59*24*time.Hour},
		{name: "after its end", after: leafLife + time.Hour},
		{name: "hosts in another order", change: func(r *Request) { r.Hosts = []string{"127.0.0.1", "localhost"} }, same: true},
		{name: "another host", change: func(r *Request) { r.Hosts = append(r.Hosts, "10.0.0.1") }},
		{name: "another user", change: func(r *Request) { r.CommonName = "other" }},
		{name: "another group", change: func(r *Request) { r.Organization = nil }},
		{name: "a lost key", damage: func(t *testing.T, dir string) { t.Helper(); remove(t, filepath.Join(dir, "server.key")) }},
		{name: "another authority", damage: func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, "ca.crt"))
			remove(t, filepath.Join(dir, "ca.key"))
		}},
		{name: "a truncated file", damage: func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Truncate(filepath.Join(dir, "server.crt"), 20); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			first := issue(t, dir, made, request)
			if test.damage != nil {
				test.damage(t, dir)
			}
			wanted := request
			if test.change != nil {
				test.change(&wanted)
			}
			if second := issue(t, dir, made.Add(test.after), wanted); (second == first) != test.same {
				t.Errorf("same certificate: %t, want %t", second == first, test.same)
			}
		})
	}
}

// issue returns the serial number of the certificate, after checking that it serves.
func issue(t *testing.T, dir string, now time.Time, request Request) string {
	t.Helper()
	store, err := Open(dir, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	ca, err := store.Authority("ca", "test-ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := load(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, DNSName: "localhost"}); err != nil {
		t.Errorf("the certificate does not serve: %v", err)
	}
	for _, path := range []string{pair.Cert, pair.Key, ca.Key} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %s, %v; want 0600", path, info.Mode(), err)
		}
	}
	return cert.SerialNumber.String()
}

func TestAuthorityThatEnded(t *testing.T) {
	dir, made := t.TempDir(), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	issue(t, dir, made, Request{Name: "x", CommonName: "x", Hosts: []string{"localhost"}})
	store, err := Open(dir, func() time.Time { return made.Add(authorityLife + time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Authority("ca", "test-ca"); err == nil {
		t.Error("an authority that ended is used")
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
