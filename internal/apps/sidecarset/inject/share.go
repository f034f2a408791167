package inject

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/expression"
)

// share gives a container the mounts and devices of the pod's own containers. What it mounts itself, it keeps; of two
// containers that mount different things at one path the first counts.
// The variables that the paths of the mounts are made of come along.
func (i *injector) share(c *corev1.Container, options *appsv1beta1.SidecarContainer) (extra []corev1.EnvVar) {
	if options.ShareVolumePolicy.Type == appsv1beta1.ShareVolumePolicyEnabled {
		c.VolumeMounts = slices.Clip(c.VolumeMounts)
		for _, own := range i.own {
			for _, m := range own.VolumeMounts {
				if slices.ContainsFunc(c.VolumeMounts, func(o corev1.VolumeMount) bool { return o.MountPath == m.MountPath }) {
					continue
				}
				c.VolumeMounts = append(c.VolumeMounts, m)
				extra = append(extra, named(own, m.SubPathExpr)...)
			}
		}
	}
	if p := options.ShareVolumeDevicePolicy; p != nil && p.Type == appsv1beta1.ShareVolumePolicyEnabled {
		c.VolumeDevices = slices.Clip(c.VolumeDevices)
		for _, own := range i.own {
			for _, d := range own.VolumeDevices {
				if !slices.ContainsFunc(c.VolumeDevices, func(o corev1.VolumeDevice) bool { return o.DevicePath == d.DevicePath }) {
					c.VolumeDevices = append(c.VolumeDevices, d)
				}
			}
		}
	}
	return extra
}

// named are the variables of a container that a subPathExpr is made of.
func named(from *corev1.Container, subPath string) (found []corev1.EnvVar) {
	for rest := subPath; ; {
		_, after, opened := strings.Cut(rest, "$(")
		name, tail, closed := strings.Cut(after, ")")
		if !opened || !closed {
			return found
		}
		for n := range from.Env {
			if from.Env[n].Name == name {
				found = append(found, from.Env[n])
			}
		}
		rest = tail
	}
}

// transfer are variables of the pod's own containers.
func (i *injector) transfer(s *sidecar) (extra []corev1.EnvVar) {
	for n := range s.options.TransferEnv {
		name := i.source(&s.options.TransferEnv[n])
		for _, own := range i.own {
			if own.Name != name {
				continue
			}
			for _, e := range own.Env {
				if slices.ContainsFunc(s.env[n], func(expr *regexp.Regexp) bool { return expr.MatchString(e.Name) }) {
					extra = append(extra, e)
				}
			}
		}
	}
	return extra
}

// withEnv adds variables that the container does not set itself. They come first, so that its own may be made of them.
func withEnv(own, extra []corev1.EnvVar) []corev1.EnvVar {
	var all []corev1.EnvVar
	for _, e := range extra {
		same := func(o corev1.EnvVar) bool { return o.Name == e.Name }
		if !slices.ContainsFunc(own, same) && !slices.ContainsFunc(all, same) {
			all = append(all, e)
		}
	}
	return append(all, own...)
}

// source is the name of the container that variables are taken from.
func (i *injector) source(e *appsv1beta1.TransferEnvVar) string {
	if e.SourceContainerNameFrom == nil {
		return e.SourceContainerName
	}
	key, ok := metadataKey(e.SourceContainerNameFrom)
	if !ok {
		return ""
	}
	if strings.HasPrefix(e.SourceContainerNameFrom.FieldRef.FieldPath, labelPath) {
		return i.pod.Labels[key]
	}
	return i.pod.Annotations[key]
}

const labelPath, annotationPath = "metadata.labels['", "metadata.annotations['"

// metadataKey is the key of the label or annotation that a field path names.
func metadataKey(from *appsv1beta1.SourceContainerNameSource) (string, bool) {
	if from.FieldRef == nil || from.FieldRef.APIVersion != "" && from.FieldRef.APIVersion != "v1" {
		return "", false
	}
	for _, prefix := range []string{labelPath, annotationPath} {
		if rest, ok := strings.CutPrefix(from.FieldRef.FieldPath, prefix); ok {
			key, closed := strings.CutSuffix(rest, "']")
			return key, closed && key != ""
		}
	}
	return "", false
}

// resources computes limits and requests from the pod's own containers.
func (i *injector) resources(r *resources) (corev1.ResourceRequirements, error) {
	var targets []*corev1.Container
	for _, own := range i.own {
		if r.target.MatchString(own.Name) {
			targets = append(targets, own)
		}
	}
	if len(targets) == 0 {
		return corev1.ResourceRequirements{}, fmt.Errorf("targetContainersNameRegex %q matches none of the pod's containers", r.target)
	}
	limit := func(c *corev1.Container) corev1.ResourceList { return c.Resources.Limits }
	// A request that is left out is the limit, as the API server has it.
	request := func(c *corev1.Container) corev1.ResourceList {
		list := c.Resources.Limits.DeepCopy()
		if list == nil {
			list = corev1.ResourceList{}
		}
		maps.Copy(list, c.Resources.Requests)
		return list
	}
	var result corev1.ResourceRequirements
	var err error
	if result.Limits, err = compute("limits", r.limits, targets, limit, r.mode, false); err != nil {
		return result, err
	}
	result.Requests, err = compute("requests", r.requests, targets, request, r.mode, true)
	return result, err
}

// compute evaluates the expressions of one list. What a target does not have counts as 0, or makes the result unlimited.
func compute(
	what string, expressions map[corev1.ResourceName]expression.Expression, targets []*corev1.Container,
	of func(*corev1.Container) corev1.ResourceList, mode appsv1beta1.TargetContainersModeType, zero bool,
) (corev1.ResourceList, error) {
	if len(expressions) == 0 {
		return nil, nil //nolint:nilnil // a list that nobody asks for is left out
	}
	values, unlimited := expression.Values{}, map[corev1.ResourceName]bool{}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		total := new(big.Rat)
		for _, target := range targets {
			q, has := of(target)[name]
			unlimited[name] = unlimited[name] || !has && !zero
			switch value := expression.Rat(q); {
			case mode != appsv1beta1.TargetContainersModeMax:
				total.Add(total, value)
			case value.Cmp(total) > 0:
				total = value
			}
		}
		values[name] = total
	}
	list := corev1.ResourceList{}
	for name, e := range expressions {
		if e.Uses(corev1.ResourceCPU) && unlimited[corev1.ResourceCPU] || e.Uses(corev1.ResourceMemory) && unlimited[corev1.ResourceMemory] {
			continue
		}
		q, err := e.Compute(name, values)
		if err != nil {
			return nil, fmt.Errorf("resourcesExpr.%s.%s: %w", what, name, err)
		}
		list[name] = q
	}
	return list, nil
}
