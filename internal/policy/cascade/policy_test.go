package cascade_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/policy/cascade"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// What the API server enforces while no webhook answers, by the policies alone.
func TestPolicies(t *testing.T) {
	env := testkit.APIServer(t)
	k := &kit{Env: env, ns: env.Namespace(t)}
	probe := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: "probe", Labels: labelled(newLabel, "Always")},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}},
	}
	k.create(t, probe)
	t.Cleanup(func() {
		for _, object := range cascade.Policies() {
			if err := k.Client.Delete(context.WithoutCancel(t.Context()), object); err != nil {
				t.Error(err)
			}
		}
	})
	k.install(t, probe)
	k.openings(t)
	// Taken away for long enough to be forgotten, and put there again, they are as good as new.
	for _, object := range cascade.Policies() {
		if err := k.Client.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, 20*time.Second, "the policies are forgotten", yes(func() (bool, string) {
		return k.Client.Delete(t.Context(), probe, client.DryRunAll) == nil, "they still hold"
	}))
	k.install(t, probe)
	k.openings(t)
	for _, test := range []struct {
		reason string
		object client.Object
		want   []string
	}{
		{"no label", k.deployment("plain", 3, nil), nil},
		{
			"replicas", k.deployment("web", 3, labelled(newLabel, "Cascading")),
			[]string{
				"Deployment web: forbidden by ResourcesProtectionDeletion", "still has 3 replicas", "scale it to 0",
				"kubectl label deployments web -n " + k.ns + " " + newLabel + "-",
			},
		},
		{"no replicas", k.deployment("none", 0, labelled(newLabel, "Cascading")), nil},
		{"Always", k.deployment("kept", 0, labelled(newLabel, "Always")), []string{"forbidden by ResourcesProtectionDeletion", "labelled " + newLabel + "=Always"}},
		{"the older spelling", k.deployment("older", 1, labelled(oldLabel, "true")), []string{"still has 1 replica,", oldLabel + "-"}},
		{"the older spelling says no", k.deployment("olderno", 1, labelled(oldLabel, "false")), nil},
		{"a claim is for the webhook to judge", k.claim("claim", labelled(newLabel, "Cascading")), nil},
	} {
		k.create(t, test.object)
		got := k.try(t, test.object)
		if (got == "") != (len(test.want) == 0) {
			t.Errorf("%s: the API server said %q", test.reason, got)
		}
		for _, part := range test.want {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q lacks %q", test.reason, got, part)
			}
		}
	}
	k.labels(t)
}

// install puts the policies there and waits until the API server has read them.
func (k *kit) install(t *testing.T, probe client.Object) {
	t.Helper()
	for _, object := range cascade.Policies() {
		k.create(t, object)
	}
	testkit.Eventually(t, 20*time.Second, "the policies hold", yes(func() (bool, string) {
		err := k.Client.Delete(t.Context(), probe, client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "Keep it"), fmt.Sprint(err)
	}))
}

// labels must mean something when they are set; those that are there already stay changeable.
func (k *kit) labels(t *testing.T) {
	t.Helper()
	for _, test := range []struct {
		label, value, want string
	}{
		{newLabel, "cascading", "use Always or Cascading"},
		{newLabel, "", "use Always or Cascading"},
		{oldLabel, "yes", `use "true" or "false"`},
	} {
		err := k.Client.Create(t.Context(), k.deployment("typo", 0, labelled(test.label, test.value)))
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("label %s=%s: %v", test.label, test.value, err)
		}
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: "odd", Labels: labelled(newLabel, "Cascading")},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}},
	}
	if err := k.Client.Create(t.Context(), service); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "means nothing to a Service") {
		t.Errorf("a Service labelled Cascading: %v", err)
	}
	good := k.deployment("good", 0, nil)
	k.create(t, good)
	good.Labels = labelled(newLabel, "Alway")
	if err := k.Client.Update(t.Context(), good); !apierrors.IsInvalid(err) {
		t.Errorf("an update to a value that means nothing: %v", err)
	}
}

// openings are left to the webhook, for the users that are named; while nobody is, nobody is let through.
func (k *kit) openings(t *testing.T) {
	t.Helper()
	kept := k.deployment("", 2, labelled(newLabel, "Always"))
	kept.GenerateName = "opened-"
	k.create(t, kept)
	door := &cascade.Door{Client: k.Client, Live: k.Client}
	as := func(user string, groups ...string) error {
		impersonated := rest.CopyConfig(k.Config)
		impersonated.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:masters")}
		c, err := client.New(impersonated, client.Options{Scheme: k.Scheme})
		if err != nil {
			t.Fatal(err)
		}
		return c.Delete(t.Context(), kept.DeepCopy(), client.DryRunAll)
	}
	if err := as("alice"); !apierrors.IsForbidden(err) {
		t.Errorf("before anybody is named: %v", err)
	}
	if err := door.Open(t.Context(), []string{"bob \"the\\ b\"", "alice"}, []string{"on-call"}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, "alice is left to the webhook", yes(func() (bool, string) {
		err := as("alice")
		return err == nil, fmt.Sprint(err)
	}))
	if err := as("carol", "on-call"); err != nil {
		t.Errorf("a member of the group: %v", err)
	}
	if err := as("bob \"the\\ b\""); err != nil {
		t.Errorf("a user whose name needs escapes: %v", err)
	}
	for _, user := range []string{"bob", "lice", "alic", "on-call"} {
		if err := as(user); !apierrors.IsForbidden(err) {
			t.Errorf("%s is named nowhere: %v", user, err)
		}
	}
	if err := door.Open(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, "nobody is let through any more", yes(func() (bool, string) {
		err := as("alice")
		return err != nil, "alice is let through"
	}))
}
