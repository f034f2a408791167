package sidecarset

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// Required is a label of pods: with the value RequiredValue such a pod is not created while nobody can give it its
// containers. Pods without it are, so that an operator that is away stops no cluster; the status of the SidecarSet then
// tells of those that lack them.
const (
	Required      = "holdfast.io/sidecars"
	RequiredValue = "required"
)

// The names of the hooks: scopedHook is that of the one that is only asked about pods which some set selects.
const (
	hookSuffix = ".sidecarsets.apps.kruise.io"
	optional   = "inject"
	scopedHook = optional + hookSuffix
)

// injectTimeout is how many seconds a pod waits for an operator that does not answer.
const injectTimeout = 5

// sparedNamespaces are left alone: what a cluster needs to run at all must not wait for us.
func sparedNamespaces(system string) []string {
	return []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, system}
}

// injector gives new pods their containers.
type injector struct {
	book   *book
	spared []string
	clock  clock.PassiveClock
}

// hooks are the two webhooks of new pods: one for those that must have their containers, one for all others.
func (i *injector) hooks(system string) []admission.Hook {
	hook := func(name string, policy admissionregistrationv1.FailurePolicyType, required metav1.LabelSelectorOperator) admission.Hook {
		return admission.Hook{
			Name: name + hookSuffix, Path: "/" + name + "/apps.kruise.io/sidecarsets", Mutating: true,
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule: admissionregistrationv1.Rule{
					APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
					Scope: ptr.To(admissionregistrationv1.NamespacedScope),
				},
			}},
			FailurePolicy: policy, TimeoutSeconds: injectTimeout,
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: sparedNamespaces(system),
			}}},
			ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: Required, Operator: required, Values: []string{RequiredValue}},
				{Key: workload.PullFor, Operator: metav1.LabelSelectorOpDoesNotExist},
			}},
			Handler: ctrl.HandlerFunc(i.handle),
		}
	}
	scoped := hook(optional, admissionregistrationv1.Ignore, metav1.LabelSelectorOpNotIn)
	scoped.Scoped = true
	return []admission.Hook{scoped, hook("require", admissionregistrationv1.Fail, metav1.LabelSelectorOpIn)}
}

// handle answers what a new pod gets, as a patch of what is new.
func (i *injector) handle(ctx context.Context, req ctrl.Request) ctrl.Response {
	if req.SubResource != "" || slices.Contains(i.spared, req.Namespace) {
		return ctrl.Allowed("")
	}
	p := &corev1.Pod{}
	if err := json.Unmarshal(req.Object.Raw, p); err != nil {
		return ctrl.Errored(http.StatusBadRequest, fmt.Errorf("read the pod: %w", err))
	}
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return ctrl.Allowed("") // it shows what runs on the node already
	}
	injections, err := i.book.forPod(ctx, p, req.Namespace, string(req.UID))
	if err != nil {
		return ctrl.Errored(http.StatusInternalServerError, err)
	}
	if len(injections) == 0 {
		return ctrl.Allowed("")
	}
	edit, err := inject.Into(p, injections, i.clock.Now())
	if err != nil {
		return ctrl.Denied(err.Error())
	}
	return ctrl.Patched("", edit.Patch(p)...).WithWarnings(edit.Warnings...)
}
