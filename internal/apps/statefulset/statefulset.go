// Package statefulset keeps the pods of a StatefulSet, each with a number, a name and volumes of its own.
package statefulset

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/pull"
	"github.com/holdfast-io/holdfast/internal/workload/report"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

func kind() schema.GroupVersionKind { return appsv1beta1.SchemeGroupVersion.WithKind("StatefulSet") }

// GroupKind of the objects that this room keeps.
func GroupKind() schema.GroupKind { return kind().GroupKind() }

// Deps are what the room needs from the operator.
type Deps = workload.Deps

// What keeping StatefulSets takes beyond what keeping CloneSets does.

// +kubebuilder:rbac:groups=apps.kruise.io,resources=statefulsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=statefulsets/status,verbs=get;patch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=statefulsets/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods/status;pods/resize,verbs=patch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=statefulsets,verbs=get

// Reconciler keeps StatefulSets.
type Reconciler struct {
	deps   Deps
	engine *workload.Engine
	puller *pull.Puller
	clock  clock.PassiveClock
}

// New makes the reconciler.
func New(d Deps) *Reconciler {
	engine := d.Engine()
	return &Reconciler{
		deps: d, engine: engine, clock: d.Clock,
		puller: &pull.Puller{Client: d.Client, Wrote: engine.WrotePod, Clock: d.Clock},
	}
}

// Forget drops what is remembered of a set that is gone.
func (r *Reconciler) Forget(key types.NamespacedName) {
	r.engine.Forget(key)
	r.puller.Forget(key)
}

// Reconcile is one pass: observe, decide, act, report.
func (r *Reconciler) Reconcile(ctx context.Context, set *appsv1beta1.StatefulSet) (reconcile.Result, error) {
	if set.DeletionTimestamp != nil {
		return reconcile.Result{}, r.puller.Stop(ctx, set) // the garbage collector takes the pods, or is told to leave them
	}
	src, err := source(set)
	if err != nil {
		return r.stalled(set, "InvalidSelector", err)
	}
	state, err := r.engine.Observe(ctx, src)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("observe StatefulSet %s/%s: %w", set.Namespace, set.Name, err)
	}
	known := state.Claims
	if state.Claims, err = inUse(set, state); err != nil {
		return r.stalled(set, "InvalidOrdinals", err)
	}
	now := r.clock.Now()
	plan, err := decide(set, state, now)
	if err != nil {
		return r.stalled(set, "InvalidStrategy", err)
	}
	if err := r.conflict(ctx, set, now); err != nil {
		return reconcile.Result{}, err
	}
	acted := r.act(ctx, set, src, state, &plan, known)
	owner := pull.Owner{Object: set, Kind: kind(), Template: &set.Spec.Template}
	r.puller.Ahead(ctx, owner, aheadOf(set), state, &plan)
	fillStatus(set, state, plan, acted, now)
	if acted != nil {
		return reconcile.Result{}, report.Verdict(acted)
	}
	return reconcile.After(plan.Again), nil
}

// act makes the changes of a plan: claims first, for pods depend on them.
func (r *Reconciler) act(ctx context.Context, set *appsv1beta1.StatefulSet, src workload.Source, state workload.State,
	plan *workload.Plan, known []*corev1.PersistentVolumeClaim,
) error {
	mine := errors.Join(
		r.own(ctx, set, ownerships(set, known, state, plan.Set.Slots), plan),
		r.grow(ctx, set, state, plan),
		r.identify(ctx, set, state, plan),
	)
	err := r.engine.Act(ctx, src, state, plan)
	if mine == nil {
		return err
	}
	var failed *workload.Error
	if !errors.As(err, &failed) {
		failed = &workload.Error{}
	}
	return &workload.Error{Scale: errors.Join(failed.Scale, mine), Update: failed.Update}
}

// stalled says that nothing goes on until the user acts.
func (r *Reconciler) stalled(set *appsv1beta1.StatefulSet, reason string, err error) (reconcile.Result, error) {
	reportStalled(set, reason, err, r.clock.Now())
	return reconcile.Result{}, reconcile.Stalled(reason, err)
}

// source is what the engine observes a StatefulSet by.
func source(set *appsv1beta1.StatefulSet) (workload.Source, error) {
	selector, err := workload.OwnSelector(set.Spec.Selector, &set.Spec.Template)
	if err != nil {
		return workload.Source{}, err
	}
	return workload.Source{
		Owner: set, Kind: kind(),
		Selector: selector, Labels: set.Spec.Selector.MatchLabels,
		Template: &set.Spec.Template, Claims: set.Spec.VolumeClaimTemplates,
		CurrentRevision: set.Status.CurrentRevision, CollisionCount: set.Status.CollisionCount,
		HistoryLimit: set.Spec.RevisionHistoryLimit,
		MinReady:     share.Seconds(ptr.Deref(rollingOf(set).MinReadySeconds, 0)),
		Adopts:       identityOf(set).adopts, NamedClaims: true,
	}, nil
}
