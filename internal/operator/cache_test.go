package operator

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
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

func TestBareTakesWhatAnInformerMayHand(t *testing.T) {
	tombstone := cache.DeletedFinalStateUnknown{Key: "default/web-0", Obj: &corev1.Pod{}}
	if got, err := slim(tombstone); err != nil || got != any(tombstone) {
		t.Errorf("a tombstone became %v, %v", got, err)
	}
	if _, err := slim("rubbish"); err == nil {
		t.Error("rubbish was taken")
	}
}
