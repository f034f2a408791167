// Package daemonset keeps the pods of a DaemonSet: one on every node that its template fits.
package daemonset

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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
)

func kind() schema.GroupVersionKind { return appsv1beta1.SchemeGroupVersion.WithKind("DaemonSet") }

// GroupKind of the objects that this room keeps.
func GroupKind() schema.GroupKind { return kind().GroupKind() }

// What keeping DaemonSets takes. These lines stand apart: controller-gen does not see them in the comment of a declaration.

// +kubebuilder:rbac:groups=apps.kruise.io,resources=daemonsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=daemonsets/status,verbs=get;patch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=daemonsets/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods/status;pods/resize,verbs=patch
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;patch;delete

// Reconciler keeps DaemonSets.
type Reconciler struct {
	client client.Client
	engine *workload.Engine
	puller *pull.Puller
	failed *clocks
	clock  clock.PassiveClock
}

// New makes the reconciler.
func New(d workload.Deps) *Reconciler {
	engine := d.Engine()
	return &Reconciler{
		client: d.Client,
		engine: engine,
		puller: &pull.Puller{Client: d.Client, Wrote: engine.WrotePod, Clock: d.Clock},
		failed: &clocks{},
		clock:  d.Clock,
	}
}

// Forget drops what is remembered of a set that is gone.
func (r *Reconciler) Forget(key types.NamespacedName) {
	r.engine.Forget(key)
	r.puller.Forget(key)
	r.failed.forget(key)
}

// Reconcile is one pass: observe, decide, act, report.
func (r *Reconciler) Reconcile(ctx context.Context, ds *appsv1beta1.DaemonSet) (reconcile.Result, error) {
	if ds.DeletionTimestamp != nil {
		return reconcile.Result{}, r.puller.Stop(ctx, ds) // the garbage collector takes the other pods, or is told to leave them
	}
	src, err := source(ds)
	if err != nil {
		return r.stalled(ds, "InvalidSelector", err)
	}
	var nodes corev1.NodeList
	if err := r.client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list the nodes for DaemonSet %s/%s: %w", ds.Namespace, ds.Name, err)
	}
	state, err := r.engine.Observe(ctx, src)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("observe DaemonSet %s/%s: %w", ds.Namespace, ds.Name, err)
	}
	now := r.clock.Now()
	since := r.failed.look(client.ObjectKeyFromObject(ds), state.Gone, now)
	survey, err := look(ds, nodes.Items, state, failures(state.Gone, since, now))
	if err != nil {
		return r.stalled(ds, "InvalidTemplate", err)
	}
	plan, err := decide(ds, state, survey, now)
	if err != nil {
		return r.stalled(ds, "InvalidStrategy", err)
	}
	err = r.engine.Act(ctx, src, state, &plan)
	plan = r.predownload(ctx, ds, state, survey, plan)
	fillStatus(ds, state, survey, plan, err, now)
	if err != nil {
		return reconcile.Result{}, report.Verdict(err)
	}
	return reconcile.After(plan.Again), nil
}

// predownload brings the images of changes that wait to the nodes, and adds to the plan what that waits for.
func (r *Reconciler) predownload(
	ctx context.Context, ds *appsv1beta1.DaemonSet, state workload.State, s survey, plan workload.Plan,
) workload.Plan {
	strategy, _ := pull.Annotated(ds.Annotations, s.desired) // admission tells of what cannot be read
	owner := pull.Owner{Object: ds, Kind: kind(), Template: &ds.Spec.Template}
	held, again := r.puller.Bring(ctx, owner, pull.NewWish(strategy, state, plan, true))
	plan.Held = append(plan.Held, held...)
	plan.Again = report.Sooner(plan.Again, again)
	return plan
}

// stalled says that nothing goes on until the user acts.
func (r *Reconciler) stalled(ds *appsv1beta1.DaemonSet, reason string, err error) (reconcile.Result, error) {
	all := report.From(ds.Status.Conditions)
	all.Stall(reason, err, r.clock.Now())
	ds.Status.ObservedGeneration, ds.Status.Conditions = ds.Generation, all.List()
	return reconcile.Result{}, reconcile.Stalled(reason, err)
}

// source is what the engine observes a DaemonSet by.
func source(ds *appsv1beta1.DaemonSet) (workload.Source, error) {
	selector, err := workload.OwnSelector(ds.Spec.Selector, &ds.Spec.Template)
	if err != nil {
		return workload.Source{}, err
	}
	return workload.Source{
		Owner: ds, Kind: kind(),
		Selector: selector, Labels: ds.Spec.Selector.MatchLabels, Template: &ds.Spec.Template,
		CurrentRevision: ds.Status.CurrentRevision, CollisionCount: ds.Status.CollisionCount,
		HistoryLimit: ds.Spec.RevisionHistoryLimit, MinReady: share.Seconds(ds.Spec.MinReadySeconds),
	}, nil
}

// updateSelector tells on which nodes pods are updated.
func updateSelector(ds *appsv1beta1.DaemonSet) (func(n *corev1.Node) bool, error) {
	rolling := ds.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil || rolling.Selector == nil {
		return func(*corev1.Node) bool { return true }, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rolling.Selector)
	if err != nil {
		return nil, fmt.Errorf("spec.updateStrategy.rollingUpdate.selector: %w", err)
	}
	return func(n *corev1.Node) bool { return selector.Matches(labels.Set(n.Labels)) }, nil
}
