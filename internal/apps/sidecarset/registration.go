package sidecarset

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// What registering the hook of pods for no others than those that some set selects takes, beside what handing it the
// certificate does.

// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingwebhookconfigurations,resourceNames=holdfast,verbs=get;list;patch;watch

func newScope(c client.Client, clock clock.Clock, configuration string) *admission.Scope {
	return &admission.Scope{Client: c, Clock: clock, Configuration: configuration, Hook: scopedHook}
}

// term is CEL for the pods that a set may be meant for: all that it selects, by their labels and the name of their namespace;
// "" when it selects none. The other labels of namespaces are looked at when the hook is asked.
func term(set *appsv1beta1.SidecarSet) string {
	pods := admission.MatchesLabels(set.Spec.Selector)
	if namespace := admission.MatchesNamespace(set.Spec.NamespaceSelector); namespace != "" && pods != "" {
		return namespace + " && " + pods
	}
	return pods
}

// Prepare has the pods of a new selector asked about before the set is stored, so that none slips through.
func (v *validator) Prepare(ctx context.Context, old, set *appsv1beta1.SidecarSet) error {
	wanted := term(set)
	if wanted == "" || old != nil && term(old) == wanted {
		return nil
	}
	if err := v.scope.Widen(ctx, wanted, "SidecarSet "+set.Name); err != nil {
		return fmt.Errorf("have the API server ask about the pods that it selects: %w", err)
	}
	return nil
}

// Registration keeps the hook of pods registered for no others than those that some set selects.
type Registration struct {
	live  client.Reader
	scope *admission.Scope
}

// NewRegistration makes the controller of the webhook configuration of the given name; c must not read from a cache.
func NewRegistration(c client.Client, clock clock.Clock, configuration string) *Registration {
	return &Registration{live: c, scope: newScope(c, clock, configuration)}
}

// Reconcile is one pass. Sets that are on their way out count until they are gone.
func (r *Registration) Reconcile(
	ctx context.Context, config *admissionregistrationv1.MutatingWebhookConfiguration,
) (reconcile.Result, error) {
	var sets appsv1beta1.SidecarSetList
	if err := r.live.List(ctx, &sets); err != nil {
		return reconcile.Result{}, fmt.Errorf("list SidecarSets: %w", err)
	}
	var terms []string
	for i := range sets.Items {
		if one := term(&sets.Items[i]); one != "" {
			terms = append(terms, one)
		}
	}
	again, err := r.scope.Keep(ctx, config, terms)
	return reconcile.After(again), err
}

// Watches are the kinds whose events concern the registration.
func (r *Registration) Watches() []reconcile.Watch {
	return []reconcile.Watch{{Object: &appsv1beta1.SidecarSet{}, Map: func(context.Context, client.Object) []ctrl.Request {
		return []ctrl.Request{{NamespacedName: types.NamespacedName{Name: r.scope.Configuration}}}
	}}}
}
