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

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
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
				Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: inject.Spared(system),
			}}},
			ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: Required, Operator: required, Values: []string{RequiredValue}},
				{Key: workload.PullFor, Operator: metav1.LabelSelectorOpDoesNotExist},
			}},
			Handler: injection{i},
		}
	}
	scoped := hook(optional, admissionregistrationv1.Ignore, metav1.LabelSelectorOpNotIn)
	scoped.Scoped = true
	return []admission.Hook{scoped, hook("require", admissionregistrationv1.Fail, metav1.LabelSelectorOpIn)}
}

// injection answers about new pods, reading no more of them than injecting takes.
type injection struct{ *injector }

var _ admission.Direct = injection{}

// HandleReview answers a question that it reads in one pass; where there is no set that gives anything, without the pod.
func (i injection) HandleReview(ctx context.Context, body []byte) (admission.Answer, bool) {
	sets, err := i.book.giving(ctx, i.book.client)
	if err == nil && len(sets) == 0 {
		sets = i.look(ctx)
	}
	if err != nil || len(sets) == 0 {
		q, ok := admission.ReadReview[admission.Unread](body)
		if !ok {
			return admission.Answer{}, false
		}
		answer := admission.Answer{To: ctrl.Request{AdmissionRequest: q.AdmissionRequest}, Response: ctrl.Allowed("")}
		if err != nil {
			answer.Response = ctrl.Errored(http.StatusInternalServerError, err)
		}
		return answer, true
	}
	q, ok := admission.ReadReview[*newcomer](body)
	if !ok || q.Object == nil {
		return admission.Answer{}, false
	}
	req := ctrl.Request{AdmissionRequest: q.AdmissionRequest}
	return admission.Answer{Response: i.answer(ctx, req, q.Object.pod(), sets), To: req}, true
}

// Handle answers a question whose pod may not be readable.
func (i injection) Handle(ctx context.Context, req ctrl.Request) ctrl.Response {
	p := &newcomer{}
	if err := json.Unmarshal(req.Object.Raw, p); err != nil {
		return ctrl.Errored(http.StatusBadRequest, fmt.Errorf("read the pod: %w", err))
	}
	sets, err := i.book.giving(ctx, i.book.client)
	if err != nil {
		return ctrl.Errored(http.StatusInternalServerError, err)
	}
	return i.answer(ctx, req, p.pod(), sets)
}

// look asks the API server for the sets where the cache shows none for a pod; nothing when it was asked just now, or when it
// does not answer: then what the cache says holds.
func (i *injector) look(ctx context.Context) []*appsv1beta1.SidecarSet {
	if !i.book.mayLook(i.clock.Now()) {
		return nil
	}
	sets, err := i.book.giving(ctx, i.book.live)
	if err != nil {
		return nil
	}
	return sets
}

// answer is what a new pod gets of the sets, as a patch of what is new.
func (i *injector) answer(ctx context.Context, req ctrl.Request, p *corev1.Pod, sets []*appsv1beta1.SidecarSet) ctrl.Response {
	if req.SubResource != "" || slices.Contains(i.spared, req.Namespace) {
		return ctrl.Allowed("")
	}
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return ctrl.Allowed("") // it shows what runs on the node already
	}
	injections, err := i.book.forPod(ctx, sets, p, req.Namespace, string(req.UID))
	if err == nil && len(injections) == 0 {
		injections, err = i.book.forPod(ctx, i.look(ctx), p, req.Namespace, string(req.UID))
	}
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
