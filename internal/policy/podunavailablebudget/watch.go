package podunavailablebudget

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// Watches are the kinds whose events concern a budget. Workloads of other kinds are noticed by their pods, and by a look
// every half a minute; decisions ask them anyway.
func (k *Keeper) Watches() []reconcile.Watch {
	return []reconcile.Watch{
		{Object: &corev1.Pod{}, Map: k.ofPod},
		k.workloads(&appsv1.Deployment{}, appsv1.SchemeGroupVersion.WithKind("Deployment")),
		k.workloads(&appsv1.StatefulSet{}, appsv1.SchemeGroupVersion.WithKind("StatefulSet")),
	}
}

func (k *Keeper) workloads(object client.Object, gvk schema.GroupVersionKind) reconcile.Watch {
	return reconcile.Watch{Object: object, Map: k.ofWorkload(gvk), Predicates: []predicate.Predicate{predicate.GenerationChangedPredicate{}}}
}

// ofPod maps a pod to the budgets that may guard it.
func (k *Keeper) ofPod(ctx context.Context, object client.Object) []ctrl.Request {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return nil
	}
	return k.those(ctx, p.Namespace, func(pub *policyv1beta1.PodUnavailableBudget) bool {
		may, err := k.keep.mayGuard(ctx, pub, p)
		return may || err != nil
	})
}

func (k *Keeper) ofWorkload(gvk schema.GroupVersionKind) handler.MapFunc {
	return func(ctx context.Context, object client.Object) []ctrl.Request {
		self := workloadRef{gvk: gvk, name: object.GetName()}
		return k.those(ctx, object.GetNamespace(), func(pub *policyv1beta1.PodUnavailableBudget) bool {
			if t := pub.Spec.TargetRef; t != nil {
				ref, err := targetOf(t)
				return err == nil && ref.same(self)
			}
			for _, w := range pub.Status.Workloads {
				if ref, err := refOf(w.APIVersion, w.Kind, w.Name); err == nil && ref.same(self) {
					return true
				}
			}
			return false
		})
	}
}

func (k *Keeper) those(ctx context.Context, namespace string, concerned func(*policyv1beta1.PodUnavailableBudget) bool) []ctrl.Request {
	all, err := k.list(ctx, namespace)
	if err != nil {
		k.deps.Log.Error(err, "list the budgets that an event may concern", "namespace", namespace)
		return nil // the next look is half a minute away at most
	}
	var requests []ctrl.Request
	for i := range all.Items {
		if concerned(&all.Items[i]) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
		}
	}
	return requests
}
