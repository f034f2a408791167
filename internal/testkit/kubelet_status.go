package testkit

import (
	"hash/fnv"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// advance makes one transition in the status of a pod that is on a node, and returns which; "" when none is due.
func (k *Kubelet) advance(pod *corev1.Pod) Transition {
	switch {
	case pod.Status.Phase != corev1.PodRunning:
		return k.start(pod)
	case k.kill(pod):
		return Kill
	case k.restart(pod):
		return Restart
	case k.resize(pod):
		return Resize
	case k.readiness(pod):
		return Ready
	case pod.Status.ObservedGeneration != pod.Generation:
		pod.Status.ObservedGeneration = pod.Generation
		return Observe
	}
	return ""
}

// start runs a pod's containers for the first time; those whose image cannot be pulled keep the whole pod pending.
func (k *Kubelet) start(pod *corev1.Pod) Transition {
	before := pod.Status.DeepCopy()
	now := k.now()
	pod.Status.ObservedGeneration = pod.Generation
	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = nil
	for _, container := range pod.Spec.Containers {
		status := corev1.ContainerStatus{Name: container.Name, Image: container.Image}
		if unpullable(container.Image) {
			pod.Status.Phase = corev1.PodPending
			status.State.Waiting = notPulled(container.Image)
		} else {
			k.run(pod, &container, &status)
		}
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
	pod.Status.InitContainerStatuses = k.finishedInit(pod)
	pod.Status.PodIP = podIP(pod)
	pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	pod.Status.HostIP = "10.0.0.1"
	pod.Status.HostIPs = []corev1.HostIP{{IP: pod.Status.HostIP}}
	if pod.Status.StartTime == nil {
		pod.Status.StartTime = &now
	}
	k.set(pod, corev1.PodInitialized, corev1.ConditionTrue, "")
	k.readiness(pod)
	if equality.Semantic.DeepEqual(before, &pod.Status) {
		return "" // still not pulled
	}
	return Start
}

// finishedInit reports every init container as done at once.
func (k *Kubelet) finishedInit(pod *corev1.Pod) []corev1.ContainerStatus {
	var statuses []corev1.ContainerStatus
	for _, container := range pod.Spec.InitContainers {
		status := corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, ImageID: k.digest(container.Image), Ready: true,
			ContainerID: containerID(pod, &container, 0),
		}
		now := k.now()
		if restartable(&container) {
			started := true
			status.Started = &started
			status.State.Running = &corev1.ContainerStateRunning{StartedAt: now}
		} else {
			status.State.Terminated = &corev1.ContainerStateTerminated{
				Reason: "Completed", StartedAt: now, FinishedAt: now, ContainerID: status.ContainerID,
			}
		}
		statuses = append(statuses, status)
	}
	return statuses
}

// run puts a container's status to running, with what the spec asks for now.
func (k *Kubelet) run(pod *corev1.Pod, container *corev1.Container, status *corev1.ContainerStatus) {
	started := true
	status.Image = container.Image
	status.ImageID = k.digest(container.Image)
	status.ContainerID = containerID(pod, container, status.RestartCount)
	status.Ready, status.Started = true, &started
	status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: k.now()}}
	grant(container, status)
}

// kill stops the containers that run another image than the spec asks for, or got other values from labels and annotations
// than there are now. A kubelet alone does not do the latter; a node daemon does, and so do simulated nodes.
func (k *Kubelet) kill(pod *corev1.Pod) bool {
	killed := false
	eachContainer(pod, func(container *corev1.Container, status *corev1.ContainerStatus) {
		sameEnv := strings.HasSuffix(status.ContainerID, envTag(pod, container))
		if status.State.Running == nil || status.Image == container.Image && sameEnv {
			return
		}
		killed = true
		k.stop(status, 143)
	})
	if killed {
		k.readiness(pod)
	}
	return killed
}

// stop puts a container's status to terminated.
func (k *Kubelet) stop(status *corev1.ContainerStatus, exitCode int32) {
	started := false
	status.Ready, status.Started = false, &started
	status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: exitCode, Reason: "Error", StartedAt: status.State.Running.StartedAt, FinishedAt: k.now(),
		ContainerID: status.ContainerID,
	}}
}

// restart runs stopped containers again with the image of the spec, if it can be pulled.
func (k *Kubelet) restart(pod *corev1.Pod) bool {
	changed := false
	eachContainer(pod, func(container *corev1.Container, status *corev1.ContainerStatus) {
		switch {
		case status.State.Running != nil:
		case unpullable(container.Image):
			if status.State.Waiting == nil {
				status.LastTerminationState, status.State = status.State, corev1.ContainerState{}
				status.State.Waiting = notPulled(container.Image)
				changed = true
			}
		default:
			if status.State.Terminated != nil {
				status.LastTerminationState = status.State
			}
			status.RestartCount++
			k.run(pod, container, status)
			changed = true
		}
	})
	if changed {
		pod.Status.ObservedGeneration = pod.Generation
		k.readiness(pod)
	}
	return changed
}

// resize grants running containers the resources of the spec.
func (k *Kubelet) resize(pod *corev1.Pod) bool {
	changed := false
	eachContainer(pod, func(container *corev1.Container, status *corev1.ContainerStatus) {
		if status.State.Running == nil {
			return
		}
		before := status.DeepCopy()
		grant(container, status)
		changed = changed || !equality.Semantic.DeepEqual(before, status)
	})
	if changed {
		pod.Status.ObservedGeneration = pod.Generation
	}
	return changed
}

// grant copies the resources of the spec into a container's status.
func grant(container *corev1.Container, status *corev1.ContainerStatus) {
	resources := container.Resources.DeepCopy()
	resources.Claims = nil
	status.Resources = resources
	status.AllocatedResources = resources.Requests
}

// readiness sets the readiness conditions from the containers and the readiness gates, and reports whether they changed.
func (k *Kubelet) readiness(pod *corev1.Pod) bool {
	containers := corev1.ConditionTrue
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range statuses { // an init container that is done is ready
			if !statuses[i].Ready {
				containers = corev1.ConditionFalse
			}
		}
	}
	ready, reason := containers, ""
	if ready == corev1.ConditionFalse {
		reason = "ContainersNotReady"
	} else {
		for _, gate := range pod.Spec.ReadinessGates {
			if !conditionTrue(pod, gate.ConditionType) {
				ready, reason = corev1.ConditionFalse, "ReadinessGatesNotReady"
			}
		}
	}
	// A pod that is held from getting ready stays unready; one that stops being ready is never held.
	if ready == corev1.ConditionTrue && k.Hold != nil && k.Hold(pod, Ready) {
		ready, reason = corev1.ConditionFalse, "Held"
	}
	a := k.set(pod, corev1.ContainersReady, containers, "")
	b := k.set(pod, corev1.PodReady, ready, reason)
	return a || b
}

// set writes one condition if its status differs, and reports whether it did.
func (k *Kubelet) set(pod *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus, reason string) bool {
	c := condition(pod, kind)
	if c == nil {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind})
		c = &pod.Status.Conditions[len(pod.Status.Conditions)-1]
	}
	if c.Status == status {
		return false
	}
	c.Status, c.Reason, c.LastTransitionTime = status, reason, k.now()
	c.ObservedGeneration = pod.Generation
	return true
}

// eachContainer calls do with each container of the spec that has a status, restartable init containers among them.
func eachContainer(pod *corev1.Pod, do func(*corev1.Container, *corev1.ContainerStatus)) {
	for i := range pod.Spec.Containers {
		for j := range pod.Status.ContainerStatuses {
			if pod.Status.ContainerStatuses[j].Name == pod.Spec.Containers[i].Name {
				do(&pod.Spec.Containers[i], &pod.Status.ContainerStatuses[j])
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		for j := range pod.Status.InitContainerStatuses {
			if c := &pod.Spec.InitContainers[i]; restartable(c) && pod.Status.InitContainerStatuses[j].Name == c.Name {
				do(c, &pod.Status.InitContainerStatuses[j])
			}
		}
	}
}

// restartable reports whether an init container runs as long as the pod does.
func restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// notPulled is the state of a container whose image cannot be had.
func notPulled(image string) *corev1.ContainerStateWaiting {
	return &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "failed to pull " + image + ": not found"}
}

// podIP makes an address from a pod's uid; two pods may share one, which nothing here minds.
func podIP(pod *corev1.Pod) string {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(pod.UID)) // a hash never fails to write
	hash := sum.Sum(nil)
	return netip.AddrFrom4([4]byte{10, 244, hash[2], hash[3]}).String()
}
