package inplace

import corev1 "k8s.io/api/core/v1"

// qosClass is the class that the kubelet gives a pod of this spec; a resize may not change it.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
func qosClass(spec *corev1.PodSpec) corev1.PodQOSClass {
	guaranteed, asks := true, false
	all := make([]corev1.Container, 0, len(spec.Containers)+len(spec.InitContainers))
	all = append(append(all, spec.Containers...), spec.InitContainers...)
	for i := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := all[i].Resources.Requests[name], all[i].Resources.Limits[name]
			if !request.IsZero() || !limit.IsZero() {
				asks = true
			}
			// A request that is left out is the limit.
			if limit.IsZero() || !request.IsZero() && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !asks:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}
