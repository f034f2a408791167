package simnode

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// work handles one pod, and says whether there may be more.
func (s *Simulator) work(ctx context.Context) bool {
	key, shutdown := s.queue.Get()
	if shutdown {
		return false
	}
	defer s.queue.Done(key)
	if err := s.sync(ctx, key); err != nil {
		if ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Simulated pod will be tried again", "pod", key)
		}
		s.queue.AddRateLimited(key)
		return true
	}
	s.queue.Forget(key)
	return true
}

func (s *Simulator) sync(ctx context.Context, key cache.ObjectName) error {
	pod, err := s.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the pod: %w", err)
	}
	node := s.simulated(pod.Spec.NodeName)
	state := s.remember(pod.UID)
	if node == nil || version(pod.ResourceVersion) < state.written {
		return nil // what we wrote is on its way and brings the key again
	}
	step := s.Rules.Next(pod, s.addresses(node, pod), &state.memory, s.Now())
	if step.Status != nil && !equality.Semantic.DeepEqual(*step.Status, pod.Status) {
		if err := s.write(ctx, pod, step.Status, state); err != nil {
			return err
		}
	}
	if step.Again > 0 {
		s.queue.AddAfter(key, step.Again)
	}
	if step.Remove {
		return s.remove(ctx, pod)
	}
	return nil
}

func (s *Simulator) addresses(node *corev1.Node, pod *corev1.Pod) Addresses {
	a := Addresses{Host: nodeIP(node)}
	switch {
	case pod.Spec.HostNetwork:
		a.Pod = a.Host
	case pod.DeletionTimestamp == nil && !finished(pod):
		a.Pod = s.pool.get(pod.UID, pod.Status.PodIP)
	}
	return a
}

// write patches what differs: conditions merge by their type, so that those of other writers stay.
func (s *Simulator) write(ctx context.Context, pod *corev1.Pod, status *corev1.PodStatus, state *podState) error {
	patch, err := statusPatch(pod, status)
	if err != nil {
		return err
	}
	pods := s.client.CoreV1().Pods(pod.Namespace)
	got, err := pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, or another pod of the same name
		return nil
	case err != nil:
		return fmt.Errorf("write the status: %w", err)
	}
	state.written = version(got.ResourceVersion)
	return nil
}

// statusPatch says the fields that changed. Conditions say their texts also where they are empty: the former ones would stay.
func statusPatch(pod *corev1.Pod, status *corev1.PodStatus) ([]byte, error) {
	changed, before := map[string]any{}, &pod.Status
	put := func(name string, before, after any) {
		if !equality.Semantic.DeepEqual(before, after) {
			changed[name] = after
		}
	}
	put("observedGeneration", before.ObservedGeneration, status.ObservedGeneration)
	put("phase", before.Phase, status.Phase)
	put("startTime", before.StartTime, status.StartTime)
	put("hostIP", before.HostIP, status.HostIP)
	put("hostIPs", before.HostIPs, status.HostIPs)
	put("podIP", before.PodIP, status.PodIP)
	put("podIPs", before.PodIPs, status.PodIPs)
	put("initContainerStatuses", before.InitContainerStatuses, status.InitContainerStatuses)
	put("containerStatuses", before.ContainerStatuses, status.ContainerStatuses)
	var conditions []any
	for _, c := range status.Conditions {
		if slices.ContainsFunc(before.Conditions, func(old corev1.PodCondition) bool { return equality.Semantic.DeepEqual(old, c) }) {
			continue
		}
		conditions = append(conditions, map[string]any{
			"type": c.Type, "status": c.Status, "reason": c.Reason, "message": c.Message,
			"lastTransitionTime": c.LastTransitionTime, "observedGeneration": c.ObservedGeneration,
		})
	}
	if len(conditions) > 0 {
		changed["conditions"] = conditions
	}
	// The uid keeps the patch from a later pod of the same name.
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": changed})
	if err != nil {
		return nil, fmt.Errorf("encode the status patch: %w", err)
	}
	return patch, nil
}

func (s *Simulator) remove(ctx context.Context, pod *corev1.Pod) error {
	now := int64(0)
	err := s.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete the pod: %w", err)
	}
	return nil
}
