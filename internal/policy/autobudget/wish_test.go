package autobudget

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestWish(t *testing.T) {
	t.Parallel()
	half := intstr.FromString("50%")
	const pub = "policy.kruise.io/generate-pub"
	for _, test := range []struct {
		reason      string
		annotations map[string]string
		strategy    string
		rule        Rule
		want        string
		mistake     string
	}{
		{"nothing is asked", nil, "25%", Rule{}, "", ""},
		{"the manifest of the talk", map[string]string{pub + "-maxUnavailable": "20%"}, "25%", Rule{}, "maxUnavailable 20%", ""},
		{"a number", map[string]string{pub: "true", pub + "-maxUnavailable": "2"}, "25%", Rule{}, "maxUnavailable 2", ""},
		{"at least", map[string]string{pub + "-minAvailable": "80%"}, "25%", Rule{}, "minAvailable 80%", ""},
		{"by the strategy", map[string]string{pub: "true"}, "25%", Rule{}, "maxUnavailable 25%", ""},
		{"a rollout that takes nothing away says nothing of drains", map[string]string{pub: "true"}, "0", Rule{}, "maxUnavailable 1", ""},
		{"none, although the cluster makes one", map[string]string{pub: "false"}, "25%", Rule{Pub: &Default{}}, "", ""},
		{"none, although a number is there", map[string]string{pub: "false", pub + "-maxUnavailable": "2"}, "25%", Rule{}, "", ""},
		{"by the cluster", nil, "25%", Rule{Pub: &Default{MinAvailable: &half}}, "minAvailable 50%", ""},
		{"by the cluster, with the strategy's", nil, "30%", Rule{Pub: &Default{}}, "maxUnavailable 30%", ""},
		{"a rule for the other kind of budget", nil, "30%", Rule{Pdb: &Default{}}, "", ""},
		{"the annotation wins", map[string]string{pub + "-maxUnavailable": "3"}, "25%", Rule{Pub: &Default{MinAvailable: &half}}, "maxUnavailable 3", ""},
		{"the other family's annotation", map[string]string{"policy.kruise.io/generate-pdb": "true"}, "25%", Rule{}, "", ""},
		{"both", map[string]string{pub + "-maxUnavailable": "3", pub + "-minAvailable": "3"}, "25%", Rule{}, "maxUnavailable 25%", "exclude one another"},
		{"no number", map[string]string{pub + "-maxUnavailable": "some"}, "25%", Rule{}, "maxUnavailable 25%", `"some"`},
		{"negative", map[string]string{pub + "-maxUnavailable": "-1"}, "25%", Rule{}, "maxUnavailable 25%", "0 or more"},
		{"more than all", map[string]string{pub + "-minAvailable": "150%"}, "25%", Rule{}, "maxUnavailable 25%", `"100%"`},
		{"neither yes nor no", map[string]string{pub: "yes"}, "25%", Rule{}, "maxUnavailable 25%", `"true" or "false"`},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			got := wish(facts{annotations: test.annotations, strategy: intstr.Parse(test.strategy)}, unavailable(), test.rule)
			text := ""
			if got.limits != nil {
				text = got.limits.String()
			}
			if text != test.want || !strings.Contains(got.mistake, test.mistake) || (got.mistake == "") != (test.mistake == "") {
				t.Errorf("got %q, mistake %q; want %q, %q", text, got.mistake, test.want, test.mistake)
			}
		})
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ reason, text, problem string }{
		{"nothing", "", ""},
		{"all of it", "rules:\n- namespaceSelector: {matchLabels: {tier: gold}}\n  kinds: [Deployment, AdvancedStatefulSet]\n  pub: {maxUnavailable: 25%}\n  pdb: {minAvailable: 1}", ""},
		{"the strategy's", "rules: [{pub: {}}]", ""},
		{"no YAML", "rules: [", "defaults.yaml"},
		{"a field that there is not", "rules: [{pub: {}, namespaces: [a]}]", "namespaces"},
		{"a kind that there is not", "rules: [{kinds: [Pod], pub: {}}]", `"Pod"`},
		{"nothing to be made", "rules: [{kinds: [Deployment]}]", "pub: {}"},
		{"both limits", "rules: [{pub: {maxUnavailable: 1, minAvailable: 1}}]", "exclude"},
		{"a limit that is none", "rules: [{pub: {maxUnavailable: 1}}, {pdb: {maxUnavailable: 120%}}]", "rules[1]: pdb.maxUnavailable"},
		{"a selector that is none", "rules: [{namespaceSelector: {matchExpressions: [{key: a, operator: Like}]}, pub: {}}]", "namespaceSelector"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			_, err := Parse(test.text)
			if (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("got %v, want %q", err, test.problem)
			}
		})
	}
}

func TestFirstRule(t *testing.T) {
	t.Parallel()
	rules, err := Parse("rules:\n- namespaceSelector: {matchLabels: {tier: gold}}\n  kinds: [CloneSet]\n  pub: {maxUnavailable: 1}\n- kinds: [CloneSet]\n  pub: {maxUnavailable: 2}")
	if err != nil {
		t.Fatal(err)
	}
	gold := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"tier": "gold"}}}
	plain := &corev1.Namespace{}
	for _, test := range []struct {
		reason, kind string
		namespace    *corev1.Namespace
		want         string
	}{
		{"the first that matches", "CloneSet", gold, "1"},
		{"not its namespace", "CloneSet", plain, "2"},
		{"not its kind", "Deployment", gold, ""},
	} {
		got := ""
		if r := first(rules, test.kind, test.namespace); r.Pub != nil {
			got = r.Pub.MaxUnavailable.String()
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.reason, got, test.want)
		}
	}
}
