package install

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	webhookPort = 9443
	metricsPort = 8080
	healthPort  = 8081
	// Endpoints and kube-proxy need about this long to stop sending requests to a Pod that stops.
	shutdownDelay = "5s"
)

func portName(name string) intstr.IntOrString { return intstr.FromString(name) }

func budget(o Options) client.Object {
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: policyv1.SchemeGroupVersion.String(), Kind: "PodDisruptionBudget"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.SystemNamespace, Name: name},
		Spec: policyv1.PodDisruptionBudgetSpec{
			// One may always go, or a node with a single replica could never be drained.
			MaxUnavailable: ptr.To(intstr.FromInt32(1)),
			Selector:       &metav1.LabelSelector{MatchLabels: selector()},
			// A replica that is not ready guards nothing.
			UnhealthyPodEvictionPolicy: ptr.To(policyv1.AlwaysAllow),
		},
	}
}

func deployment(o Options) client.Object {
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Namespace: o.SystemNamespace, Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(o.Replicas),
			Selector: &metav1.LabelSelector{MatchLabels: selector()},
			// A new replica serves before an old one goes.
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{
					MaxUnavailable: ptr.To(intstr.FromInt32(0)), MaxSurge: ptr.To(intstr.FromInt32(1)),
				},
			},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: selector()},
				Spec:       podSpec(o),
			},
		},
	}
}

func podSpec(o Options) corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName: name,
		PriorityClassName:  "system-cluster-critical",
		// The delay, the passes and requests under way, and some room.
		TerminationGracePeriodSeconds: ptr.To[int64](40),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), RunAsGroup: ptr.To[int64](65532),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
				Weight: 100,
				PodAffinityTerm: corev1.PodAffinityTerm{
					TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: selector()},
				},
			}},
		}},
		Containers: []corev1.Container{container(o)},
	}
}

func container(o Options) corev1.Container {
	args := []string{
		"operator",
		"--system-namespace=" + o.SystemNamespace,
		fmt.Sprintf("--webhook-bind=:%d", webhookPort),
		fmt.Sprintf("--metrics-bind=:%d", metricsPort),
		fmt.Sprintf("--health-bind=:%d", healthPort),
		"--shutdown-delay=" + shutdownDelay,
		"--leader-elect-identity=$(POD_NAME)",
	}
	if len(o.Parts) > 0 {
		args = append(args, "--enable="+strings.Join(o.Parts, ","))
	}
	c := process(o, "operator", args, "460MiB")
	c.Env = append([]corev1.EnvVar{ofPod("POD_NAME", "metadata.name"), ofPod("POD_IP", "status.podIP")}, c.Env...)
	c.Ports = append([]corev1.ContainerPort{{Name: "webhook", ContainerPort: webhookPort, Protocol: corev1.ProtocolTCP}}, c.Ports...)
	c.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("96Mi"),
		},
		Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
	}
	c.StartupProbe, c.ReadinessProbe = probe("/readyz", 1, 120), probe("/readyz", 2, 1)
	return c
}

// process is what the containers of the operator and of the node daemon have in common. memory is nine tenths of the limit:
// rather collect garbage than be killed.
func process(o Options, name string, args []string, memory string) corev1.Container {
	return corev1.Container{
		Name:            name,
		Image:           o.Image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		// The installer shows what a replica that does not start said last.
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		Args:                     args,
		Env:                      []corev1.EnvVar{{Name: "GOMEMLIMIT", Value: memory}},
		Ports: []corev1.ContainerPort{
			{Name: "metrics", ContainerPort: metricsPort, Protocol: corev1.ProtocolTCP},
			{Name: "health", ContainerPort: healthPort, Protocol: corev1.ProtocolTCP},
		},
		LivenessProbe: probe("/healthz", 10, 3),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// ofPod is an environment variable with a field of the Pod.
func ofPod(name, field string) corev1.EnvVar {
	from := &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: field}
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: from}}
}

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: portName("health")}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 3,
	}
}
