// Package watch tells which workloads an event of another object concerns, so that none misses one.
package watch

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/pull"
)

// Selecting is a workload and what it selects its pods by.
type Selecting struct {
	client.Object

	Selector *metav1.LabelSelector
}

// Pods maps a pod to the workload of that kind which owns it, a pod that pulls an image too; a pod without a controller to
// those that would adopt it. list gives the workloads of a namespace.
func Pods(kind schema.GroupKind, list func(ctx context.Context, namespace string) ([]Selecting, error)) handler.MapFunc {
	owner := reconcile.Owner(kind)
	return func(ctx context.Context, obj client.Object) []ctrl.Request {
		if metav1.GetControllerOfNoCopy(obj) != nil {
			return owner(ctx, obj)
		}
		if set, pulls := pull.Set(obj, kind); pulls {
			return []ctrl.Request{{NamespacedName: set}}
		}
		if len(obj.GetLabels()) == 0 {
			return nil
		}
		sets, err := list(ctx, obj.GetNamespace())
		if err != nil {
			log.FromContext(ctx).Error(err, "list workloads that may adopt a pod", "kind", kind.String(), "pod", client.ObjectKeyFromObject(obj))
			return nil
		}
		var requests []ctrl.Request
		for _, set := range sets {
			selector, err := metav1.LabelSelectorAsSelector(set.Selector)
			if err == nil && !selector.Empty() && selector.Matches(labels.Set(obj.GetLabels())) {
				requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(set)})
			}
		}
		return requests
	}
}
