package admission

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

const (
	authorityLife = 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
	// A new authority is made known this long before it signs anything, so that no API server is shown a certificate that
	// it cannot trust yet.
	overlap = 24 * time.Hour
	// Certificates begin a little in the past, for clocks that differ.
	clockSkew = 5 * time.Minute
)

// Certificates are what the replicas share: the authority that signs, the next one while it is only made known, those that
// were trusted before, and the serving certificate.
type Certificates struct {
	Authority Pair
	Next      Pair
	Former    []byte // PEM, several
	Serving   Pair
}

// Pair is a certificate and its key, both PEM.
type Pair struct {
	Cert []byte
	Key  []byte
}

func (p Pair) empty() bool { return len(p.Cert) == 0 || len(p.Key) == 0 }

// Bundle is what API servers are to trust: every authority that signs, will sign or has signed.
func (c Certificates) Bundle() []byte {
	var out []byte
	for _, part := range [][]byte{c.Authority.Cert, c.Next.Cert, c.Former} {
		out = append(out, part...)
	}
	return out
}

// Renew brings certificates up to date for now and the names that are served, and tells whether anything changed. What
// cannot be read is made anew.
func Renew(c Certificates, names []string, now time.Time) (Certificates, bool, error) {
	before := c.fingerprint()
	c.Former = alive(c.Former, now)
	authority, _ := c.Authority.parse()
	next, _ := c.Next.parse()
	var err error
	switch {
	case authority == nil || !now.Before(authority.NotAfter):
		if next != nil && now.Before(next.NotAfter) {
			c.Authority, c.Next = c.Next, Pair{}
			break
		}
		c.Next = Pair{}
		c.Authority, err = newAuthority(now)
	case next != nil && !now.Before(next.NotBefore.Add(clockSkew+overlap)):
		c.Former = alive(append(slices.Clone(c.Authority.Cert), c.Former...), now)
		c.Authority, c.Next = c.Next, Pair{}
	case next == nil && nearEnd(authority, now):
		c.Next, err = newAuthority(now)
	}
	if err != nil {
		return c, false, err
	}
	if !c.servingFits(names, now) {
		if c.Serving, err = newLeaf(c.Authority, names, now); err != nil {
			return c, false, err
		}
	}
	return c, !bytes.Equal(before, c.fingerprint()), nil
}

// servingFits tells whether the serving certificate is signed by the authority, good for the names and far from its end.
func (c Certificates) servingFits(names []string, now time.Time) bool {
	leaf, _ := c.Serving.parse()
	authority, _ := c.Authority.parse()
	if leaf == nil || authority == nil || nearEnd(leaf, now) || now.Before(leaf.NotBefore) {
		return false
	}
	if leaf.CheckSignatureFrom(authority) != nil {
		return false
	}
	for _, name := range names {
		if leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	return true
}

func (c Certificates) fingerprint() []byte {
	return bytes.Join([][]byte{c.Authority.Cert, c.Next.Cert, c.Former, c.Serving.Cert}, []byte{0})
}

// nearEnd is true in the last third of a certificate's life.
func nearEnd(cert *x509.Certificate, now time.Time) bool {
	life := cert.NotAfter.Sub(cert.NotBefore)
	return !now.Before(cert.NotAfter.Add(-life / 3))
}

// parse answers nil for a pair that is absent or broken, or whose key is not the certificate's.
func (p Pair) parse() (*x509.Certificate, error) {
	if p.empty() {
		return nil, fmt.Errorf("no certificate")
	}
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fmt.Errorf("read a certificate: %w", err)
	}
	return pair.Leaf, nil
}

// alive keeps the certificates that have not expired.
func alive(bundle []byte, now time.Time) []byte {
	var out []byte
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err == nil && now.Before(cert.NotAfter) {
			out = append(out, pem.EncodeToMemory(block)...)
		}
	}
	return out
}

func newAuthority(now time.Time) (Pair, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "holdfast-admission-ca " + now.UTC().Format(time.RFC3339)},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	return sign(template, Pair{})
}

func newLeaf(authority Pair, names []string, now time.Time) (Pair, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: names[0]},
		NotBefore:   now.Add(-clockSkew),
		NotAfter:    now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return sign(template, authority)
}

// sign makes a key and a certificate for it, signed by the authority or, without one, by itself.
func sign(template *x509.Certificate, authority Pair) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("make a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return Pair{}, fmt.Errorf("make a serial number: %w", err)
	}
	parent, signer := template, any(key)
	if !authority.empty() {
		pair, err := tls.X509KeyPair(authority.Cert, authority.Key)
		if err != nil {
			return Pair{}, fmt.Errorf("read the signing certificate: %w", err)
		}
		parent, signer = pair.Leaf, pair.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return Pair{}, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Pair{}, fmt.Errorf("encode the key of %s: %w", template.Subject.CommonName, err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
