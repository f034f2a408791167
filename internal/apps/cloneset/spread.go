package cloneset

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// spread says in which domains nodes are, for each topology that the template wants its pods spread over, so that a number that
// falls leaves them spread. It is asked for only where there are pods to choose from: few sets need the nodes, and seldom.
func (r *Reconciler) spread(ctx context.Context, cs *appsv1beta1.CloneSet, state workload.State) ([]map[string]string, error) {
	constraints := cs.Spec.Template.Spec.TopologySpreadConstraints
	if len(constraints) == 0 || len(state.Members) <= int(ptr.Deref(cs.Spec.Replicas, 1)) {
		return nil, nil
	}
	var nodes corev1.NodeList
	if err := r.client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list nodes to spread the pods of CloneSet %s/%s: %w", cs.Namespace, cs.Name, err)
	}
	domains := make([]map[string]string, len(constraints))
	for i := range constraints {
		domains[i] = make(map[string]string, len(nodes.Items))
		for j := range nodes.Items {
			domains[i][nodes.Items[j].Name] = nodes.Items[j].Labels[constraints[i].TopologyKey]
		}
	}
	return domains, nil
}
