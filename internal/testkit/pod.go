package testkit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The labels and annotations that the shorthand of Pods sets. They are spelled out here, not taken from the code under
// test, so that a changed constant fails a test.
const (
	revisionLabel        = "controller-revision-hash"
	specifiedDeleteLabel = "apps.kruise.io/specified-delete"
	lifecycleLabel       = "lifecycle.apps.kruise.io/state"
	inPlaceState         = "apps.kruise.io/inplace-update-state"
	inPlaceGate          = corev1.PodConditionType("InPlaceUpdateReady")
)

// Epoch is when the pods made by Pod and Pods were created and got ready; a stepped clock starts there or later.
var Epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // Go has no constant of this type

// Pod returns a ready pod with one container, named main, on node-1, changed by the overrides in their order.
func Pod(overrides ...func(*corev1.Pod)) *corev1.Pod {
	at := metav1.NewTime(Epoch)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "pod", Generation: 1, CreationTimestamp: at,
			Labels: map[string]string{"app": "web"},
		},
		Spec: corev1.PodSpec{
			NodeName:   "node-1",
			Containers: []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, StartTime: &at, ObservedGeneration: 1,
			Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: at},
				{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: at},
				{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at},
			},
		},
	}
	for _, override := range overrides {
		override(pod)
	}
	if pod.UID == "" {
		pod.UID = types.UID("uid-" + pod.Name)
	}
	if pod.Status.Phase == corev1.PodRunning && pod.Status.ContainerStatuses == nil {
		pod.Status.ContainerStatuses = runningContainers(pod, at)
	}
	return pod
}

// runningContainers returns the status of each container of a pod as a kubelet reports it once they run.
func runningContainers(pod *corev1.Pod, at metav1.Time) []corev1.ContainerStatus {
	ready := conditionTrue(pod, corev1.ContainersReady)
	statuses := make([]corev1.ContainerStatus, 0, len(pod.Spec.Containers))
	for _, container := range pod.Spec.Containers {
		statuses = append(statuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, ImageID: ImageID(container.Image),
			ContainerID: containerID(pod, &container, 0), Ready: ready, Started: &ready,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}},
		})
	}
	return statuses
}

// ImageID is the image id that pretended and simulated nodes report for an image: the digest of its name. A tag that ends in
// "-alias" is another name of the same image.
func ImageID(image string) string {
	name, digest, pinned := strings.Cut(image, "@")
	if !pinned {
		name = strings.TrimSuffix(name, "-alias")
		digest = "sha256:" + digestOf(name)
	}
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	return name + "@" + digest
}

// envTagLength is how many characters of a container's id stand for its environment.
const envTagLength = 8

// containerID names one run of a container, and ends in a tag of the environment that it got.
func containerID(pod *corev1.Pod, container *corev1.Container, restarts int32) string {
	run := digestOf(fmt.Sprintf("%s/%s/%d", pod.UID, container.Name, restarts))
	return "pretended://" + run[envTagLength:] + envTag(pod, container)
}

// envTag stands for the values that a container takes from its pod's labels and annotations.
func envTag(pod *corev1.Pod, container *corev1.Container) string {
	var values strings.Builder
	for _, env := range container.Env {
		if env.ValueFrom == nil || env.ValueFrom.FieldRef == nil {
			continue
		}
		path := env.ValueFrom.FieldRef.FieldPath
		if key, found := strings.CutPrefix(path, "metadata.labels['"); found {
			fmt.Fprintf(&values, "%s=%q\n", env.Name, pod.Labels[strings.TrimSuffix(key, "']")])
		}
		if key, found := strings.CutPrefix(path, "metadata.annotations['"); found {
			fmt.Fprintf(&values, "%s=%q\n", env.Name, pod.Annotations[strings.TrimSuffix(key, "']")])
		}
	}
	return digestOf(values.String())[:envTagLength]
}

// digestOf is the SHA-256 of a text, in hexadecimal.
func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// shorthand is one word of Pods: name/revision, marks, node.
var shorthand = regexp.MustCompile(`^([a-z0-9][a-z0-9-]*)/([a-z0-9][a-z0-9-]*)([!~?^*%+]*)(?:@([a-z0-9-]+))?$`)

// Pods returns pods from a shorthand, for tables of decisions: words of the form name/revision, then marks, then perhaps
// @node. A pod without a mark is available, and as old as its place in the line says: the first is the oldest.
//
//	a/v1      available, of revision v1
//	a/v1!     not ready
//	a/v1~     terminating
//	a/v1?     pending and on no node
//	a/v1^     being updated in place to v1: the node still reports the former image
//	a/v1*     asked to go by label (specified-delete)
//	a/v1%     preparing its deletion (lifecycle state)
//	a/v1+     preparing its update (lifecycle state)
//	a/v1@n2   on node n2 (default node-1)
//
// Marks combine. The overrides apply to every pod.
func Pods(t testing.TB, words string, overrides ...func(*corev1.Pod)) []*corev1.Pod {
	t.Helper()
	var pods []*corev1.Pod
	for i, word := range strings.Fields(words) {
		parts := shorthand.FindStringSubmatch(word)
		if parts == nil {
			t.Fatalf("pods %q: %q is not of the form name/revision[!~?^*%%+][@node]", words, word)
		}
		created := metav1.NewTime(Epoch.Add(time.Duration(i) * time.Second))
		shape := []func(*corev1.Pod){func(pod *corev1.Pod) {
			pod.Name = parts[1]
			pod.CreationTimestamp = created
			pod.Labels[revisionLabel] = parts[2]
			pod.Spec.Containers[0].Image = "registry.local/web:" + parts[2]
			if parts[4] != "" {
				pod.Spec.NodeName = parts[4]
			}
		}}
		for _, mark := range parts[3] {
			shape = append(shape, marked(mark))
		}
		pods = append(pods, Pod(append(shape, overrides...)...))
	}
	return pods
}

// marked returns the override of one mark of the shorthand.
func marked(mark rune) func(*corev1.Pod) {
	switch mark {
	case '!':
		return notReady
	case '~':
		return func(pod *corev1.Pod) {
			now, grace := metav1.NewTime(Epoch.Add(time.Minute)), int64(30)
			pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, &grace
		}
	case '?':
		return func(pod *corev1.Pod) {
			pod.Spec.NodeName = ""
			pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
		}
	case '^':
		return updatingInPlace
	case '*':
		return func(pod *corev1.Pod) { pod.Labels[specifiedDeleteLabel] = "true" }
	case '%':
		return func(pod *corev1.Pod) { pod.Labels[lifecycleLabel] = "PreparingDelete" }
	case '+':
		return func(pod *corev1.Pod) { pod.Labels[lifecycleLabel] = "PreparingUpdate" }
	default:
		panic("the shorthand lets through a mark that has no meaning: " + string(mark))
	}
}

// notReady makes the containers of a pod not ready, and so the pod.
func notReady(pod *corev1.Pod) {
	for i := range pod.Status.Conditions {
		if t := pod.Status.Conditions[i].Type; t == corev1.PodReady || t == corev1.ContainersReady {
			pod.Status.Conditions[i].Status = corev1.ConditionFalse
		}
	}
}

// updatingInPlace makes a pod's spec ask for an image that the node does not run yet.
func updatingInPlace(pod *corev1.Pod) {
	notReady(pod)
	former := ImageID("registry.local/web:former")
	pod.Annotations = map[string]string{inPlaceState: fmt.Sprintf(
		`{"revision":%q,"updateTimestamp":%q,"lastContainerStatuses":{"main":{"imageID":%q}}}`,
		pod.Labels[revisionLabel], Epoch.Format(time.RFC3339), former)}
	pod.Generation = 2 // and the node has observed generation 1
	pod.Status.ContainerStatuses = runningContainers(pod, metav1.NewTime(Epoch))
	pod.Status.ContainerStatuses[0].Image = "registry.local/web:former"
	pod.Status.ContainerStatuses[0].ImageID = former
}

// condition returns a pod's condition of a type, or nil.
func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// conditionTrue reports whether a pod has a condition that is True.
func conditionTrue(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	c := condition(pod, kind)
	return c != nil && c.Status == corev1.ConditionTrue
}
