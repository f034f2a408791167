package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Cause is the kind of thing that a pod which is not ready waits for.
type Cause string

// The causes, in the order in which a pod meets them.
const (
	NoCause    Cause = ""
	Scheduling Cause = "Scheduling"
	Claim      Cause = "Claim"
	Image      Cause = "Image"
	Starting   Cause = "Container"
)

// Waiting tells what a pod that is not ready waits for, as far as the pod itself shows it.
func Waiting(p *corev1.Pod) (Cause, string) {
	if c := Condition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		if strings.Contains(strings.ToLower(c.Message), "persistentvolumeclaim") {
			return Claim, c.Message // the scheduler waits for a claim, not for a node
		}
		return Scheduling, c.Message
	}
	for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range statuses {
			if statuses[i].State.Waiting == nil {
				continue
			}
			if cause, text := waitingContainer(&statuses[i]); cause != NoCause {
				return cause, text
			}
		}
	}
	return NoCause, ""
}

// waitingContainer leaves out what changes while nothing does, such as the time of the next attempt: the text becomes a
// part of a status, and a status that changes is written.
func waitingContainer(status *corev1.ContainerStatus) (Cause, string) {
	waiting := status.State.Waiting
	switch waiting.Reason {
	case "ErrImagePull", "ImagePullBackOff": // the kubelet goes back and forth between them
		return Image, fmt.Sprintf("container %s cannot get image %s: it cannot be pulled", status.Name, status.Image)
	case "InvalidImageName", "ErrImageNeverPull", "ErrImageInspect", "RegistryUnavailable":
		return Image, fmt.Sprintf("container %s cannot get image %s: %s", status.Name, status.Image, waiting.Reason)
	case "CrashLoopBackOff":
		text := fmt.Sprintf("container %s does not stay up: %s", status.Name, waiting.Reason)
		if last := status.LastTerminationState.Terminated; last != nil {
			text += fmt.Sprintf(", its last exit code was %d", last.ExitCode)
		}
		return Starting, text
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return Starting, fmt.Sprintf("container %s does not start: %s %s", status.Name, waiting.Reason, waiting.Message)
	}
	return NoCause, ""
}
