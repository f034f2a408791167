// Package pki keeps the certificates and keys of one cluster: made once, readable by their owner
// only, and renewed at a start before they end.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is made anew at a start.
	renewBefore = 60 * 24 * time.Hour
	// backdate lets a machine whose clock is a little behind accept a new certificate.
	backdate = time.Hour
)

// Store is a directory of certificates and keys.
type Store struct {
	dir string
	now func() time.Time
}

// Open makes the directory when it is missing and closes it to everybody else.
func Open(dir string, now func() time.Time) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory for certificates: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory without x cannot be entered
		return nil, fmt.Errorf("close %s to other users: %w", dir, err)
	}
	return &Store{dir: dir, now: now}, nil
}

// Path is where the file of that name lies.
func (s *Store) Path(name string) string { return filepath.Join(s.dir, name) }

// Authority signs certificates.
type Authority struct {
	store *Store
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	// Cert and Key are the paths of the PEM files.
	Cert, Key string
}

// Pair is a certificate and its key, as paths of PEM files.
type Pair struct{ Cert, Key string }

// Request says what a certificate is for.
type Request struct {
	Name         string   // of its files
	CommonName   string   // the user, for a client
	Organization []string // the groups, for a client
	Hosts        []string // DNS names and addresses, for a server; empty: client only
}

// Authority loads the authority of that name, or makes it.
func (s *Store) Authority(name, commonName string) (*Authority, error) {
	a := &Authority{store: s, Cert: s.Path(name + ".crt"), Key: s.Path(name + ".key")}
	var err error
	a.cert, a.key, err = load(a.Cert, a.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a, s.makeAuthority(a, commonName)
	case err != nil:
		return nil, fmt.Errorf("read the certificate authority %s: %w", name, err)
	case s.now().After(a.cert.NotAfter):
		return nil, fmt.Errorf("certificate authority %s ended on %s; remove %s to make a new one (every kubeconfig changes)",
			a.Cert, a.cert.NotAfter.Format(time.DateOnly), s.dir)
	}
	return a, nil
}

func (s *Store) makeAuthority(a *Authority, commonName string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             s.now().Add(-backdate),
		NotAfter:              s.now().Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	a.key = key
	a.cert, err = sign(template, template, key, key)
	if err != nil {
		return fmt.Errorf("sign the certificate authority %s: %w", commonName, err)
	}
	return save(a.Cert, a.Key, a.cert, key)
}

// Issue returns the certificate asked for: the one on disk while it still fits, else a new one.
func (a *Authority) Issue(req Request) (Pair, error) {
	pair := Pair{Cert: a.store.Path(req.Name + ".crt"), Key: a.store.Path(req.Name + ".key")}
	cert, _, err := load(pair.Cert, pair.Key)
	if err == nil && a.keep(cert, req) {
		return pair, nil
	}
	// A pair that is missing or cannot be read is replaced: nothing but this authority gives it meaning.
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	cert, err = sign(a.leaf(req), a.cert, key, a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate %s: %w", req.Name, err)
	}
	return pair, save(pair.Cert, pair.Key, cert, key)
}

func (a *Authority) leaf(req Request) *x509.Certificate {
	now := a.store.now()
	cert := &x509.Certificate{
		Subject:     pkix.Name{CommonName: req.CommonName, Organization: req.Organization},
		NotBefore:   now.Add(-backdate),
		NotAfter:    earlier(now.Add(leafLife), a.cert.NotAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(req.Hosts) > 0 {
		cert.ExtKeyUsage = append(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range req.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else {
			cert.DNSNames = append(cert.DNSNames, host)
		}
	}
	return cert
}

// keep says whether a certificate found on disk still does what is asked for.
func (a *Authority) keep(cert *x509.Certificate, req Request) bool {
	return cert.CheckSignatureFrom(a.cert) == nil &&
		a.store.now().Add(renewBefore).Before(cert.NotAfter) &&
		cert.Subject.CommonName == req.CommonName &&
		slices.Equal(cert.Subject.Organization, req.Organization) &&
		slices.Equal(hosts(cert), hosts(a.leaf(req)))
}

func hosts(cert *x509.Certificate) []string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	slices.Sort(names)
	return names
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// SigningKey returns the path of the key that signs service account tokens, made at first use.
func (s *Store) SigningKey(name string) (string, error) {
	path := s.Path(name + ".key")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	key, err := newKey()
	if err != nil {
		return "", err
	}
	return path, saveKey(path, key)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

func sign(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the new certificate: %w", err)
	}
	return cert, nil
}

func load(certPath, keyPath string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	block, err := readPEM(certPath)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(block)
	if err != nil {
		return nil, nil, fmt.Errorf("parse %s: %w", certPath, err)
	}
	if block, err = readPEM(keyPath); err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(block)
	if err != nil {
		return nil, nil, fmt.Errorf("parse %s: %w", keyPath, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("%s does not belong to %s", keyPath, certPath)
	}
	return cert, key, nil
}

func readPEM(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load a certificate or key: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", path)
	}
	return block.Bytes, nil
}

func save(certPath, keyPath string, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	if err := saveKey(keyPath, key); err != nil {
		return err
	}
	return WriteFile(certPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

func saveKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

// WriteFile writes a private file whole or not at all: a kill in the middle leaves the old one.
func WriteFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // CreateTemp makes it 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone after the rename
	if _, err = tmp.Write(data); err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
