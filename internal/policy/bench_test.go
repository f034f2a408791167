package policy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// What it costs to answer about a pod beside what the guards themselves cost: reading the request, the gate, the journal, and
// the answer. The connection is not in it.
func BenchmarkPods(b *testing.B) {
	for _, bench := range []struct {
		name string
		says disruption.Verdict
	}{
		{"allowed", disruption.Verdict{Guard: "PodUnavailableBudget default/web", Reason: "BudgetAllows"}},
		{"denied", denies("PodUnavailableBudget default/web").says},
	} {
		b.Run(bench.name, func(b *testing.B) {
			k := newKit(silent{bench.says})
			handler := k.handler(b)
			pod := realistic()
			bodies := make([][]byte, 512)
			for i := range bodies {
				p := pod.DeepCopy()
				p.UID = types.UID(fmt.Sprintf("uid-%d", i))
				bodies[i] = review(b, "DELETE", "", func(r *admissionv1.AdmissionRequest) { r.OldObject = raw(b, p) })
			}
			b.ReportAllocs()
			before := processorTime(b)
			for i := 0; b.Loop(); i++ {
				if code, got := ask(b, handler, "/guard/pods/delete", bodies[i%len(bodies)]); code != http.StatusOK || got.Result.Code == http.StatusBadRequest {
					b.Fatal("no answer")
				}
				if i%1000 == 0 {
					k.journal.Flush(b.Context())
				}
			}
			// What counts on a machine that others use too.
			b.ReportMetric(float64(b.N)/(processorTime(b)-before).Seconds(), "decisions/s/core")
		})
	}
}

// realistic is a pod as a cluster has it: with what its containers are told, what its node reported, and who wrote what.
func realistic() *corev1.Pod {
	return testkit.Pod(func(p *corev1.Pod) {
		p.Name, p.GenerateName = "pod", "web-5d4f8c7b9-"
		p.Labels = map[string]string{"app": "web", "tier": "frontend", "pod-template-hash": "5d4f8c7b9"}
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-5d4f8c7b9", UID: "u", Controller: ptr.To(true)}}
		for i := range 2 {
			c := corev1.Container{
				Name: fmt.Sprint("c", i), Image: "registry.example.com/shop/web:v1.2.3", Args: []string{"--port=8080", "--log-level=info"},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi"),
				}},
				VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/web"}, {Name: "token", MountPath: "/var/run/secrets"}},
			}
			for j := range 10 {
				c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprint("SETTING_", j), Value: "some value of a setting"})
			}
			probe := &corev1.Probe{PeriodSeconds: 10, ProbeHandler: corev1.ProbeHandler{
				HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http"), Scheme: corev1.URISchemeHTTP},
			}}
			c.ReadinessProbe, c.LivenessProbe = probe, probe
			p.Spec.Containers = append(p.Spec.Containers, c)
			p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: c.Name, Image: c.Image, ImageID: c.Image + "@sha256:0123456789abcdef", ContainerID: "containerd://0123456789abcdef", Ready: true,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(testkit.Epoch)}},
			})
		}
		for _, name := range []string{"config", "token"} {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
			}})
		}
		text, _ := json.Marshal(p) // what a manager wrote is about as long as that
		p.ManagedFields = []metav1.ManagedFieldsEntry{
			{Manager: "kube-controller-manager", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: text}},
		}
	})
}

// processorTime is what this process has used of the processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	usage := syscall.Rusage{}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// silent is a guard that writes nothing down.
type silent struct{ says disruption.Verdict }

func (s silent) Name() string { return "PodUnavailableBudget" }
func (s silent) Check(context.Context, disruption.Request) disruption.Verdict {
	return disruption.Verdict{}
}

func (s silent) Take(context.Context, disruption.Request) (disruption.Verdict, error) {
	return s.says, nil
}
func (s silent) Release(context.Context, disruption.Request) {}
