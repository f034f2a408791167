package podunavailablebudget

import (
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
)

// A budget that the API server does not ask says so, and why.
func TestUnasked(t *testing.T) {
	s := newScene(t)
	s.deployment("web", 2)
	s.pods("web", 2)
	hooks := func(policy admissionregistrationv1.FailurePolicyType, resources ...string) *admissionregistrationv1.ValidatingWebhookConfiguration {
		config := admission.Validating("unasked-"+s.namespace, []admission.Hook{{
			Name: "pods.unasked.holdfast.io", Path: "/x", FailurePolicy: policy,
			// Nobody serves it: it must not be asked.
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"none": "such"}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.OperationAll},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: resources},
			}},
		}}, admission.Endpoint{Host: "127.0.0.1:1"}, nil)
		return config
	}
	deletions := []policyv1beta1.PodOperation{policyv1beta1.PodDeleteOperation}
	for _, tc := range []struct {
		name    string
		config  *admissionregistrationv1.ValidatingWebhookConfiguration
		asks    []policyv1beta1.PodOperation
		guarded bool
		reason  string
		text    string
	}{
		{"all is asked", hooks(admissionregistrationv1.Fail, "pods", "pods/eviction", "pods/resize"), nil, true, "Enforced", ""},
		{"there is no webhook", nil, nil, true, "NoWebhook", "holdfast install"},
		{"evictions are not asked about", hooks(admissionregistrationv1.Fail, "pods", "pods/resize"), nil, true, "NoWebhook", "CREATE of pods/eviction"},
		{"nor need they be", hooks(admissionregistrationv1.Fail, "pods"), deletions, true, "Enforced", ""},
		{"what gets no answer passes", hooks(admissionregistrationv1.Ignore, "pods", "pods/eviction", "pods/resize"), nil, true, "NoWebhook", "failurePolicy Ignore"},
		{"the namespace is left alone", hooks(admissionregistrationv1.Fail, "pods", "pods/eviction", "pods/resize"), nil, false, "NamespaceNotGuarded", s.namespace},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.config != nil {
				if err := s.env.Client.Create(t.Context(), tc.config); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := s.env.Client.Delete(t.Context(), tc.config); err != nil {
						t.Error(err)
					}
				}()
			}
			pub := s.budget("web", "1", func(pub *policyv1beta1.PodUnavailableBudget) { pub.Spec.ProtectOperations = tc.asks })
			defer func() {
				if err := s.env.Client.Delete(t.Context(), pub); err != nil {
					t.Error(err)
				}
			}()
			r := s.lagging(nil).fresh()
			r.keeper.deps.Asked = &admission.Asked{Reader: s.env.Client, Name: "unasked-" + s.namespace, Clock: s.clock}
			r.keeper.deps.Guarded = func(namespace string) bool { return tc.guarded || namespace != s.namespace }
			r.reconcile("web")
			got := s.stored("web")
			status := metav1.ConditionFalse
			if tc.reason == "Enforced" {
				status = metav1.ConditionTrue
			}
			enforcedAs(t, got, policyv1beta1.BudgetEnforced, status, tc.reason)
			enforcedAs(t, got, policyv1beta1.BudgetReady, status, tc.reason)
			if c := condition(got, policyv1beta1.BudgetEnforced); c != nil && !strings.Contains(c.Message, tc.text) {
				t.Errorf("the message is %q, want %q in it", c.Message, tc.text)
			}
			if got.Status.TotalReplicas != 2 || got.Status.CurrentAvailable != 2 {
				t.Errorf("the figures are not told: %+v", got.Status)
			}
		})
	}
}

// A replica that does not lead hears of no budget's end, and remembers them for a while only.
func TestMemosAreBounded(t *testing.T) {
	s := newScene(t)
	r := s.lagging(nil)
	for i := range 20 * maxMemos {
		r.keeper.memo(types.NamespacedName{Namespace: s.namespace, Name: fmt.Sprint("b", i)})
		s.clock.Step(memoLife / maxMemos)
	}
	if n := len(r.keeper.budgets); n > 3*maxMemos {
		t.Errorf("%d budgets are remembered", n)
	}
}
