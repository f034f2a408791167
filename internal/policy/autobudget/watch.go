package autobudget

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// Watches are the kinds whose events concern a workload's budgets: the budgets, also those of people, whose coming and
// going decides whether one is made; the labels of its namespace; and the configuration.
func (r *Reconciler[T]) Watches() []reconcile.Watch {
	generation := []predicate.Predicate{predicate.GenerationChangedPredicate{}}
	return []reconcile.Watch{
		{Object: &policyv1beta1.PodUnavailableBudget{}, Map: r.neighbours, Predicates: generation},
		{Object: &policyv1.PodDisruptionBudget{}, Map: r.neighbours, Predicates: generation},
		{
			Object: &corev1.Namespace{}, Predicates: []predicate.Predicate{predicate.LabelChangedPredicate{}},
			Map: func(ctx context.Context, o client.Object) []ctrl.Request {
				return r.all(ctx, client.InNamespace(o.GetName()))
			},
		},
		{Source: source.Func(r.configured)},
	}
}

// neighbours are the workloads beside a budget.
func (r *Reconciler[T]) neighbours(ctx context.Context, o client.Object) []ctrl.Request {
	return r.all(ctx, client.InNamespace(o.GetNamespace()))
}

func (r *Reconciler[T]) all(ctx context.Context, options ...client.ListOption) []ctrl.Request {
	list := r.kind.List()
	if err := r.deps.Client.List(ctx, list, options...); err != nil {
		r.deps.Config.Log.Error(err, "list the workloads whose budgets may change", "kind", r.kind.Title)
		return nil
	}
	var requests []ctrl.Request
	_ = meta.EachListItem(list, func(o runtime.Object) error {
		if workload, ok := o.(client.Object); ok {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(workload)})
		}
		return nil
	})
	return requests
}

// configured reads the configuration every few seconds as long as the controller runs, and passes over every workload when
// it has changed.
func (r *Reconciler[T]) configured(ctx context.Context, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) error {
	r.readConfig(ctx)
	seen := r.deps.Config.Version()
	go func() { // ends with the controller
		ticker := time.NewTicker(ConfigInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			r.readConfig(ctx)
			if now := r.deps.Config.Version(); now != seen {
				seen = now
				for _, request := range r.all(ctx) {
					queue.Add(request)
				}
			}
		}
	}()
	return nil
}

func (r *Reconciler[T]) readConfig(ctx context.Context) {
	if _, err := r.deps.Config.Read(ctx); err != nil && ctx.Err() == nil {
		r.deps.Config.Log.Error(err, "the configuration of budgets is read again later; until then, what held before goes on")
	}
}
