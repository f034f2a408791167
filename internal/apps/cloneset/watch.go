package cloneset

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/watch"
)

// selecting are the CloneSets of a namespace.
func (r *Reconciler) selecting(ctx context.Context, namespace string) ([]watch.Selecting, error) {
	var sets appsv1beta1.CloneSetList
	if err := r.engine.Client.List(ctx, &sets, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the CloneSets of namespace %s: %w", namespace, err)
	}
	all := make([]watch.Selecting, 0, len(sets.Items))
	for i := range sets.Items {
		all = append(all, watch.Selecting{Object: &sets.Items[i], Selector: sets.Items[i].Spec.Selector})
	}
	return all, nil
}
