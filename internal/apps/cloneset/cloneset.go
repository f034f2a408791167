// Package cloneset keeps the pods of a CloneSet.
package cloneset

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/pull"
	"github.com/holdfast-io/holdfast/internal/workload/report"
	"github.com/holdfast-io/holdfast/internal/workload/share"
	"github.com/holdfast-io/holdfast/internal/workload/watch"
)

func kind() schema.GroupVersionKind { return appsv1beta1.SchemeGroupVersion.WithKind("CloneSet") }

// GroupKind of the objects that this room keeps.
func GroupKind() schema.GroupKind { return kind().GroupKind() }

// Deps are what the room needs from the operator.
type Deps = workload.Deps

// What keeping CloneSets takes. These lines stand apart: controller-gen does not see them in the comment of a declaration.

// +kubebuilder:rbac:groups=apps.kruise.io,resources=clonesets,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=clonesets/status,verbs=get;patch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=clonesets/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods/status;pods/resize,verbs=patch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch

// Reconciler keeps CloneSets.
type Reconciler struct {
	client client.Client
	engine *workload.Engine
	puller *pull.Puller
	clock  clock.PassiveClock
}

// New makes the reconciler.
func New(d Deps) *Reconciler {
	engine := d.Engine()
	return &Reconciler{
		client: d.Client,
		engine: engine,
		puller: &pull.Puller{Client: d.Client, Wrote: engine.WrotePod, Clock: d.Clock},
		clock:  d.Clock,
	}
}

// Forget drops what is remembered of a set that is gone.
func (r *Reconciler) Forget(key types.NamespacedName) {
	r.engine.Forget(key)
	r.puller.Forget(key)
}

// Reconcile is one pass: observe, decide, act, report.
func (r *Reconciler) Reconcile(ctx context.Context, cs *appsv1beta1.CloneSet) (reconcile.Result, error) {
	if cs.DeletionTimestamp != nil {
		return reconcile.Result{}, r.puller.Stop(ctx, cs) // the garbage collector takes the other pods, or is told to leave them
	}
	src, err := source(cs)
	if err != nil {
		return r.stalled(cs, "InvalidSelector", err)
	}
	state, err := r.engine.Observe(ctx, src)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("observe CloneSet %s/%s: %w", cs.Namespace, cs.Name, err)
	}
	unstruck := r.strike(ctx, cs, state)
	if reconcile.IsWait(unstruck) {
		return reconcile.Result{}, unstruck
	}
	if state.Spread, err = r.spread(ctx, cs, state); err != nil {
		return reconcile.Result{}, err
	}
	now := r.clock.Now()
	plan, err := decide(cs, state, now)
	if err != nil {
		return r.stalled(cs, "InvalidStrategy", err)
	}
	err = r.engine.Act(ctx, src, state, &plan)
	owner := pull.Owner{Object: cs, Kind: kind(), Template: &cs.Spec.Template}
	r.puller.Ahead(ctx, owner, rollingOf(cs).InPlaceUpdateStrategy, state, &plan)
	again := fillStatus(cs, state, plan, err, now)
	if err != nil {
		return reconcile.Result{}, report.Verdict(err)
	}
	return reconcile.After(again), unstruck
}

// stalled says that nothing goes on until the user acts.
func (r *Reconciler) stalled(cs *appsv1beta1.CloneSet, reason string, err error) (reconcile.Result, error) {
	reportStalled(cs, reason, err, r.clock.Now())
	return reconcile.Result{}, reconcile.Stalled(reason, err)
}

// source is what the engine observes a CloneSet by.
func source(cs *appsv1beta1.CloneSet) (workload.Source, error) {
	selector, err := workload.OwnSelector(cs.Spec.Selector, &cs.Spec.Template)
	if err != nil {
		return workload.Source{}, err
	}
	return workload.Source{
		Owner: cs, Kind: kind(),
		Selector: selector, Labels: cs.Spec.Selector.MatchLabels,
		Template: &cs.Spec.Template, Claims: cs.Spec.VolumeClaimTemplates,
		CurrentRevision: cs.Status.CurrentRevision, CollisionCount: cs.Status.CollisionCount,
		HistoryLimit: cs.Spec.RevisionHistoryLimit, MinReady: share.Seconds(cs.Spec.MinReadySeconds),
	}, nil
}

// Watches are the kinds whose events concern a CloneSet.
func (r *Reconciler) Watches() []reconcile.Watch {
	return []reconcile.Watch{
		{Object: &corev1.Pod{}, Map: watch.Pods(GroupKind(), r.selecting)},
		{Object: &corev1.PersistentVolumeClaim{}},
	}
}
