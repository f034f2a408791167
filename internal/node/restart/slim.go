package restart

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// Slim keeps of a cached pod what the daemon decides by, and of one that it has nothing to do with the name alone. Values of
// environments are dropped: some are secret.
func Slim(in any) (any, error) {
	p, ok := in.(*corev1.Pod)
	if !ok {
		return in, nil // the last state of a pod that is gone
	}
	p.ManagedFields = nil
	if len(watched(p)) == 0 {
		p.Labels, p.Annotations, p.Spec, p.Status = nil, nil, corev1.PodSpec{}, corev1.PodStatus{}
		return p, nil
	}
	spec := p.Spec
	p.Spec = corev1.PodSpec{
		NodeName: spec.NodeName, RestartPolicy: spec.RestartPolicy, ReadinessGates: spec.ReadinessGates,
		TerminationGracePeriodSeconds: spec.TerminationGracePeriodSeconds,
		InitContainers:                slimContainers(spec.InitContainers), Containers: slimContainers(spec.Containers),
	}
	return p, nil
}

func slimContainers(all []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(all))
	for i := range all {
		c := &all[i]
		out[i] = corev1.Container{
			Name: c.Name, Image: c.Image, Ports: c.Ports, Lifecycle: c.Lifecycle,
			RestartPolicy: c.RestartPolicy, RestartPolicyRules: c.RestartPolicyRules, Env: inplace.MetadataEnv(c),
		}
	}
	return out
}
