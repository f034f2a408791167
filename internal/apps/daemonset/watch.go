package daemonset

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/node"
	"github.com/holdfast-io/holdfast/internal/workload/watch"
)

// Watches are the kinds whose events concern a DaemonSet.
func (r *Reconciler) Watches() []reconcile.Watch {
	return []reconcile.Watch{
		{Object: &corev1.Pod{}, Map: watch.Pods(GroupKind(), r.selecting)},
		watch.Nodes(r.placing),
	}
}

func (r *Reconciler) selecting(ctx context.Context, namespace string) ([]watch.Selecting, error) {
	sets, err := r.list(ctx, client.InNamespace(namespace))
	all := make([]watch.Selecting, 0, len(sets))
	for i := range sets {
		all = append(all, watch.Selecting{Object: &sets[i], Selector: sets[i].Spec.Selector})
	}
	return all, err
}

func (r *Reconciler) placing(ctx context.Context) ([]watch.Placing, error) {
	sets, err := r.list(ctx)
	all := make([]watch.Placing, 0, len(sets))
	for i := range sets {
		template := &sets[i].Spec.Template
		all = append(all, watch.Placing{
			Object: &sets[i], Template: template, Tolerations: node.Daemon(template.Spec.HostNetwork),
		})
	}
	return all, err
}

func (r *Reconciler) list(ctx context.Context, opts ...client.ListOption) ([]appsv1beta1.DaemonSet, error) {
	var sets appsv1beta1.DaemonSetList
	if err := r.client.List(ctx, &sets, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list DaemonSets: %w", err)
	}
	return sets.Items, nil
}
