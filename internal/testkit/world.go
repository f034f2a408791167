package testkit

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// World is the controller of a kind with one object to keep, on the real API server, in a namespace of its own, with pretended
// nodes, a clock that the test steps and a cache that lags as it is told: nothing happens in it but what the test asks for.
type World[T client.Object] struct {
	Harness

	// T is the test.
	T testing.TB
	// Env is the API server.
	Env *Env
	// Namespace of this test alone.
	Namespace string
	// Key of the object, as soon as Create has made it.
	Key client.ObjectKey
	// Events records what the controller tells; nil: nobody listens.
	Events record.EventRecorder
	// Result of the last pass.
	Result ctrl.Result
}

// NewWorld makes a namespace and what surrounds a controller; nil faults: nothing goes wrong, but writes are counted, so that a
// controller that never comes to rest is found out. The cache holds the given kinds, or pods,
// claims and revisions when none are given; all others are read live.
func NewWorld[T client.Object](t testing.TB, faults *Faults, cached ...client.Object) *World[T] {
	t.Helper()
	env := APIServer(t)
	if len(cached) == 0 {
		cached = []client.Object{&corev1.Pod{}, &corev1.PersistentVolumeClaim{}, &appsv1.ControllerRevision{}}
	}
	if faults == nil {
		faults = NewFaults(nil)
	}
	w := &World[T]{T: t, Env: env, Namespace: env.Namespace(t)}
	w.Clock, w.Faults = testclock.NewFakeClock(time.Now()), faults
	w.Kubelet = &Kubelet{Client: env.Client, Namespace: w.Namespace, Clock: w.Clock}
	w.Lag = NewLagCache(t, env, w.Namespace, cached...)
	return w
}

// Index has the cache list by what index adds to it.
func (w *World[T]) Index(index func(ctx context.Context, indexer client.FieldIndexer) error) {
	w.T.Helper()
	w.must(w.T, index(w.T.Context(), w.Lag))
}

// Create makes the object, and takes it away with the test if no namespace does.
func (w *World[T]) Create(object T) {
	w.T.Helper()
	namespaced, err := w.Env.Client.IsObjectNamespaced(object)
	w.must(w.T, err)
	if namespaced {
		object.SetNamespace(w.Namespace)
	}
	w.must(w.T, w.Env.Client.Create(w.T.Context(), object))
	w.Key = client.ObjectKeyFromObject(object)
	if namespaced {
		return
	}
	w.T.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.T.Context()), cleanLimit)
		defer cancel()
		if err := w.Env.remove(ctx, object); err != nil {
			w.T.Logf("take %s away: %v", w.Key, err)
		}
	})
}

// Runs says what the controller is made of. room is called for the first one, and again after each kill, with the client that
// is to be used.
func (w *World[T]) Runs(room func(c client.Client) reconcile.Room[T]) {
	w.New = func() func(ctx context.Context) error {
		c := w.Client()
		frame := reconcile.New(c, room(c), reconcile.Options{Clock: w.Clock, StatusInterval: -1, Recorder: w.Events})
		return func(ctx context.Context) (err error) {
			w.Result, err = frame.Reconcile(ctx, ctrl.Request{NamespacedName: w.Key})
			return err
		}
	}
}

// Client is what a controller reads and writes through: the cache, and Faults if there are any.
func (w *World[T]) Client() client.Client {
	w.T.Helper()
	return w.Lag.Client(w.Env.Through(w.T, w.Faults))
}

// Until runs until done returns nil and nothing moves.
func (w *World[T]) Until(done func() error) {
	w.T.Helper()
	w.Run(w.T, func(context.Context) error { return done() })
}

// Settle runs until done is content with the object and nothing moves.
func (w *World[T]) Settle(done func(object T) error) {
	w.T.Helper()
	w.Until(func() error { return done(w.Get()) })
}

// Get reads the object from the server.
func (w *World[T]) Get() T {
	w.T.Helper()
	object, ok := reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T)
	if !ok {
		w.T.Fatalf("%s is no pointer", reflect.TypeFor[T]())
	}
	w.must(w.T, w.Env.Client.Get(w.T.Context(), w.Key, object))
	return object
}

// Change edits the object, as a user does.
func (w *World[T]) Change(edits ...func(object T)) {
	w.T.Helper()
	object := w.Get()
	for _, edit := range edits {
		edit(object)
	}
	w.must(w.T, w.Env.Client.Update(w.T.Context(), object))
}

// Ready returns nil when the object's status says that all is as its spec asks for.
func (w *World[T]) Ready() error {
	w.T.Helper()
	return IsReady(w.Get())
}

// Pods are all those of the namespace.
func (w *World[T]) Pods() []corev1.Pod {
	w.T.Helper()
	var pods corev1.PodList
	w.must(w.T, w.Env.Client.List(w.T.Context(), &pods, client.InNamespace(w.Namespace)))
	return pods.Items
}

// IsReady returns nil when an object's status says that all is as the spec asks for, in the words that every kind of ours uses.
func IsReady(object client.Object) error {
	var read struct {
		Status struct {
			ObservedGeneration int64              `json:"observedGeneration"`
			Conditions         []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	raw, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("read the status: %w", err)
	}
	if err := json.Unmarshal(raw, &read); err != nil {
		return fmt.Errorf("read the status: %w", err)
	}
	for _, c := range read.Status.Conditions {
		if c.Type == "Ready" && c.Status == "True" && read.Status.ObservedGeneration == object.GetGeneration() {
			return nil
		}
	}
	return fmt.Errorf("not ready: generation %d, the status says %+v", object.GetGeneration(), read.Status)
}
