package inplace

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

var now = testkit.Epoch.Add(time.Hour) //nolint:gochecknoglobals // Go has no constant of this type

// running is a pod of revision v1 with containers "name=image", ready, whose node has seen all of its spec.
func running(containers ...string) *corev1.Pod {
	return testkit.Pod(func(p *corev1.Pod) {
		p.Labels["controller-revision-hash"] = "v1"
		p.Annotations = map[string]string{}
		p.Spec.Containers = nil
		for _, c := range containers {
			name, image, _ := strings.Cut(c, "=")
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: image})
		}
	})
}

// apply does to a pod what a change in place writes.
func apply(t *testing.T, p *corev1.Pod, state State, images map[string]string) {
	t.Helper()
	raw, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	p.Annotations["apps.kruise.io/inplace-update-state"] = string(raw)
	p.Labels["controller-revision-hash"] = state.Revision
	for i := range p.Spec.Containers {
		if image, changes := images[p.Spec.Containers[i].Name]; changes {
			p.Spec.Containers[i].Image = image
		}
	}
	if len(images) > 0 {
		p.Generation++
	}
}

// begin changes a pod in place to a revision with these images, "name=image".
func begin(t *testing.T, p *corev1.Pod, revision string, images ...string) {
	t.Helper()
	delta := Delta{}
	for _, text := range images {
		name, image, _ := strings.Cut(text, "=")
		put(&delta.Images, name, image)
	}
	state, first := Begin(p, delta, revision, now)
	apply(t, p, state, first)
}

// observe is the kubelet's first look at a changed spec: it says so before it does anything.
func observe(p *corev1.Pod) { p.Status.ObservedGeneration = p.Generation }

// restart is a container that the kubelet started again, with what the spec says now.
func restart(p *corev1.Pod, name string) {
	for i := range p.Status.ContainerStatuses {
		status := &p.Status.ContainerStatuses[i]
		if status.Name == name {
			status.RestartCount++
			status.Image = specImage(p, name)
			status.ImageID = testkit.ImageID(status.Image)
			status.ContainerID = fmt.Sprintf("%s-%d", status.ContainerID, status.RestartCount)
		}
	}
}

// crash is a container that fails and is started again by a kubelet that has not seen the new spec.
func crash(p *corev1.Pod, name, image string) {
	restart(p, name)
	for i := range p.Status.ContainerStatuses {
		if status := &p.Status.ContainerStatuses[i]; status.Name == name {
			status.Image, status.ImageID = image, testkit.ImageID(image)
		}
	}
}

func TestProgress(t *testing.T) {
	type (
		starter = func(revision string, images ...string) // begins a change of the pod
		steps   = func(begin starter, p *corev1.Pod)
	)
	for _, test := range []struct {
		reason string
		do     steps
		want   Phase
	}{
		{"never changed", func(starter, *corev1.Pod) {}, Idle},
		{"not seen by the kubelet", func(begin starter, _ *corev1.Pod) { begin("v2", "main=web:v2") }, Running},
		{"seen, not restarted yet", func(begin starter, p *corev1.Pod) { begin("v2", "main=web:v2"); observe(p) }, Running},
		{"restarted with a new image id", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v2")
			observe(p)
			restart(p, "main")
		}, Idle},
		{"the same image under a new tag, not restarted yet", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v1-alias")
			observe(p)
		}, Running},
		{"the same image under a new tag, whose name the runtime tells before the restart", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v1-alias")
			observe(p)
			p.Status.ContainerStatuses[0].Image = "docker.io/library/web:v1-alias"
		}, Running},
		{"the same image under a new tag, restarted", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v1-alias")
			observe(p)
			restart(p, "main")
		}, Idle},
		{"the same image under a new tag, restarted, and the runtime tells the old tag", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v1-alias")
			observe(p)
			restart(p, "main")
			p.Status.ContainerStatuses[0].Image = "web:v1"
		}, Idle},
		{"a crash before the kubelet saw the change is not the change", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v2")
			crash(p, "main", "web:v1")
		}, Running},
		{"the same, under a new tag", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v1-alias")
			crash(p, "main", "web:v1")
		}, Running},
		{"taken back before the kubelet saw it: nothing restarts", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v2")
			begin("v1", "main=web:v1")
			observe(p)
		}, Idle},
		{"taken back, and the kubelet has not seen that", func(begin starter, _ *corev1.Pod) {
			begin("v2", "main=web:v2")
			begin("v1", "main=web:v1")
		}, Running},
		{"taken back when it was done: it restarts again", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v2")
			observe(p)
			restart(p, "main")
			begin("v1", "main=web:v1")
			observe(p)
		}, Running},
		{"overtaken by a third image", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v2")
			begin("v3", "main=web:v3")
			observe(p)
		}, Running},
		{"overtaken by a change of the other container", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v2")
			begin("v3", "side=side:v3")
			observe(p)
			restart(p, "side")
		}, Running},
		{"and both are done", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v2")
			begin("v3", "side=side:v3")
			observe(p)
			restart(p, "side")
			restart(p, "main")
		}, Idle},
		{"changed before its container ever ran", func(begin starter, p *corev1.Pod) {
			p.Status.ContainerStatuses[0].ImageID, p.Status.ContainerStatuses[0].ContainerID = "", ""
			begin("v2", "main=web@sha256:abc")
			observe(p)
		}, Running},
		{"and then it runs, under a name that the runtime chose", func(begin starter, p *corev1.Pod) {
			p.Status.ContainerStatuses[0].ImageID, p.Status.ContainerStatuses[0].ContainerID = "", ""
			begin("v2", "main=web@sha256:abc")
			observe(p)
			restart(p, "main")
			p.Status.ContainerStatuses[0].Image = "docker.io/library/web:v7"
		}, Idle},
		{"an older kubelet does not say what it has seen", func(begin starter, p *corev1.Pod) {
			p.Status.ObservedGeneration = 0
			begin("v2", "main=web:v1-alias")
		}, Running},
		{"and then the image's name decides", func(begin starter, p *corev1.Pod) {
			p.Status.ObservedGeneration = 0
			begin("v2", "main=web:v1-alias")
			restart(p, "main")
		}, Idle},
		{"metadata alone is done at once", func(begin starter, _ *corev1.Pod) { begin("v2") }, Idle},
		{"a state of another revision is history", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v2")
			p.Labels["controller-revision-hash"] = "v3"
		}, Idle},
		{"a state that cannot be read is none", func(_ starter, p *corev1.Pod) {
			p.Annotations["apps.kruise.io/inplace-update-state"] = "{"
		}, Idle},
		{"a state of another controller, which kept no container id", func(begin starter, p *corev1.Pod) {
			begin("v2", "main=web:v1-alias")
			observe(p)
			p.Annotations["apps.kruise.io/inplace-update-state"] = `{"revision":"v2","lastContainerStatuses":{"main":{"imageID":"` +
				testkit.ImageID("web:v1") + `"}}}`
			restart(p, "main")
		}, Idle},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := running("main=web:v1", "side=side:v1")
			test.do(func(revision string, images ...string) {
				t.Helper()
				begin(t, p, revision, images...)
			}, p)
			if got, why := Progress(p); got != test.want || (why == "") != (got != Running) {
				t.Errorf("got phase %d (%q), want %d", got, why, test.want)
			}
		})
	}
}

func TestProgressTellsOfAnImageThatCannotBePulled(t *testing.T) {
	p := running("main=web:v1")
	begin(t, p, "v2", "main=web:gone")
	observe(p)
	p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}
	if phase, why := Progress(p); phase != Running || !strings.Contains(why, "cannot be pulled") {
		t.Errorf("got phase %d, %q", phase, why)
	}
}

func prioritized(p *corev1.Pod, priorities map[string]string) {
	for i := range p.Spec.Containers {
		if value, has := priorities[p.Spec.Containers[i].Name]; has {
			p.Spec.Containers[i].Env = []corev1.EnvVar{{Name: "KRUISE_CONTAINER_PRIORITY", Value: value}}
		}
	}
}

func TestBatches(t *testing.T) {
	three := map[string]string{"a": "a:2", "b": "b:2", "c": "c:2"}
	for _, test := range []struct {
		reason     string
		priorities map[string]string
		ordered    bool
		images     map[string]string
		now, later string
	}{
		{"without priorities all at once", nil, false, three, "a b c", ""},
		{"the highest first", map[string]string{"b": "5", "c": "-1"}, false, three, "b", "a c"},
		{"equals together", map[string]string{"a": "5", "b": "5"}, false, three, "a b", "c"},
		{"a priority that is no number is none", map[string]string{"a": "first"}, false, three, "a b c", ""},
		{"ordered is one after the other", nil, true, three, "a", "b c"},
		{"only those that change", map[string]string{"b": "5"}, false, map[string]string{"a": "a:2", "c": "c:2"}, "a c", ""},
		{"one that has its image already is passed over", map[string]string{"a": "5"}, false, map[string]string{"a": "a:1", "c": "c:2"}, "c", ""},
		{"nothing", nil, false, nil, "", ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := running("a=a:1", "b=b:1", "c=c:1")
			prioritized(p, test.priorities)
			if test.ordered {
				p.Annotations["apps.kruise.io/container-launch-priority"] = "Ordered"
			}
			first, later := firstBatch(p, test.images)
			if got := strings.Join(slices.Sorted(maps.Keys(first)), " "); got != test.now {
				t.Errorf("now: got %q, want %q", got, test.now)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(later)), " "); got != test.later {
				t.Errorf("later: got %q, want %q", got, test.later)
			}
		})
	}
}

func TestBatchesFollowEachOther(t *testing.T) {
	p := running("main=web:v1", "side=side:v1")
	prioritized(p, map[string]string{"side": "10"})
	begin(t, p, "v2", "main=web:v2", "side=side:v2")
	if specImage(p, "main") != "web:v1" || specImage(p, "side") != "side:v2" {
		t.Fatalf("first batch: main %s, side %s", specImage(p, "main"), specImage(p, "side"))
	}
	observe(p)
	restart(p, "side")
	p.Status.ContainerStatuses[1].Ready = false
	if phase, why := Progress(p); phase != Running || !strings.Contains(why, "side must be ready") {
		t.Fatalf("side is not ready: got phase %d, %q", phase, why)
	}
	p.Status.ContainerStatuses[1].Ready = true
	if phase, _ := Progress(p); phase != NextBatch {
		t.Fatalf("side is ready: got phase %d, want NextBatch", phase)
	}
	state, images := Continue(p, *Read(p), now)
	if images["main"] != "web:v2" || len(images) != 1 {
		t.Fatalf("second batch: %v", images)
	}
	apply(t, p, state, images)
	observe(p)
	if phase, _ := Progress(p); phase != Running {
		t.Fatalf("main has not restarted: got phase %d", phase)
	}
	restart(p, "main")
	if phase, _ := Progress(p); phase != Idle || len(Read(p).ContainerBatchesRecord) != 2 {
		t.Errorf("done: got phase %d, %+v", phase, Read(p))
	}
}

func TestABatchThatWasOvertakenIsNotForgotten(t *testing.T) {
	p := running("main=web:v1", "side=side:v1")
	prioritized(p, map[string]string{"side": "10"})
	begin(t, p, "v2", "main=web:v2", "side=side:v2")
	begin(t, p, "v3", "side=side:v3") // from v2 to v3 only side differs, but main never got its v2
	if next := Read(p).NextContainerImages; next["main"] != "web:v2" {
		t.Errorf("main would stay at v1: next images %v", next)
	}
}

func TestABatchThatWasTakenBackWaitsForNothing(t *testing.T) {
	p := running("main=web:v1", "side=side:v1")
	prioritized(p, map[string]string{"side": "10"})
	begin(t, p, "v2", "main=web:v2", "side=side:v2")
	observe(p)
	restart(p, "side")
	begin(t, p, "v1", "main=web:v1", "side=side:v1") // main has been at v1 all the time
	observe(p)
	restart(p, "side")
	if phase, why := Progress(p); phase != Idle {
		t.Errorf("got phase %d: %s", phase, why)
	}
}

func TestResizeProgress(t *testing.T) {
	pending := func(kind corev1.PodConditionType, reason string) func(p *corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason})
		}
	}
	granted := func(cpu string) func(p *corev1.Pod) {
		return func(p *corev1.Pod) {
			observe(p)
			p.Status.ContainerStatuses[0].Resources = &corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
			}
		}
	}
	for _, test := range []struct {
		reason string
		do     func(p *corev1.Pod)
		want   string
	}{
		{"not seen", func(*corev1.Pod) {}, "has not seen"},
		{"no room on the node", pending(corev1.PodResizePending, "Deferred"), "pending: Deferred"},
		{"more than the node has", pending(corev1.PodResizePending, "Infeasible"), "pending: Infeasible"},
		{"being done", pending(corev1.PodResizeInProgress, ""), "in progress"},
		{"not granted", granted("1"), "has not got"},
		{"granted", granted("2000m"), ""},
		{"a node that tells nothing of resources", observe, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := running("main=web:v1")
			wanted := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}}
			state, images := Begin(p, Delta{Resources: map[string]corev1.ResourceRequirements{"main": wanted}}, "v2", now)
			apply(t, p, state, images)
			p.Spec.Containers[0].Resources = wanted
			p.Generation++
			test.do(p)
			phase, why := Progress(p)
			if (phase == Running) != (test.want != "") || !strings.Contains(why, test.want) {
				t.Errorf("got phase %d, %q, want %q", phase, why, test.want)
			}
		})
	}
}

// away is a container that the kubelet has stopped and not started again.
func away(p *corev1.Pod, name string) {
	for i := range p.Status.ContainerStatuses {
		if status := &p.Status.ContainerStatuses[i]; status.Name == name {
			status.Ready = false
			status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143, ContainerID: status.ContainerID}}
		}
	}
}

func TestCovered(t *testing.T) {
	for _, test := range []struct {
		reason string
		do     func(p *corev1.Pod)
		want   bool
	}{
		{"never changed", func(*corev1.Pod) {}, false},
		{"not seen by the kubelet", func(p *corev1.Pod) { begin(t, p, "v2", "main=web:v2") }, false},
		{"seen, and still running with the old image", func(p *corev1.Pod) {
			begin(t, p, "v2", "main=web:v2")
			observe(p)
		}, false},
		{"seen and stopped", func(p *corev1.Pod) {
			begin(t, p, "v2", "main=web:v2")
			observe(p)
			away(p, "main")
		}, true},
		{"its image cannot be had", func(p *corev1.Pod) {
			begin(t, p, "v2", "main=web:v2")
			observe(p)
			away(p, "main")
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}}
		}, true},
		{"a crash before the kubelet saw the change: it may start with the old image once more", func(p *corev1.Pod) {
			begin(t, p, "v2", "main=web:v2")
			away(p, "main")
		}, false},
		{"a kubelet that does not say what it has seen", func(p *corev1.Pod) {
			begin(t, p, "v2", "main=web:v2")
			p.Status.ObservedGeneration = 0
			away(p, "main")
		}, false},
		{"one of two is still to stop", func(p *corev1.Pod) {
			begin(t, p, "v2", "main=web:v2", "log=log:v2")
			observe(p)
			away(p, "main")
		}, false},
		{"one of two is done, the other stopped", func(p *corev1.Pod) {
			begin(t, p, "v2", "main=web:v2", "log=log:v2")
			observe(p)
			restart(p, "log")
			away(p, "main")
		}, true},
		{"another container that stopped covers nothing", func(p *corev1.Pod) {
			begin(t, p, "v2", "main=web:v2")
			observe(p)
			away(p, "log")
		}, false},
		{"done", func(p *corev1.Pod) {
			begin(t, p, "v2", "main=web:v2")
			observe(p)
			restart(p, "main")
		}, false},
		{"containers of lower launch priority come later", func(p *corev1.Pod) {
			p.Annotations["apps.kruise.io/container-launch-priority"] = "Ordered"
			begin(t, p, "v2", "main=web:v2", "log=log:v2")
			observe(p)
			away(p, "main")
		}, false},
		{"its resources change, too", func(p *corev1.Pod) {
			state, images := Begin(p, Delta{
				Images: map[string]string{"main": "web:v2"}, Resources: map[string]corev1.ResourceRequirements{"main": {}},
			}, "v2", now)
			apply(t, p, state, images)
			observe(p)
			away(p, "main")
		}, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := running("main=web:v1", "log=log:v1")
			observe(p)
			test.do(p)
			if got := Covered(p); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestNextOfACoveredPod(t *testing.T) {
	p := running("main=web:v1")
	begin(t, p, "v2", "main=web:v2")
	observe(p)
	away(p, "main")
	p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "InPlaceUpdateReady", Status: "True"})
	got := Next(p, Delta{Images: map[string]string{"main": "web:v3"}}, time.Minute, now)
	if want := (Step{Unready: true, Patch: true}); got != want {
		t.Errorf("got %+v, want %+v: it serves nobody, whom a grace would spare", got, want)
	}
}

func TestNext(t *testing.T) {
	image := Delta{Images: map[string]string{"main": "web:v2"}}
	debug := "on"
	for _, test := range []struct {
		reason string
		gate   corev1.ConditionStatus // "": the pod has no gate; "-": it has, and no condition yet
		since  time.Duration
		delta  Delta
		grace  time.Duration
		want   Step
	}{
		{"a pod without the gate just changes", "", 0, image, time.Minute, Step{Patch: true}},
		{"metadata alone needs no gate", "True", 0, Delta{Labels: map[string]*string{"debug": &debug}}, time.Minute, Step{Patch: true}},
		{"out of service and changed at once", "True", 0, image, 0, Step{Unready: true, Patch: true}},
		{"out of service first", "True", 0, image, time.Minute, Step{Unready: true, Wait: time.Minute}},
		{"a gate that was never written is closed first, too", "-", 0, image, time.Minute, Step{Unready: true, Wait: time.Minute}},
		{"in its grace", "False", 20 * time.Second, image, time.Minute, Step{Wait: 40 * time.Second}},
		{"after its grace", "False", time.Minute, image, time.Minute, Step{Patch: true}},
		{"the grace was shortened meanwhile", "False", time.Second, image, 0, Step{Patch: true}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := running("main=web:v1")
			if test.gate != "" {
				p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}}
			}
			if test.gate != "" && test.gate != "-" {
				p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
					Type: "InPlaceUpdateReady", Status: test.gate, LastTransitionTime: metav1.NewTime(now.Add(-test.since)),
				})
			}
			if got := Next(p, test.delta, test.grace, now); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestNeedsDaemon(t *testing.T) {
	p := running("main=web:v1", "side=side:v1")
	delta := Delta{Env: []string{"main", "side"}, Images: map[string]string{"side": "side:v2"}}
	if got := delta.NeedsDaemon(p); !slices.Equal(got, []string{"main"}) {
		t.Errorf("got %v: side restarts anyway, main only when somebody restarts it", got)
	}
	p.Annotations["apps.kruise.io/runtime-containers-meta"] = `{"containers":[{"name":"side"}]}`
	if got := delta.NeedsDaemon(p); !slices.Equal(got, []string{"main"}) {
		t.Errorf("got %v, but the daemon does not look after main", got)
	}
	p.Annotations["apps.kruise.io/runtime-containers-meta"] = `{"containers":[{"name":"main"}]}`
	if got := delta.NeedsDaemon(p); got != nil {
		t.Errorf("got %v, but the node has a daemon", got)
	}
}

func TestSameImage(t *testing.T) {
	for _, test := range []struct {
		status, spec string
		want         bool
	}{
		{"web:v1", "web:v1", true},
		{"docker.io/library/web:v1", "web:v1", true},
		{"docker.io/library/cobweb:v1", "web:v1", false},
		{"web:v1", "web:v2", false},
	} {
		if got := sameImage(test.status, test.spec); got != test.want {
			t.Errorf("%s as %s: got %v", test.spec, test.status, got)
		}
	}
}
