package testkit

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Env is a ready API server with our kinds installed, and nothing else: no node, no controller, no garbage collector.
type Env struct {
	// Config reaches the server as an administrator, without a client-side rate limit. Copy it before changing it.
	Config *rest.Config
	// Client reads and writes straight through, with no cache between.
	Client client.WithWatch
	// Scheme knows the core kinds, CustomResourceDefinitions and ours.
	Scheme *runtime.Scheme
}

// cleanLimit is how long a clean-up may take.
const cleanLimit = 20 * time.Second

// sharedEnv is the one environment of a test binary; see sharedServer. The test that asks first makes it.
var sharedEnv struct { //nolint:gochecknoglobals // set once, never changed
	once sync.Once
	env  *Env
	err  error
}

// APIServer returns the API server shared by all tests of the binary, starting it on first use. It ends with the process.
func APIServer(t testing.TB) *Env {
	t.Helper()
	sharedEnv.once.Do(func() { sharedEnv.env, sharedEnv.err = newEnv(t.Context()) })
	if sharedEnv.err != nil {
		t.Fatalf("the API server for tests: %v", sharedEnv.err)
	}
	return sharedEnv.env
}

// newEnv starts the server, makes a client for it and installs our kinds.
func newEnv(ctx context.Context) (*Env, error) {
	server, err := sharedServer()
	if err != nil {
		return nil, err
	}
	config := rest.CopyConfig(server.config)
	config.QPS = -1 // a test makes many clients, each of which learns the API anew: what they may ask is not what is tested
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	live, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := installKinds(ctx, live); err != nil {
		return nil, err
	}
	return &Env{Config: config, Client: live, Scheme: scheme}, nil
}

// Namespace makes a namespace for one test, with the service account that the API server demands of every pod, and empties
// it when the test ends.
func (e *Env) Namespace(t testing.TB) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := e.Client.Create(t.Context(), namespace); err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "default"}}
	if err := e.Client.Create(t.Context(), account); err != nil {
		t.Fatalf("make the default service account of %s: %v", namespace.Name, err)
	}
	t.Cleanup(func() { e.empty(t, namespace.Name) })
	return namespace.Name
}

// empty removes the pods and claims of a test, so that a long run neither fills the server nor feeds a cluster-wide watch.
// The namespace itself stays behind, terminating: removing it is the work of a controller that is not there.
func (e *Env) empty(t testing.TB, namespace string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), cleanLimit) // the test's own context has ended
	defer cancel()
	for _, list := range disposable() {
		if err := e.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			t.Logf("empty namespace %s: %v", namespace, err)
			return
		}
		for _, object := range items(list) {
			if err := e.remove(ctx, object); err != nil {
				t.Logf("empty namespace %s: remove %s: %v", namespace, object.GetName(), err)
			}
		}
	}
	err := e.Client.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	if client.IgnoreNotFound(err) != nil {
		t.Logf("delete namespace %s: %v", namespace, err)
	}
}

// remove deletes one object at once, whatever finalizers hold it.
func (e *Env) remove(ctx context.Context, object client.Object) error {
	if len(object.GetFinalizers()) > 0 {
		bare, ok := object.DeepCopyObject().(client.Object)
		if !ok {
			return fmt.Errorf("%T is no object", object)
		}
		bare.SetFinalizers(nil)
		if err := e.Client.Patch(ctx, bare, client.MergeFrom(object)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("take its finalizers: %w", err)
		}
	}
	err := e.Client.Delete(ctx, object, client.GracePeriodSeconds(0), client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete it: %w", err)
	}
	return nil
}

// Cache starts a controller-runtime cache and stops it with the test. Set opts.DefaultNamespaces to restrict it; with the
// zero Options it sees what every test of the binary does. Informers start with the first read of a kind.
func (e *Env) Cache(t testing.TB, opts cache.Options) cache.Cache {
	t.Helper()
	opts.Scheme = e.Scheme
	c, err := cache.New(e.Config, opts)
	if err != nil {
		t.Fatalf("make a cache: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("stop the cache: %v", err)
		}
	})
	if !c.WaitForCacheSync(ctx) {
		t.Fatal("the cache did not start: the test's context ended first")
	}
	return c
}

// NamespaceCache is Cache for one namespace.
func (e *Env) NamespaceCache(t testing.TB, namespace string) cache.Cache {
	t.Helper()
	return e.Cache(t, cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}})
}
