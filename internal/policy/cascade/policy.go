package cascade

import (
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Policies are what the API server enforces by itself, so that it holds while no operator answers: that nothing labelled
// Always goes, that no workload goes while it has replicas, and that no label says what nobody understands. They let nobody
// through until a Door says whom to leave to the webhook.
func Policies() []client.Object {
	var out []client.Object
	add := func(policy *admissionregistrationv1.ValidatingAdmissionPolicy) {
		binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			ObjectMeta: metav1.ObjectMeta{Name: policy.Name},
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName:        policy.Name,
				ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny, admissionregistrationv1.Audit},
			},
		}
		binding.SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicyBinding"))
		policy.SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy"))
		policy.Spec.FailurePolicy = ptr.To(admissionregistrationv1.Fail)
		out = append(out, policy, binding)
	}
	add(deletions(protectionPolicy, LabelProtection, label(LabelProtection)))
	older := label(LabelCascading)
	add(deletions(cascadingPolicy, LabelCascading,
		fmt.Sprintf(`%s == "true" ? "Cascading" : (%s == "false" ? "off" : %s)`, older, older, older)))
	add(labelling("holdfast-delete-protection-label", LabelProtection,
		fmt.Sprintf(`%s in ["Always", "Cascading"]`, newLabel(LabelProtection)),
		"use Always or Cascading; Cascading means nothing to a Service or an Ingress",
		fmt.Sprintf(`!(request.resource.resource in ["services", "ingresses"]) || %s == "Always"`, newLabel(LabelProtection))))
	add(labelling("holdfast-disable-cascading-deletion-label", LabelCascading,
		fmt.Sprintf(`%s in ["true", "false"]`, newLabel(LabelCascading)),
		`use "true" or "false"; it means nothing to a Service or an Ingress: label them `+LabelProtection+`=Always`,
		fmt.Sprintf(`!(request.resource.resource in ["services", "ingresses"]) || %s == "false"`, newLabel(LabelCascading))))
	return out
}

func label(name string) string    { return fmt.Sprintf("oldObject.metadata.labels[%q]", name) }
func newLabel(name string) string { return fmt.Sprintf("object.metadata.labels[%q]", name) }

// deletions is the policy of one label. value is the CEL that reads what it asks for.
func deletions(name, labelName, value string) *admissionregistrationv1.ValidatingAdmissionPolicy {
	out := fmt.Sprintf(`" or take the label away: kubectl label " + request.resource.resource + " " + oldObject.metadata.name + `+
		`(has(oldObject.metadata.namespace) ? " -n " + oldObject.metadata.namespace : "") + " %s-"`, labelName)
	begin := `request.kind.kind + " " + oldObject.metadata.name + ": ` + Forbidden + `: "`
	return &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: match(has(labelName), rules(admissionregistrationv1.Delete)),
			MatchConditions: []admissionregistrationv1.MatchCondition{
				{Name: "not-terminating", Expression: "!has(oldObject.metadata.deletionTimestamp)"},
			},
			Variables: []admissionregistrationv1.Variable{
				{Name: "value", Expression: value},
				{Name: openVariable, Expression: opened(nil, nil)},
				{
					Name:       "replicas",
					Expression: `has(oldObject.spec) && has(oldObject.spec.replicas) ? int(oldObject.spec.replicas) : 0`,
				},
			},
			Validations: []admissionregistrationv1.Validation{
				{
					Expression: `variables.open || variables.value in ["Cascading", "off"]`,
					MessageExpression: begin + ` + "it is labelled ` + labelName + `=" + ` + label(labelName) +
						` + ". Keep it," + ` + out,
					Reason: ptr.To(metav1.StatusReasonForbidden),
				},
				{
					Expression: `variables.open || variables.value != "Cascading" || variables.replicas <= 0`,
					MessageExpression: begin + ` + "it is labelled ` + labelName + ` and still has " + string(variables.replicas) + ` +
						`(variables.replicas == 1 ? " replica" : " replicas") + ", which would go with it. ` +
						`Either scale it to 0 first (kubectl scale --replicas=0)," + ` + out,
					Reason: ptr.To(metav1.StatusReasonForbidden),
				},
			},
			AuditAnnotations: []admissionregistrationv1.AuditAnnotation{{
				Key: "break-glass", ValueExpression: `variables.open ? "left to the webhook: a BreakGlass names " + request.userInfo.username : ""`,
			}},
		},
	}
}

// labelling is the policy of the values of one label: whoever mistypes it must hear of it before he needs it.
func labelling(name, labelName, known, fix, fits string) *admissionregistrationv1.ValidatingAdmissionPolicy {
	message := strings.NewReplacer("%label", labelName, "%fix", fix).Replace("the value of label %label means nothing here: %fix")
	return &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: match(has(labelName), rules(admissionregistrationv1.Create, admissionregistrationv1.Update)),
			MatchConditions: []admissionregistrationv1.MatchCondition{
				{Name: "is-labelled", Expression: fmt.Sprintf(`has(object.metadata.labels) && %q in object.metadata.labels`, labelName)},
				// What was let in before must stay changeable.
				{Name: "is-new", Expression: fmt.Sprintf(
					`oldObject == null || !has(oldObject.metadata.labels) || !(%q in oldObject.metadata.labels) || %s != %s`,
					labelName, label(labelName), newLabel(labelName))},
			},
			Validations: []admissionregistrationv1.Validation{
				{Expression: known, Message: message, Reason: ptr.To(metav1.StatusReasonInvalid)},
				{Expression: fits, Message: message, Reason: ptr.To(metav1.StatusReasonInvalid)},
			},
		},
	}
}

func match(selector *metav1.LabelSelector, rules []admissionregistrationv1.RuleWithOperations) *admissionregistrationv1.MatchResources {
	m := &admissionregistrationv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{}, ObjectSelector: selector, MatchPolicy: ptr.To(admissionregistrationv1.Equivalent),
	}
	for _, r := range rules {
		m.ResourceRules = append(m.ResourceRules, admissionregistrationv1.NamedRuleWithOperations{RuleWithOperations: r})
	}
	return m
}
