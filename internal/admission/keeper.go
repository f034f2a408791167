package admission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// How often the certificate and its injection are looked at.
	checkInterval = time.Minute
	// How soon they are looked at again while something is missing.
	retryInterval = 5 * time.Second
	// How often a write that lost against another replica's is tried again at once.
	maxConflicts = 5
)

// The keys of the Secret. The serving pair has the names that every tool knows.
const (
	keyAuthority    = "ca.crt"
	keyAuthorityKey = "ca.key"
	keyNext         = "next-ca.crt"
	keyNextKey      = "next-ca.key"
	keyFormer       = "former-ca.crt"
)

// Target is something that has to trust our certificate.
type Target interface {
	// Inject hands it the bundle; missing tells that it does not exist (yet), which is no error.
	Inject(ctx context.Context, bundle []byte) (missing bool, err error)
	String() string
}

// Keeper makes the serving certificate, shares it with the other replicas in a Secret, renews it in time and hands its
// authorities to the targets.
type Keeper struct {
	// Client reads and writes the Secret; it must not be a cache, since that would have to list all Secrets.
	Client client.Client
	// Secret that holds the certificates.
	Secret types.NamespacedName
	// Names are the DNS names and addresses that the certificate is for.
	Names []string
	// Targets to hand the authorities to.
	Targets []Target
	Clock   clock.WithTicker
	Log     logr.Logger
	// Elected is closed when this replica may hand out the certificate; nil: it always may.
	Elected <-chan struct{}

	serving  atomic.Pointer[tls.Certificate]
	bundle   atomic.Pointer[[]byte]
	injected atomic.Bool
}

// Run keeps the certificate until ctx ends. It never gives up: an API server that is away comes back.
func (k *Keeper) Run(ctx context.Context) {
	told := ""
	elected := k.Elected
	for {
		complete, err := k.Keep(ctx)
		if err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error() // once, not every few seconds
			k.Log.Error(err, "serving certificate: trying again", "in", retryInterval.String())
		}
		if err == nil {
			told = ""
		}
		next := checkInterval
		if err != nil || !complete {
			next = retryInterval
		}
		timer := k.Clock.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-elected:
			elected = nil // once: it stays closed
			timer.Stop()
		case <-timer.C():
		}
	}
}

// Keep is one look at the certificate and at its injection; complete is false while a target is missing.
func (k *Keeper) Keep(ctx context.Context) (complete bool, err error) {
	certs, err := k.share(ctx)
	if err != nil {
		return false, err
	}
	pair, err := tls.X509KeyPair(certs.Serving.Cert, certs.Serving.Key)
	if err != nil {
		return false, fmt.Errorf("read the serving certificate of secret %s: %w", k.Secret, err)
	}
	bundle := certs.Bundle()
	k.bundle.Store(&bundle)
	if old := k.serving.Swap(&pair); old == nil || !old.Leaf.Equal(pair.Leaf) {
		k.Log.Info("serving certificate in use", "until", pair.Leaf.NotAfter, "names", k.Names)
	}
	if !k.mayInject() {
		k.injected.Store(true)
		return true, nil
	}
	complete = true
	var errs []error
	for _, target := range k.Targets {
		missing, err := target.Inject(ctx, bundle)
		if err != nil {
			errs = append(errs, fmt.Errorf("hand the serving authority to %s: %w", target, err))
		}
		complete = complete && !missing
	}
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	k.injected.Store(true)
	return complete, nil
}

func (k *Keeper) mayInject() bool {
	if k.Elected == nil {
		return true
	}
	select {
	case <-k.Elected:
		return true
	default:
		return false
	}
}

// share reads the certificates, renews them where needed, and agrees on them with the other replicas: whoever writes
// first wins, and the others take what was written.
func (k *Keeper) share(ctx context.Context) (Certificates, error) {
	for range maxConflicts {
		secret := &corev1.Secret{}
		err := k.Client.Get(ctx, k.Secret, secret)
		absent := apierrors.IsNotFound(err)
		if err != nil && !absent {
			return Certificates{}, fmt.Errorf("read secret %s, which holds the serving certificate: %w", k.Secret, err)
		}
		certs, changed, err := Renew(fromSecret(secret), k.Names, k.Clock.Now())
		if err != nil {
			return Certificates{}, fmt.Errorf("renew the serving certificate: %w", err)
		}
		if !changed {
			return certs, nil
		}
		if absent {
			secret = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.Secret.Namespace, Name: k.Secret.Name}}
		}
		toSecret(certs, secret)
		if absent {
			err = k.Client.Create(ctx, secret)
		} else {
			err = k.Client.Update(ctx, secret)
		}
		if err == nil {
			k.Log.Info("certificates renewed", "secret", k.Secret.String())
			return certs, nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return Certificates{}, fmt.Errorf("write secret %s, which holds the serving certificate: %w", k.Secret, err)
		}
	}
	return Certificates{}, fmt.Errorf("write secret %s: other replicas wrote it %d times in between", k.Secret, maxConflicts)
}

func fromSecret(s *corev1.Secret) Certificates {
	return Certificates{
		Authority: Pair{Cert: s.Data[keyAuthority], Key: s.Data[keyAuthorityKey]},
		Next:      Pair{Cert: s.Data[keyNext], Key: s.Data[keyNextKey]},
		Former:    s.Data[keyFormer],
		Serving:   Pair{Cert: s.Data[corev1.TLSCertKey], Key: s.Data[corev1.TLSPrivateKeyKey]},
	}
}

func toSecret(c Certificates, s *corev1.Secret) {
	s.Data = map[string][]byte{
		keyAuthority: c.Authority.Cert, keyAuthorityKey: c.Authority.Key,
		keyNext: c.Next.Cert, keyNextKey: c.Next.Key,
		keyFormer:         c.Former,
		corev1.TLSCertKey: c.Serving.Cert, corev1.TLSPrivateKeyKey: c.Serving.Key,
	}
}

// GetCertificate is for tls.Config: connections made after a renewal get the new certificate.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	cert := k.serving.Load()
	if cert == nil {
		return nil, errors.New("the serving certificate is not made yet")
	}
	return cert, nil
}

// Ready tells why the certificate is not in use yet, or nil.
func (k *Keeper) Ready() error {
	if k.serving.Load() == nil {
		return errors.New("the serving certificate is not made yet")
	}
	if !k.injected.Load() {
		return errors.New("the serving certificate is not handed to the API server yet")
	}
	return nil
}
