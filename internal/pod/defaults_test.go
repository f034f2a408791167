package pod_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// rich is a template in which most of what has a default is left to it.
func rich() corev1.PodTemplateSpec {
	get := func() *corev1.HTTPGetAction { return &corev1.HTTPGetAction{Port: intstr.FromInt32(80)} }
	field := func() *corev1.ObjectFieldSelector { return &corev1.ObjectFieldSelector{FieldPath: "metadata.name"} }
	file := func() []corev1.DownwardAPIVolumeFile {
		return []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: field()}}
	}
	volume := func(name string, source corev1.VolumeSource) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: source}
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "web",
			InitContainers:     []corev1.Container{{Name: "init", Image: "registry.local:5000/init"}},
			Containers: []corev1.Container{
				{
					Name: "main", Image: "registry.local/web:v1",
					Ports:           []corev1.ContainerPort{{ContainerPort: 80}},
					Env:             []corev1.EnvVar{{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: field()}}},
					LivenessProbe:   &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: get()}},
					ReadinessProbe:  &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 80}}, PeriodSeconds: 3},
					StartupProbe:    &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}},
					Lifecycle:       &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: get()}},
					SecurityContext: &corev1.SecurityContext{},
				},
				{Name: "newest", Image: "web:latest"},
				{Name: "pinned", Image: "web@sha256:0123456789012345678901234567890123456789012345678901234567890123"},
			},
			Volumes: []corev1.Volume{
				volume("none", corev1.VolumeSource{}),
				volume("secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}),
				volume("config", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
					LocalObjectReference: corev1.LocalObjectReference{Name: "c"},
				}}),
				volume("host", corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp"}}),
				volume("image", corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "data:v1"}}),
				volume("down", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: file()}}),
				volume("many", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{DownwardAPI: &corev1.DownwardAPIProjection{Items: file()}},
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
				}}}),
				volume("own", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
					VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{
						AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
						Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: list("1", "-")["cpu"]}},
					}},
				}}),
			},
		},
	}
}

// The API server itself says what it fills in.
func TestDefaultedIsWhatTheAPIServerMakes(t *testing.T) {
	t.Parallel()
	env := testkit.APIServer(t)
	template := rich()
	set := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: env.Namespace(t), Name: "web"},
		Spec:       appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: *template.DeepCopy()},
	}
	if err := env.Client.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&set.Spec.Template, pod.Defaulted(&template)); diff != "" {
		t.Errorf("the template (-API server +ours):\n%s", diff)
	}
	if diff := cmp.Diff(rich(), template); diff != "" {
		t.Errorf("the template itself was changed:\n%s", diff)
	}
	if diff := cmp.Diff(&set.Spec.Template, pod.Defaulted(&set.Spec.Template)); diff != "" {
		t.Errorf("what says everything is changed:\n%s", diff)
	}
}
