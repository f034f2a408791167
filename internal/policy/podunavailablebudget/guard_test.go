package podunavailablebudget

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestTakesUpToTheBudget(t *testing.T) {
	s := newScene(t)
	s.deployment("web", 4)
	pods := s.pods("web", 4) // older than the budget, and than the keeper
	s.budget("web", "50%")
	r := s.lagging(nil)

	r.allows(disruption.Delete, pods[0], "nothing is away")
	r.allows(disruption.Delete, pods[0], "it is the same act again")
	r.allows(disruption.Evict, pods[1], "one is away, two may be")
	v := r.denies(disruption.Delete, pods[2], "two are away")
	for _, part := range []string{"web", "2 of 4", "spec.maxUnavailable", "pub.kruise.io/no-protect"} {
		if !strings.Contains(v.Message, part) {
			t.Errorf("the message lacks %q: %s", part, v.Message)
		}
	}
	if v.Guard != "PodUnavailableBudget "+s.namespace+"/web" || v.Reason != "BudgetExhausted" || v.Notes["pub-available"] != "2" {
		t.Errorf("verdict %+v", v)
	}
	status := s.stored("web").Status
	if len(status.Grants) != 2 || len(status.DisruptedPods) != 2 || status.CurrentAvailable != 2 || status.UnavailableAllowed != 0 {
		t.Errorf("the ledger: %+v", status)
	}
	select {
	case event := <-r.events.Events:
		if !strings.Contains(event, "PubPreventPodDeletion") {
			t.Errorf("event %q", event)
		}
	default:
		t.Error("the denial is told by no event")
	}

	// One goes, and one comes in its place.
	s.remove(pods[0])
	s.settle()
	s.pods("web", 1)
	r.fresh()
	r.allows(disruption.Delete, pods[2], "there are three again, and one of them is about to go")
	r.denies(disruption.Delete, pods[3], "two are about to go")
}

func TestDryRunTakesNothing(t *testing.T) {
	s := newScene(t)
	pods := s.guarded(2, "1")
	r := s.lagging(nil)
	before := s.stored("web").ResourceVersion
	if v := r.ask(disruption.Evict, pods[0], func(r *disruption.Request) { r.DryRun = true }); v.Outcome != disruption.Allow {
		t.Errorf("denied: %s", v.Message)
	}
	if after := s.stored("web").ResourceVersion; after != before {
		t.Error("a dry run was written down")
	}
}

// TestChangeInPlaceCountsUntilItIsOver: the pod looks ready while its change is on its way, on every cache.
func TestChangeInPlaceCountsUntilItIsOver(t *testing.T) {
	s := newScene(t)
	pods := s.guarded(3, "1")
	leader, other := s.lagging(nil), s.lagging(nil)
	leader.reconcile("web")

	leader.allows(disruption.Update, pods[0], "nothing is away")
	other.allows(disruption.Update, pods[0], "the same act, asked by admission on another replica that has seen nothing of it")
	if grants := s.stored("web").Status.Grants; len(grants) != 1 || len(s.stored("web").Status.UnavailablePods) != 1 {
		t.Errorf("one act makes one grant, not %+v", grants)
	}
	other.denies(disruption.Delete, pods[1], "a change was granted, and nothing is seen of it yet")
	s.image(pods[0], "registry.local/web:next")
	leader.fresh().denies(disruption.Delete, pods[1], "the kubelet has not seen the change: the pod still says it is ready")
	for range 20 {
		if made, err := s.kubelet.Step(t.Context()); err != nil || made == 0 {
			break
		}
		leader.fresh()
		other.fresh()
		p := s.pod(pods[0].Name)
		if look(p).Available && p.Status.ContainerStatuses[0].ContainerID != pods[0].Status.ContainerStatuses[0].ContainerID {
			break
		}
		leader.denies(disruption.Delete, pods[1], "the change is not over")
		other.denies(disruption.Evict, pods[2], "the change is not over")
	}
	s.settle()
	leader.fresh().reconcile("web")
	if status := s.stored("web").Status; len(status.Grants) != 0 || status.UnavailableAllowed != 1 || status.CurrentAvailable != 3 {
		t.Errorf("after the change: %+v", status)
	}
	other.allows(disruption.Delete, pods[1], "the change is over, as the ledger says; this cache has to hurry")
}

// TestOlderViewDoesNotDecide: what a ledger has struck out rests on pods that a slower cache has not seen.
func TestOlderViewDoesNotDecide(t *testing.T) {
	s := newScene(t)
	pods := s.guarded(3, "1")
	leader, slow := s.lagging(nil), s.lagging(nil)
	leader.reconcile("web")
	leader.allows(disruption.Delete, pods[0], "nothing is away")
	s.remove(pods[0])
	s.settle()
	leader.fresh().reconcile("web")
	if grants := s.stored("web").Status.Grants; len(grants) != 0 {
		t.Fatalf("the pod is gone, and so should its grant be: %+v", grants)
	}
	slow.denies(disruption.Delete, pods[1], "this cache still shows three pods")
}

func TestUnservingPodsMayAlwaysGo(t *testing.T) {
	s := newScene(t)
	pods := s.guarded(3, "0")
	r := s.lagging(nil)
	r.denies(disruption.Delete, pods[0], "none may be away")
	if err := s.kubelet.Crash(t.Context(), client.ObjectKeyFromObject(pods[0]), "main"); err != nil {
		t.Fatal(err)
	}
	r.allows(disruption.Delete, s.pod(pods[0].Name), "it does not serve")
	r.denies(disruption.Delete, pods[1], "the others do")

	// A cache that still shows a pod as not ready does not make it one.
	stale := s.pod(pods[2].Name)
	for i := range stale.Status.Conditions {
		stale.Status.Conditions[i].Status = corev1.ConditionFalse
	}
	r.denies(disruption.Delete, stale, "the API server says that it is ready")
}

func TestPodsThatAreLeftOut(t *testing.T) {
	s := newScene(t)
	s.deployment("web", 4)
	plain := s.pods("web", 2)
	free := s.pods("web", 1, func(p *corev1.Pod) { p.Labels[appsv1beta1.NoProtect] = "true" })
	ignored := s.pods("web", 1, func(p *corev1.Pod) { p.Labels["tier"] = "spare" })
	s.budget("web", "1", func(pub *policyv1beta1.PodUnavailableBudget) {
		pub.Spec.IgnoredPodSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "spare"}}
	})
	r := s.lagging(nil)
	r.reconcile("web")
	if status := s.stored("web").Status; status.TotalReplicas != 3 || status.CurrentAvailable != 2 || status.UnavailableAllowed != 0 {
		t.Errorf("of four, one is not counted at all and one cannot be counted on: %+v", status)
	}
	r.allows(disruption.Delete, ignored[0], "it is left out")
	r.allows(disruption.Delete, free[0], "its label says so")
	r.denies(disruption.Delete, plain[0], "the one that may go freely is not counted on")
}

func TestOperations(t *testing.T) {
	s := newScene(t)
	s.deployment("web", 2)
	pods := s.pods("web", 2)
	s.budget("web", "0", func(pub *policyv1beta1.PodUnavailableBudget) {
		pub.Spec.ProtectOperations = []policyv1beta1.PodOperation{"EVICT", "RESIZE"}
	})
	r := s.lagging(nil)
	r.allows(disruption.Delete, pods[0], "it is not guarded")
	r.allows(disruption.Update, pods[0], "it is not guarded")
	r.denies(disruption.Evict, pods[0], "it is guarded")
	r.denies(disruption.Resize, pods[0], "it is guarded")
}

func TestTotals(t *testing.T) {
	s := newScene(t)
	s.deployment("web", 5)
	web := s.pods("web", 4)
	s.budget("web", "1")
	s.budget("fixed", "50%", bySelector("bare"), func(pub *policyv1beta1.PodUnavailableBudget) {
		n := int32(6)
		pub.Spec.ProtectTotalReplicas = &n
	})
	s.budget("bare", "50%", bySelector("bare"))
	bare := s.pods("bare", 4)
	r := s.lagging(nil)
	for _, name := range []string{"web", "fixed", "bare"} {
		r.reconcile(name)
	}
	for name, want := range map[string][3]int32{"web": {5, 4, 0}, "fixed": {6, 3, 1}, "bare": {4, 2, 2}} {
		status := s.stored(name).Status
		if got := [3]int32{status.TotalReplicas, status.DesiredAvailable, status.UnavailableAllowed}; got != want {
			t.Errorf("%s: total, desired and allowed are %v, want %v", name, got, want)
		}
	}
	r.denies(disruption.Delete, web[0], "one is missing already")
	r.allows(disruption.Delete, bare[0], "both budgets allow it")
	r.denies(disruption.Delete, bare[1], "the one with six allows no more")
	enforcedAs(t, s.stored("fixed"), policyv1beta1.BudgetOverlapping, metav1.ConditionTrue, "SamePods")
}

// TestScaledMeanwhile: what the workload wants is asked at each decision.
func TestScaledMeanwhile(t *testing.T) {
	s := newScene(t)
	d := s.deployment("web", 4)
	pods := s.pods("web", 4)
	s.budget("web", "1")
	r := s.lagging(nil)
	r.reconcile("web")
	scale := func(n int32) {
		d.Spec.Replicas = &n
		if err := s.env.Client.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	scale(8)
	r.denies(disruption.Delete, pods[0], "eight are wanted, four are there")
	scale(0)
	for _, p := range pods {
		r.allows(disruption.Delete, p, "none is wanted")
	}
}

func TestReleaseLapsesSoon(t *testing.T) {
	s := newScene(t)
	pods := s.guarded(2, "1")
	r := s.lagging(nil)
	r.reconcile("web")
	r.allows(disruption.Delete, pods[0], "nothing is away")
	r.keeper.Release(t.Context(), disruption.Request{Operation: disruption.Delete, Pod: pods[0]})
	r.fresh().denies(disruption.Evict, pods[1], "somebody else may have been allowed the deletion by the same grant")
	s.clock.Step(6 * time.Second)
	r.fresh().reconcile("web")
	r.fresh().allows(disruption.Evict, pods[1], "nothing happened")
}

func TestGrantLapses(t *testing.T) {
	s := newScene(t)
	pods := s.guarded(2, "1")
	r := s.lagging(nil)
	r.reconcile("web")
	r.allows(disruption.Delete, pods[0], "nothing is away")
	s.clock.Step(80 * time.Second)
	result := r.fresh().reconcile("web")
	if result.RequeueAfter > 11*time.Second || result.RequeueAfter == 0 {
		t.Errorf("comes again after %s, and not when the grant lapses", result.RequeueAfter)
	}
	r.denies(disruption.Delete, pods[1], "the request may still be on its way")
	s.clock.Step(11 * time.Second)
	// The deletion comes at the last moment, and the cache has not seen it: the API server is asked.
	s.remove(pods[0])
	r.reconcile("web")
	r.denies(disruption.Delete, pods[1], "it was deleted")
	s.settle()
	r.fresh().reconcile("web")
	if grants := s.stored("web").Status.Grants; len(grants) != 0 {
		t.Errorf("it is gone: %+v", grants)
	}
}

// TestConcurrentAsks: any number of requests on two replicas, each with a cache of its own, take no more than the budget.
func TestConcurrentAsks(t *testing.T) {
	s := newScene(t)
	pods := s.guarded(20, "25%")
	replicas := []*replica{s.cached(), s.cached()}
	var allowed, denied atomic.Int32
	var wg sync.WaitGroup
	for i, p := range pods {
		for j, r := range replicas {
			operation := []disruption.Operation{disruption.Delete, disruption.Evict, disruption.Update}[i%3]
			wg.Go(func() {
				request := disruption.Request{Operation: operation, Pod: p, Changed: p.DeepCopy()}
				request.Changed.Spec.Containers[0].Image = "registry.local/web:next"
				v, err := r.keeper.Take(t.Context(), request)
				switch {
				case err != nil:
					t.Errorf("replica %d, %s: %v", j, p.Name, err)
				case v.Outcome == disruption.Allow:
					allowed.Add(1)
				case v.Reason == reasonContended:
					t.Logf("replica %d, %s: %s", j, p.Name, v.Message)
				default:
					denied.Add(1)
				}
			})
		}
	}
	wg.Wait()
	status := s.stored("web").Status
	names := map[string]bool{}
	for _, g := range status.Grants {
		names[g.Pod] = true
	}
	t.Logf("%d asks allowed, %d denied, %d grants", allowed.Load(), denied.Load(), len(status.Grants))
	if len(names) != 5 || status.CurrentAvailable != 15 || len(status.Grants) != 5 {
		t.Errorf("%d pods were granted, and %d are left; want 5 and 15", len(names), status.CurrentAvailable)
	}
	if allowed.Load() < 5 || allowed.Load() > 10 {
		t.Errorf("%d asks were allowed: both replicas may be asked about each of the five", allowed.Load())
	}
}

// TestFaults: whatever becomes of a write, nobody may be let go without being written down, and in the end all is as it was.
func TestFaults(t *testing.T) {
	testkit.Matrix(t, func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		s := newScene(t)
		s.deployment("web", 3)
		pods := s.pods("web", 3)
		s.budget("web", "1")
		r := s.lagging(f.Config(s.env.Config))
		gone := 0
		for _, p := range pods {
			for range 2 {
				r.fresh()
				v, err := r.keeper.Take(t.Context(), disruption.Request{Operation: disruption.Delete, Pod: p})
				if f.Dead() {
					f.Revive()
					r = s.lagging(f.Config(s.env.Config))
					continue
				}
				if err != nil || v.Outcome != disruption.Allow {
					continue
				}
				if status := s.stored("web").Status; len(status.Grants) == 0 {
					t.Error("a pod was let go that is not written down")
				}
				s.remove(p)
				gone++
				break
			}
			if gone > 1 {
				t.Errorf("%d pods were let go at a time", gone)
			}
			if _, err := r.try(t.Context(), "web"); err != nil && f.Dead() {
				f.Revive()
				r = s.lagging(f.Config(s.env.Config))
			}
		}
		f.Stop()
		s.settle()
		s.pods("web", gone)
		s.clock.Step(2 * time.Minute)
		for range 3 {
			r.fresh()
			r.reconcile("web")
		}
		if status := s.stored("web").Status; len(status.Grants) != 0 || status.UnavailableAllowed != 1 {
			t.Errorf("in the end: %+v", status)
		}
	})
}
