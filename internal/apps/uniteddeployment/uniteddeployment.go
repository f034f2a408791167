// Package uniteddeployment keeps the workloads of a UnitedDeployment's subsets: one for each, with its part of the pods.
package uniteddeployment

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

func kind() schema.GroupVersionKind {
	return appsv1beta1.SchemeGroupVersion.WithKind("UnitedDeployment")
}

// Deps are what the room needs from the operator.
type Deps struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Live reads from the API server.
	Live  client.Reader
	Clock clock.PassiveClock
}

// What keeping UnitedDeployments takes.

// +kubebuilder:rbac:groups=apps.kruise.io,resources=uniteddeployments,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=uniteddeployments/status,verbs=get;patch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=uniteddeployments/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps.kruise.io,resources=clonesets;statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=uniteddeployments.apps.kruise.io,verbs=get;patch

// Reconciler keeps the subsets of UnitedDeployments.
type Reconciler struct {
	Deps

	memories memories
}

// New makes the reconciler.
func New(d Deps) *Reconciler { return &Reconciler{Deps: d} }

// Forget drops what is remembered of an object that is gone.
func (r *Reconciler) Forget(key types.NamespacedName) { r.memories.forget(key) }

// Watches are the kinds whose events concern a UnitedDeployment.
func (r *Reconciler) Watches() []reconcile.Watch {
	return []reconcile.Watch{
		{Object: &appsv1.StatefulSet{}},
		{Object: &appsv1.Deployment{}},
		{Object: &appsv1beta1.StatefulSet{}},
		{Object: &appsv1beta1.CloneSet{}},
		{Object: &corev1.Pod{}, Map: r.movers},
	}
}

// movers are the objects that may want to move a pod: those that are adaptive, and select it.
func (r *Reconciler) movers(ctx context.Context, obj client.Object) []ctrl.Request {
	if _, ok := obj.GetLabels()[appsv1beta1.SubsetName]; !ok {
		return nil
	}
	var list appsv1beta1.UnitedDeploymentList
	if err := r.Client.List(ctx, &list, client.InNamespace(obj.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "list the UnitedDeployments that may move a pod", "pod", client.ObjectKeyFromObject(obj))
		return nil
	}
	var requests []ctrl.Request
	for i := range list.Items {
		ud := &list.Items[i]
		selector, err := metav1.LabelSelectorAsSelector(ud.Spec.Selector)
		if err == nil && isAdaptive(ud) && selector.Matches(labels.Set(obj.GetLabels())) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(ud)})
		}
	}
	return requests
}

// Reconcile is one pass: observe, decide, act, report.
func (r *Reconciler) Reconcile(ctx context.Context, ud *appsv1beta1.UnitedDeployment) (reconcile.Result, error) {
	if ud.DeletionTimestamp != nil {
		return reconcile.Result{}, nil // the garbage collector takes the workloads, or is told to leave them
	}
	now := r.Clock.Now()
	f, ok := familyOf(&ud.Spec.Template)
	selector, err := metav1.LabelSelectorAsSelector(ud.Spec.Selector)
	switch {
	case !ok:
		err = fmt.Errorf("spec.template: %w", errKind)
	case err != nil:
		err = fmt.Errorf("spec.selector: %w", err)
	case selector.Empty():
		err = errors.New("spec.selector is empty, and would match every pod of the namespace; name at least one label of the template")
	}
	if err != nil {
		reportStalled(ud, "InvalidSpec", err, now)
		return reconcile.Result{}, reconcile.Stalled("InvalidSpec", err)
	}
	m := r.memories.of(ud)
	st, err := r.observe(ctx, ud, f, m)
	if err != nil {
		return reconcile.Result{}, err
	}
	h, err := r.history(ctx, ud)
	if err != nil {
		return reconcile.Result{}, err
	}
	p := decide(ud, st, h.updated.Name, now)
	for _, note := range p.notes {
		reconcile.Event(ctx, corev1.EventTypeWarning, "Unschedulable", "%s", note)
	}
	err = errors.Join(r.act(ctx, ud, p, f, m), r.trim(ctx, ud, st, h))
	fill(ud, st, p, h, err, now)
	return reconcile.After(p.again), verdict(p, err)
}

// verdict says to the frame how the pass goes on. What fits the topology is done all the same when not all does.
func verdict(p plan, err error) error {
	if len(p.problems) > 0 && (err == nil || hopeless(err)) {
		return reconcile.Stalled(reasonOf(p.problems), errors.Join(p.problems...))
	}
	if hopeless(err) {
		return reconcile.Stalled(reasonRefused, err)
	}
	return err
}
