package admission_test

import (
	"context"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// What is as it should be is looked at and not written; what somebody has changed is put right.
func TestEnsured(t *testing.T) {
	env := testkit.APIServer(t)
	writes := 0
	watched, err := client.NewWithWatch(env.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := interceptor.NewClient(watched, interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			writes++
			return c.Patch(ctx, obj, patch, opts...)
		},
	})
	const expression = `object.metadata.name != "x"`
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "ensured", Labels: map[string]string{"ours": "yes"}},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: ptr.To(admissionregistrationv1.Fail),
			MatchConstraints: &admissionregistrationv1.MatchResources{
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"none"}, APIVersions: []string{"*"}, Resources: []string{"things"}},
				}}},
			},
			Variables:   []admissionregistrationv1.Variable{{Name: "others", Expression: "false"}},
			Validations: []admissionregistrationv1.Validation{{Expression: expression}},
		},
	}
	policy.SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"))
	t.Cleanup(func() { _ = env.Client.Delete(context.WithoutCancel(t.Context()), policy.DeepCopy()) })
	target := admission.Ensured(c, []client.Object{policy}, func(have, want client.Object) {
		from, is := have.(*admissionregistrationv1.ValidatingAdmissionPolicy)
		to, should := want.(*admissionregistrationv1.ValidatingAdmissionPolicy)
		if is && should {
			to.Spec.Variables = from.Spec.Variables
		}
	})[0]
	stored := &admissionregistrationv1.ValidatingAdmissionPolicy{}
	for _, step := range []struct {
		name   string
		change func()
		writes int
	}{
		{name: "it is not there", writes: 1},
		{name: "it is as it should be"},
		{name: "what others may write", change: func() { stored.Spec.Variables[0].Expression = "true" }},
		{name: "somebody has weakened an expression", change: func() { stored.Spec.Validations[0].Expression += " || true" }, writes: 1},
		{name: "somebody has taken a label away", change: func() { stored.Labels = nil }, writes: 1},
		{name: "somebody has let it fail open", change: func() { stored.Spec.FailurePolicy = ptr.To(admissionregistrationv1.Ignore) }, writes: 1},
		{name: "somebody has added an annotation, which is nobody's business", change: func() { stored.Annotations = map[string]string{"a": "b"} }},
	} {
		if step.change != nil {
			if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(policy), stored); err != nil {
				t.Fatal(err)
			}
			step.change()
			if err := env.Client.Update(t.Context(), stored); err != nil {
				t.Fatal(err)
			}
		}
		writes = 0
		if missing, err := target.Inject(t.Context(), nil); err != nil || missing {
			t.Fatalf("%s: missing %v, %v", step.name, missing, err)
		}
		if writes != step.writes {
			t.Errorf("%s: %d writes, want %d", step.name, writes, step.writes)
		}
		if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(policy), stored); err != nil {
			t.Fatal(err)
		}
		if got := stored.Spec.Validations[0].Expression; got != expression || *stored.Spec.FailurePolicy != admissionregistrationv1.Fail || stored.Labels["ours"] != "yes" {
			t.Errorf("%s: it is %+v", step.name, stored)
		}
	}
	if got := stored.Spec.Variables[0].Expression; got != "true" {
		t.Errorf("what others wrote became %q", got)
	}
}
