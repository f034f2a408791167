package sidecarset_test

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/pod"
)

func TestUpdateInPlace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason, limit string
		away          int
	}{{"one at a time, by default", "", 1}, {"a percentage, rounded up", "30%", 2}} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			var edits []edit
			if test.limit != "" {
				edits = append(edits, away(test.limit))
			}
			w := newWorld(t, log(edits...), nil)
			w.settle(ready)
			w.born("a", "b", "c", "d", "e")
			w.settle(says("matched 5, updated 5, ready 5, both 5 []"))
			w.watch(5, test.away)
			w.change(image("v2"))
			w.settle(func(set *appsv1beta1.SidecarSet) error {
				if err := ready(set); err != nil {
					return err
				}
				return says("matched 5, updated 5, ready 5, both 5 []")(set)
			})
			for _, p := range w.pods() {
				if got := images(&p); got != "log=v2 main=v1" {
					t.Errorf("pod %s runs %s, want log=v2 main=v1", p.Name, got)
				}
				if r := pod.Container(&p, "main").RestartCount; r != 0 {
					t.Errorf("container main of pod %s was restarted %d times", p.Name, r)
				}
			}
			var revisions appsv1.ControllerRevisionList
			if err := w.env.Client.List(t.Context(), &revisions, client.InNamespace(w.ns), client.MatchingLabels{"kruise.io/sidecarset-name": w.key.Name}); err != nil {
				t.Fatal(err)
			}
			if len(revisions.Items) != 2 {
				t.Errorf("there are %d revisions, want 2", len(revisions.Items))
			}
		})
	}
}

func TestSidecarsOfKubernetesChangeInPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, log(func(set *appsv1beta1.SidecarSet) {
		set.Spec.InitContainers, set.Spec.Containers = set.Spec.Containers, nil
		set.Spec.InitContainers[0].RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	}), nil)
	w.settle(ready)
	w.born("a", "b")
	w.watch(2, 1)
	w.change(func(set *appsv1beta1.SidecarSet) { set.Spec.InitContainers[0].Image = "registry.local/log:v2" })
	w.settle(says("matched 2, updated 2, ready 2, both 2 []"))
	for _, p := range w.pods() {
		if got := images(&p); got != "log=v2 main=v1" {
			t.Errorf("pod %s runs %s", p.Name, got)
		}
	}
}

func TestStrategy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason string
		change edit
		want   string
		done   bool
	}{
		{"paused", strategy(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Paused = true }), "matched 4, updated 0, ready 4, both 0 [Paused 4]", false},
		{
			"never", strategy(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Type = appsv1beta1.NotUpdateSidecarSetStrategyType }),
			"matched 4, updated 0, ready 4, both 0 [OnDelete 4]", true,
		},
		{
			"a partition", strategy(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Partition = ptr.To(intstr.FromInt32(3)) }),
			"matched 4, updated 1, ready 4, both 1 [Partition 3]", true,
		},
		{
			"a share of them, rounded up", strategy(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Partition = ptr.To(intstr.FromString("60%")) }),
			"matched 4, updated 1, ready 4, both 1 [Partition 3]", true,
		},
		{
			"a selector", strategy(func(s *appsv1beta1.SidecarSetUpdateStrategy) {
				s.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"name": "b"}}
			}),
			"matched 4, updated 1, ready 4, both 1 []", true,
		},
		{"none may be away", away("0"), "matched 4, updated 0, ready 4, both 0 [Budget 4]", false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, log(), nil)
			w.settle(ready)
			w.born("a", "b", "c", "d")
			w.watch(4, 1)
			w.change(image("v2"), test.change)
			w.settle(says(test.want))
			for range 3 {
				w.settle(says(test.want)) // and it stays so
			}
			if done := ready(w.get()) == nil; done != test.done {
				t.Errorf("ready: %v, want %v", done, test.done)
			}
		})
	}
}

func TestWhatCannotChangeInPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, log(), nil)
	w.settle(ready)
	w.born("a", "b")
	w.change(func(set *appsv1beta1.SidecarSet) {
		set.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "LEVEL", Value: "debug"}}
	})
	w.settle(says("matched 2, updated 0, ready 2, both 0 [InPlaceOnly 2]"))
	for _, p := range w.pods() {
		c := pod.Condition(&p, appsv1beta1.SidecarSetUpgradable)
		if c == nil || c.Status != corev1.ConditionFalse || c.Reason != "UpdateImmutableField" || c.Message != `{"`+w.key.Name+`":false}` {
			t.Errorf("pod %s: condition %+v", p.Name, c)
		}
	}
	if held := w.get().Status.Held; !strings.Contains(held[0].Message, "containers[log].env changed") {
		t.Errorf("held: %+v", held)
	}
	w.change(func(set *appsv1beta1.SidecarSet) { set.Spec.Containers[0].Env = nil })
	w.settle(func(set *appsv1beta1.SidecarSet) error {
		if err := ready(set); err != nil {
			return err
		}
		return says("matched 2, updated 2, ready 2, both 2 []")(set)
	})
	for _, p := range w.pods() {
		if c := pod.Condition(&p, appsv1beta1.SidecarSetUpgradable); c == nil || c.Status != corev1.ConditionTrue || c.Message != `{"`+w.key.Name+`":true}` {
			t.Errorf("pod %s: condition %+v, want True", p.Name, c)
		}
	}
}

// Another controller hashes otherwise; what a pod has, the revision says that it names.
func TestPodsOfAnotherControllerAreTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, log(), nil)
	w.settle(ready)
	w.born("a", "b")
	hash := inject.Read(&w.pods()[0], appsv1beta1.SidecarSetHash)[w.key.Name].Hash
	for _, p := range w.pods() {
		before := p.DeepCopy()
		for _, key := range []string{appsv1beta1.SidecarSetHash, appsv1beta1.SidecarSetHashWithoutImage} {
			records := inject.Read(&p, key)
			record := records[w.key.Name]
			record.Hash = "w7c2b4"
			records[w.key.Name] = record
			p.Annotations[key] = inject.Text(records)
		}
		if err := w.env.Client.Patch(t.Context(), &p, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	w.watch(2, 0)
	w.settle(says("matched 2, updated 2, ready 2, both 2 []"))
	for _, p := range w.pods() {
		if c := pod.Condition(&p, appsv1beta1.SidecarSetUpgradable); c != nil || pod.Container(&p, "log").RestartCount != 0 {
			t.Errorf("pod %s: condition %+v, restarts %d", p.Name, c, pod.Container(&p, "log").RestartCount)
		}
		if got := p.Annotations[appsv1beta1.SidecarSetHash]; !strings.Contains(got, hash) || hash == "" {
			t.Errorf("pod %s: %s", p.Name, got)
		}
	}
}

func TestAnImageThatCannotBePulled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, log(), nil)
	w.settle(ready)
	w.born("a", "b", "c")
	w.watch(3, 1)
	w.change(image("does-not-exist"))
	w.settle(says("matched 3, updated 1, ready 2, both 0 [Image 1 Budget 2]"))
	w.change(image("v3"))
	w.settle(ready)
	for _, p := range w.pods() {
		if got := images(&p); got != "log=v3 main=v1" {
			t.Errorf("pod %s runs %s", p.Name, got)
		}
	}
}

func hot(set *appsv1beta1.SidecarSet) {
	set.Spec.Containers[0].UpgradeStrategy = appsv1beta1.SidecarContainerUpgradeStrategy{
		UpgradeType: appsv1beta1.SidecarContainerHotUpgrade, HotUpgradeEmptyImage: "registry.local/empty:e1",
	}
}

func TestHotUpgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, log(hot), nil)
	w.settle(ready)
	w.born("a", "b")
	w.watch(2, 1)
	var seen []string
	w.before = func() {
		for _, p := range w.pods() {
			line := p.Name + ": " + spec(&p) + " working " + p.Annotations["kruise.io/sidecarset-working-hotupgrade-container"] +
				" versions " + p.Annotations["version.sidecarset.kruise.io/log-1"] + p.Annotations["version.sidecarset.kruise.io/log-2"] +
				" others " + p.Annotations["versionalt.sidecarset.kruise.io/log-1"] + p.Annotations["versionalt.sidecarset.kruise.io/log-2"]
			if p.Name == "a" && (len(seen) == 0 || seen[len(seen)-1] != line) {
				seen = append(seen, line)
			}
		}
	}
	w.change(image("v2"))
	w.settle(ready)
	w.before()
	w.change(image("v3"))
	w.settle(ready)
	w.before()
	want := []string{
		`a: log-1=v1 log-2=e1 working {"log":"log-1"} versions 10 others 01`,
		`a: log-1=v1 log-2=v2 working {"log":"log-2"} versions 12 others 21`,
		`a: log-1=e1 log-2=v2 working {"log":"log-2"} versions 02 others 20`,
		`a: log-1=v3 log-2=v2 working {"log":"log-1"} versions 32 others 23`,
		`a: log-1=v3 log-2=e1 working {"log":"log-1"} versions 30 others 03`,
	}
	if got := strings.Join(seen, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// spec are the images that a pod's sidecars should run.
func spec(p *corev1.Pod) string {
	var words []string
	for _, c := range p.Spec.Containers {
		if c.Name != "main" {
			words = append(words, c.Name+"="+c.Image[strings.LastIndex(c.Image, ":")+1:])
		}
	}
	return strings.Join(words, " ")
}

func TestHotUpgradeIsOvertaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, log(hot), nil)
	w.settle(ready)
	w.born("a")
	w.change(image("does-not-exist"))
	for range 5 {
		w.settle(says("matched 1, updated 1, ready 0, both 0 [Image 1]"))
	}
	if got := spec(&w.pods()[0]); got != "log-1=v1 log-2=does-not-exist" {
		t.Fatalf("the former container must work on while the new one cannot: %s", got)
	}
	w.change(image("v3"))
	w.settle(ready)
	if got := spec(&w.pods()[0]); got != "log-1=e1 log-2=v3" {
		t.Errorf("got %s, want the image that works in the container that was to take over", got)
	}
}

func TestTheEmptyImageChangesInPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, log(hot), nil)
	w.settle(ready)
	w.born("a", "b", "c")
	w.watch(3, 1)
	w.change(func(set *appsv1beta1.SidecarSet) {
		set.Spec.Containers[0].UpgradeStrategy.HotUpgradeEmptyImage = "registry.local/empty:e2"
	})
	w.settle(ready)
	for _, p := range w.pods() {
		if got := spec(&p); got != "log-1=v1 log-2=e2" {
			t.Errorf("pod %s has %s", p.Name, got)
		}
	}
}

// asker keeps one pod.
type asker struct{ keeps string }

func (a *asker) Ask(_ context.Context, r disruption.Request) (disruption.Verdict, error) {
	if r.Pod.Name == a.keeps && r.Operation == disruption.Update && r.Changed.Spec.Containers[0].Image == "registry.local/log:v2" {
		return disruption.Verdict{Outcome: disruption.Deny, Message: "PodUnavailableBudget x allows no more"}, nil
	}
	return disruption.Verdict{}, nil
}

func TestAGuardKeepsAPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t, log(), nil)
	w.settle(ready)
	w.born("a", "b", "c")
	guard := &asker{keeps: "b"}
	w.guard = guard
	w.restart()
	w.watch(3, 1)
	w.change(image("v2"), away("3"))
	w.watch(3, 3)
	w.settle(says("matched 3, updated 2, ready 3, both 2 [Guard 1]"))
	guard.keeps = ""
	w.settle(ready)
}
