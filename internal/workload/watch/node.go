package watch

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/node"
)

// Placing is a workload whose template says which nodes get a pod.
type Placing struct {
	client.Object

	Template *corev1.PodTemplateSpec
	// Tolerations that its pods have beside those of the template.
	Tolerations []corev1.Toleration
}

// Nodes leads from a node to the workloads that have something to do with it, and to no others. Of a node that changes both
// states are asked about. list gives the workloads of all namespaces.
func Nodes(list func(ctx context.Context) ([]Placing, error)) reconcile.Watch {
	concerned := func(ctx context.Context, obj client.Object) []ctrl.Request {
		n, ok := obj.(*corev1.Node)
		if !ok {
			return nil
		}
		all, err := list(ctx)
		if err != nil {
			log.FromContext(ctx).Error(err, "list the workloads that a node concerns", "node", n.Name)
			return nil
		}
		var requests []ctrl.Request
		for _, one := range all {
			template, err := node.NewTemplate(one.Template, one.Tolerations...)
			if err != nil {
				continue // the workload says so itself
			}
			if verdict, _ := template.Judge(n); verdict != node.Away {
				requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(one)})
			}
		}
		return requests
	}
	return reconcile.Watch{Object: &corev1.Node{}, Map: concerned, Predicates: []predicate.Predicate{predicate.Funcs{UpdateFunc: matters}}}
}

// matters keeps out what changes nothing about which pods belong to a node: a node reports its state every few seconds.
func matters(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*corev1.Node)
	after, also := e.ObjectNew.(*corev1.Node)
	return ok && also && (before.Spec.Unschedulable != after.Spec.Unschedulable || !maps.Equal(before.Labels, after.Labels) ||
		!apiequality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints))
}
