package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Defaulted is the template with what the API server fills in where the user says nothing, as far as it does so in workloads.
// Two templates of which this is the same make the same pods: somebody may have written one, and read the other back from a
// cluster. https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-template-v1/
func Defaulted(template *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	template = template.DeepCopy()
	spec := &template.Spec
	text(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	text(&spec.DNSPolicy, corev1.DNSClusterFirst)
	text(&spec.SchedulerName, corev1.DefaultSchedulerName)
	value(&spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	value(&spec.SecurityContext, corev1.PodSecurityContext{})
	text(&spec.ServiceAccountName, spec.DeprecatedServiceAccount) // one field under two names
	text(&spec.DeprecatedServiceAccount, spec.ServiceAccountName)
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			defaultContainer(&containers[i])
		}
	}
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i].VolumeSource)
	}
	return template
}

// text fills in a text that is empty.
func text[T ~string](field *T, otherwise T) {
	if *field == "" {
		*field = otherwise
	}
}

// value fills in a value that is missing.
func value[T any](field **T, otherwise T) {
	if *field == nil {
		*field = &otherwise
	}
}

func number(field *int32, otherwise int32) {
	if *field == 0 {
		*field = otherwise
	}
}

func defaultContainer(c *corev1.Container) {
	text(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	text(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	text(&c.ImagePullPolicy, pullPolicy(c.Image))
	for i := range c.Ports {
		text(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaultFieldRef(from.FieldRef)
		}
	}
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		defaultProbe(probe)
	}
	if c.Lifecycle != nil {
		for _, handler := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if handler != nil {
				defaultGet(handler.HTTPGet)
			}
		}
	}
}

// pullPolicy of an image for which the user names none: what is called latest may be another one tomorrow.
func pullPolicy(image string) corev1.PullPolicy {
	name, _, pinned := strings.Cut(image, "@")
	_, tag, tagged := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	if tag == "latest" || !tagged && !pinned {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	number(&p.TimeoutSeconds, 1)
	number(&p.PeriodSeconds, 10)
	number(&p.SuccessThreshold, 1)
	number(&p.FailureThreshold, 3)
	defaultGet(p.HTTPGet)
	if p.GRPC != nil {
		value(&p.GRPC.Service, "")
	}
}

func defaultGet(get *corev1.HTTPGetAction) {
	if get != nil {
		text(&get.Path, "/")
		text(&get.Scheme, corev1.URISchemeHTTP)
	}
}

func defaultFieldRef(ref *corev1.ObjectFieldSelector) {
	if ref != nil {
		text(&ref.APIVersion, "v1")
	}
}

// defaultVolume knows the volumes that are in use everywhere; those of single vendors are compared as they are written.
func defaultVolume(v *corev1.VolumeSource) {
	if *v == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	switch {
	case v.Secret != nil:
		value(&v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	case v.ConfigMap != nil:
		value(&v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	case v.HostPath != nil:
		value(&v.HostPath.Type, corev1.HostPathUnset)
	case v.Image != nil:
		text(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
		value(&v.Ephemeral.VolumeClaimTemplate.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	case v.DownwardAPI != nil:
		value(&v.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultFiles(v.DownwardAPI.Items)
	case v.Projected != nil:
		value(&v.Projected.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
		for i := range v.Projected.Sources {
			source := &v.Projected.Sources[i]
			if source.ServiceAccountToken != nil {
				const anHour = 60 * 60
				value(&source.ServiceAccountToken.ExpirationSeconds, anHour)
			}
			if source.DownwardAPI != nil {
				defaultFiles(source.DownwardAPI.Items)
			}
		}
	}
}

func defaultFiles(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		defaultFieldRef(files[i].FieldRef)
	}
}
