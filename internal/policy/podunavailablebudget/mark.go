package podunavailablebudget

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// maxMarks is how many pods one pass marks: each mark is an event, and so another pass.
const maxMarks = 50

// mark keeps the annotation by which pods tell the budget that guards them. It is for those who look: no decision reads it.
func (k *Keeper) mark(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, guarded []*corev1.Pod) error {
	all, err := k.list(ctx, pub.Namespace)
	if err != nil {
		return err
	}
	names := sets.New[string]()
	for i := range all.Items {
		names.Insert(all.Items[i].Name)
	}
	var pods corev1.PodList
	if err := k.deps.Client.List(ctx, &pods, client.InNamespace(pub.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the pods of namespace %s: %w", pub.Namespace, err)
	}
	add, drop := marks(pub.Name, names, guarded, pods.Items)
	for _, p := range add {
		if err := k.annotate(ctx, p, &pub.Name); err != nil {
			return err
		}
	}
	for _, p := range drop {
		if err := k.annotate(ctx, p, nil); err != nil {
			return err
		}
	}
	return nil
}

// marks decides which pods are marked as guarded by a budget, and which are not any more. Where several budgets guard a pod,
// the one that was there first is named: two must not take turns. There are never more than maxMarks of each.
func marks(name string, budgets sets.Set[string], guarded []*corev1.Pod, all []corev1.Pod) (add, drop []*corev1.Pod) {
	ours := make(map[types.UID]bool, len(guarded))
	for _, p := range guarded {
		ours[p.UID] = true
		mark, marked := p.Annotations[appsv1beta1.RelatedPub]
		if (!marked || !budgets.Has(mark)) && len(add) < maxMarks {
			add = append(add, p)
		}
	}
	for i := range all {
		p := &all[i]
		if p.Annotations[appsv1beta1.RelatedPub] == name && !ours[p.UID] && pod.Active(p) && len(drop) < maxMarks {
			drop = append(drop, p)
		}
	}
	return add, drop
}

// annotate writes the name of the budget on a pod, or takes it away. A pod that is gone, or another one by now, needs none.
func (k *Keeper) annotate(ctx context.Context, p *corev1.Pod, name *string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": p.UID, "annotations": map[string]any{appsv1beta1.RelatedPub: name},
	}})
	if err != nil {
		return fmt.Errorf("encode the mark of pod %s: %w", p.Name, err)
	}
	target := &corev1.Pod{}
	target.Namespace, target.Name = p.Namespace, p.Name
	err = k.deps.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, body))
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("mark pod %s/%s with the budget that guards it: %w", p.Namespace, p.Name, err)
	}
	return nil
}
