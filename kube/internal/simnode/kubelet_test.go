package simnode

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant that Go has no form for

func fixture(change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{UID: "u", Generation: 1, Labels: map[string]string{"colour": "red"}},
		Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{
			Name: "main", Image: "nginx:1",
			Env: []corev1.EnvVar{{Name: "COLOUR", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['colour']"}}}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, c := range change {
		c(pod)
	}
	return pod
}

func image(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Image = name; p.Generation++ }
}

// say puts a pod's state in a few words.
func say(pod *corev1.Pod) string {
	c := pod.Status.ContainerStatuses[0]
	state := "running"
	switch {
	case c.State.Waiting != nil:
		state = c.State.Waiting.Reason
	case c.State.Terminated != nil:
		state = c.State.Terminated.Reason
	}
	words := []string{string(pod.Status.Phase), state, c.Image, "restarts=" + string('0'+c.RestartCount)}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			words = append(words, "ready")
		}
	}
	return strings.Join(words, " ")
}

func TestNext(t *testing.T) {
	type move struct {
		after  time.Duration
		change func(*corev1.Pod)
		want   string
	}
	nothing := func(*corev1.Pod) {}
	never := func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
	for _, test := range []struct {
		name  string
		pod   *corev1.Pod
		moves []move
	}{
		{"an image changes in place after its delay", fixture(), []move{
			{0, nothing, "Running running nginx:1 restarts=0 ready"},
			{0, image("nginx:2"), "Running Error nginx:1 restarts=0"},
			{1900 * time.Millisecond, nothing, "Running Error nginx:1 restarts=0"},
			{100 * time.Millisecond, nothing, "Running running nginx:2 restarts=1 ready"},
		}},
		{"an image that never comes keeps a new pod pending", fixture(image("x:does-not-exist")), []move{
			{0, nothing, "Pending ErrImagePull x:does-not-exist restarts=0"},
			{2 * time.Second, nothing, "Pending ImagePullBackOff x:does-not-exist restarts=0"},
			{0, image("nginx:1"), "Running running nginx:1 restarts=0 ready"},
		}},
		{"an image that never comes stops a running container, and another one brings it back", fixture(), []move{
			{0, nothing, "Running running nginx:1 restarts=0 ready"},
			{0, image("registry.invalid/x:1"), "Running Error nginx:1 restarts=0"},
			{2 * time.Second, nothing, "Running ErrImagePull registry.invalid/x:1 restarts=0"},
			{0, image("registry.invalid/x:2"), "Running ErrImagePull registry.invalid/x:2 restarts=0"},
			{0, image("nginx:1"), "Running running nginx:1 restarts=1 ready"},
		}},
		{"an environment from metadata restarts its container", fixture(), []move{
			{0, nothing, "Running running nginx:1 restarts=0 ready"},
			{0, func(p *corev1.Pod) { p.Labels["other"] = "x" }, "Running running nginx:1 restarts=0 ready"},
			{0, func(p *corev1.Pod) { p.Labels["colour"] = "blue" }, "Running Error nginx:1 restarts=0"},
			{2 * time.Second, nothing, "Running running nginx:1 restarts=1 ready"},
		}},
		{"a pod that is not restarted ends", fixture(never), []move{
			{0, nothing, "Running running nginx:1 restarts=0 ready"},
			{time.Second, nothing, "Succeeded Completed nginx:1 restarts=0"},
			{time.Hour, nothing, "Succeeded Completed nginx:1 restarts=0"},
		}},
		{"a pod that fails and is not restarted has failed", fixture(never, func(p *corev1.Pod) { p.Annotations = map[string]string{ExitCodeAnnotation: "3"} }), []move{
			{0, nothing, "Running running nginx:1 restarts=0 ready"},
			{time.Second, nothing, "Failed Error nginx:1 restarts=0"},
		}},
		{"a gate holds readiness back", fixture(func(p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "g"}}
		}), []move{
			{0, nothing, "Running running nginx:1 restarts=0"},
			{0, func(p *corev1.Pod) {
				p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "g", Status: corev1.ConditionTrue})
			}, "Running running nginx:1 restarts=0 ready"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules := Rules{RestartDelay: Delay{Min: 2 * time.Second, Max: 2 * time.Second}}
			pod, memory, now := test.pod, &Memory{}, start
			for i, move := range test.moves {
				now = now.Add(move.after)
				move.change(pod)
				if step := rules.Next(pod, Addresses{Host: "10.0.0.1", Pod: "10.0.0.2"}, memory, now); step.Status != nil {
					pod.Status = *step.Status
				}
				if got := say(pod); got != move.want {
					t.Fatalf("move %d: got %q, want %q", i, got, move.want)
				}
				if pod.Status.ObservedGeneration != pod.Generation {
					t.Errorf("move %d: observed generation %d of %d", i, pod.Status.ObservedGeneration, pod.Generation)
				}
			}
		})
	}
}

func TestNextLetsPodsGo(t *testing.T) {
	now, zero, grace := metav1.NewTime(start), int64(0), int64(30)
	for _, test := range []struct {
		name   string
		change func(*corev1.Pod)
		remove bool
		phase  corev1.PodPhase // written
	}{
		{"a pod that is deleted goes without another write", func(p *corev1.Pod) { p.DeletionGracePeriodSeconds = &grace }, true, ""},
		{"a finalizer lets its last state be seen", func(p *corev1.Pod) {
			p.DeletionGracePeriodSeconds, p.Finalizers = &grace, []string{"example.com/f"}
		}, true, corev1.PodFailed},
		{"a pod that was let go is left to its finalizer", func(p *corev1.Pod) {
			p.DeletionGracePeriodSeconds, p.Finalizers = &zero, []string{"example.com/f"}
		}, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := fixture(test.change)
			pod.DeletionTimestamp = &now
			step := Rules{}.Next(pod, Addresses{}, &Memory{}, start)
			var phase corev1.PodPhase
			if step.Status != nil {
				phase = step.Status.Phase
			}
			if step.Remove != test.remove || phase != test.phase {
				t.Errorf("remove %t, phase %q; want %t, %q", step.Remove, phase, test.remove, test.phase)
			}
		})
	}
}

// Other writers' conditions may change between our read and our write: the patch must not hold them.
func TestStatusPatchHoldsOwnConditionsOnly(t *testing.T) {
	pod := fixture(func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: "example.com/other", Status: corev1.ConditionTrue}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	})
	step := Rules{}.Next(pod, Addresses{Host: "10.0.0.1", Pod: "10.0.0.2"}, &Memory{}, start)
	raw, err := statusPatch(pod, step.Status)
	if err != nil {
		t.Fatal(err)
	}
	var patch struct {
		Metadata struct{ UID string }
		Status   struct{ Conditions []corev1.PodCondition }
	}
	if err := json.Unmarshal(raw, &patch); err != nil {
		t.Fatal(err)
	}
	if patch.Metadata.UID != "u" {
		t.Errorf("patch %s is not bound to the pod's uid", raw)
	}
	if len(patch.Status.Conditions) != 4 {
		t.Errorf("patch %s: want the four conditions of a kubelet", raw)
	}
	for _, condition := range patch.Status.Conditions {
		if condition.Type == "example.com/other" || condition.Type == corev1.PodScheduled {
			t.Errorf("patch holds %s, which is another writer's", condition.Type)
		}
	}
}

func TestPatchSaysWhatChanged(t *testing.T) {
	pod := fixture()
	gated := func(status corev1.ConditionStatus) corev1.PodStatus {
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "gate"}}
		set(&pod.Status, corev1.PodCondition{Type: "gate", Status: status}, metav1.NewTime(start))
		return *Rules{}.Next(pod, Addresses{}, &Memory{}, start).Status
	}
	pod.Status = gated(corev1.ConditionFalse)
	before := *pod.Status.DeepCopy()
	after := gated(corev1.ConditionTrue)
	raw, err := statusPatch(&corev1.Pod{ObjectMeta: pod.ObjectMeta, Status: before}, &after)
	if err != nil {
		t.Fatal(err)
	}
	original, err := json.Marshal(corev1.Pod{Status: before})
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(original, raw, corev1.Pod{})
	if err != nil {
		t.Fatal(err)
	}
	var got corev1.Pod
	if err := json.Unmarshal(merged, &got); err != nil {
		t.Fatal(err)
	}
	if !equality.Semantic.DeepEqual(got.Status.Conditions, after.Conditions) {
		t.Errorf("patch %s leads to %+v, want %+v", raw, got.Status.Conditions, after.Conditions)
	}
	if strings.Contains(string(raw), "containerStatuses") || strings.Contains(string(raw), "Initialized") {
		t.Errorf("patch %s says what has not changed", raw)
	}
}

func TestImages(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"nginx:1", "nginx:2", false},
		{"nginx:2", "nginx:2-same", true},
		{"a/nginx:1@sha256:00", "a/nginx:2@sha256:00", true},
		{"localhost:5000/nginx", "localhost:5000/redis", false},
	} {
		if same := imageID(test.a) == imageID(test.b); same != test.same {
			t.Errorf("%s and %s: same image %t, want %t", test.a, test.b, same, test.same)
		}
	}
	for image, want := range map[string]bool{
		"nginx": true, "": false, "x:does-not-exist": false, "does-not-exist/x": false, "registry.invalid/x": false, "registry.invalid:5000/x": false, "invalid.example/x": true,
	} {
		if got := Pullable(image); got != want {
			t.Errorf("Pullable(%q) = %t", image, got)
		}
	}
}
