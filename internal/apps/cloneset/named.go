package cloneset

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// How long a pass waits for the cache to show the shorter list, unless its event comes first.
const shorterInterval = 100 * time.Millisecond

// stillNamed are the names of pods that are still to go. Those that go already, are gone, or never were, are done with.
func stillNamed(cs *appsv1beta1.CloneSet, state workload.State) []string {
	here := make(map[string]bool, len(state.Members))
	for i := range state.Members {
		here[state.Members[i].Pod.Name] = true
	}
	return slices.DeleteFunc(slices.Clone(cs.Spec.ScaleStrategy.PodsToDelete), func(name string) bool { return !here[name] })
}

// strike takes the names off podsToDelete that are done with. A name can come back, as it does with claims that are used
// again: a pod that nobody meant would then go, and its successor, too. The pass is over when the list became shorter.
func (r *Reconciler) strike(ctx context.Context, cs *appsv1beta1.CloneSet, state workload.State) error {
	if len(cs.Spec.ScaleStrategy.PodsToDelete) == 0 {
		return nil
	}
	left := stillNamed(cs, state)
	done := len(cs.Spec.ScaleStrategy.PodsToDelete) - len(left)
	if done == 0 {
		return nil
	}
	raw, err := shorter(cs, left)
	if err != nil {
		return err
	}
	fresh := &appsv1beta1.CloneSet{ObjectMeta: metav1.ObjectMeta{Namespace: cs.Namespace, Name: cs.Name}}
	switch err := r.client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, raw)); {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
	case err != nil:
		err = fmt.Errorf("take %d names off spec.scaleStrategy.podsToDelete, whose pods are gone: %w", done, err)
		reconcile.Event(ctx, corev1.EventTypeWarning, "FailedUpdatePodsToDelete", "%v", err)
		return err
	}
	return reconcile.Wait(shorterInterval, "names were taken off spec.scaleStrategy.podsToDelete")
}

// shorter is the patch that writes what is left of the list, unless somebody else has changed the set since.
func shorter(cs *appsv1beta1.CloneSet, left []string) ([]byte, error) {
	var list any // null takes the field out
	if len(left) > 0 {
		list = left
	}
	raw, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": cs.UID, "resourceVersion": cs.ResourceVersion},
		"spec":     map[string]any{"scaleStrategy": map[string]any{"podsToDelete": list}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the shorter list of podsToDelete: %w", err)
	}
	return raw, nil
}
