package simnode

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
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

func statusPatch(pod *corev1.Pod, status *corev1.PodStatus) ([]byte, error) {
	before, err := json.Marshal(corev1.Pod{Status: pod.Status})
	if err != nil {
		return nil, fmt.Errorf("encode the status: %w", err)
	}
	// The uid keeps the patch from a later pod of the same name.
	after, err := json.Marshal(corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: pod.UID}, Status: *status})
	if err != nil {
		return nil, fmt.Errorf("encode the status: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("make the status patch: %w", err)
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
