package breakglass_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/policy"
	"github.com/holdfast-io/holdfast/internal/policy/breakglass"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func glass(name string, changes ...func(*v1alpha1.BreakGlass)) *v1alpha1.BreakGlass {
	g := &v1alpha1.BreakGlass{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.BreakGlassSpec{
			Subjects:     []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectUser, Name: "alice"}},
			Guards:       []v1alpha1.BreakGlassGuard{v1alpha1.OpensPodUnavailableBudget, v1alpha1.OpensDeletionProtection},
			Reason:       "INC-42: the database must be moved",
			ExpiresAfter: "30m",
		},
	}
	for _, change := range changes {
		change(g)
	}
	return g
}

// room is a keeper on the API server of the tests, whose objects are gone afterwards.
type room struct {
	*breakglass.Keeper
	env   *testkit.Env
	clock *testclock.FakeClock
	told  [2][]string
}

func newRoom(t *testing.T) *room {
	t.Helper()
	env := testkit.APIServer(t)
	r := &room{env: env, clock: testclock.NewFakeClock(time.Now())}
	r.Keeper = breakglass.New(breakglass.Deps{
		Client: env.Client, Live: env.Client, Clock: r.clock,
		Tell: func(_ context.Context, users, groups []string) error {
			r.told = [2][]string{users, groups}
			return nil
		},
	})
	t.Cleanup(func() {
		if err := env.Client.DeleteAllOf(context.WithoutCancel(t.Context()), &v1alpha1.BreakGlass{}); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *room) create(t *testing.T, g *v1alpha1.BreakGlass) *v1alpha1.BreakGlass {
	t.Helper()
	if err := r.env.Client.Create(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return g
}

func (r *room) pass(t *testing.T, name string) *v1alpha1.BreakGlass {
	t.Helper()
	g := r.get(t, name)
	if _, err := r.Reconcile(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return r.get(t, name)
}

func (r *room) get(t *testing.T, name string) *v1alpha1.BreakGlass {
	t.Helper()
	g := &v1alpha1.BreakGlass{}
	if err := r.env.Client.Get(t.Context(), client.ObjectKey{Name: name}, g); err != nil {
		t.Fatal(err)
	}
	return g
}

func wish(changes ...func(*policy.Wish)) policy.Wish {
	w := policy.Wish{
		Guard: "PodUnavailableBudget", User: authenticationv1.UserInfo{Username: "alice", Groups: []string{"on-call"}},
		Operation: "DELETE", Kind: schema.GroupKind{Kind: "Pod"}, Namespace: "shop", Name: "web-0", Labels: map[string]string{"app": "web"},
	}
	for _, change := range changes {
		change(&w)
	}
	return w
}

func TestOpens(t *testing.T) {
	for _, test := range []struct {
		reason string
		glass  func(*v1alpha1.BreakGlass)
		wish   func(*policy.Wish)
		after  time.Duration
		opens  bool
	}{
		{reason: "the user who is named", opens: true},
		{reason: "another user", wish: func(w *policy.Wish) { w.User.Username = "bob" }},
		{reason: "another guard", wish: func(w *policy.Wish) { w.Guard = "PodDeletionFlowControl" }},
		{
			reason: "a group", opens: true,
			glass: func(g *v1alpha1.BreakGlass) {
				g.Spec.Subjects = []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectGroup, Name: "on-call"}}
			},
		},
		{
			reason: "a user with the name of the group",
			glass: func(g *v1alpha1.BreakGlass) {
				g.Spec.Subjects = []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectGroup, Name: "alice"}}
			},
		},
		{
			reason: "a service account", opens: true,
			glass: func(g *v1alpha1.BreakGlass) {
				g.Spec.Subjects = []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectServiceAccount, Namespace: "ops", Name: "mover"}}
			},
			wish: func(w *policy.Wish) { w.User.Username = "system:serviceaccount:ops:mover" },
		},
		{reason: "within the namespaces", glass: func(g *v1alpha1.BreakGlass) { g.Spec.Namespaces = []string{"shop"} }, opens: true},
		{reason: "outside of the namespaces", glass: func(g *v1alpha1.BreakGlass) { g.Spec.Namespaces = []string{"bank"} }},
		{
			reason: "the namespace itself", opens: true,
			glass: func(g *v1alpha1.BreakGlass) { g.Spec.Namespaces = []string{"shop"} },
			wish: func(w *policy.Wish) {
				w.Guard, w.Kind, w.Namespace, w.Name = "DeletionProtection", schema.GroupKind{Kind: "Namespace"}, "", "shop"
			},
		},
		{
			reason: "an object of no namespace",
			glass:  func(g *v1alpha1.BreakGlass) { g.Spec.Namespaces = []string{"shop"} },
			wish: func(w *policy.Wish) {
				w.Guard, w.Kind, w.Namespace = "DeletionProtection", schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}, ""
			},
		},
		{
			reason: "the labels fit", opens: true,
			glass: func(g *v1alpha1.BreakGlass) {
				g.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
			},
		},
		{
			reason: "the labels do not fit",
			glass: func(g *v1alpha1.BreakGlass) {
				g.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}
			},
		},
		{reason: "the kind fits", glass: func(g *v1alpha1.BreakGlass) { g.Spec.Kinds = []v1alpha1.BreakGlassKind{{Kind: "Pod"}} }, opens: true},
		{
			reason: "the kind does not fit",
			glass: func(g *v1alpha1.BreakGlass) {
				g.Spec.Kinds = []v1alpha1.BreakGlassKind{{Group: "apps", Kind: "Deployment"}}
			},
		},
		{reason: "a minute before its end", after: 29 * time.Minute, opens: true},
		{reason: "expired", after: 30*time.Minute + time.Second},
	} {
		t.Run(test.reason, func(t *testing.T) {
			r := newRoom(t)
			g := glass("incident")
			if test.glass != nil {
				test.glass(g)
			}
			r.create(t, g)
			r.clock.SetTime(g.CreationTimestamp.Add(test.after))
			w := wish()
			if test.wish != nil {
				test.wish(&w)
			}
			name, err := r.Opens(t.Context(), w)
			if err != nil || (name == "incident") != test.opens {
				t.Errorf("it opens %q, %v", name, err)
			}
		})
	}
}

func TestLife(t *testing.T) {
	r := newRoom(t)
	r.create(t, glass("incident"))
	r.create(t, glass("other", func(g *v1alpha1.BreakGlass) {
		g.Spec.Subjects = []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectGroup, Name: "on-call"}}
	}))
	r.create(t, glass("pods", func(g *v1alpha1.BreakGlass) {
		g.Spec.Subjects = []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectUser, Name: "carol"}}
		g.Spec.Guards = []v1alpha1.BreakGlassGuard{v1alpha1.OpensPodUnavailableBudget}
	}))
	g := r.pass(t, "incident")
	if !meta.IsStatusConditionTrue(g.Status.Conditions, "Active") || g.Status.ExpiresAt.Sub(g.CreationTimestamp.Time) != 30*time.Minute {
		t.Errorf("the status is %+v", g.Status)
	}
	if got := fmt.Sprint(r.told); got != "[[alice] [on-call]]" {
		t.Errorf("the admission policies are told %s", got)
	}
	var uses []policy.Decision
	for i := range 30 {
		d := policy.NewDecision(r.clock.Now().Add(time.Duration(i)*time.Second), authenticationv1.UserInfo{Username: "alice"})
		d.Operation, d.Kind, d.Namespace, d.Name, d.Guard, d.BreakGlass = "DELETE", "Pod", "shop", fmt.Sprint("web-", i), "PodUnavailableBudget shop/web", "incident"
		uses = append(uses, d)
	}
	r.Used(t.Context(), uses[:25])
	r.Used(t.Context(), append(uses[25:], policy.NewDecision(r.clock.Now(), authenticationv1.UserInfo{})))
	g = r.get(t, "incident")
	if g.Status.Uses != 30 || len(g.Status.LastUses) != 20 || g.Status.LastUses[0].Object != "Pod shop/web-29" ||
		g.Status.LastUses[0].User != "alice" || g.Status.LastUses[0].Decision != uses[29].ID {
		t.Errorf("the uses are %d, the last %+v", g.Status.Uses, g.Status.LastUses)
	}
	r.clock.Step(31 * time.Minute)
	g = r.pass(t, "incident")
	if c := meta.FindStatusCondition(g.Status.Conditions, "Active"); c == nil || c.Status != metav1.ConditionFalse || c.Reason != "Expired" {
		t.Errorf("after its end the conditions are %+v", g.Status.Conditions)
	}
	if g.Status.Uses != 30 {
		t.Errorf("its uses are forgotten: %d", g.Status.Uses)
	}
	if got := fmt.Sprint(r.told); got != "[[] []]" {
		t.Errorf("after its end the admission policies are told %s", got)
	}
	r.clock.Step(breakglass.Retention)
	if _, err := r.Reconcile(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	err := r.env.Client.Get(t.Context(), client.ObjectKeyFromObject(g), g)
	if !apierrors.IsNotFound(err) {
		t.Errorf("a week after its end it is still there: %v", err)
	}
}

// What makes no sense is refused by the definition itself, operator or not.
func TestRules(t *testing.T) {
	r := newRoom(t)
	for _, test := range []struct {
		reason, want string
		change       func(*v1alpha1.BreakGlass)
	}{
		{"no subject", "subjects", func(g *v1alpha1.BreakGlass) { g.Spec.Subjects = nil }},
		{"no guard", "guards", func(g *v1alpha1.BreakGlass) { g.Spec.Guards = nil }},
		{"a guard that is none", "guards", func(g *v1alpha1.BreakGlass) { g.Spec.Guards = []v1alpha1.BreakGlassGuard{"All"} }},
		{"no reason", "reason", func(g *v1alpha1.BreakGlass) { g.Spec.Reason = "" }},
		{"hardly a reason", "reason", func(g *v1alpha1.BreakGlass) { g.Spec.Reason = "because" }},
		{"no end", "expiresAfter", func(g *v1alpha1.BreakGlass) { g.Spec.ExpiresAfter = "" }},
		{"an end that is far", "from 1m to 24h", func(g *v1alpha1.BreakGlass) { g.Spec.ExpiresAfter = "25h" }},
		{"an end at once", "from 1m to 24h", func(g *v1alpha1.BreakGlass) { g.Spec.ExpiresAfter = "10s" }},
		{"a negative time", "expiresAfter", func(g *v1alpha1.BreakGlass) { g.Spec.ExpiresAfter = "-1h" }},
		{"no time at all", "expiresAfter", func(g *v1alpha1.BreakGlass) { g.Spec.ExpiresAfter = "soon" }},
		{"everybody", "this group is everybody", func(g *v1alpha1.BreakGlass) {
			g.Spec.Subjects = []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectGroup, Name: "system:authenticated"}}
		}},
		{"a service account without namespace", "needs its namespace", func(g *v1alpha1.BreakGlass) {
			g.Spec.Subjects = []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectServiceAccount, Name: "mover"}}
		}},
		{"a user with a namespace", "needs its namespace", func(g *v1alpha1.BreakGlass) {
			g.Spec.Subjects = []v1alpha1.BreakGlassSubject{{Kind: v1alpha1.SubjectUser, Name: "alice", Namespace: "x"}}
		}},
	} {
		err := r.env.Client.Create(t.Context(), glass("bad", test.change))
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.reason, err)
		}
	}
	g := r.create(t, glass("good"))
	g.Spec.ExpiresAfter = "2h"
	if err := r.env.Client.Update(t.Context(), g); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "cannot be changed or prolonged") {
		t.Errorf("it was prolonged: %v", err)
	}
}

func TestCreator(t *testing.T) {
	t.Parallel()
	handler := breakglass.Hooks()[0].Handler
	encode := func(g *v1alpha1.BreakGlass) runtime.RawExtension {
		text, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		return runtime.RawExtension{Raw: text}
	}
	annotated := func(by string) *v1alpha1.BreakGlass {
		return glass("g", func(g *v1alpha1.BreakGlass) { g.Annotations = map[string]string{v1alpha1.BreakGlassCreator: by} })
	}
	for _, test := range []struct {
		reason   string
		old, now *v1alpha1.BreakGlass
		patched  string
	}{
		{"no annotation", nil, glass("g"), "mallory"},
		{"an annotation that names another", nil, annotated("alice"), "mallory"},
		{"the right annotation", nil, annotated("mallory"), ""},
		{"it is kept", annotated("alice"), annotated("alice"), ""},
		{"it is put back", annotated("alice"), annotated("mallory"), "alice"},
		{"it is put back when taken away", annotated("alice"), glass("g"), "alice"},
	} {
		req := ctrl.Request{AdmissionRequest: admissionv1.AdmissionRequest{
			Operation: admissionv1.Create, Object: encode(test.now), UserInfo: authenticationv1.UserInfo{Username: "mallory"},
		}}
		if test.old != nil {
			req.Operation, req.OldObject = admissionv1.Update, encode(test.old)
		}
		got := handler.Handle(t.Context(), req)
		if !got.Allowed || (len(got.Patches) > 0) != (test.patched != "") {
			t.Errorf("%s: %+v", test.reason, got)
			continue
		}
		if test.patched != "" && !strings.Contains(fmt.Sprint(got.Patches[0].Value), test.patched) {
			t.Errorf("%s: the patch is %+v", test.reason, got.Patches)
		}
	}
	if got := handler.Handle(t.Context(), ctrl.Request{}); got.Allowed {
		t.Error("what cannot be read was let in")
	}
}
