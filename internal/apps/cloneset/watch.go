package cloneset

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/pull"
)

// podOwners maps a pod to its CloneSet, a pod that pulls an image too; a pod without a controller to those that would adopt it.
func (r *Reconciler) podOwners(owner handler.MapFunc) handler.MapFunc {
	return func(ctx context.Context, obj client.Object) []ctrl.Request {
		if metav1.GetControllerOfNoCopy(obj) != nil {
			return owner(ctx, obj)
		}
		if set, pulls := pull.Set(obj, GroupKind()); pulls {
			return []ctrl.Request{{NamespacedName: set}}
		}
		if len(obj.GetLabels()) == 0 {
			return nil
		}
		var sets appsv1beta1.CloneSetList
		if err := r.engine.Client.List(ctx, &sets, client.InNamespace(obj.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "list CloneSets that may adopt a pod", "pod", client.ObjectKeyFromObject(obj))
			return nil
		}
		var requests []ctrl.Request
		for i := range sets.Items {
			selector, err := metav1.LabelSelectorAsSelector(sets.Items[i].Spec.Selector)
			if err == nil && !selector.Empty() && selector.Matches(labels.Set(obj.GetLabels())) {
				requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&sets.Items[i])})
			}
		}
		return requests
	}
}
