package daemonset

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/node"
	"github.com/holdfast-io/holdfast/internal/workload/watch"
)

// Watches are the kinds whose events concern a DaemonSet.
func (r *Reconciler) Watches() []reconcile.Watch {
	return []reconcile.Watch{
		{Object: &corev1.Pod{}, Map: watch.Pods(GroupKind(), r.selecting)},
		{Object: &corev1.Node{}, Map: r.fitting(), Predicates: []predicate.Predicate{watch.NodesThatMatter()}},
	}
}

// selecting are the DaemonSets of a namespace.
func (r *Reconciler) selecting(ctx context.Context, namespace string) ([]watch.Selecting, error) {
	var sets appsv1beta1.DaemonSetList
	if err := r.client.List(ctx, &sets, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the DaemonSets of namespace %s: %w", namespace, err)
	}
	all := make([]watch.Selecting, 0, len(sets.Items))
	for i := range sets.Items {
		all = append(all, watch.Selecting{Object: &sets.Items[i], Selector: sets.Items[i].Spec.Selector})
	}
	return all, nil
}

// fitting maps a node to the sets that have something to do with it. Of a node that changes both states are asked about.
func (r *Reconciler) fitting() handler.MapFunc {
	return func(ctx context.Context, obj client.Object) []ctrl.Request {
		n, ok := obj.(*corev1.Node)
		if !ok {
			return nil
		}
		var sets appsv1beta1.DaemonSetList
		if err := r.client.List(ctx, &sets, client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "list the DaemonSets that a node concerns", "node", n.Name)
			return nil
		}
		var requests []ctrl.Request
		for i := range sets.Items {
			spec := &sets.Items[i].Spec.Template
			template, err := node.NewTemplate(spec, node.Daemon(spec.Spec.HostNetwork)...)
			if err != nil {
				continue // the set says so itself
			}
			if verdict, _ := template.Judge(n); verdict != node.Away {
				requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&sets.Items[i])})
			}
		}
		return requests
	}
}
