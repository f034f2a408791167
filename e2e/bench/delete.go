package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deletePods deletes n pods of the namespace.
func (b *bench) deletePods(ctx context.Context, n int) error {
	var pods corev1.PodList
	if err := b.client.List(ctx, &pods, client.InNamespace(namespace), client.Limit(n)); err != nil {
		return fmt.Errorf("list pods to delete: %w", err)
	}
	for i := range pods.Items {
		if err := client.IgnoreNotFound(b.client.Delete(ctx, &pods.Items[i])); err != nil {
			return fmt.Errorf("delete pod %s: %w", pods.Items[i].Name, err)
		}
	}
	return nil
}
