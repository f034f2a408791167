package admission_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/holdfast-io/holdfast/internal/admission"
)

func testScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, admissionregistrationv1.AddToScheme, apiextensionsv1.AddToScheme, metav1.AddMetaToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

func secretName() types.NamespacedName {
	return types.NamespacedName{Namespace: "holdfast-system", Name: "holdfast-admission"}
}

func newKeeper(c client.Client, clock *testclock.FakeClock, targets ...admission.Target) *admission.Keeper {
	return &admission.Keeper{
		Client: c, Secret: secretName(), Names: []string{"127.0.0.1"}, Targets: targets, Clock: clock, Log: logr.Discard(),
	}
}

func TestReplicasShareOneCertificate(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).Build()
	clock := testclock.NewFakeClock(begin())
	a, b := newKeeper(c, clock), newKeeper(c, clock)
	if err := a.Ready(); err == nil {
		t.Error("ready before there is a certificate")
	}
	if _, err := a.GetCertificate(nil); err == nil {
		t.Error("a certificate before there is one")
	}
	agree := func() {
		t.Helper()
		for _, k := range []*admission.Keeper{a, b, a} {
			if _, err := k.Keep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		first, err := a.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := b.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !first.Leaf.Equal(second.Leaf) {
			t.Error("two replicas serve two certificates")
		}
		if clock.Now().After(first.Leaf.NotAfter) {
			t.Error("the certificate has expired")
		}
	}
	agree()
	if err := a.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	clock.Step(61 * day)
	agree()
	clock.Step(400 * day)
	agree()
}

// lost is a target that cannot be written.
type lost struct{ err error }

func (l *lost) String() string                               { return "lost" }
func (l *lost) Inject(context.Context, []byte) (bool, error) { return false, l.err }

func TestReadinessWaitsForTheInjection(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).Build()
	target := &lost{err: errors.New("forbidden")}
	k := newKeeper(c, testclock.NewFakeClock(begin()), target)
	if _, err := k.Keep(t.Context()); err == nil || k.Ready() == nil {
		t.Errorf("the injection failed: Keep says %v and Ready %v", err, k.Ready())
	}
	target.err = nil
	if _, err := k.Keep(t.Context()); err != nil || k.Ready() != nil {
		t.Errorf("the injection is done: Keep says %v and Ready %v", err, k.Ready())
	}
	// The certificate is in use: a later failure does not take the replica out of service.
	target.err = errors.New("forbidden")
	if _, err := k.Keep(t.Context()); err == nil || k.Ready() != nil {
		t.Errorf("a later injection failed: Keep says %v and Ready %v", err, k.Ready())
	}
}

func TestRunLooksAgain(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).Build()
	clock := testclock.NewFakeClock(begin())
	k := newKeeper(c, clock)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	await(t, "the first look", func() bool { return k.Ready() == nil && clock.HasWaiters() })
	first, err := k.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	clock.Step(61 * day)
	await(t, "a renewed certificate", func() bool {
		now, err := k.GetCertificate(nil)
		return err == nil && !now.Leaf.Equal(first.Leaf)
	})
	cancel()
	<-done
}

// await polls a condition that another goroutine brings about.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("no %s within 10s", what)
		case <-tick.C:
		}
	}
}

func TestInjection(t *testing.T) {
	hooks := []admission.Hook{
		{Name: "default.x.holdfast.io", Path: "/default/x", Mutating: true},
		{Name: "validate.x.holdfast.io", Path: "/validate/x"},
	}
	service := admission.Endpoint{Service: types.NamespacedName{Namespace: "holdfast-system", Name: "op"}, Port: 443}
	url := admission.Endpoint{Host: "127.0.0.1:9443"}
	crd := func(versions ...string) *apiextensionsv1.CustomResourceDefinition {
		out := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "xs.holdfast.io"}}
		for _, v := range versions {
			out.Spec.Versions = append(out.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: v, Served: true})
		}
		return out
	}
	mutating := func(t *testing.T, c client.Client) admissionregistrationv1.WebhookClientConfig {
		t.Helper()
		config := &admissionregistrationv1.MutatingWebhookConfiguration{}
		if err := c.Get(t.Context(), types.NamespacedName{Name: "holdfast"}, config); err != nil {
			t.Fatal(err)
		}
		if len(config.Webhooks) != 1 {
			t.Fatalf("%d webhooks, want 1", len(config.Webhooks))
		}
		return config.Webhooks[0].ClientConfig
	}
	conversion := func(t *testing.T, c client.Client) *apiextensionsv1.CustomResourceConversion {
		t.Helper()
		got := &apiextensionsv1.CustomResourceDefinition{}
		if err := c.Get(t.Context(), types.NamespacedName{Name: "xs.holdfast.io"}, got); err != nil {
			t.Fatal(err)
		}
		return got.Spec.Conversion
	}
	for _, tc := range []struct {
		name    string
		objects []client.Object
		targets func(c client.Client) []admission.Target
		missing bool
		check   func(t *testing.T, c client.Client)
	}{
		{
			name:    "configurations of the manifests get the bundle only",
			objects: []client.Object{admission.Mutating("holdfast", hooks, service, nil), admission.Validating("holdfast", hooks, service, nil)},
			targets: func(c client.Client) []admission.Target { return admission.Configured(c, "holdfast") },
			check: func(t *testing.T, c client.Client) {
				t.Helper()
				if got := mutating(t, c); string(got.CABundle) != "BUNDLE" || got.Service == nil || got.Service.Name != "op" {
					t.Errorf("got %+v", got)
				}
			},
		},
		{
			name:    "configurations that are not there yet",
			targets: func(c client.Client) []admission.Target { return admission.Configured(c, "holdfast") },
			missing: true,
		},
		{
			name:    "beside the cluster they are made",
			targets: func(c client.Client) []admission.Target { return admission.Registered(c, "holdfast", hooks, url) },
			check: func(t *testing.T, c client.Client) {
				t.Helper()
				if got := mutating(t, c); got.URL == nil || *got.URL != "https://127.0.0.1:9443/default/x" || got.Service != nil {
					t.Errorf("got %+v", got)
				}
			},
		},
		{
			name:    "and replaced when they name another address",
			objects: []client.Object{admission.Mutating("holdfast", hooks, service, nil)},
			targets: func(c client.Client) []admission.Target { return admission.Registered(c, "holdfast", hooks, url) },
			check: func(t *testing.T, c client.Client) {
				t.Helper()
				if got := mutating(t, c); got.URL == nil || got.Service != nil {
					t.Errorf("got %+v", got)
				}
			},
		},
		{
			name:    "a definition with two versions is converted by us",
			objects: []client.Object{crd("v1alpha1", "v1beta1")},
			targets: func(c client.Client) []admission.Target {
				return []admission.Target{admission.Converted(c, service, "xs.holdfast.io")}
			},
			check: func(t *testing.T, c client.Client) {
				t.Helper()
				got := conversion(t, c)
				if got == nil || got.Strategy != apiextensionsv1.WebhookConverter || string(got.Webhook.ClientConfig.CABundle) != "BUNDLE" ||
					*got.Webhook.ClientConfig.Service.Path != admission.ConvertPath {
					t.Errorf("got %+v", got)
				}
			},
		},
		{
			name:    "a definition with one version needs no conversion",
			objects: []client.Object{crd("v1")},
			targets: func(c client.Client) []admission.Target {
				return []admission.Target{admission.Converted(c, service, "xs.holdfast.io")}
			},
			check: func(t *testing.T, c client.Client) {
				t.Helper()
				if got := conversion(t, c); got != nil {
					t.Errorf("got %+v", got)
				}
			},
		},
		{
			name: "a definition that is not there yet",
			targets: func(c client.Client) []admission.Target {
				return []admission.Target{admission.Converted(c, url, "xs.holdfast.io")}
			},
			missing: true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(tc.objects...).Build()
			targets := tc.targets(c)
			for range 2 { // the second time changes nothing
				for _, target := range targets {
					missing, err := target.Inject(t.Context(), []byte("BUNDLE"))
					if err != nil || missing != tc.missing {
						t.Fatalf("%s: missing %v, error %v; want missing %v", target, missing, err, tc.missing)
					}
				}
			}
			if tc.check != nil {
				tc.check(t, c)
			}
		})
	}
}
