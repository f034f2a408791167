package operator

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/holdfast-io/holdfast/internal/workload/node"
)

func TestSlim(t *testing.T) {
	claim := corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-web-0"},
	}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web-0", Labels: map[string]string{"a": "b"},
			Annotations:   map[string]string{"kept": "yes", corev1.LastAppliedConfigAnnotation: "{}"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "x"}},
		},
		Spec: corev1.PodSpec{
			NodeName:       "node-1",
			Containers:     []corev1.Container{{Name: "c", Image: "i", Command: []string{"run"}, Env: []corev1.EnvVar{{Name: "E", Value: "v"}}}},
			Volumes:        []corev1.Volume{claim, {Name: "conf"}},
			ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}},
			Tolerations:    []corev1.Toleration{{Key: "k"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"},
	}
	got, err := slim(pod)
	if err != nil {
		t.Fatal(err)
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-0", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"kept": "yes"}},
		Spec: corev1.PodSpec{
			NodeName:       "node-1",
			Containers:     []corev1.Container{{Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "E", Value: "v"}}}},
			Volumes:        []corev1.Volume{claim},
			ReadinessGates: []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the cached pod (-want +got):\n%s", diff)
	}
}

func TestSlimKeepsTheNodeThatAPodWaitsFor(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}}}
	node.Pin(&pod.Spec, "node-1")
	bound := pod.DeepCopy()
	bound.Spec.NodeName = "node-1"
	for _, p := range []*corev1.Pod{pod, bound} {
		if _, err := slim(p); err != nil || node.Of(p) != "node-1" {
			t.Errorf("the pod is for %q (%v)", node.Of(p), err)
		}
	}
	if pod.Spec.Affinity.PodAntiAffinity != nil || bound.Spec.Affinity != nil {
		t.Error("more is kept than is needed")
	}
}

func TestSlimNode(t *testing.T) {
	n := &corev1.Node{
		Spec:   corev1.NodeSpec{Taints: []corev1.Taint{{Key: "a"}}},
		Status: corev1.NodeStatus{Images: []corev1.ContainerImage{{Names: []string{"large"}}}},
	}
	if _, err := slimNode(n); err != nil || len(n.Spec.Taints) != 1 || n.Status.Images != nil {
		t.Errorf("got %+v (%v)", n, err)
	}
}

func TestBareTakesWhatAnInformerMayHand(t *testing.T) {
	tombstone := cache.DeletedFinalStateUnknown{Key: "default/web-0", Obj: &corev1.Pod{}}
	if got, err := slim(tombstone); err != nil || got != any(tombstone) {
		t.Errorf("a tombstone became %v, %v", got, err)
	}
	if _, err := slim("rubbish"); err == nil {
		t.Error("rubbish was taken")
	}
}
