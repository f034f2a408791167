package pod

import (
	"fmt"

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
		return Scheduling, c.Message
	}
	for i := range p.Status.ContainerStatuses {
		status := &p.Status.ContainerStatuses[i]
		if status.State.Waiting == nil {
			continue
		}
		if cause, text := waitingContainer(status); cause != NoCause {
			return cause, text
		}
	}
	return NoCause, ""
}

func waitingContainer(status *corev1.ContainerStatus) (Cause, string) {
	waiting := status.State.Waiting
	switch waiting.Reason {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ErrImageInspect", "RegistryUnavailable":
		return Image, fmt.Sprintf("container %s cannot get image %s: %s", status.Name, status.Image, waiting.Reason)
	case "CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		return Starting, fmt.Sprintf("container %s does not start: %s %s", status.Name, waiting.Reason, waiting.Message)
	}
	return NoCause, ""
}
