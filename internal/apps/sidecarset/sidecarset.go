package sidecarset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// What keeping SidecarSets takes.

// +kubebuilder:rbac:groups=apps.kruise.io,resources=sidecarsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=sidecarsets/status,verbs=get;patch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=sidecarsets/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=pods/status,verbs=patch
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;patch;delete

// Index is the name of the cache's index from a pod to the SidecarSets whose containers it has.
const Index = "holdfast.io/sidecarsets"

// IndexPod computes the values of Index.
func IndexPod(o client.Object) []string {
	if p, ok := o.(*corev1.Pod); ok {
		return inject.Names(p)
	}
	return nil
}

// Reconciler keeps SidecarSets.
type Reconciler struct {
	deps      workload.Deps
	namespace string
	book      *book

	mu       sync.Mutex
	memories map[string]*memory
}

// New makes the reconciler; revisions are kept in the system namespace. The cache must have Index.
func New(d workload.Deps, systemNamespace string) *Reconciler {
	r := &Reconciler{deps: d, namespace: systemNamespace, book: newBook(d.Client, nil, systemNamespace), memories: map[string]*memory{}}
	if d.Turns != nil {
		d.Turns.Await(r.unsettled)
	}
	return r
}

// Forget drops what is remembered of a set that is gone.
func (r *Reconciler) Forget(key types.NamespacedName) {
	r.mu.Lock()
	m := r.memories[key.Name]
	delete(r.memories, key.Name)
	r.mu.Unlock()
	if m == nil {
		return
	}
	r.book.forget(m.uid)
	for uid := range m.bound {
		r.deps.Turns.Unbind(uid, "SidecarSet "+key.Name)
	}
}

// Reconcile is one pass: observe, decide, act, report.
func (r *Reconciler) Reconcile(ctx context.Context, set *appsv1beta1.SidecarSet) (reconcile.Result, error) {
	result, err := r.pass(ctx, set)
	if !reconcile.IsWait(err) {
		r.settled(set)
	}
	return result, err
}

func (r *Reconciler) pass(ctx context.Context, set *appsv1beta1.SidecarSet) (reconcile.Result, error) {
	if set.DeletionTimestamp != nil {
		r.bind(set, nil, 0)
		return reconcile.Result{}, nil // pods keep what they have; the revisions are collected
	}
	e := r.book.of(set)
	if e.err != nil {
		return reconcile.Result{}, r.stalled(set, "InvalidSpec", e.err)
	}
	if err := r.caughtUp(ctx, r.memory(set)); err != nil {
		return reconcile.Result{}, err
	}
	all, err := r.revisions(ctx, set, e)
	if err != nil {
		return reconcile.Result{}, err
	}
	pods, err := r.pods(ctx, set, e)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := r.deps.Clock.Now()
	seen := observe(pods, set.Name, e, func(record inject.Record) string { return r.why(all, record, e) }, r.memory(set).known, now)
	if seen.missed, err = r.missed(ctx, set, e, now); err != nil {
		return reconcile.Result{}, err
	}
	taken := r.turns(ctx)
	defer taken.release()
	p, err := decide(set, e, seen, taken.lend, now)
	if err != nil {
		return reconcile.Result{}, r.stalled(set, "InvalidStrategy", err)
	}
	r.bind(set, seen.members, p.bound)
	acted := errors.Join(taken.err, r.act(ctx, set, e, &p), r.conditions(ctx, set, seen, p))
	acted = errors.Join(acted, r.trim(ctx, set, all, seen, e))
	again, err := r.report(ctx, set, seen, p, acted, now)
	return reconcile.After(again), errors.Join(acted, err)
}

// stalled says that nothing goes on until the user acts.
func (r *Reconciler) stalled(set *appsv1beta1.SidecarSet, reason string, err error) error {
	r.bind(set, nil, 0)
	reportStalled(set, reason, err, r.deps.Clock.Now())
	return reconcile.Stalled(reason, err)
}

// pods are those that have the set's containers and that it still selects, without copying them.
func (r *Reconciler) pods(ctx context.Context, set *appsv1beta1.SidecarSet, e *entry) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := r.deps.Client.List(ctx, &list, client.MatchingFields{Index: set.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the pods of SidecarSet %s: %w", set.Name, err)
	}
	in := map[string]bool{}
	var pods []*corev1.Pod
	for i := range list.Items {
		p := &list.Items[i]
		if !e.selector.Matches(labels.Set(p.Labels)) {
			continue
		}
		selected, known := in[p.Namespace]
		if !known {
			var err error
			if selected, err = r.book.matches(ctx, e, p, p.Namespace); client.IgnoreNotFound(err) != nil {
				return nil, err
			}
			in[p.Namespace] = selected
		}
		if selected {
			pods = append(pods, p)
		}
	}
	return pods, nil
}

// why names the fields that keep a pod from getting to the newest revision in place; "" when there are none.
func (r *Reconciler) why(all []*appsv1.ControllerRevision, record inject.Record, e *entry) string {
	at := slices.IndexFunc(all, func(rev *appsv1.ControllerRevision) bool { return rev.Name == record.ControllerRevision })
	if at < 0 {
		return "the pod has a revision that is not there any more"
	}
	from, err := r.book.planOf(all[at])
	if err != nil {
		return "the pod has a revision that cannot be read"
	}
	if from.HashWithoutImage == e.plan.HashWithoutImage {
		return "" // it is only the record that another controller, or an older one, has written differently
	}
	fields := unchangeable(from.Template, e.plan.Template)
	if len(fields) == 0 {
		return "its containers are others"
	}
	return strings.Join(fields, ", ") + " changed"
}

// conditions tells on each pod that is not being changed whether it can get the newest revision in place.
func (r *Reconciler) conditions(ctx context.Context, set *appsv1beta1.SidecarSet, seen state, p plan) error {
	written := map[*member]bool{}
	for _, s := range p.steps {
		written[s.member] = true
	}
	others := make([]*member, 0, len(seen.members))
	for i := range seen.members {
		if m := &seen.members[i]; !written[m] {
			others = append(others, m)
		}
	}
	var mu sync.Mutex
	var errs []error
	workload.Each(others, func(m *member) {
		if err := r.condition(ctx, set, m); err != nil {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		}
	})
	return errors.Join(errs...)
}

// Watches are the kinds whose events concern a SidecarSet.
func (r *Reconciler) Watches() []reconcile.Watch {
	return []reconcile.Watch{
		{Object: &corev1.Pod{}, Map: podSets},
		{Object: &appsv1.ControllerRevision{}, Map: revisionSet},
	}
}

// podSets maps a pod to the SidecarSets whose containers it has.
func podSets(_ context.Context, o client.Object) (requests []ctrl.Request) {
	for _, name := range IndexPod(o) {
		requests = append(requests, ctrl.Request{NamespacedName: types.NamespacedName{Name: name}})
	}
	return requests
}

// revisionSet maps a revision to its SidecarSet, which has no namespace.
func revisionSet(_ context.Context, o client.Object) []ctrl.Request {
	if name := o.GetLabels()[appsv1beta1.SidecarSetName]; name != "" {
		return []ctrl.Request{{NamespacedName: types.NamespacedName{Name: name}}}
	}
	return nil
}
