package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// ofContainers covers containers that cannot start, or end again and again.
func ofContainers(e Evidence, p *corev1.Pod, now time.Time) (Finding, bool) {
	for _, status := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if f, found := ofContainer(e, p, status, now); found {
			return f, true
		}
	}
	for _, status := range p.Status.InitContainerStatuses {
		sidecar := status.Started != nil && *status.Started
		if status.State.Running != nil && !sidecar {
			return Finding{
				Cause: "Init", What: fmt.Sprintf("init container %s has not ended", status.Name),
				Why: "running for " + age(status.State.Running.StartedAt.Time, now),
				Do:  fmt.Sprintf("see what it waits for: kubectl logs %s -c %s", p.Name, status.Name),
			}, true
		}
	}
	return Finding{}, false
}

func ofContainer(e Evidence, p *corev1.Pod, status corev1.ContainerStatus, now time.Time) (Finding, bool) {
	name := status.Name
	if status.State.Waiting == nil {
		if status.State.Terminated != nil && status.State.Terminated.ExitCode != 0 && !changingInPlace(p) {
			return ofCrash(p, name, status.RestartCount, status.State.Terminated), true
		}
		return Finding{}, false
	}
	waiting := status.State.Waiting
	switch waiting.Reason {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ErrImageInspect",
		"RegistryUnavailable", "SignatureValidationFailed":
		return ofImage(e, p, status, now), true
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError",
		"PostStartHookError":
		return Finding{
			Cause: "Config", What: fmt.Sprintf("container %s cannot be started: %s", name, waiting.Reason), Why: waiting.Message,
			Do: "create or correct what the message names; the kubelet tries again by itself",
		}, true
	case "CrashLoopBackOff":
		return ofCrash(p, name, status.RestartCount, status.LastTerminationState.Terminated), true
	}
	return Finding{}, false
}

// changingInPlace tells whether a pod's containers end because they are being changed.
func changingInPlace(p *corev1.Pod) bool {
	phase, _ := inplace.Progress(p)
	return phase != inplace.Idle
}

// ofImage covers images that cannot be had.
func ofImage(e Evidence, p *corev1.Pod, status corev1.ContainerStatus, now time.Time) Finding {
	image := status.Image
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == status.Name {
			image = c.Image // while another image is pulled in place, the status still names the old one
		}
	}
	why := status.State.Waiting.Message
	if event, found := e.last(now, []types.UID{p.UID}, "Failed"); found && status.State.Waiting.Reason == "ImagePullBackOff" {
		why = event.Message // the back-off hides the error
	}
	f := Finding{Cause: "Image", What: fmt.Sprintf("container %s cannot get its image %s", status.Name, image), Why: why}
	lower := strings.ToLower(why)
	switch {
	case status.State.Waiting.Reason == "InvalidImageName":
		f.Do = "correct the image's name in the template"
	case status.State.Waiting.Reason == "ErrImageNeverPull":
		f.Do = "load the image onto node " + p.Spec.NodeName + ", or let imagePullPolicy pull it"
	case containsAny(lower, "unauthorized", "denied", "forbidden", "authentication required"):
		f.Do = "correct the name, or give the pod an imagePullSecret for the registry"
	case containsAny(lower, "not found", "manifest unknown", "no such"):
		f.Do = "correct the image's name or tag, or push it"
	case containsAny(lower, "no such host", "timeout", "connection refused", "i/o", "x509"):
		f.Do = "see that node " + p.Spec.NodeName + " reaches the registry"
	case containsAny(lower, "toomanyrequests", "rate limit"):
		f.Do = "the registry limits pulls: log in to it with an imagePullSecret, or mirror the image"
	default:
		f.Do = "correct the image, or see that node " + p.Spec.NodeName + " can get it"
	}
	return f
}

// ofCrash covers containers that end, by what their end says.
func ofCrash(p *corev1.Pod, name string, restarts int32, end *corev1.ContainerStateTerminated) Finding {
	f := Finding{
		Cause: "Crash", What: fmt.Sprintf("container %s ends after it starts", name),
		Do: fmt.Sprintf("see its last words: kubectl logs %s -c %s --previous", p.Name, name),
	}
	if end == nil {
		return f
	}
	f.Why = strings.TrimSpace(fmt.Sprintf("%s, exit code %d, %s %s", orDash(end.Reason), end.ExitCode,
		plural(int64(restarts), "restart"), end.Message))
	switch {
	case end.Reason == "OOMKilled":
		f.Do = "raise the memory limit of container " + name + ", or make it need less"
	case end.ExitCode == 126 || end.ExitCode == 127 || end.Reason == "StartError" || end.Reason == "ContainerCannotRun":
		f.Do = "correct the command of container " + name + ": it cannot be run in this image"
	}
	return f
}

func containsAny(text string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}
