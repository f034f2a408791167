package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// at is the time at which the views of these tests are made.
var at = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant in all but name

// ago is a time before at, as YAML.
func ago(d time.Duration) string { return at.Add(-d).Format(time.RFC3339) }

// workloadOf reads a workload from YAML; the paths set on it are written like spec.replicas: 5.
func workloadOf(t *testing.T, kind, text string, sets ...string) Workload {
	t.Helper()
	k, known := kindNamed(kind)
	if !known {
		t.Fatalf("no kind %s", kind)
	}
	object := map[string]any{}
	load(t, text, &object)
	for _, set := range sets {
		path, value, _ := strings.Cut(set, ":")
		var v any
		load(t, value, &v)
		if err := unstructured.SetNestedField(object, v, strings.Split(path, ".")...); err != nil {
			t.Fatalf("%s: %v", set, err)
		}
	}
	return newWorkload(k, &unstructured.Unstructured{Object: object})
}

// load reads YAML as the API's JSON is read: whole numbers are int64.
func load(t *testing.T, text string, into any) {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		if object, isMap := into.(*map[string]any); isMap {
			var u unstructured.Unstructured
			err = json.Unmarshal([]byte(`{"apiVersion":"v1","kind":"List","x":`+string(raw)+`}`), &u)
			*object, _ = u.Object["x"].(map[string]any)
		} else if value, isAny := into.(*any); isAny {
			var u unstructured.Unstructured
			err = json.Unmarshal([]byte(`{"apiVersion":"v1","kind":"List","x":`+string(raw)+`}`), &u)
			*value = u.Object["x"]
		} else {
			err = json.Unmarshal(raw, into)
		}
	}
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
}

// web is a CloneSet in the middle of an update.
func web(t *testing.T, sets ...string) Workload {
	t.Helper()
	return workloadOf(t, "cloneset", `
apiVersion: apps.kruise.io/v1beta1
kind: CloneSet
metadata: {name: web, namespace: shop, uid: web-uid, generation: 2, creationTimestamp: "`+ago(26*time.Hour)+`"}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "nginx:2"}]}}
  updateStrategy: {rollingUpdate: {podUpdatePolicy: InPlaceIfPossible, maxUnavailable: 1}}
status:
  observedGeneration: 2
  replicas: 3
  readyReplicas: 3
  availableReplicas: 3
  updatedReplicas: 1
  updatedReadyReplicas: 1
  currentRevision: web-aaa
  updateRevision: web-bbb
`, sets...)
}

// twoRevisions are those of web: nginx:1 and nginx:2.
func twoRevisions(t *testing.T, w Workload) []Revision {
	t.Helper()
	var list []Revision
	for i, hash := range []string{"aaa", "bbb"} {
		r, err := fromControllerRevision(w, &appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{Name: "web-" + hash, CreationTimestamp: metav1.NewTime(at.Add(-time.Duration(2-i) * time.Hour))},
			Revision:   int64(i + 1),
			Data: runtime.RawExtension{Raw: fmt.Appendf(nil, `{"spec":{"template":{"$patch":"replace",
				"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"nginx:%d"}]}}}}`, i+1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return mark(w, list)
}

// podOf is a running, ready pod of web at a revision, with changes.
func podOf(name, hash string, changes ...func(*corev1.Pod)) corev1.Pod {
	controller := true
	since := metav1.NewTime(at.Add(-10 * time.Minute))
	image := map[string]string{"aaa": "nginx:1", "bbb": "nginx:2"}[hash]
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "shop", UID: "uid-" + "x", CreationTimestamp: metav1.NewTime(at.Add(-12 * time.Minute)),
			Labels:          map[string]string{"app": "web", "controller-revision-hash": "web-" + hash},
			OwnerReferences: []metav1.OwnerReference{{Kind: "CloneSet", Name: "web", UID: "web-uid", Controller: &controller}},
		},
		Spec: corev1.PodSpec{NodeName: "node-0", Containers: []corev1.Container{{Name: "web", Image: image}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: "10.0.0.7",
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: since},
				{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: since},
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: since},
			},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "web", Image: image, ImageID: "sha256:" + hash, ContainerID: "cri://" + hash, Ready: true,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: since}},
			}},
		},
	}
	for _, change := range changes {
		change(&p)
	}
	return p
}

// label puts a label on a pod.
func label(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

// condition sets a condition of a pod.
func condition(kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(at.Add(-time.Minute))}
		for i := range p.Status.Conditions {
			if p.Status.Conditions[i].Type == kind {
				p.Status.Conditions[i] = c
				return
			}
		}
		p.Status.Conditions = append(p.Status.Conditions, c)
	}
}

// notReady makes a pod not ready.
func notReady(p *corev1.Pod) {
	condition(corev1.PodReady, corev1.ConditionFalse, "ContainersNotReady", "")(p)
	condition(corev1.ContainersReady, corev1.ConditionFalse, "ContainersNotReady", "")(p)
	for i := range p.Status.ContainerStatuses {
		p.Status.ContainerStatuses[i].Ready = false
	}
}

// waiting makes the container wait, for a reason.
func waiting(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		notReady(p)
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
}

// unscheduled takes a pod off its node.
func unscheduled(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.NodeName, p.Status.Phase, p.Status.ContainerStatuses = "", corev1.PodPending, nil
		p.Status.Conditions = nil
		if reason != "" {
			condition(corev1.PodScheduled, corev1.ConditionFalse, reason, message)(p)
		}
	}
}

// inPlaceSince says that the pod began to change in place, from another container, so long ago.
func inPlaceSince(d time.Duration, hash, fromImageID string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Annotations = map[string]string{"apps.kruise.io/inplace-update-state": fmt.Sprintf(
			`{"revision":"web-%s","updateTimestamp":%q,"lastContainerStatuses":{"web":{"imageID":%q}},"updateImages":true}`, hash, ago(d), fromImageID)}
	}
}

// same compares text, and shows where it differs.
func same(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), strings.Split(strings.TrimSpace(got), "\n")); diff != "" {
		t.Errorf("-want +got:\n%s\ngot:\n%s", diff, got)
	}
}
