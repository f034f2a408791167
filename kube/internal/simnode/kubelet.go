package simnode

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Rules say how pods on simulated nodes behave. They hold no client: what a pod does next follows
// from the pod, the time and what is remembered of it.
type Rules struct {
	// RestartDelay is how long a container is away when it is changed in place.
	RestartDelay Delay
}

// Memory is what a kubelet knows of one pod beyond its object: when each container's wait is over.
// Losing it makes a wait begin anew, nothing else.
type Memory struct{ due map[string]time.Time }

// until returns when the wait of that name is over; it begins at the first call.
func (m *Memory) until(name string, now time.Time, wait time.Duration) time.Time {
	if m.due == nil {
		m.due = map[string]time.Time{}
	}
	if _, ok := m.due[name]; !ok {
		m.due[name] = now.Add(wait)
	}
	return m.due[name]
}

func (m *Memory) forget(name string) { delete(m.due, name) }

// Step is what a pod does now.
type Step struct {
	Status *corev1.PodStatus // as it should be; nil: as it is
	Remove bool              // the pod has ended and its object may go
	Again  time.Duration     // look again after this long; 0: when it changes
}

// Next decides what a pod bound to a simulated node does now.
func (r Rules) Next(pod *corev1.Pod, addresses Addresses, memory *Memory, now time.Time) Step {
	switch {
	case pod.DeletionTimestamp != nil:
		return ending(pod, now)
	case finished(pod):
		return Step{}
	}
	look := &look{rules: r, pod: pod, memory: memory, now: metav1.NewTime(now.Truncate(time.Second)), clock: now}
	status := pod.Status.DeepCopy()
	status.InitContainerStatuses = look.containers(pod.Spec.InitContainers, pod.Status.InitContainerStatuses, true)
	status.ContainerStatuses = look.containers(pod.Spec.Containers, pod.Status.ContainerStatuses, false)
	status.Phase = phase(pod, status.ContainerStatuses)
	status.ObservedGeneration = pod.Generation
	if status.StartTime == nil {
		status.StartTime = &look.now
	}
	addresses.fill(status)
	conditions(pod, status, look.now)
	return Step{Status: status, Again: look.again}
}

// ending lets a pod go. Its last state is reported only where somebody can still see it.
func ending(pod *corev1.Pod, now time.Time) Step {
	if pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0 {
		return Step{} // it has been let go; a finalizer of somebody else holds the object
	}
	if len(pod.Finalizers) == 0 || finished(pod) {
		return Step{Remove: true}
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	status := pod.Status.DeepCopy()
	for i := range status.ContainerStatuses {
		if c := &status.ContainerStatuses[i]; c.State.Running != nil {
			stop(c, at, exitTerminated)
		}
	}
	status.Phase = corev1.PodFailed
	if pod.Spec.RestartPolicy == corev1.RestartPolicyNever && phase(pod, status.ContainerStatuses) == corev1.PodSucceeded {
		status.Phase = corev1.PodSucceeded
	}
	status.ObservedGeneration = pod.Generation
	conditions(pod, status, at)
	return Step{Status: status, Remove: true}
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// phase follows the kubelet: a container that never started keeps the pod Pending; one that ran
// before and cannot start again does not.
func phase(pod *corev1.Pod, containers []corev1.ContainerStatus) corev1.PodPhase {
	waiting, ended, failed := 0, 0, 0
	for _, c := range containers {
		switch {
		case c.State.Waiting != nil && c.LastTerminationState.Terminated == nil:
			waiting++
		case c.State.Terminated != nil:
			ended++
			if c.State.Terminated.ExitCode != 0 {
				failed++
			}
		}
	}
	switch {
	case waiting > 0:
		return corev1.PodPending
	case ended < len(containers) || pod.Spec.RestartPolicy == corev1.RestartPolicyAlways || pod.Spec.RestartPolicy == "":
		return corev1.PodRunning
	case failed == 0:
		return corev1.PodSucceeded
	case pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		return corev1.PodFailed
	}
	return corev1.PodRunning
}

// conditions sets the kubelet's own conditions and leaves all others as they are.
func conditions(pod *corev1.Pod, status *corev1.PodStatus, now metav1.Time) {
	containers := containersReady(status)
	ready := containers
	if closed := closedGates(pod, status); ready.Status == corev1.ConditionTrue && len(closed) > 0 {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", closed
	}
	containers.Type, ready.Type = corev1.ContainersReady, corev1.PodReady
	for _, condition := range []corev1.PodCondition{
		{Type: corev1.PodReadyToStartContainers, Status: running(status)},
		{Type: corev1.PodInitialized, Status: corev1.ConditionTrue},
		ready,
		containers,
	} {
		condition.ObservedGeneration = pod.Generation
		set(status, condition, now)
	}
}

func running(status *corev1.PodStatus) corev1.ConditionStatus {
	if status.Phase == corev1.PodSucceeded || status.Phase == corev1.PodFailed {
		return corev1.ConditionFalse // its sandbox is gone
	}
	return corev1.ConditionTrue
}

func containersReady(status *corev1.PodStatus) corev1.PodCondition {
	switch status.Phase {
	case corev1.PodSucceeded:
		return corev1.PodCondition{Status: corev1.ConditionFalse, Reason: "PodCompleted"}
	case corev1.PodFailed:
		return corev1.PodCondition{Status: corev1.ConditionFalse, Reason: "PodFailed"}
	case corev1.PodPending, corev1.PodRunning, corev1.PodUnknown: // the containers tell
	}
	var unready strings.Builder
	for _, c := range status.ContainerStatuses {
		if !c.Ready {
			unready.WriteString(" " + c.Name)
		}
	}
	if unready.String() != "" {
		return corev1.PodCondition{
			Status: corev1.ConditionFalse, Reason: "ContainersNotReady",
			Message: "containers with unready status: [" + unready.String()[1:] + "]",
		}
	}
	return corev1.PodCondition{Status: corev1.ConditionTrue}
}

// closedGates names the readiness gates whose condition is not True.
func closedGates(pod *corev1.Pod, status *corev1.PodStatus) string {
	message := ""
	for _, gate := range pod.Spec.ReadinessGates {
		i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == gate.ConditionType })
		var say string
		switch {
		case i < 0:
			say = `corresponding condition of pod readiness gate "` + string(gate.ConditionType) + `" does not exist.`
		case status.Conditions[i].Status != corev1.ConditionTrue:
			say = `the status of pod readiness gate "` + string(gate.ConditionType) + `" is not "True", but ` + string(status.Conditions[i].Status)
		default:
			continue
		}
		if message != "" {
			message += ", "
		}
		message += say
	}
	return message
}

func set(status *corev1.PodStatus, condition corev1.PodCondition, now metav1.Time) {
	condition.LastTransitionTime = now
	i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == condition.Type })
	if i < 0 {
		status.Conditions = append(status.Conditions, condition)
		return
	}
	if status.Conditions[i].Status == condition.Status {
		condition.LastTransitionTime = status.Conditions[i].LastTransitionTime
	}
	condition.LastProbeTime = status.Conditions[i].LastProbeTime
	status.Conditions[i] = condition
}
