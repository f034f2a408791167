package sidecarset_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// registered counts what the API server asks about the pods of one namespace, while the registration is kept by hand.
type registered struct {
	*testing.T
	env   *testkit.Env
	ns    string
	asked atomic.Int32
	clock *testclock.FakeClock
	keeps *sidecarset.Registration
	cache client.Client
}

func newRegistered(t *testing.T) *registered {
	t.Helper()
	env := testkit.APIServer(t)
	r := &registered{T: t, env: env, ns: env.Namespace(t), clock: testclock.NewFakeClock(time.Now()), cache: cached(t, env)}
	r.keeps = sidecarset.NewRegistration(env.Client, r.clock, testConfiguration)
	hooks := sidecarset.Hooks(sidecarset.AdmissionDeps{
		Scheme: env.Scheme, Cache: r.cache, Client: env.Client, Clock: clock.RealClock{}, SystemNamespace: env.Namespace(t),
		Configuration: testConfiguration,
	})
	inner := hooks[0].Handler
	hooks[0].Handler = ctrl.HandlerFunc(func(ctx context.Context, req ctrl.Request) ctrl.Response {
		if req.Namespace == r.ns {
			r.asked.Add(1)
		}
		return inner.Handle(ctx, req)
	})
	env.ServeHooks(t, testConfiguration, hooks)
	return r
}

func (r *registered) config() *admissionregistrationv1.MutatingWebhookConfiguration {
	r.Helper()
	config := &admissionregistrationv1.MutatingWebhookConfiguration{}
	if err := r.env.Client.Get(r.Context(), types.NamespacedName{Name: testConfiguration}, config); err != nil {
		r.Fatal(err)
	}
	return config
}

func (r *registered) pass() {
	r.Helper()
	if _, err := r.keeps.Reconcile(r.Context(), r.config()); err != nil {
		r.Fatal(err)
	}
}

// asks tells whether the API server asks about a pod with the label.
func (r *registered) asks(app string) bool {
	r.Helper()
	before := r.asked.Load()
	_, err := web(r, r.env, r.ns, labelled("app", app))
	if err != nil {
		r.Fatal(err)
	}
	return r.asked.Load() > before
}

// soon waits until the API server has heard of a change.
func (r *registered) soon(what, app string, want bool) {
	r.Helper()
	testkit.Eventually(r, 10*time.Second, what, func(context.Context) error {
		if r.asks(app) != want { //nolint:contextcheck // the test's own
			return errors.New("not yet")
		}
		return nil
	})
}

func selecting(app string) edit {
	return func(set *appsv1beta1.SidecarSet) { set.Spec.Selector.MatchLabels["app"] = app }
}

func TestPodsThatNoSetSelectsAreNotAskedAbout(t *testing.T) {
	r := newRegistered(t)
	r.soon("as the manifests have it, all pods are asked about", "one", true)
	r.pass()
	r.soon("without a set none is", "one", false)

	set := made(t, r.env, r.cache, r.ns, selecting("one"))
	p, err := web(t, r.env, r.ns, labelled("app", "one"))
	if err != nil || names(p) != "log=v1 main=v1" {
		t.Errorf("the first pod after the set: %s (%v)", names(p), err)
	}
	if r.asks("two") {
		t.Error("a pod that no set selects is asked about")
	}
	r.pass()
	if !r.asks("one") {
		t.Error("what a set selects was taken out of the scope")
	}

	selecting("two")(set)
	if err := r.env.Client.Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	shown(t, r.cache, set)
	if !r.asks("two") {
		t.Error("a pod of the changed selector is not asked about")
	}
	r.clock.Step(2 * time.Minute)
	r.pass()
	if !r.asks("one") {
		t.Error("the scope was narrowed though the widening has only just been seen")
	}
	r.clock.Step(2 * time.Minute)
	r.pass()
	r.soon("the former selector is taken out", "one", false)
	if !r.asks("two") {
		t.Error("the new one went with it")
	}

	if err := r.env.Client.Delete(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	r.pass()
	r.soon("the set is gone", "two", false)
}

func TestManifestsThatAreAppliedAgain(t *testing.T) {
	r := newRegistered(t)
	made(t, r.env, r.cache, r.ns, selecting("one"))
	config := r.config()
	for i := range config.Webhooks {
		config.Webhooks[i].MatchConditions = nil
	}
	config.Annotations = nil
	if err := r.env.Client.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	r.soon("all pods are asked about", "two", true)
	r.pass()
	r.soon("only selected ones are", "two", false)
	if !r.asks("one") {
		t.Error("a selected pod is not asked about")
	}
}

func TestDryRunsWidenNothing(t *testing.T) {
	r := newRegistered(t)
	r.pass()
	before := r.config().ResourceVersion
	set := log(selecting("one"))
	if err := r.env.Client.Create(t.Context(), set, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if after := r.config().ResourceVersion; after != before {
		t.Error("a dry run has written")
	}
}

// A condition of 8 KB, the longest that is written, is one that the API server takes and works with.
func TestTheLongestScope(t *testing.T) {
	r := newRegistered(t)
	config := r.config()
	scope := &admission.Scope{Client: r.env.Client, Clock: r.clock, Configuration: testConfiguration, Hook: config.Webhooks[hookAt(config)].Name}
	var terms []string
	for i := range 50 {
		s := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{fmt.Sprintf("one-%d", i)}},
			{Key: fmt.Sprintf("absent-%d", i), Operator: metav1.LabelSelectorOpExists},
		}}
		terms = append(terms, admission.MatchesLabels(s))
	}
	terms = append(terms, admission.MatchesLabels(&metav1.LabelSelector{MatchLabels: map[string]string{"app": "last"}}))
	if _, err := scope.Keep(t.Context(), config, terms); err != nil {
		t.Fatal(err)
	}
	config = r.config()
	expression := ""
	for _, c := range config.Webhooks[hookAt(config)].MatchConditions {
		if c.Name == admission.ScopeCondition {
			expression = c.Expression
		}
	}
	if len(expression) < 7000 {
		t.Fatalf("the condition has %d bytes", len(expression))
	}
	r.soon("other pods are not asked about", "two", false)
	if !r.asks("last") {
		t.Error("a pod that meets the last term is not asked about")
	}
	t.Logf("%d bytes", len(expression))
}

func hookAt(config *admissionregistrationv1.MutatingWebhookConfiguration) int {
	for i := range config.Webhooks {
		if config.Webhooks[i].FailurePolicy != nil && *config.Webhooks[i].FailurePolicy == admissionregistrationv1.Ignore {
			return i
		}
	}
	return -1
}
