package pod

import (
	"fmt"
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// Running are the containers that run as long as the pod does: its containers, and the init containers that stay beside
// them. https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
func Running(p *corev1.Pod) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for i := range p.Spec.InitContainers {
			c := &p.Spec.InitContainers[i]
			stays := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
			if stays && !yield(c) {
				return
			}
		}
		for i := range p.Spec.Containers {
			if !yield(&p.Spec.Containers[i]) {
				return
			}
		}
	}
}

// SpecOf returns the spec of one of the running containers, or nil.
func SpecOf(p *corev1.Pod, name string) *corev1.Container {
	for c := range Running(p) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Observed reports whether the status speaks of the spec as it is now. A kubelet before 1.33 does not say: 0.
// https://kubernetes.io/docs/concepts/workloads/pods/#pod-generation
func Observed(p *corev1.Pod) bool {
	return p.Status.ObservedGeneration == 0 || p.Status.ObservedGeneration >= p.Generation
}

// Resizing tells what a resize waits for, or "" when the containers have what the spec says.
func Resizing(p *corev1.Pod) string {
	if c := Condition(p, corev1.PodResizePending); c != nil && c.Status == corev1.ConditionTrue {
		return fmt.Sprintf("the resize is pending: %s: %s", c.Reason, c.Message)
	}
	if c := Condition(p, corev1.PodResizeInProgress); c != nil && c.Status == corev1.ConditionTrue {
		return "the resize is in progress"
	}
	if !Observed(p) {
		return "the kubelet has not seen the resize yet"
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		status := Container(p, c.Name)
		if status == nil || status.Resources == nil {
			continue // nothing runs yet, or the kubelet does not say
		}
		if !given(c.Resources.Requests, status.Resources.Requests, leastRequest) ||
			!given(c.Resources.Limits, status.Resources.Limits, leastLimit) {
			return "container " + c.Name + " has not got its new resources yet"
		}
	}
	return ""
}

// The least cpu, in thousandths, that the kernel knows: a kubelet may report it where less is asked for.
const leastRequest, leastLimit = 2, 10

// given reports whether a container has the cpu and the memory that it asks for. Cpu is compared in thousandths, as the kernel
// gets it.
func given(asked, has corev1.ResourceList, leastCPU int64) bool {
	cpu, hasCPU := asked[corev1.ResourceCPU]
	if reported := has[corev1.ResourceCPU]; hasCPU && max(cpu.MilliValue(), leastCPU) != max(reported.MilliValue(), leastCPU) {
		return false
	}
	memory, hasMemory := asked[corev1.ResourceMemory]
	reported := has[corev1.ResourceMemory]
	return !hasMemory || memory.Value() == reported.Value()
}

// ResizeRefused reports whether the node can never give the pod what the spec says, so that nothing comes of the resize.
func ResizeRefused(p *corev1.Pod) bool {
	c := Condition(p, corev1.PodResizePending)
	return c != nil && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonInfeasible
}

// ResizeRestarts reports whether getting from one container's resources to the other's starts it again.
func ResizeRestarts(before, after *corev1.Container) bool {
	for _, policy := range before.ResizePolicy {
		if policy.RestartPolicy != corev1.RestartContainer {
			continue
		}
		for _, lists := range [][2]corev1.ResourceList{
			{before.Resources.Requests, after.Resources.Requests}, {before.Resources.Limits, after.Resources.Limits},
		} {
			was, is := lists[0][policy.ResourceName], lists[1][policy.ResourceName]
			if was.Cmp(is) != 0 {
				return true
			}
		}
	}
	return false
}
