package podunavailablebudget

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

const (
	historyPods  = 20
	historyFloor = 15 // 25% of them may be away
	historySteps = 250
)

// act is one thing that was allowed and has not happened yet: its request is on its way through the API server.
type act struct {
	operation disruption.Operation
	pod       *corev1.Pod
	due       int
}

// history is a random course of events: people, drains and controllers who take pods away in three ways at once, asking
// replicas that are behind, while nodes restart containers and replacements come.
type history struct {
	*scene
	random   *rand.Rand
	replicas []*replica
	faults   *testkit.Faults
	flying   []act
	step     int
	images   int
	allowed  map[disruption.Operation]int
	denied   int
	fewest   int
}

// TestHistory: at no event are more pods away than the budget says.
func TestHistory(t *testing.T) {
	first, fixed := testkit.Seed(t)
	runs := uint64(3)
	if fixed || testing.Short() {
		runs = 1
	}
	for i := range runs {
		t.Run(fmt.Sprintf("seed %d", first+i), func(t *testing.T) { runHistory(t, first+i, nil) })
	}
}

// TestHistoryWithFaults is the same while every twentieth write to the ledger goes wrong.
func TestHistoryWithFaults(t *testing.T) {
	testkit.RandomMatrix(t, 2, 0.05, func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		seed, _ := testkit.Seed(t)
		runHistory(t, seed, f)
	})
}

func runHistory(t *testing.T, seed uint64, f *testkit.Faults) {
	t.Helper()
	h := &history{
		scene: newScene(t), random: rand.New(rand.NewPCG(seed, seed)), faults: f, //nolint:gosec // it must be repeatable
		allowed: map[disruption.Operation]int{}, fewest: historyPods,
	}
	h.deployment("web", historyPods)
	h.pods("web", historyPods)
	h.budget("web", "25%")
	for range 3 {
		h.replicas = append(h.replicas, h.newReplica())
	}
	for h.step = range historySteps {
		h.move()
		h.check()
		if t.Failed() {
			t.Fatalf("repeat with HOLDFAST_SEED=%d", seed)
		}
	}
	t.Logf("allowed %v, denied %d, at the fewest %d of %d pods were available", h.allowed, h.denied, h.fewest, historyPods)
	if h.allowed[disruption.Delete] == 0 || h.allowed[disruption.Evict] == 0 || h.allowed[disruption.Update] == 0 || h.denied == 0 {
		t.Error("the history tried too little")
	}
	if h.fewest > historyFloor+1 { // by chance, one may be back before the last that may go has gone
		t.Errorf("%d pods were available at all times: the budget was never used up", h.fewest)
	}
}

func (h *history) newReplica() *replica {
	if h.faults != nil {
		return h.lagging(h.faults.Config(h.env.Config))
	}
	return h.lagging(nil)
}

// move does one thing at random.
func (h *history) move() {
	switch n := h.random.IntN(100); {
	case n < 40:
		h.ask()
	case n < 60:
		h.land()
	case n < 75:
		h.node()
	case n < 85:
		h.show()
	case n < 92:
		h.lead()
	default:
		h.replace()
	}
}

func (h *history) all() []corev1.Pod {
	h.t.Helper()
	var pods corev1.PodList
	if err := h.env.Client.List(h.t.Context(), &pods, client.InNamespace(h.namespace)); err != nil {
		h.t.Fatal(err)
	}
	return pods.Items
}

func (h *history) any() *replica { return h.replicas[h.random.IntN(len(h.replicas))] }

// ask wants a pod away; some ask twice, as our controllers and admission do, and some ask after what they saw long ago.
func (h *history) ask() {
	pods := h.all()
	p := pods[h.random.IntN(len(pods))].DeepCopy()
	operation := []disruption.Operation{disruption.Delete, disruption.Evict, disruption.Update}[h.random.IntN(3)]
	r := disruption.Request{Operation: operation, Pod: p}
	if operation == disruption.Update {
		r.Changed = p.DeepCopy()
		r.Changed.Spec.Containers[0].Image = h.nextImage()
	}
	for range 1 + h.random.IntN(2) {
		v, err := h.any().keeper.Take(h.t.Context(), r)
		h.revive()
		if err != nil {
			if h.faults == nil {
				h.t.Errorf("ask: %v", err)
			}
			return
		}
		if v.Outcome == disruption.Deny {
			h.denied++
			return
		}
	}
	h.allowed[operation]++
	if h.random.IntN(10) > 0 { // one in ten is turned down elsewhere
		h.flying = append(h.flying, act{operation, p, h.step + h.random.IntN(12)})
	} else if h.random.IntN(2) == 0 {
		h.any().keeper.Release(h.t.Context(), r)
		h.revive()
	}
}

func (h *history) nextImage() string {
	h.images++
	if h.images%3 == 0 {
		return fmt.Sprintf("registry.local/web@sha256:%064d", h.images)
	}
	return fmt.Sprintf("registry.local/web:v%d", h.images)
}

// land carries out what was allowed.
func (h *history) land() {
	var rest []act
	for _, a := range h.flying {
		if a.due > h.step {
			rest = append(rest, a)
			continue
		}
		var err error
		if a.operation == disruption.Update {
			changed := a.pod.DeepCopy()
			changed.Spec.Containers[0].Image = h.nextImage()
			// As the API server guarantees for what admission has seen: nothing came between.
			patch := client.StrategicMergeFrom(a.pod, client.MergeFromWithOptimisticLock{})
			err = h.env.Client.Patch(h.t.Context(), changed, patch)
		} else {
			err = h.env.Client.Delete(h.t.Context(), a.pod, client.Preconditions{UID: &a.pod.UID})
		}
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			h.t.Fatalf("%s of %s: %v", a.operation, a.pod.Name, err)
		}
		h.check()
	}
	h.flying = rest
}

// node lets each pod make a step in its life, or not.
func (h *history) node() {
	h.kubelet.Hold = func(p *corev1.Pod, next testkit.Transition) bool {
		// Nobody is to fail by himself: that is no disruption, and nothing that a budget could prevent.
		return (next != testkit.Ready || !pod.Ready(p)) && h.random.IntN(3) == 0
	}
	if _, err := h.kubelet.Step(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// show brings one cache nearer to what is.
func (h *history) show() {
	lag := h.any().lag
	if err := lag.Fetch(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	lag.Show(h.random.IntN(lag.Pending() + 1))
}

// lead is a pass of the controller, on any replica; sometimes time passes first, but never while a request is on its way
// for as long as requests last.
func (h *history) lead() {
	if len(h.flying) == 0 && h.random.IntN(3) == 0 {
		h.clock.Step(100 * time.Second)
	} else {
		h.clock.Step(200 * time.Millisecond)
	}
	r := h.any()
	_, err := r.try(h.t.Context(), "web")
	h.revive()
	if err != nil && h.faults == nil && !apierrors.IsConflict(err) {
		h.t.Errorf("reconcile: %v", err)
	}
}

// replace makes what a workload would make for pods that are gone.
func (h *history) replace() {
	active := 0
	for _, p := range h.all() {
		if pod.Active(&p) {
			active++
		}
	}
	for ; active < historyPods; active++ {
		p := &corev1.Pod{Spec: podSpec()}
		p.Name, p.Labels = fmt.Sprintf("web-%d", h.made), map[string]string{"app": "web"}
		h.made++
		h.create(p)
	}
}

// revive starts a replica that a fault has killed anew, with an empty memory.
func (h *history) revive() {
	if h.faults == nil || !h.faults.Dead() {
		return
	}
	h.faults.Revive()
	h.replicas[h.random.IntN(len(h.replicas))] = h.newReplica()
}

// check counts the pods that do their work and are what they should be, as one who sees everything.
func (h *history) check() {
	h.t.Helper()
	available, away := 0, ""
	for _, p := range h.all() {
		status := p.Status.ContainerStatuses
		changing := len(status) > 0 && status[0].Image != p.Spec.Containers[0].Image
		if pod.Ready(&p) && pod.Active(&p) && !changing {
			available++
		} else {
			away += fmt.Sprintf("%s ready %v active %v changing %v gen %d; ", p.Name, pod.Ready(&p), pod.Active(&p), changing, p.Generation)
		}
	}
	h.fewest = min(h.fewest, available)
	if available < historyFloor {
		key := types.NamespacedName{Namespace: h.namespace, Name: "web"}
		h.t.Errorf("away: %s", away)
		h.t.Errorf("step %d: %d pods are available, %d must be; ledger of %s: %+v", h.step, available, historyFloor, key, h.stored("web").Status)
	}
}
