package inplace

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/internal/pod"
)

// MetadataEnv returns the variables of a container that take their value from a label or an annotation of the pod. Of
// variables with one name the last is in effect; the others are left out.
func MetadataEnv(c *corev1.Container) []corev1.EnvVar {
	var read []corev1.EnvVar
	for i, env := range c.Env {
		later := func(other corev1.EnvVar) bool { return other.Name == env.Name }
		if _, _, reads := source(&c.Env[i]); reads && !slices.ContainsFunc(c.Env[i+1:], later) {
			read = append(read, env)
		}
	}
	return read
}

// source is the key that a variable takes its value from, and whether it is one of the annotations.
func source(env *corev1.EnvVar) (key string, annotation, reads bool) {
	if env.ValueFrom == nil || env.ValueFrom.FieldRef == nil {
		return "", false, false
	}
	path := env.ValueFrom.FieldRef.FieldPath
	if key, reads = strings.CutPrefix(path, "metadata.labels['"); !reads {
		key, annotation = strings.CutPrefix(path, "metadata.annotations['")
	}
	return strings.TrimSuffix(key, "']"), annotation, reads || annotation
}

// MetadataValues are what the variables of MetadataEnv would be if the container started now. A key that the pod does not
// have makes an empty value, as with the kubelet.
func MetadataValues(p *corev1.Pod, c *corev1.Container) map[string]string {
	values := map[string]string{}
	for _, env := range MetadataEnv(c) {
		key, annotation, _ := source(&env)
		if annotation {
			values[env.Name] = p.Annotations[key]
		} else {
			values[env.Name] = p.Labels[key]
		}
	}
	return values
}

// EnvHash stands for values of MetadataEnv; it is never 0.
func EnvHash(values map[string]string) uint64 {
	sum := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		_, _ = fmt.Fprintf(sum, "%s=%q\n", name, values[name]) // a hash takes everything
	}
	return max(1, sum.Sum64())
}

// Restartable reports whether the kubelet starts a running container again whenever it ends, so that stopping it is
// restarting it.
func Restartable(p *corev1.Pod, c *corev1.Container) bool {
	policy := p.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	return (policy == corev1.RestartPolicyAlways || policy == "") && len(c.RestartPolicyRules) == 0
}

// asked is the hash of the values that a container shall get by a change in place; 0 when the container reads no metadata, or
// no node daemon looks after it.
func asked(p *corev1.Pod, name string, delta Delta) uint64 {
	if !slices.Contains(delta.Env, name) || ReadRuntime(p).Container(name) == nil {
		return 0
	}
	changed := &corev1.Pod{}
	changed.Labels, changed.Annotations = applied(p.Labels, delta.Labels), applied(p.Annotations, delta.Annotations)
	c := pod.SpecOf(p, name)
	if c == nil {
		return 0
	}
	return EnvHash(MetadataValues(changed, c))
}

func applied(values map[string]string, delta map[string]*string) map[string]string {
	values = maps.Clone(values)
	for key, value := range delta {
		if value == nil {
			delete(values, key)
		} else {
			put(&values, key, *value)
		}
	}
	return values
}

// settled reports whether a container that a node daemon is to restart runs with the values that the pod's metadata has now.
// Where somebody else has changed these since, a restart was all that could be asked for.
func settled(p *corev1.Pod, name string, before ContainerStatus) bool {
	c, status := pod.SpecOf(p, name), pod.Container(p, name)
	if c == nil || status == nil || status.ContainerID == "" {
		return false
	}
	now := EnvHash(MetadataValues(p, c))
	if seen := ReadRuntime(p).Container(name); seen != nil && seen.ContainerID == status.ContainerID &&
		seen.Hashes.ExtractedEnvFromMetadataHash == now {
		return true
	}
	return status.ContainerID != before.ContainerID && now != before.EnvHash
}

// Due names the containers that the node daemon shall restart now: those that a change in place has asked it for and that
// still run with other values. It is asked for by the pod's workload only, which has seen to its limits and guards before, and
// has closed the readiness gate where the pod has one.
func Due(p *corev1.Pod) []string {
	state := underWay(p)
	if state == nil || pod.HasGate(p, gate) && !Unready(p) {
		return nil
	}
	var due []string
	for _, name := range slices.Sorted(maps.Keys(state.LastContainerStatuses)) {
		before, status, c := state.LastContainerStatuses[name], pod.Container(p, name), pod.SpecOf(p, name)
		if before.EnvHash == 0 || status == nil || c == nil || settled(p, name, before) || !Restartable(p, c) {
			continue
		}
		// One that was started since is none that the workload has asked about, unless it got old values once more.
		if status.ContainerID == before.ContainerID || EnvHash(MetadataValues(p, c)) == before.EnvHash {
			due = append(due, name)
		}
	}
	return due
}
