package restart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/node/cri"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// runtime is a pretended container runtime: containers by id, and what was done to them.
type runtime struct {
	mu         sync.Mutex
	containers map[string]cri.Container
	did        []string
	looks      int
	err        error
}

func (r *runtime) Inspect(_ context.Context, id string, names ...string) (cri.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return cri.Container{}, r.err
	}
	if len(names) > 0 {
		r.looks++
	}
	c, ok := r.containers[id]
	if !ok {
		return c, cri.ErrNotFound
	}
	return c, nil
}

func (r *runtime) Stop(_ context.Context, id string, grace time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.did = append(r.did, fmt.Sprintf("stop %s %s", id, grace))
	c := r.containers[id]
	c.Running = false
	r.containers[id] = c
	return nil
}

func (r *runtime) Exec(_ context.Context, id string, command []string, _ time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.did = append(r.did, fmt.Sprintf("exec %s %s", id, strings.Join(command, " ")))
	if command[0] == "false" {
		return errors.New("it ended with code 1")
	}
	return nil
}

// done are the actions since the last call.
func (r *runtime) done() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.did)
	all := strings.Join(r.did, "; ")
	r.did = nil
	return all
}

// node is a node with one pod, whose kubelet and runtime the test plays.
type node struct {
	t       *testing.T
	env     *testkit.Env
	runtime *runtime
	clock   *clocktesting.FakeClock
	room    *Reconciler
	key     types.NamespacedName
	starts  int
}

func tier() corev1.EnvVar {
	return corev1.EnvVar{Name: "TIER", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['tier']"}}}
}

// newNode has a pod of a CloneSet with the containers main, which reads the label tier, and side, which reads nothing.
func newNode(t *testing.T, overrides ...func(*corev1.Pod)) *node {
	t.Helper()
	env := testkit.APIServer(t)
	n := &node{
		t: t, env: env, runtime: &runtime{containers: map[string]cri.Container{}},
		clock: clocktesting.NewFakeClock(testkit.Epoch), key: types.NamespacedName{Namespace: env.Namespace(t), Name: "web-0"},
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: n.key.Namespace, Name: n.key.Name, Labels: map[string]string{"tier": "silver", "controller-revision-hash": "v1"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps.kruise.io/v1beta1", Kind: "CloneSet", Name: "web", UID: "uid", Controller: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{
			NodeName: "n1", TerminationGracePeriodSeconds: ptr.To[int64](20),
			Containers: []corev1.Container{
				{Name: "main", Image: "web:v1", Env: []corev1.EnvVar{tier()}}, {Name: "side", Image: "side:v1"},
			},
		},
	}
	for _, override := range overrides {
		override(p)
	}
	if err := env.Client.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	n.crash()
	for i := range p.Spec.Containers {
		n.start(p.Spec.Containers[i].Name)
	}
	n.clock.Step(time.Minute)
	return n
}

// crash ends the daemon; another takes its place and knows nothing.
func (n *node) crash() { n.room = New(n.env.Client, n.runtime, n.clock, nil) }

func (n *node) pod() *corev1.Pod {
	n.t.Helper()
	p := &corev1.Pod{}
	if err := n.env.Client.Get(n.t.Context(), n.key, p); err != nil {
		n.t.Fatal(err)
	}
	return p
}

// start is the kubelet starting a container with what the pod says now, or with another value of the label.
func (n *node) start(name string, otherwise ...string) {
	n.t.Helper()
	p := n.pod()
	n.starts++
	id := name + strconv.Itoa(n.starts)
	value := p.Labels["tier"]
	if len(otherwise) > 0 {
		value = otherwise[0]
	}
	image := ""
	for _, c := range p.Spec.Containers {
		if c.Name == name {
			image = c.Image
		}
	}
	n.runtime.containers[id] = cri.Container{
		Image: image, Running: true, StartedAt: n.clock.Now(), KubeletHash: 7, Env: map[string]string{"TIER": value},
	}
	status := corev1.ContainerStatus{
		Name: name, ContainerID: "containerd://" + id, Image: image, ImageID: image,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(n.clock.Now())}},
	}
	for i, old := range p.Status.ContainerStatuses {
		if old.Name == name {
			status.RestartCount = old.RestartCount + 1
			p.Status.ContainerStatuses = slices.Delete(p.Status.ContainerStatuses, i, i+1)
			break
		}
	}
	p.Status.Phase = corev1.PodRunning
	p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, status)
	if err := n.env.Client.Status().Update(n.t.Context(), p); err != nil {
		n.t.Fatal(err)
	}
}

// relabel is the operator changing the label in place.
func (n *node) relabel(revision, value string) {
	n.t.Helper()
	p := n.pod()
	state, _ := inplace.Begin(p, inplace.Delta{Env: []string{"main"}, Labels: map[string]*string{"tier": &value}}, revision, n.clock.Now())
	raw, err := json.Marshal(state)
	if err != nil {
		n.t.Fatal(err)
	}
	n.change(func(p *corev1.Pod) {
		metav1.SetMetaDataAnnotation(&p.ObjectMeta, appsv1beta1.InPlaceUpdateState, string(raw))
		p.Labels["tier"], p.Labels["controller-revision-hash"] = value, revision
	})
}

func (n *node) change(change func(p *corev1.Pod)) {
	n.t.Helper()
	p := n.pod()
	before := client.MergeFrom(p.DeepCopy())
	change(p)
	if err := n.env.Client.Patch(n.t.Context(), p, before); err != nil {
		n.t.Fatal(err)
	}
}

// pass is one pass of the daemon, over the pod as its cache keeps it.
func (n *node) pass() (time.Duration, error) {
	n.t.Helper()
	slim, err := Slim(n.pod())
	if err != nil {
		n.t.Fatal(err)
	}
	result, err := n.room.Reconcile(n.t.Context(), slim.(*corev1.Pod)) //nolint:forcetypeassert // it was one
	return result.After, err
}

// passes wants that a pass does this.
func (n *node) passes(want string) {
	n.t.Helper()
	if _, err := n.pass(); err != nil {
		n.t.Fatal(err)
	}
	if got := n.runtime.done(); got != want {
		n.t.Errorf("the daemon did %q, want %q", got, want)
	}
}

func (n *node) progress() inplace.Phase {
	n.t.Helper()
	phase, _ := inplace.Progress(n.pod())
	return phase
}

func TestLabelBecomesEnvironment(t *testing.T) {
	n := newNode(t)
	n.passes("")
	report := inplace.ReadRuntime(n.pod())
	if main := report.Container("main"); len(report.Containers) != 1 || main == nil || main.ContainerID != "containerd://main1" ||
		main.Hashes.PlainHash != 7 || main.Hashes.ExtractedEnvFromMetadataHash != inplace.EnvHash(map[string]string{"TIER": "silver"}) {
		t.Fatalf("reported is %+v, want main alone", report)
	}
	version := n.pod().ResourceVersion
	n.passes("")
	if n.pod().ResourceVersion != version || n.runtime.looks != 1 {
		t.Errorf("a pass over a pod that is as it was writes, or looks again (%d looks)", n.runtime.looks)
	}

	n.relabel("v2", "gold")
	n.passes("stop main1 20s")
	if n.progress() != inplace.Running {
		t.Error("the change is done although the container has not started again")
	}
	n.passes("") // its end is not in the status yet: the runtime knows
	n.start("main")
	n.passes("")
	if n.progress() != inplace.Idle {
		t.Error("the change is not done although the container runs with the new value")
	}
	if main := inplace.ReadRuntime(n.pod()).Container("main"); main.RestartCount != 1 || main.ContainerID == "containerd://main1" {
		t.Errorf("reported is %+v", main)
	}
	n.clock.Step(time.Minute)
	n.passes("")
}

func TestKilledDaemonGoesOn(t *testing.T) {
	n := newNode(t)
	n.passes("")
	n.relabel("v2", "gold")
	n.crash() // before it did anything
	n.passes("stop main1 20s")
	n.crash() // it stopped the container, and knows nothing of that
	n.passes("")
	n.start("main")
	n.crash() // before it reported
	n.passes("")
	if n.progress() != inplace.Idle {
		t.Error("the change is not done")
	}
}

func TestStartedWithTheFormerValue(t *testing.T) {
	n := newNode(t)
	n.passes("")
	n.relabel("v2", "gold")
	n.passes("stop main1 20s")
	n.start("main", "silver") // by a kubelet that had not heard of the new label
	after, err := n.pass()
	if did := n.runtime.done(); err != nil || after != settle || did != "" {
		t.Fatalf("the daemon did %q (%v), again after %s; want that it lets the container run for %s", did, err, after, settle)
	}
	n.clock.Step(settle)
	n.passes("stop main3 20s")
	n.start("main")
	n.passes("")
	if n.progress() != inplace.Idle {
		t.Error("the change is not done")
	}
}

func TestNobodyAsked(t *testing.T) {
	foreign := func(p *corev1.Pod) {
		p.OwnerReferences[0].APIVersion, p.OwnerReferences[0].Kind = "apps/v1", "ReplicaSet"
	}
	for _, test := range []struct {
		reason   string
		override func(*corev1.Pod)
		act      func(n *node)
		reports  bool
	}{
		{"the label is changed by hand", func(*corev1.Pod) {}, func(n *node) {
			n.change(func(p *corev1.Pod) { p.Labels["tier"] = "gold" })
		}, true},
		{"a pod of a Deployment", foreign, func(n *node) { n.relabel("v2", "gold") }, false},
		{"a pod of nobody", func(p *corev1.Pod) { p.OwnerReferences = nil }, func(n *node) { n.relabel("v2", "gold") }, false},
		{"a container that would not come back", func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		}, func(n *node) { n.relabel("v2", "gold") }, false},
		{"a container with a new image: the kubelet restarts it", func(*corev1.Pod) {}, func(n *node) {
			n.relabel("v2", "gold")
			n.change(func(p *corev1.Pod) { p.Spec.Containers[0].Image = "web:v2" })
		}, true},
		{"a pod on its way out", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/wait"} }, func(n *node) {
			n.relabel("v2", "gold")
			if err := n.env.Client.Delete(n.t.Context(), n.pod()); err != nil {
				n.t.Fatal(err)
			}
		}, true},
		{"the readiness gate is open still", func(p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}}
		}, func(n *node) { n.relabel("v2", "gold") }, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			n := newNode(t, test.override)
			n.passes("")
			test.act(n)
			n.passes("")
			if _, reports := n.pod().Annotations[appsv1beta1.RuntimeContainersMeta]; reports != test.reports {
				t.Errorf("reports: %v, want %v", reports, test.reports)
			}
			if p := n.pod(); p.DeletionTimestamp != nil {
				n.change(func(p *corev1.Pod) { p.Finalizers = nil })
			}
		})
	}
}

func TestRuntimeIsAway(t *testing.T) {
	n := newNode(t)
	n.passes("")
	n.relabel("v2", "gold")
	n.crash()
	n.runtime.err = errors.New("away")
	before := n.pod().Annotations[appsv1beta1.RuntimeContainersMeta]
	if _, err := n.pass(); err == nil || !strings.Contains(err.Error(), "container main") {
		t.Errorf("the pass ends with %v, want one that is tried again", err)
	}
	if n.pod().Annotations[appsv1beta1.RuntimeContainersMeta] != before {
		t.Error("what was reported before is lost")
	}
	n.runtime.err = nil
	n.passes("stop main1 20s")
}

func TestPreStop(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Host+r.RequestURI+" "+r.Header.Get("X-Why"))
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	where, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(where.Port())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		reason string
		hook   corev1.LifecycleHandler
		want   string
		asked  string
	}{
		{"a command", corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"drain", "now"}}}, "exec main1 drain now; stop main1 20s", ""},
		{"a command that fails", corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}}, "exec main1 false; stop main1 20s", ""},
		{"nothing to wait", corev1.LifecycleHandler{Sleep: &corev1.SleepAction{}}, "stop main1 20s", ""},
		{"a request", corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{
			Host: "127.0.0.1", Port: intstr.FromInt(port), Path: "/drain?now=1",
			HTTPHeaders: []corev1.HTTPHeader{{Name: "host", Value: "web"}, {Name: "X-Why", Value: "stop"}},
		}}, "stop main1 20s", "web/drain?now=1 stop"},
		{"a request to a port by its name", corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{
			Host: "127.0.0.1", Port: intstr.FromString("drain"), HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "web"}},
		}}, "stop main1 20s", "web/ "},
		{"a request to nobody", corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("nothing")}}, "stop main1 20s", ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			asked = nil
			n := newNode(t, func(p *corev1.Pod) {
				p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &test.hook}
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "drain", ContainerPort: int32(port)}} //nolint:gosec // a port
			})
			n.passes("")
			n.relabel("v2", "gold")
			n.passes(test.want)
			if got := strings.Join(asked, "; "); got != test.asked {
				t.Errorf("asked was %q, want %q", got, test.asked)
			}
		})
	}
}

// What a hook takes is taken from the grace, but for the least that a container has to end.
func TestHookTakesFromTheGrace(t *testing.T) {
	clock := clocktesting.NewFakeClock(testkit.Epoch)
	r := New(nil, &runtime{}, clock, nil)
	c := &corev1.Container{Name: "main", Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 15}}}}
	for grace, want := range map[time.Duration]time.Duration{20 * time.Second: 5 * time.Second, 10 * time.Second: leastGrace, 0: 0, time.Second: time.Second} {
		left := make(chan time.Duration)
		go func() { left <- r.preStop(t.Context(), &corev1.Pod{}, c, "main1", grace) }()
		if grace > 0 {
			testkit.Eventually(t, 5*time.Second, "the hook waits", func(context.Context) error {
				if !clock.HasWaiters() {
					return errors.New("it does not")
				}
				return nil
			})
			clock.Step(min(grace, 15*time.Second))
		}
		if got := <-left; got != want {
			t.Errorf("of %s are left %s, want %s", grace, got, want)
		}
	}
}

func TestSlimKeepsNoSecrets(t *testing.T) {
	secret := corev1.EnvVar{Name: "PASSWORD", Value: "swordfish"}
	p := testkit.Pod(func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps.kruise.io/v1beta1", Kind: "CloneSet", Name: "web", Controller: ptr.To(true)}}
		p.Spec.Containers[0].Env = []corev1.EnvVar{secret, tier(), {Name: "TIER", Value: "fixed"}, {Name: "OTHER", ValueFrom: tier().ValueFrom}}
	})
	slim, err := Slim(p.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	got := slim.(*corev1.Pod) //nolint:forcetypeassert // it was one
	env := got.Spec.Containers[0].Env
	if len(env) != 1 || env[0].Name != "OTHER" {
		t.Errorf("kept is %v, want what reads metadata and is in effect", env)
	}
	if len(got.Status.ContainerStatuses) == 0 || !maps.Equal(got.Labels, p.Labels) {
		t.Error("what the daemon decides by is dropped")
	}
	p.OwnerReferences = nil
	if slim, err = Slim(p); err != nil || slim.(*corev1.Pod).Spec.Containers != nil { //nolint:forcetypeassert // it was one
		t.Errorf("of a pod of nobody, its containers are kept (%v)", err)
	}
}
