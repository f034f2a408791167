package reconcile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// stage is a frame around a room that a test writes, over a client that counts.
type stage struct {
	t       *testing.T
	clock   *testclock.FakePassiveClock
	events  *record.FakeRecorder
	room    func(ctx context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error)
	gone    []types.NamespacedName
	patches []string
	refuse  error
	lag     *appsv1beta1.CloneSet
	client  client.Client
	frame   *reconcile.Frame[*appsv1beta1.CloneSet]
}

func (s *stage) Reconcile(ctx context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error) {
	return s.room(ctx, cs)
}

func (s *stage) Forget(key types.NamespacedName) { s.gone = append(s.gone, key) }

func newStage(t *testing.T) *stage {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := appsv1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, clock: testclock.NewFakePassiveClock(time.Unix(1_800_000_000, 0)), events: record.NewFakeRecorder(20)}
	cs := &appsv1beta1.CloneSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "uid-1", Generation: 1}}
	s.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(cs).WithStatusSubresource(cs).
		WithInterceptorFuncs(interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				if s.lag != nil {
					into, ok := obj.(*appsv1beta1.CloneSet)
					if !ok {
						return fmt.Errorf("read into %T", obj)
					}
					s.lag.DeepCopyInto(into)
					return nil
				}
				return c.Get(ctx, key, obj, opts...)
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				if s.refuse != nil {
					return s.refuse
				}
				body, err := patch.Data(obj)
				if err != nil {
					return err
				}
				s.patches = append(s.patches, string(body))
				return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
			},
		}).Build()
	s.frame = reconcile.New[*appsv1beta1.CloneSet](s.client, s, reconcile.Options{Name: "test", Clock: s.clock, Recorder: s.events})
	return s
}

func (s *stage) pass() (ctrl.Result, error) {
	return s.frame.Reconcile(s.t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "default", Name: "web"}})
}

// published drains the events.
func (s *stage) published() []string {
	var out []string
	for {
		select {
		case e := <-s.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

func (s *stage) stored() *appsv1beta1.CloneSet {
	s.t.Helper()
	lag := s.lag
	s.lag = nil
	defer func() { s.lag = lag }()
	cs := &appsv1beta1.CloneSet{}
	if err := s.client.Get(s.t.Context(), types.NamespacedName{Namespace: "default", Name: "web"}, cs); err != nil {
		s.t.Fatal(err)
	}
	return cs
}

func conflict() error {
	return apierrors.NewConflict(schema.GroupResource{Resource: "clonesets"}, "web", errors.New("changed"))
}

func TestOutcome(t *testing.T) {
	boom := errors.New("boom")
	for _, tc := range []struct {
		name   string
		result reconcile.Result
		err    error
		after  time.Duration
		failed bool
	}{
		{name: "nothing more to do"},
		{name: "comes back when asked to", result: reconcile.After(time.Minute), after: time.Minute},
		{name: "waits quietly", err: reconcile.Wait(7*time.Second, "budget"), after: 7 * time.Second},
		{name: "the sooner of wait and result", result: reconcile.After(time.Second), err: reconcile.Wait(time.Minute, "hook"), after: time.Second},
		{name: "a wait for no time comes back all the same", err: reconcile.Wait(0, "now"), after: time.Millisecond},
		{name: "the shortest of several waits", err: errors.Join(reconcile.Wait(time.Minute, "a"), reconcile.Wait(time.Second, "b")), after: time.Second},
		{name: "stalled is not retried", err: reconcile.Stalled("Invalid", boom)},
		{name: "so is one that wraps several errors", err: reconcile.Stalled("Invalid", errors.Join(boom, boom))},
		{name: "a conflict is retried silently", err: fmt.Errorf("patch: %w", conflict()), after: 50 * time.Millisecond},
		{name: "an error is retried with backoff", err: boom, failed: true},
		{name: "an error beside a conflict is not hidden", err: errors.Join(conflict(), boom), failed: true},
		{name: "an error beside a stall is not hidden", err: errors.Join(reconcile.Stalled("Invalid", boom), boom), failed: true},
		{name: "a stop is no error", err: context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStage(t)
			s.room = func(context.Context, *appsv1beta1.CloneSet) (reconcile.Result, error) { return tc.result, tc.err }
			got, err := s.pass()
			if (err != nil) != tc.failed || got.RequeueAfter != tc.after {
				t.Errorf("got %v, %v; want after %v, failed %v", got.RequeueAfter, err, tc.after, tc.failed)
			}
		})
	}
}

func TestConflictsBackOff(t *testing.T) {
	s := newStage(t)
	s.room = func(context.Context, *appsv1beta1.CloneSet) (reconcile.Result, error) {
		return reconcile.Result{}, conflict()
	}
	var last time.Duration
	for i := range 12 {
		got, err := s.pass()
		if err != nil || got.RequeueAfter < last || got.RequeueAfter > 5*time.Second {
			t.Fatalf("conflict %d: after %v following %v, error %v", i, got.RequeueAfter, last, err)
		}
		last = got.RequeueAfter
	}
	if last != 5*time.Second {
		t.Errorf("the delay ended at %v, want 5s", last)
	}
}

func TestStatusIsPatchedOnce(t *testing.T) {
	s := newStage(t)
	s.room = func(_ context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error) {
		cs.Status.ObservedGeneration = cs.Generation
		cs.Status.Replicas = 3
		return reconcile.Result{}, nil
	}
	for range 3 {
		if _, err := s.pass(); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.patches) != 1 {
		t.Fatalf("patches: %q, want one", s.patches)
	}
	var patch struct {
		Metadata struct{ UID string }
		Status   map[string]any
	}
	if err := json.Unmarshal([]byte(s.patches[0]), &patch); err != nil {
		t.Fatal(err)
	}
	if patch.Metadata.UID != "uid-1" {
		t.Errorf("the patch does not hold the uid: %s", s.patches[0])
	}
	// The first write holds the required zeros too.
	if zero, ok := patch.Status["readyReplicas"]; !ok || zero != 0.0 {
		t.Errorf("the first status lacks readyReplicas: %s", s.patches[0])
	}
}

func TestCountersWaitAndAreFlushed(t *testing.T) {
	s := newStage(t)
	ready := int32(0)
	observed := int64(1)
	s.room = func(_ context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error) {
		cs.Status.ObservedGeneration, cs.Status.ReadyReplicas = observed, ready
		return reconcile.After(time.Hour), nil
	}
	step := func(what string, wantPatches int, wantAfter time.Duration) {
		t.Helper()
		got, err := s.pass()
		if err != nil || len(s.patches) != wantPatches || got.RequeueAfter != wantAfter {
			t.Fatalf("%s: %d patches, after %v, error %v; want %d patches, after %v", what, len(s.patches), got.RequeueAfter, err, wantPatches, wantAfter)
		}
	}
	step("the first status goes at once", 1, time.Hour)
	ready = 1
	s.clock.SetTime(s.clock.Now().Add(100 * time.Millisecond))
	step("a counter waits for the rest of the interval", 1, 900*time.Millisecond)
	ready = 2
	s.clock.SetTime(s.clock.Now().Add(100 * time.Millisecond))
	step("and with it the next one", 1, 800*time.Millisecond)
	s.clock.SetTime(s.clock.Now().Add(800 * time.Millisecond))
	step("then both are written", 2, time.Hour)
	ready, observed = 3, 2
	step("an observed generation takes the counters along at once", 3, time.Hour)
	if got := s.stored().Status; got.ReadyReplicas != 3 || got.ObservedGeneration != 2 {
		t.Errorf("stored %+v", got)
	}
}

func TestCountersOfALongChangeAreToldLessOften(t *testing.T) {
	s := newStage(t)
	ready := int32(0)
	s.room = func(_ context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error) {
		cs.Status.ObservedGeneration, cs.Status.ReadyReplicas = 1, ready
		return reconcile.Result{}, nil
	}
	// play has a counter change five times a second.
	play := func(what string, seconds, want int) {
		t.Helper()
		before := len(s.patches)
		for range 5 * seconds {
			ready++
			s.clock.SetTime(s.clock.Now().Add(200 * time.Millisecond))
			if _, err := s.pass(); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(s.patches) - before; got != want {
			t.Errorf("%s: %d writes in %d s, want %d", what, got, seconds, want)
		}
	}
	play("at first, the one at once included", 10, 10)
	play("then, the tenth counted one included", 21, 11)
	s.clock.SetTime(s.clock.Now().Add(time.Minute))
	play("after a rest", 10, 10)
}

func TestConditionsGoAtOnce(t *testing.T) {
	s := newStage(t)
	condition := metav1.Condition{Type: "Ready", Status: "False", Reason: "Waiting", Message: "1 of 3"}
	s.room = func(_ context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error) {
		raw, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []any{map[string]any{
			"type": condition.Type, "status": condition.Status, "reason": condition.Reason, "message": condition.Message,
		}}}})
		if err != nil {
			return reconcile.Result{}, err
		}
		cs.Status.Conditions = nil
		return reconcile.Result{}, json.Unmarshal(raw, cs)
	}
	for _, tc := range []struct {
		name    string
		change  func()
		patches int
	}{
		{"the first", func() {}, 1},
		{"another message waits", func() { condition.Message = "2 of 3" }, 1},
		{"another reason does not", func() { condition.Reason = "Paused" }, 2},
		{"another status does not", func() { condition.Status = "True" }, 3},
	} {
		tc.change()
		if _, err := s.pass(); err != nil {
			t.Fatal(err)
		}
		if len(s.patches) != tc.patches {
			t.Fatalf("%s: %d patches, want %d", tc.name, len(s.patches), tc.patches)
		}
	}
}

func TestEventsFollowTheStatus(t *testing.T) {
	s := newStage(t)
	s.room = func(ctx context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error) {
		cs.Status.Replicas++
		for i := range 5 {
			reconcile.Event(ctx, corev1.EventTypeNormal, "Created", "pod %d", i)
		}
		reconcile.Event(ctx, corev1.EventTypeWarning, "Refused", "quota")
		return reconcile.Result{}, nil
	}
	s.refuse = errors.New("no")
	if _, err := s.pass(); err == nil {
		t.Fatal("a status that cannot be written is an error")
	}
	if got := s.published(); len(got) != 0 {
		t.Fatalf("events before the status: %q", got)
	}
	s.refuse = nil
	if _, err := s.pass(); err != nil {
		t.Fatal(err)
	}
	want := []string{"Normal Created pod 0; pod 1; pod 2 and 7 more", "Warning Refused quota and 1 more"}
	if got := s.published(); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestStalledIsToldOnceForEachGeneration(t *testing.T) {
	s := newStage(t)
	s.room = func(context.Context, *appsv1beta1.CloneSet) (reconcile.Result, error) {
		return reconcile.Result{}, reconcile.Stalled("InvalidSelector", errors.New("spec.selector matches nothing"))
	}
	for range 3 {
		if _, err := s.pass(); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.published(); len(got) != 1 || !strings.Contains(got[0], "InvalidSelector spec.selector matches nothing") {
		t.Fatalf("events %q, want one", got)
	}
	cs := s.stored()
	cs.Generation = 2
	if err := s.client.Update(t.Context(), cs); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pass(); err != nil {
		t.Fatal(err)
	}
	if got := s.published(); len(got) != 1 {
		t.Fatalf("events of the second generation: %q, want one", got)
	}
}

// The cache often shows an object as it was before our own status write.
func TestOwnWriteIsSeenBeforeTheCacheShowsIt(t *testing.T) {
	s := newStage(t)
	var seen []int32
	s.room = func(_ context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error) {
		seen = append(seen, cs.Status.Replicas)
		cs.Status.ObservedGeneration++ // at once, whatever the interval
		cs.Status.Replicas++
		return reconcile.Result{}, nil
	}
	s.lag = s.stored()
	for range 3 {
		if _, err := s.pass(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []int32{0, 1, 2}; !slices.Equal(seen, want) {
		t.Errorf("the room saw %v, want %v", seen, want)
	}
	// Another object of that name is not the one that was written.
	s.lag.UID = "uid-2"
	if _, err := s.pass(); err == nil && seen[3] != 0 {
		t.Errorf("the room saw the status of another object: %d", seen[3])
	}
}

// A stop lets the pass under way finish, status and all.
func TestStopLetsThePassFinish(t *testing.T) {
	s := newStage(t)
	ctx, stop := context.WithCancel(t.Context())
	s.room = func(ctx context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error) {
		stop()
		cs.Status.Replicas = 3
		return reconcile.Result{}, ctx.Err()
	}
	_, err := s.frame.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "default", Name: "web"}})
	if err != nil || s.stored().Status.Replicas != 3 {
		t.Errorf("stored %d replicas, error %v", s.stored().Status.Replicas, err)
	}
}

func TestGoneIsForgotten(t *testing.T) {
	s := newStage(t)
	s.room = func(context.Context, *appsv1beta1.CloneSet) (reconcile.Result, error) {
		t.Error("the room was called for an object that is gone")
		return reconcile.Result{}, nil
	}
	if err := s.client.Delete(t.Context(), s.stored()); err != nil {
		t.Fatal(err)
	}
	if got, err := s.pass(); err != nil || got.RequeueAfter != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	if len(s.gone) != 1 || s.gone[0].Name != "web" {
		t.Errorf("forgotten: %v", s.gone)
	}
}

func TestEventOutsideOfAPassDoesNothing(t *testing.T) {
	s := newStage(t)
	reconcile.Event(t.Context(), corev1.EventTypeNormal, "Created", "pod")
	if got := s.published(); len(got) != 0 {
		t.Errorf("published %q", got)
	}
}
