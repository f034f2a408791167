package workload

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
)

// GrowClaim asks for more storage for a claim of the owner's.
func (e *Engine) GrowClaim(ctx context.Context, owner client.Object, g claim.Growth) error {
	body := map[string]any{"spec": map[string]any{"resources": map[string]any{
		"requests": map[string]any{string(corev1.ResourceStorage): g.Size.String()},
	}}}
	if err := e.patchClaim(ctx, owner, g.Claim, body); err != nil {
		return fmt.Errorf("grow claim %s/%s to %s as its template asks (its storage class must allow expansion): %w",
			g.Claim.Namespace, g.Claim.Name, g.Size.String(), err)
	}
	reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulResizePVC", "grew claim %s to %s", g.Claim.Name, g.Size.String())
	return nil
}

// OwnClaim writes whose a claim of the owner's is: with whom it goes.
func (e *Engine) OwnClaim(ctx context.Context, owner client.Object, c *corev1.PersistentVolumeClaim, refs []metav1.OwnerReference) error {
	if refs == nil {
		refs = []metav1.OwnerReference{}
	}
	// The resourceVersion: the list is written whole, and somebody else's entry must not get lost.
	body := map[string]any{"metadata": map[string]any{
		"uid": c.UID, "resourceVersion": c.ResourceVersion, "ownerReferences": refs,
	}}
	if err := e.patchClaim(ctx, owner, c, body); err != nil {
		return fmt.Errorf("write the owners of claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	return nil
}

func (e *Engine) patchClaim(ctx context.Context, owner client.Object, c *corev1.PersistentVolumeClaim, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	fresh := &corev1.PersistentVolumeClaim{}
	fresh.Namespace, fresh.Name = c.Namespace, c.Name
	if err := e.Client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, raw)); err != nil {
		return err //nolint:wrapcheck // the callers say what it was for
	}
	e.memory(owner).wrote(claimKind(), fresh.ResourceVersion)
	return nil
}

// LabelPod writes labels of a pod of the owner's.
func (e *Engine) LabelPod(ctx context.Context, owner client.Object, p *corev1.Pod, labels map[string]string) error {
	body := patch{Metadata: patchMeta{UID: p.UID, Labels: pointers(labels)}}
	if err := e.patchPod(ctx, e.memory(owner), shallow(p), body, ""); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the labels of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}
