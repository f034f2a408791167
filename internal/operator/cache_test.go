package operator

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
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

func TestSlimOthers(t *testing.T) {
	labels := map[string]string{"app": "web"}
	meta := metav1.ObjectMeta{Name: "web", UID: "uid", Labels: labels}
	subset := metav1.ObjectMeta{Name: "web", UID: "uid", Labels: map[string]string{appsv1beta1.SubsetName: "a"}}
	whole := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{"long": "text"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "web:v1"}}},
	}
	kept := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}
	claims := []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
	selector, one := &metav1.LabelSelector{MatchLabels: labels}, int32(1)
	ended := []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	content := runtime.RawExtension{Raw: []byte(`{"spec":{}}`)}
	owned := func(apiVersion string) metav1.ObjectMeta {
		yes := true
		return metav1.ObjectMeta{Name: "web-1", OwnerReferences: []metav1.OwnerReference{{APIVersion: apiVersion, Controller: &yes}}}
	}
	for _, test := range []struct {
		reason   string
		in, want runtime.Object
	}{
		{
			"a Deployment keeps its labels, its number and its selector",
			&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: whole, Selector: selector, Replicas: &one}},
			&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Template: kept, Selector: selector, Replicas: &one}},
		},
		{
			"that of a subset stays whole",
			&appsv1.Deployment{ObjectMeta: subset, Spec: appsv1.DeploymentSpec{Template: whole}},
			&appsv1.Deployment{ObjectMeta: subset, Spec: appsv1.DeploymentSpec{Template: whole}},
		},
		{
			"a StatefulSet",
			&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Template: whole, VolumeClaimTemplates: claims, ServiceName: "x"}},
			&appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Template: kept, ServiceName: "x"}},
		},
		{
			"that of a subset stays whole, too",
			&appsv1.StatefulSet{ObjectMeta: subset, Spec: appsv1.StatefulSetSpec{Template: whole, VolumeClaimTemplates: claims}},
			&appsv1.StatefulSet{ObjectMeta: subset, Spec: appsv1.StatefulSetSpec{Template: whole, VolumeClaimTemplates: claims}},
		},
		{
			"a DaemonSet",
			&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Template: whole, MinReadySeconds: 1}},
			&appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Template: kept, MinReadySeconds: 1}},
		},
		{
			"a Job is who it is, and whether it has ended",
			&batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: whole}, Status: batchv1.JobStatus{Active: 1, Conditions: ended}},
			&batchv1.Job{ObjectMeta: meta, Status: batchv1.JobStatus{Conditions: ended}},
		},
		{
			"a revision of Kubernetes's own controllers", &appsv1.ControllerRevision{ObjectMeta: owned("apps/v1"), Data: content},
			&appsv1.ControllerRevision{ObjectMeta: owned("apps/v1")},
		},
		{
			"one of ours", &appsv1.ControllerRevision{ObjectMeta: owned("apps.kruise.io/v1beta1"), Data: content},
			&appsv1.ControllerRevision{ObjectMeta: owned("apps.kruise.io/v1beta1"), Data: content},
		},
		{
			"one that may be inherited", &appsv1.ControllerRevision{ObjectMeta: meta, Data: content},
			&appsv1.ControllerRevision{ObjectMeta: meta, Data: content},
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			got, err := slimOthers(test.in.DeepCopyObject())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("the cached object (-want +got):\n%s", diff)
			}
		})
	}
}
