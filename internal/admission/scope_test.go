package admission_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/holdfast-io/holdfast/internal/admission"
)

// steppedClock does not keep anybody waiting.
type steppedClock struct{ *testclock.FakeClock }

func (c steppedClock) After(d time.Duration) <-chan time.Time {
	after := make(chan time.Time, 1)
	after <- c.Now().Add(d)
	return after
}

var _ clock.Clock = steppedClock{}

const scopedHook = "inject.x.holdfast.io"

func scopedHooks() []admission.Hook {
	return []admission.Hook{
		{
			Name: scopedHook, Path: "/inject/x", Mutating: true, Scoped: true,
			MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "another", Expression: "true"}},
		},
		{Name: "validate.x.holdfast.io", Path: "/validate/x"},
	}
}

// scopeWorld is a configuration as manifests hold it, and what keeps its scope.
type scopeWorld struct {
	*testing.T
	client client.Client
	clock  steppedClock
	scope  *admission.Scope
	// fail answers writes with an error.
	fail error
}

func newScopeWorld(t *testing.T) *scopeWorld {
	t.Helper()
	w := &scopeWorld{T: t, clock: steppedClock{testclock.NewFakeClock(time.Unix(1e9, 0))}}
	config := admission.Mutating("holdfast", scopedHooks(), admission.Endpoint{Host: "127.0.0.1:9443"}, []byte("BUNDLE"))
	inner := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(config).Build()
	w.client = interceptor.NewClient(inner, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if w.fail != nil {
				return w.fail
			}
			return c.Patch(ctx, o, p, opts...)
		},
	})
	w.scope = w.another()
	return w
}

// another is the scope of another replica, or of one that was started anew.
func (w *scopeWorld) another() *admission.Scope {
	return &admission.Scope{Client: w.client, Clock: w.clock, Configuration: "holdfast", Hook: scopedHook}
}

func (w *scopeWorld) config() *admissionregistrationv1.MutatingWebhookConfiguration {
	w.Helper()
	config := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := w.client.Get(w.Context(), types.NamespacedName{Name: "holdfast"}, config); err != nil {
		w.Fatal(err)
	}
	return config
}

func (w *scopeWorld) widen(term string) {
	w.Helper()
	if err := w.another().Widen(w.Context(), term, "x"); err != nil {
		w.Fatal(err)
	}
}

func (w *scopeWorld) keep(stored ...string) time.Duration {
	w.Helper()
	again, err := w.scope.Keep(w.Context(), w.config(), stored)
	if err != nil {
		w.Fatal(err)
	}
	return again
}

// want compares the terms of the scope; "all" is a hook without one.
func (w *scopeWorld) want(reason, want string) {
	w.Helper()
	got := "all"
	for _, c := range w.config().Webhooks[0].MatchConditions {
		if c.Name == admission.ScopeCondition {
			got = strings.ReplaceAll(c.Expression, " ||\n", " ")
		}
	}
	if got != want {
		w.Errorf("%s: the scope is %s, want %s", reason, got, want)
	}
	if first := w.config().Webhooks[0].MatchConditions[0]; first.Name != "another" {
		w.Errorf("%s: another condition was taken out: %v", reason, w.config().Webhooks[0].MatchConditions)
	}
}

func TestScope(t *testing.T) {
	w := newScopeWorld(t)
	w.want("as the manifests have it", "all")
	w.keep()
	w.want("nothing is stored, and nothing on its way", "false")
	w.widen("a")
	w.want("before a is stored", "(a)")
	if again := w.keep(); again != 90*time.Second {
		t.Errorf("looked at again in %s", again)
	}
	w.want("a may still be on its way", "(a)")
	w.clock.Step(89 * time.Second)
	w.keep("b")
	w.want("what was stored without us is taken in at once", "(a) (b)")
	w.widen("b")
	w.clock.Step(89 * time.Second)
	w.keep("b")
	w.want("the last widening counts, though it changed no term", "(a) (b)")
	w.clock.Step(89 * time.Second)
	w.keep("b")
	w.clock.Step(time.Second)
	w.keep("b")
	w.want("a was never stored", "(b)")
	if _, pending := w.config().Annotations[admission.ScopeWidened]; pending {
		t.Error("the annotation stayed")
	}
	w.keep("c")
	w.want("b is gone, and nothing on its way", "(c)")
	if version := w.config().ResourceVersion; w.keep("c") != 0 || w.config().ResourceVersion != version {
		t.Error("it was written again without need")
	}
}

func TestScopeAcrossReplicas(t *testing.T) {
	w := newScopeWorld(t)
	w.keep("a")
	stale := w.config()
	w.widen("b")
	if _, err := w.scope.Keep(t.Context(), stale, nil); err == nil {
		t.Error("what was read before the widening was narrowed")
	}
	w.want("a widening that the leader has not seen", "(a) (b)")
	w.clock.Step(time.Hour)
	w.scope = w.another()
	w.keep()
	w.want("a new leader knows nothing of the time before", "(a) (b)")
	w.clock.Step(90 * time.Second)
	w.keep()
	w.want("until its own time is over", "false")
}

func TestScopeOfSomebodyElse(t *testing.T) {
	for _, theirs := range []string{"true", "a ? b : c", "(a) || b", "(a) ? (b) : (c)", "(a) ||\nb"} {
		w := newScopeWorld(t)
		w.keep("a")
		config := w.config()
		config.Webhooks[0].MatchConditions[1].Expression = theirs
		if err := w.client.Update(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		w.widen("b")
		w.want("a condition that is not ours: "+theirs, "all")
		w.clock.Step(time.Hour)
		w.keep("b")
		w.clock.Step(time.Hour)
		w.keep("b")
		w.want("it is brought back: "+theirs, "(b)")
	}
}

func TestScopeOfMany(t *testing.T) {
	w := newScopeWorld(t)
	var sixty []string
	for i := range 60 {
		sixty = append(sixty, fmt.Sprintf("a%02d", i))
	}
	w.keep(sixty...)
	if w.config().Webhooks[0].MatchConditions[1].Name != admission.ScopeCondition {
		t.Error("60 terms are not too many")
	}
	w.widen("b")
	w.want("one more than 60", "all")
	w.clock.Step(time.Hour)
	w.keep("b")
	w.clock.Step(time.Hour)
	w.keep(strings.Repeat("x", 9000))
	w.want("more than 8 KB", "all")
}

func TestScopeThatCannotBeWritten(t *testing.T) {
	w := newScopeWorld(t)
	w.keep()
	w.fail = errors.New("refused")
	err := w.scope.Widen(t.Context(), "a", "x")
	if err == nil || !strings.Contains(err.Error(), "write mutatingwebhookconfiguration holdfast: refused") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.fail = nil
	slow := &admission.Scope{Client: w.client, Clock: w.clock.FakeClock, Configuration: "holdfast", Hook: scopedHook}
	cancel()
	if err := slow.Widen(ctx, "a", "x"); err == nil {
		t.Error("it was widened for somebody who does not wait until that is known")
	}
	gone := &admission.Scope{Client: w.client, Clock: w.clock, Configuration: "none", Hook: scopedHook}
	if err := gone.Widen(t.Context(), "a", "x"); err != nil {
		t.Errorf("nothing is registered yet, and later everything will be asked about: %v", err)
	}
}

// An operator beside the cluster writes its configuration itself, and leaves the scope as it is.
func TestRegisteredKeepsTheScope(t *testing.T) {
	w := newScopeWorld(t)
	w.keep("a")
	targets := admission.Registered(w.client, "holdfast", scopedHooks(), admission.Endpoint{Host: "127.0.0.1:1"})
	for range 2 {
		for _, target := range targets {
			if _, err := target.Inject(t.Context(), []byte("OTHER")); err != nil {
				t.Fatal(err)
			}
		}
		w.want("after a new address and certificate", "(a)")
	}
	version := w.config().ResourceVersion
	if _, err := targets[0].Inject(t.Context(), []byte("OTHER")); err != nil || w.config().ResourceVersion != version {
		t.Errorf("it was written again without need: %v", err)
	}
	if got := string(w.config().Webhooks[0].ClientConfig.CABundle); got != "OTHER" {
		t.Errorf("the bundle is %s", got)
	}
}

func TestPrepare(t *testing.T) {
	prepared, refuse := 0, error(nil)
	hooks := admission.ForKind(testScheme(t), corev1.SchemeGroupVersion.WithResource("configmaps"), nil, admission.Kind[*corev1.ConfigMap]{
		Validate: configMapKind().Validate,
		Prepare:  func(context.Context, *corev1.ConfigMap, *corev1.ConfigMap) error { prepared++; return refuse },
	})
	if hooks[0].SideEffects != admissionregistrationv1.SideEffectClassNoneOnDryRun {
		t.Errorf("the API server is told of the side effects %q", hooks[0].SideEffects)
	}
	for _, tc := range []struct {
		reason, level string
		dryRun        bool
		err           error
		prepared      int
		code          int32
	}{
		{reason: "a valid object", level: "info", prepared: 1},
		{reason: "a dry run", level: "info", dryRun: true, err: errors.New("no"), prepared: 0},
		{reason: "one that is refused anyway", level: "loud", prepared: 0, code: 422},
		{reason: "what cannot be prepared", level: "info", err: errors.New("the API server is away"), prepared: 1, code: 503},
	} {
		prepared, refuse = 0, tc.err
		r := hooks[0].Handler.Handle(t.Context(), ctrl.Request{AdmissionRequest: admissionv1.AdmissionRequest{
			Name: "x", Operation: admissionv1.Create, DryRun: &tc.dryRun,
			Object: runtime.RawExtension{Raw: []byte(`{"metadata":{"name":"x"},"data":{"level":"` + tc.level + `"}}`)},
		}})
		if r.Allowed != (tc.code == 0) || prepared != tc.prepared || !r.Allowed && r.Result.Code != tc.code {
			t.Errorf("%s: got %+v, prepared %d times", tc.reason, r, prepared)
		}
		if tc.code == 503 && r.Result.Message != "ConfigMap x: the API server is away; try again" {
			t.Errorf("%s: told %q", tc.reason, r.Result.Message)
		}
	}
}
