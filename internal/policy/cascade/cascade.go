// Package cascade keeps labelled objects from being deleted while their deletion would take others along: the objects of a
// definition, the contents of a namespace, the pods of a workload.
package cascade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/policy"
)

const (
	// Guard is the name of this guard in decisions, metrics and break-glasses.
	Guard = "DeletionProtection"
	// Forbidden is in the text of every denial; clients look for it.
	Forbidden = "forbidden by ResourcesProtectionDeletion"
	// A list of pages may be needed; a user waits for it.
	timeoutSeconds = 5
)

// What it takes to look whether something is left. The right to list the objects of every definition stands in the
// installer: no marker can say it.

// +kubebuilder:rbac:groups="",resources=pods;persistentvolumeclaims,verbs=list

// Keeper answers admission about deletions of labelled objects. Its fields are only needed when it is asked.
type Keeper struct {
	Counter *Counter
	// Opener knows the glasses that are broken.
	Opener policy.Opener
	// Journal remembers what was decided.
	Journal *policy.Journal
	Clock   clock.PassiveClock
}

// Hooks are the webhooks: one for each label, so that objects without them cost nothing.
func (k *Keeper) Hooks() []admission.Hook {
	hook := func(name string, selector *metav1.LabelSelector) admission.Hook {
		return admission.Hook{
			Name: name + ".policy.holdfast.io",
			Path: "/guard/" + name,
			// Not limited to namespaces: who is locked out takes the label away, which asks nobody.
			Rules: rules(admissionregistrationv1.Delete), ObjectSelector: selector, TimeoutSeconds: timeoutSeconds,
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				// It was decided when the deletion began: what holds it now are finalizers.
				Name: "not-terminating", Expression: "!has(oldObject.metadata.deletionTimestamp)",
			}},
			// Decisions are remembered, except those about dry runs.
			SideEffects: admissionregistrationv1.SideEffectClassNoneOnDryRun,
			Handler:     ctrl.HandlerFunc(k.handle),
		}
	}
	return []admission.Hook{
		hook("delete-protection", has(LabelProtection)),
		hook("disable-cascading-deletion", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: LabelCascading, Operator: metav1.LabelSelectorOpExists},
			{Key: LabelProtection, Operator: metav1.LabelSelectorOpDoesNotExist}, // the other hook is asked
		}}),
	}
}

func has(label string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: label, Operator: metav1.LabelSelectorOpExists,
	}}}
}

// handle answers about one object; of a collection each is asked about by itself.
func (k *Keeper) handle(ctx context.Context, req ctrl.Request) ctrl.Response {
	obj := &unstructured.Unstructured{}
	if len(req.OldObject.Raw) == 0 {
		return ctrl.Errored(http.StatusBadRequest, errors.New("the request holds no object to delete"))
	}
	if err := json.Unmarshal(req.OldObject.Raw, obj); err != nil {
		return ctrl.Errored(http.StatusBadRequest, fmt.Errorf("decode the object to delete: %w", err))
	}
	row, known := kindOf(req.Resource)
	if !known || obj.GetName() == "" {
		return ctrl.Errored(http.StatusBadRequest, fmt.Errorf("%s %q is nothing that can be protected", req.Resource.Resource, obj.GetName()))
	}
	if !labelled(obj.GetLabels()) {
		// We are only asked because it has one: this is not what was asked about.
		return ctrl.Errored(http.StatusBadRequest, fmt.Errorf("%s %q has no label that protects it", req.Resource.Resource, obj.GetName()))
	}
	if obj.GetDeletionTimestamp() != nil {
		return ctrl.Allowed("")
	}
	d := policy.NewDecision(k.Clock.Now(), req.UserInfo)
	d.Operation, d.Kind, d.UID = string(req.Operation), groupKind(req.Kind).String(), string(obj.GetUID())
	d.Namespace, d.Name, d.Guard = obj.GetNamespace(), obj.GetName(), Guard
	reason, why, err := k.judge(ctx, row, obj)
	if err != nil {
		d.Outcome, d.Reason, d.Message = policy.Failed, "Error", err.Error()
	} else if reason != "" {
		d.Outcome, d.Reason, d.Message = policy.Denied, reason, why
	}
	glass := ""
	if d.Outcome != policy.Allowed {
		glass = k.opened(ctx, req, obj)
	}
	if glass != "" {
		d.Outcome, d.Reason, d.BreakGlass = policy.Allowed, policy.ReasonBreakGlass, glass
		d.Message = fmt.Sprintf("BreakGlass %s lets %s through %s, which says: %s", glass, req.UserInfo.Username, Guard, d.Message)
	}
	return answer(k.Journal.Note(d, ptr.Deref(req.DryRun, false)), err)
}

// judge says why an object may not be deleted; no reason: it may.
func (k *Keeper) judge(ctx context.Context, row kind, obj *unstructured.Unstructured) (reason, why string, err error) {
	label, value := protection(obj.GetLabels())
	out := fmt.Sprintf("or take the label away: kubectl label %s %s%s %s-", row.name(), obj.GetName(), inNamespace(obj), label)
	switch {
	case value == off:
		return "", "", nil
	case value == Always:
		return "LabelledAlways", fmt.Sprintf("it is labelled %s=%s. Keep it, %s", label, Always, out), nil
	case value != Cascading:
		return "LabelUnknown", fmt.Sprintf("its label %s has the value %q, which means nothing, and is taken for %s: correct it, %s",
			label, value, Always, out), nil
	case row.left == nil:
		return "LabelUnknown", fmt.Sprintf("its label %s says %s, but nothing goes with an object of this kind: label it %s=%s, %s",
			label, Cascading, LabelProtection, Always, out), nil
	}
	left, err := row.left(ctx, k.Counter, obj)
	if err != nil {
		return "", "", fmt.Errorf("it is labelled %s, and what its deletion would take along cannot be seen: %w. Try again, %s", label, err, out)
	}
	if left == "" {
		return "", "", nil
	}
	return "SomethingLeft",
		fmt.Sprintf("it is labelled %s and still has %s, which would go with it. Either %s, %s", label, left, row.first, out), nil
}

// name of the resource as kubectl takes it.
func (k kind) name() string {
	if k.group == "" {
		return k.resource
	}
	return k.resource + "." + k.group
}

func inNamespace(obj *unstructured.Unstructured) string {
	if obj.GetNamespace() == "" {
		return ""
	}
	return " -n " + obj.GetNamespace()
}

func (k *Keeper) opened(ctx context.Context, req ctrl.Request, obj *unstructured.Unstructured) string {
	if k.Opener == nil {
		return ""
	}
	name, err := k.Opener.Opens(ctx, policy.Wish{
		Guard: Guard, User: req.UserInfo, Operation: string(req.Operation), Kind: groupKind(req.Kind),
		Namespace: obj.GetNamespace(), Name: obj.GetName(), Labels: obj.GetLabels(),
	})
	if err != nil {
		return ""
	}
	return name
}

// answer tells a decision to the API server and its audit log.
func answer(d policy.Decision, failed error) ctrl.Response {
	response := ctrl.Allowed("")
	switch {
	case d.BreakGlass != "":
		response = response.WithWarnings(d.Message)
	case failed != nil:
		response = ctrl.Errored(http.StatusInternalServerError,
			fmt.Errorf("%s %s: %s: %w (decision %s)", d.Kind, d.Name, Forbidden, failed, d.ID))
	case d.Outcome == policy.Denied:
		status := metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
			Message: fmt.Sprintf("%s %s: %s: %s (decision %s)", d.Kind, d.Name, Forbidden, d.Message, d.ID),
		}
		response = ctrl.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}
	}
	return policy.Annotated(response, d)
}
