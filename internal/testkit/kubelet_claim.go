package testkit

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// claimProtection is the finalizer that the API server puts on every claim and a controller takes away.
const claimProtection = "kubernetes.io/pvc-protection"

// stepClaims binds claims, grows them to what they ask, and lets go of deleted ones that no pod uses.
func (k *Kubelet) stepClaims(ctx context.Context) (int, error) {
	var claims corev1.PersistentVolumeClaimList
	if err := k.Client.List(ctx, &claims, client.InNamespace(k.Namespace)); err != nil {
		return 0, fmt.Errorf("kubelet: list the claims of %s: %w", k.Namespace, err)
	}
	made := 0
	for i := range claims.Items {
		claim := &claims.Items[i]
		var (
			changed bool
			err     error
		)
		if claim.DeletionTimestamp != nil {
			changed, err = k.releaseClaim(ctx, claim)
		} else if k.Hold == nil || !k.Hold(nil, BindClaim) {
			changed, err = k.bindClaim(ctx, claim)
		}
		if client.IgnoreNotFound(err) != nil {
			return made, fmt.Errorf("kubelet: claim %s: %w", claim.Name, err)
		}
		if changed {
			made++
		}
	}
	return made, nil
}

// bindClaim reports a claim as bound with the capacity that it asks for.
func (k *Kubelet) bindClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	changed := claim.DeepCopy()
	changed.Status.Phase = corev1.ClaimBound
	changed.Status.AccessModes = claim.Spec.AccessModes
	changed.Status.Capacity = corev1.ResourceList{
		corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage],
	}
	if equality.Semantic.DeepEqual(claim.Status, changed.Status) {
		return false, nil
	}
	if err := k.Client.Status().Patch(ctx, changed, client.MergeFrom(claim)); err != nil {
		return false, fmt.Errorf("bind: %w", err)
	}
	return true, nil
}

// releaseClaim takes the protection from a deleted claim once no pod names it.
func (k *Kubelet) releaseClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	if !slices.Contains(claim.Finalizers, claimProtection) {
		return false, nil
	}
	var pods corev1.PodList
	if err := k.Client.List(ctx, &pods, client.InNamespace(k.Namespace)); err != nil {
		return false, fmt.Errorf("list the pods that use it: %w", err)
	}
	for i := range pods.Items {
		for _, volume := range pods.Items[i].Spec.Volumes {
			if volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ClaimName == claim.Name {
				return false, nil
			}
		}
	}
	free := claim.DeepCopy()
	free.Finalizers = slices.DeleteFunc(free.Finalizers, func(f string) bool { return f == claimProtection })
	if err := k.Client.Patch(ctx, free, client.MergeFrom(claim)); err != nil {
		return false, fmt.Errorf("release: %w", err)
	}
	return true, nil
}

// Crash stops one container of a pod as if its process had died; the next steps restart it.
func (k *Kubelet) Crash(ctx context.Context, pod client.ObjectKey, container string) error {
	var found corev1.Pod
	if err := k.Client.Get(ctx, pod, &found); err != nil {
		return fmt.Errorf("kubelet: crash %s in pod %s: %w", container, pod, err)
	}
	changed := found.DeepCopy()
	for i := range changed.Status.ContainerStatuses {
		if status := &changed.Status.ContainerStatuses[i]; status.Name == container && status.State.Running != nil {
			k.stop(status, 1)
			k.readiness(changed)
			if err := k.Client.Status().Patch(ctx, changed, client.StrategicMergeFrom(&found)); err != nil {
				return fmt.Errorf("kubelet: crash %s in pod %s: %w", container, pod, err)
			}
			return nil
		}
	}
	return fmt.Errorf("kubelet: crash %s in pod %s: no such container runs", container, pod)
}
