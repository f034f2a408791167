package pod_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func one(t *testing.T, word string, overrides ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	return testkit.Pods(t, word, overrides...)[0]
}

func phase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = phase }
}

func TestActive(t *testing.T) {
	for _, test := range []struct {
		reason string
		pod    *corev1.Pod
		want   bool
	}{
		{"running", one(t, "a/v1"), true},
		{"pending", one(t, "a/v1?"), true},
		{"terminating", one(t, "a/v1~"), false},
		{"succeeded", one(t, "a/v1", phase(corev1.PodSucceeded)), false},
		{"failed or evicted", one(t, "a/v1", phase(corev1.PodFailed)), false},
		{"its node is not heard of", one(t, "a/v1", phase(corev1.PodUnknown)), true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if got := pod.Active(test.pod); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestAvailable(t *testing.T) {
	after := func(d time.Duration) time.Time { return testkit.Epoch.Add(d) }
	for _, test := range []struct {
		reason   string
		pod      *corev1.Pod
		minReady time.Duration
		now      time.Time
		want     bool
		missing  time.Duration
	}{
		{"ready", one(t, "a/v1"), 0, after(0), true, 0},
		{"not ready", one(t, "a/v1!"), 0, after(0), false, 0},
		{"never reported", one(t, "a/v1?"), 0, after(0), false, 0},
		{"terminating, although ready", one(t, "a/v1~"), 0, after(0), false, 0},
		{"failed, although ready", one(t, "a/v1", phase(corev1.PodFailed)), 0, after(0), false, 0},
		{"ready too short", one(t, "a/v1"), time.Minute, after(20 * time.Second), false, 40 * time.Second},
		{"ready exactly long enough", one(t, "a/v1"), time.Minute, after(time.Minute), true, 0},
		{"not ready: time alone does not help", one(t, "a/v1!"), time.Minute, after(time.Hour), false, 0},
		{"the clock of the node is ahead", one(t, "a/v1"), time.Minute, after(-time.Second), false, 61 * time.Second},
		{"marked unavailable", one(t, "a/v1", func(p *corev1.Pod) { p.Labels["unavailable-pod.kruise.io/maintenance"] = "" }), 0, after(0), false, 0},
	} {
		t.Run(test.reason, func(t *testing.T) {
			got, missing := pod.Available(test.pod, test.minReady, test.now)
			if got != test.want || missing != test.missing {
				t.Errorf("got %v, %s missing; want %v, %s", got, missing, test.want, test.missing)
			}
		})
	}
}

func TestReadySince(t *testing.T) {
	if got := pod.ReadySince(one(t, "a/v1")); !got.Equal(testkit.Epoch) {
		t.Errorf("got %s, want %s", got, testkit.Epoch)
	}
	if got := pod.ReadySince(one(t, "a/v1!")); !got.IsZero() {
		t.Errorf("a pod that is not ready since %s", got)
	}
}

func TestDeletionCost(t *testing.T) {
	for text, want := range map[string]int32{"": 0, "10": 10, "-7": -7, "much": 0, "99999999999": 0} {
		p := testkit.Pod(func(p *corev1.Pod) {
			p.Annotations = map[string]string{"controller.kubernetes.io/pod-deletion-cost": text}
		})
		if got := pod.DeletionCost(p); got != want {
			t.Errorf("%q costs %d, want %d", text, got, want)
		}
	}
}

func TestFactsOfContainers(t *testing.T) {
	p := testkit.Pod(func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side"})
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "x"}}
	})
	p.Status.ContainerStatuses[0].RestartCount, p.Status.ContainerStatuses[1].RestartCount = 2, 7
	if got := pod.Restarts(p); got != 7 {
		t.Errorf("got %d restarts, want those of the worst container, 7", got)
	}
	if pod.Container(p, "side") != &p.Status.ContainerStatuses[1] || pod.Container(p, "none") != nil {
		t.Error("a container is found by its name")
	}
	if !pod.HasGate(p, "x") || pod.HasGate(p, "y") {
		t.Error("a gate is found by its name")
	}
	if got := pod.Revision(one(t, "a/v7")); got != "v7" {
		t.Errorf("got revision %q, want v7", got)
	}
}

func TestOwnedBy(t *testing.T) {
	owner := &metav1.ObjectMeta{UID: "owner"}
	yes := true
	for _, test := range []struct {
		reason string
		refs   []metav1.OwnerReference
		want   bool
	}{
		{"nobody", nil, false},
		{"its controller", []metav1.OwnerReference{{UID: "other"}, {UID: "owner", Controller: &yes}}, true},
		{"owned, but not controlled", []metav1.OwnerReference{{UID: "owner"}}, false},
		{"controlled by somebody else", []metav1.OwnerReference{{UID: "other", Controller: &yes}}, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := testkit.Pod(func(p *corev1.Pod) { p.OwnerReferences = test.refs })
			if got := pod.OwnedBy(p, owner); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestWaiting(t *testing.T) {
	unscheduled := func(message string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: message}}
		}
	}
	waits := func(reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "main", Image: "web:v1",
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "in 10s"}},
			}}
		}
	}
	inInit := func(p *corev1.Pod) {
		waits("ErrImagePull")(p)
		p.Status.InitContainerStatuses, p.Status.ContainerStatuses = p.Status.ContainerStatuses, nil
	}
	crashed := func(p *corev1.Pod) {
		waits("CrashLoopBackOff")(p)
		p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 3}
	}
	for _, test := range []struct {
		reason string
		change func(*corev1.Pod)
		cause  pod.Cause
		text   string
	}{
		{"nothing", func(*corev1.Pod) {}, pod.NoCause, ""},
		{"a node", unscheduled("0/3 nodes are available"), pod.Scheduling, "0/3 nodes are available"},
		{"a claim, says the scheduler", unscheduled("pod has unbound immediate PersistentVolumeClaims"), pod.Claim, "unbound"},
		{"an image", waits("ErrImagePull"), pod.Image, "container main cannot get image web:v1: it cannot be pulled"},
		{
			"the same while the kubelet waits for its next attempt", waits("ImagePullBackOff"), pod.Image,
			"container main cannot get image web:v1: it cannot be pulled",
		},
		{"an image of an init container", inInit, pod.Image, "web:v1"},
		{"an image with a name that is none", waits("InvalidImageName"), pod.Image, "InvalidImageName"},
		{"a container that crashes", crashed, pod.Starting, "container main does not stay up: CrashLoopBackOff, its last exit code was 3"},
		{"a secret", waits("CreateContainerConfigError"), pod.Starting, "CreateContainerConfigError in 10s"},
		{"an ordinary start", waits("ContainerCreating"), pod.NoCause, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			cause, text := pod.Waiting(testkit.Pod(test.change))
			if cause != test.cause || !strings.Contains(text, test.text) || (text == "") != (test.text == "") {
				t.Errorf("got %s %q, want %s %q", cause, text, test.cause, test.text)
			}
			if cause == pod.Starting && strings.Contains(text, "CrashLoop") && strings.Contains(text, "10s") {
				t.Errorf("%q changes with every attempt", text)
			}
		})
	}
}

func TestKeysAreThoseOfTheContract(t *testing.T) {
	if appsv1beta1.UnavailablePodPrefix != "unavailable-pod.kruise.io/" {
		t.Errorf("got %q", appsv1beta1.UnavailablePodPrefix)
	}
}
