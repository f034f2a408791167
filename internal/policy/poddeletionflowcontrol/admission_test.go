package poddeletionflowcontrol

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// talk is the manifest by which the kind is known.
const talk = `
apiVersion: policy.kruise.io/v1alpha1
kind: PodDeletionFlowControl
metadata:
  name: global
spec:
  limitRules:
  - interval: 10m
    limit: 100
  - interval: 1h
    limit: 500
  - interval: 24h
    limit: 5000
  whiteListSelector:
    matchExpressions:
    - key: app.kubernetes.io/managed-by
      operator: In
      values: [batch]
`

func manifest(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestManifests(t *testing.T) {
	env := testkit.APIServer(t)
	for _, test := range []struct {
		reason string
		spec   string // the spec, in one line
		want   []string
	}{
		{"the talk's, as it is", "", nil},
		{"one rule", "{limitRules: [{interval: 90s, limit: 1}]}", nil},
		{"every field", "{limitRules: [{interval: 1h, limit: 5}], mode: Observe, selector: {matchLabels: {a: b}}, namespaceSelector: {}, " +
			"exempt: {users: [jane], groups: [sre]}, enforceFor: [Preemption, TaintEviction], " +
			"circuitBreaker: {denials: 5, interval: 1m, coolDown: 5m}}", nil},
		{"no rules", "{limitRules: []}", []string{"spec.limitRules"}},
		{"rules left out", "{}", []string{"spec.limitRules"}},
		{"1 h below 10 min", "{limitRules: [{interval: 10m, limit: 100}, {interval: 1h, limit: 50}]}", []string{"spec.limitRules", "contradict each other", "raise the longer"}},
		{"the same, in the other order", "{limitRules: [{interval: 1h, limit: 50}, {interval: 600s, limit: 100}]}", []string{"contradict each other"}},
		{"a negative interval", "{limitRules: [{interval: -10m, limit: 100}]}", []string{"spec.limitRules[0].interval", "at least 1s", "such as 10m"}},
		{"no interval", "{limitRules: [{interval: 0s, limit: 100}]}", []string{"spec.limitRules[0].interval", "at least 1s"}},
		{"an interval of nothing known", "{limitRules: [{interval: ten minutes, limit: 100}]}", []string{"spec.limitRules[0].interval"}},
		{"an interval in days", "{limitRules: [{interval: 1d, limit: 100}]}", []string{"spec.limitRules[0].interval"}},
		{"longer than is remembered", "{limitRules: [{interval: 1000h, limit: 100}]}", []string{"spec.limitRules[0].interval", "at most 168h"}},
		{"one interval twice", "{limitRules: [{interval: 60m, limit: 5}, {interval: 1h, limit: 9}]}", []string{"spec.limitRules", "same interval"}},
		{"a limit that allows nothing", "{limitRules: [{interval: 1h, limit: 0}]}", []string{"spec.limitRules[0].limit", "at least 1"}},
		{"a negative limit", "{limitRules: [{interval: 1h, limit: -5}]}", []string{"spec.limitRules[0].limit", "at least 1"}},
		{"a white list of everything", "{limitRules: [{interval: 1h, limit: 5}], whiteListSelector: {}}", []string{"spec.whiteListSelector", "matches every pod"}},
		{"a white list of nothing named", "{limitRules: [{interval: 1h, limit: 5}], whiteListSelector: {matchLabels: {}}}", []string{"spec.whiteListSelector", "matches every pod"}},
		{"everybody exempt", "{limitRules: [{interval: 1h, limit: 5}], exempt: {groups: [system:authenticated]}}", []string{"spec.exempt.groups", "everybody"}},
		{"an unknown mode", "{limitRules: [{interval: 1h, limit: 5}], mode: Maybe}", []string{"spec.mode", "Enforce"}},
		{"an unknown system deletion", "{limitRules: [{interval: 1h, limit: 5}], enforceFor: [Kubelet]}", []string{"spec.enforceFor[0]"}},
		{"a breaker that never closes", "{limitRules: [{interval: 1h, limit: 5}], circuitBreaker: {coolDown: 0s}}", []string{"spec.circuitBreaker.coolDown", "from 1s"}},
		{"a breaker without denials", "{limitRules: [{interval: 1h, limit: 5}], circuitBreaker: {denials: 0}}", []string{"spec.circuitBreaker.denials"}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			object := manifest(t, talk)
			if test.spec != "" {
				object = manifest(t, "{apiVersion: policy.kruise.io/v1alpha1, kind: PodDeletionFlowControl, metadata: {name: global}, spec: "+test.spec+"}")
			}
			err := env.Client.Create(t.Context(), object, client.DryRunAll)
			if test.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

func TestValidate(t *testing.T) {
	labels := func(pairs ...string) *metav1.LabelSelector {
		s := &metav1.LabelSelector{MatchLabels: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			s.MatchLabels[pairs[i]] = pairs[i+1]
		}
		return s
	}
	expression := func(key string, operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
	}
	for _, test := range []struct {
		reason  string
		change  func(p *v1alpha1.PodDeletionFlowControl)
		refused string
		warned  string
	}{
		{reason: "nothing wrong", change: func(*v1alpha1.PodDeletionFlowControl) {}},
		{reason: "a white list that holds all that the selector picks", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.Selector, p.Spec.WhiteListSelector = labels("app", "web", "tier", "front"), labels("app", "web")
		}, refused: "spec.whiteListSelector: Invalid value: \"app=web\": it matches every pod that spec.selector"},
		{reason: "a white list within the selector", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.Selector, p.Spec.WhiteListSelector = labels("app", "web"), labels("app", "web", "tier", "front")
		}},
		{reason: "a selector that cannot be read", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.Selector = expression("a", "Near")
		}, refused: "spec.selector"},
		{reason: "a white list of all that lack a label", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.WhiteListSelector = expression("protected", metav1.LabelSelectorOpDoesNotExist)
		}, warned: "every pod without those labels"},
		{reason: "a rule that cannot matter", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.LimitRules = []v1alpha1.DeletionLimitRule{rule(10*time.Minute, 100), rule(time.Hour, 700)}
		}, warned: "spec.limitRules[1] has no effect: limitRules[0] allows 600 in 1h at most"},
		{reason: "rules that contradict each other, without the schema", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.LimitRules = []v1alpha1.DeletionLimitRule{rule(10*time.Minute, 100), rule(time.Hour, 50), rule(-time.Hour, 0)}
		}, refused: "limitRules[0] and limitRules[1] contradict each other: 100 in 10m, but 50 in 1h"},
		{reason: "a namespace that is never limited", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.NamespaceSelector = expression("kubernetes.io/metadata.name", metav1.LabelSelectorOpIn, "shop", "kube-system")
		}, warned: "picks kube-system, whose pods are never limited"},
		{reason: "all namespaces but one", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.NamespaceSelector = expression("kubernetes.io/metadata.name", metav1.LabelSelectorOpNotIn, "shop")
		}},
		{reason: "observing", change: func(p *v1alpha1.PodDeletionFlowControl) { p.Spec.Mode = v1alpha1.Observe }, warned: "none is denied"},
		{reason: "holding up Kubernetes", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.EnforceFor = []v1alpha1.SystemDeletion{v1alpha1.TaintEviction}
		}, warned: "stay on a node that is lost"},
		{reason: "the controllers exempt", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Spec.Exempt = &v1alpha1.DeletionExemptions{Users: []string{"system:kube-controller-manager"}}
		}, warned: "Kubernetes's own controllers"},
		{reason: "closing no number", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Annotations = map[string]string{v1alpha1.CloseBreaker: "yes"}
		}, refused: "must be the number of the trip that is over: 2"},
		{reason: "closing a trip to come", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Annotations = map[string]string{v1alpha1.CloseBreaker: "3"}
		}, refused: "has not happened yet"},
		{reason: "closing the last trip", change: func(p *v1alpha1.PodDeletionFlowControl) {
			p.Annotations = map[string]string{v1alpha1.CloseBreaker: "2"}
		}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := policyOf(rule(10*time.Minute, 100), rule(time.Hour, 500))
			p.Status.Breaker.Trips = 2
			test.change(p)
			warnings, errs := Validate(t.Context(), nil, p)
			if (test.refused == "") != (len(errs) == 0) || !strings.Contains(fmt.Sprint(errs.ToAggregate()), test.refused) {
				t.Errorf("refused: %v, want %q", errs, test.refused)
			}
			if all := strings.Join(warnings, "\n"); (test.warned == "") != (all == "") || !strings.Contains(all, test.warned) {
				t.Errorf("warned: %v, want %q", warnings, test.warned)
			}
		})
	}
}
