// Package pod tells the facts of one pod: whether it is active, ready and available, and which revision it runs.
package pod

import (
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Terminating reports whether somebody has asked for the pod to go.
func Terminating(p *corev1.Pod) bool { return p.DeletionTimestamp != nil }

// Finished reports whether no container of the pod will ever run again.
func Finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// Active reports whether the pod holds a place in its workload.
func Active(p *corev1.Pod) bool { return !Terminating(p) && !Finished(p) }

// Condition returns the pod's condition of that type, or nil.
func Condition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// Ready reports whether the kubelet says that the pod may get traffic.
func Ready(p *corev1.Pod) bool {
	c := Condition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// ReadySince returns when the pod became ready; the zero time when it is not.
func ReadySince(p *corev1.Pod) time.Time {
	c := Condition(p, corev1.PodReady)
	if c == nil || c.Status != corev1.ConditionTrue {
		return time.Time{}
	}
	return c.LastTransitionTime.Time
}

// Available reports whether the pod is active, has been ready for minReady and is not marked
// unavailable; when only time is missing, the second value says how much.
func Available(p *corev1.Pod, minReady time.Duration, now time.Time) (bool, time.Duration) {
	since := ReadySince(p)
	if !Active(p) || since.IsZero() && !Ready(p) || MarkedUnavailable(p) {
		return false, 0
	}
	if missing := minReady - now.Sub(since); minReady > 0 && missing > 0 {
		return false, missing
	}
	return true, 0
}

// MarkedUnavailable reports whether a label with the prefix unavailable-pod.kruise.io/ takes the pod out of the count.
func MarkedUnavailable(p *corev1.Pod) bool {
	for key := range p.Labels {
		if strings.HasPrefix(key, appsv1beta1.UnavailablePodPrefix) {
			return true
		}
	}
	return false
}

// Revision returns the revision that the pod was made or last changed to.
func Revision(p *corev1.Pod) string { return p.Labels[appsv1.ControllerRevisionHashLabelKey] }

// HasGate reports whether the pod's readiness waits for the condition.
func HasGate(p *corev1.Pod, kind corev1.PodConditionType) bool {
	for _, gate := range p.Spec.ReadinessGates {
		if gate.ConditionType == kind {
			return true
		}
	}
	return false
}

// DeletionCost returns what the pod says it costs to delete it; 0 where it says nothing that can be read.
// https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost
func DeletionCost(p *corev1.Pod) int32 {
	cost, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(cost)
}

// Restarts returns how often the most restarted container was started again.
func Restarts(p *corev1.Pod) int32 {
	most := int32(0)
	for i := range p.Status.ContainerStatuses {
		most = max(most, p.Status.ContainerStatuses[i].RestartCount)
	}
	return most
}

// Container returns the status of a container, init containers among them, or nil while the kubelet has not reported it.
func Container(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses} {
		for i := range statuses {
			if statuses[i].Name == name {
				return &statuses[i]
			}
		}
	}
	return nil
}

// OwnedBy reports whether the object with that UID controls the pod.
func OwnedBy(p *corev1.Pod, owner metav1.Object) bool {
	ref := metav1.GetControllerOfNoCopy(p)
	return ref != nil && ref.UID == owner.GetUID()
}
