package sidecarset_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset"
)

// stored is a cache that holds SidecarSets.
type stored struct {
	client.Reader

	sets []appsv1beta1.SidecarSet
}

func (s stored) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	into, ok := list.(*appsv1beta1.SidecarSetList)
	if !ok {
		return fmt.Errorf("no %T", list)
	}
	into.Items = slices.Clone(s.sets)
	return nil
}

// mesh and shipper are two sets as they are often met: one that gives what it is, and one that takes from the pod.
func mesh(app string) appsv1beta1.SidecarSet {
	set := appsv1beta1.SidecarSet{ObjectMeta: metav1.ObjectMeta{Name: "mesh-" + app, UID: types.UID("mesh-" + app), Generation: 1}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	set.Spec.InitContainers = []appsv1beta1.SidecarContainer{{Container: corev1.Container{
		Name: "rules", Image: "registry.local/proxy:1", Args: []string{"rules", "--all"},
		SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}},
	}}}
	set.Spec.Containers = []appsv1beta1.SidecarContainer{{Container: corev1.Container{
		Name: "proxy", Image: "registry.local/proxy:1", Args: []string{"run"},
		Env:            []corev1.EnvVar{{Name: "LEVEL", Value: "info"}, {Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}},
		Resources:      corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m")}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(15021)}}},
		VolumeMounts:   []corev1.VolumeMount{{Name: "mesh-certs", MountPath: "/certs"}},
	}}}
	set.Spec.Volumes = []corev1.Volume{{Name: "mesh-certs", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	return set
}

func shipper(app string) appsv1beta1.SidecarSet {
	set := appsv1beta1.SidecarSet{ObjectMeta: metav1.ObjectMeta{Name: "shipper-" + app, UID: types.UID("shipper-" + app), Generation: 1}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	set.Spec.Containers = []appsv1beta1.SidecarContainer{{
		Container:         corev1.Container{Name: "shipper", Image: "registry.local/shipper:1", Env: []corev1.EnvVar{{Name: "TO", Value: "logs"}}},
		ShareVolumePolicy: appsv1beta1.ShareVolumePolicy{Type: appsv1beta1.ShareVolumePolicyEnabled},
		TransferEnv:       []appsv1beta1.TransferEnvVar{{SourceContainerName: "main", EnvNames: []string{"APP_.*"}}},
	}}
	return set
}

// newcomer is a pod as the API server sends it: what its workload says, what admission has filled in, and who wrote what.
func newcomer() *corev1.Pod {
	p := podOf("shop", map[string]string{"pod-template-hash": "7d8c9656f7"})
	p.Annotations = map[string]string{"prometheus.io/scrape": "true"}
	p.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-7d8c9656f7", UID: "2e1c2f0a-6d0f-4a5e-a1f2-2f1f9b1c9a10", Controller: ptr.To(true),
	}}
	p.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "kube-controller-manager", Operation: "Update", APIVersion: "v1", FieldsType: "FieldsV1",
		FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:labels":{".":{},"f:app":{},"f:pod-template-hash":{}}},"f:spec":{` +
			`"f:containers":{"k:{\"name\":\"main\"}":{".":{},"f:image":{},"f:name":{},"f:env":{".":{},"k:{\"name\":\"APP_0\"}":{".":{},"f:name":{},"f:value":{}}},` +
			`"f:resources":{},"f:volumeMounts":{}}},"f:dnsPolicy":{},"f:restartPolicy":{},"f:schedulerName":{},"f:terminationGracePeriodSeconds":{}}}`)},
	}}
	main := &p.Spec.Containers[0]
	for i := range 10 {
		main.Env = append(main.Env, corev1.EnvVar{Name: fmt.Sprintf("APP_%d", i), Value: "value"})
	}
	main.VolumeMounts = []corev1.VolumeMount{
		{Name: "data", MountPath: "/data"},
		{Name: "conf", MountPath: "/etc/web", ReadOnly: true},
		{Name: "kube-api-access-x2x2x", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount", ReadOnly: true},
	}
	main.Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
	}
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(80)}}, PeriodSeconds: 10}
	main.ReadinessProbe, main.LivenessProbe = probe, probe
	p.Spec.Volumes = []corev1.Volume{
		{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "conf", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}}}},
		{Name: "kube-api-access-x2x2x", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: ptr.To[int64](3607), Path: "token"}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
		}}}},
	}
	p.Spec.ServiceAccountName, p.Spec.SchedulerName, p.Spec.DNSPolicy = "default", "default-scheduler", corev1.DNSClusterFirst
	p.Spec.Tolerations = []corev1.Toleration{
		{Key: "node.kubernetes.io/not-ready", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: ptr.To[int64](300)},
		{Key: "node.kubernetes.io/unreachable", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: ptr.To[int64](300)},
	}
	return p
}

// question is what the API server sends.
func question(t testing.TB, p *corev1.Pod) []byte {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "705ab4f5-6393-11e8-b7cc-42010a800002", Namespace: p.Namespace, Operation: admissionv1.Create,
			Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Object: runtime.RawExtension{Raw: raw}, Options: runtime.RawExtension{Raw: []byte(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}`)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// BenchmarkInject is the way of a new pod through the operator, from the text of the question to that of the answer.
func BenchmarkInject(b *testing.B) {
	many := []appsv1beta1.SidecarSet{mesh("web"), shipper("web")}
	for i := range 98 {
		many = append(many, shipper(fmt.Sprintf("other-%d", i)))
	}
	for _, bench := range []struct {
		name  string
		sets  []appsv1beta1.SidecarSet
		patch bool
	}{
		{"no set", nil, false},
		{"none matches", []appsv1beta1.SidecarSet{mesh("db"), shipper("db")}, false},
		{"one as it is", []appsv1beta1.SidecarSet{mesh("web")}, true},
		{"two", []appsv1beta1.SidecarSet{mesh("web"), shipper("web")}, true},
		{"two of 100", many, true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			hooks := sidecarset.Hooks(sidecarset.AdmissionDeps{Scheme: runtime.NewScheme(), Cache: stored{sets: bench.sets}, Clock: clock.RealClock{}, SystemNamespace: "x"})
			server := &admission.Server{Hooks: hooks[:1], Clock: clock.RealClock{}, Log: logr.Discard()}
			handler, err := server.Handler()
			if err != nil {
				b.Fatal(err)
			}
			body := question(b, newcomer())
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, hooks[0].Path, bytes.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if bytes.Contains(w.Body.Bytes(), []byte(`"patch":`)) != bench.patch || !bytes.Contains(w.Body.Bytes(), []byte(`"allowed":true`)) {
					b.Fatalf("got %s", w.Body)
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(time.Microsecond), "µs/pod")
		})
	}
}
