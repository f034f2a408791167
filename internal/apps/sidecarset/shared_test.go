package sidecarset_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/cloneset"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// clones adds a CloneSet whose pods have the set's containers, and which is kept by its own controller in the same rounds.
func (w *world) clones(replicas int32, unavailable string) *appsv1beta1.CloneSet {
	w.t.Helper()
	cs := testkit.CloneSet(func(cs *appsv1beta1.CloneSet) {
		cs.Namespace, cs.Spec.Replicas = w.ns, &replicas
		cs.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
		cs.Spec.Template.Labels = map[string]string{"app": "web"}
		cs.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateCloneSetStrategy{
			PodUpdatePolicy: appsv1beta1.InPlaceIfPossiblePodUpdatePolicy, MaxUnavailable: ptr.To(intstr.Parse(unavailable)),
		}
	})
	cloneset.Default(cs)
	if err := w.env.Client.Create(w.t.Context(), cs); err != nil {
		w.t.Fatal(err)
	}
	d := w.deps()
	frame := reconcile.New(d.Client, cloneset.New(d), reconcile.Options{Name: "cloneset", Clock: w.clock, StatusInterval: -1})
	w.before = func() {
		if err := w.cache.Refresh(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
		_, err := frame.Reconcile(w.t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(cs)})
		if err != nil && w.faults == nil {
			w.t.Fatal(err)
		}
	}
	return cs
}

// A workload and a SidecarSet that update the same 20 pods at once never have more of them away than the tighter of their
// limits says, whatever the cache shows.
func TestOneBudgetForAWorkloadAndItsSidecars(t *testing.T) {
	for _, test := range []struct {
		workload, sidecars string
		tighter            int
	}{{"3", "5", 3}, {"5", "2", 2}, {"20%", "100%", 4}} {
		for _, behind := range []int{0, 2} {
			t.Run(fmt.Sprintf("workload %s, sidecars %s, %d events behind", test.workload, test.sidecars, behind), func(t *testing.T) {
				w := newWorld(t, log(away(test.sidecars)), nil)
				serve(t, w.env, "none")
				testkit.Eventually(t, 10*time.Second, "pods get the containers", w.injects)
				w.behind = behind
				cs := w.clones(20, test.workload)
				w.settle(says("matched 20, updated 20, ready 20, both 20 []"))
				w.watch(20, test.tighter)
				w.change(image("v2"))
				if err := w.pass(); err != nil {
					t.Fatal(err)
				}
				if err := w.env.Client.Get(t.Context(), client.ObjectKeyFromObject(cs), cs); err != nil {
					t.Fatal(err)
				}
				cs.Spec.Template.Spec.Containers[0].Image = "registry.local/web:v2"
				if err := w.env.Client.Update(t.Context(), cs); err != nil {
					t.Fatal(err)
				}
				w.settle(func(set *appsv1beta1.SidecarSet) error {
					for _, p := range w.pods() {
						if got := images(&p); got != "log=v2 main=v2" {
							return fmt.Errorf("pod %s runs %s", p.Name, got)
						}
					}
					return ready(set)
				})
				if got := len(w.pods()); got != 20 {
					t.Errorf("%d pods, want the 20 that there were", got)
				}
			})
		}
	}
}

// replicaSet makes a Deployment with a ReplicaSet and pods as its controllers would, with the set's containers.
func (w *world) deployment(replicas int32, rolling *appsv1.RollingUpdateDeployment) {
	w.t.Helper()
	labels := map[string]string{"app": "web"}
	tmpl := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}
	tmpl.Spec.Containers = []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "web"}}
	d.Spec = appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: tmpl}
	d.Spec.Strategy.RollingUpdate = rolling
	if err := w.env.Client.Create(w.t.Context(), d); err != nil {
		w.t.Fatal(err)
	}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.ns, Name: "web-1", Labels: labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
	}}
	rs.Spec = appsv1.ReplicaSetSpec{Replicas: &replicas, Selector: d.Spec.Selector, Template: tmpl}
	if err := w.env.Client.Create(w.t.Context(), rs); err != nil {
		w.t.Fatal(err)
	}
	set := w.get()
	plan, errs := inject.Compile(inject.TemplateOf(&set.Spec), field.NewPath("spec"))
	if len(errs) > 0 {
		w.t.Fatal(errs)
	}
	for i := range replicas {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.ns, Name: fmt.Sprintf("web-1-%d", i), Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
		}, Spec: *tmpl.Spec.DeepCopy()}
		w.create(p, inject.Injection{Set: set.Name, Revision: set.Status.LatestRevision, Plan: plan})
	}
	w.running()
}

func TestTheBudgetOfADeployment(t *testing.T) {
	t.Parallel()
	rolling := func(unavailable, surge string) *appsv1.RollingUpdateDeployment {
		return &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr.To(intstr.Parse(unavailable)), MaxSurge: ptr.To(intstr.Parse(surge))}
	}
	for _, test := range []struct {
		reason  string
		rolling *appsv1.RollingUpdateDeployment
		away    int
		want    string
	}{
		{"one of them", rolling("1", "1"), 1, "matched 3, updated 3, ready 3, both 3 []"},
		{"a share that comes to none stands for one", rolling("25%", "25%"), 1, "matched 3, updated 3, ready 3, both 3 []"},
		{"none of them", rolling("0", "1"), 0, "matched 3, updated 0, ready 3, both 0 [Budget 3]"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, log(away("100%")), nil)
			w.settle(ready)
			w.deployment(3, test.rolling)
			w.watch(3, test.away)
			w.change(image("v2"))
			w.settle(func(set *appsv1beta1.SidecarSet) error {
				if set.Status.ObservedGeneration != set.Generation {
					return fmt.Errorf("not seen yet")
				}
				return says(test.want)(set)
			})
		})
	}
}

// injects tries whether a pod would get the containers.
func (w *world) injects(ctx context.Context) error {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "probe", Labels: map[string]string{"app": "web"}}}
	p.Spec.Containers = []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}}
	if err := w.env.Client.Create(ctx, p, client.DryRunAll); err != nil {
		return err
	}
	if len(p.Spec.Containers) != 2 {
		return fmt.Errorf("it would not")
	}
	return nil
}

// life takes the pods of a set through changes.
func life(behind int, shape edit, changes ...edit) testkit.Scenario {
	return func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		w := newWorld(t, log(shape), f)
		w.settle(ready)
		w.born("a", "b")
		w.watch(2, 1)
		w.behind = behind
		for _, change := range changes {
			w.change(change)
			want := says("matched 2, updated 2, ready 2, both 2 []")
			if len(w.get().Spec.Containers[0].Env) > 0 {
				want = says("matched 2, updated 0, ready 2, both 0 [InPlaceOnly 2]")
			}
			w.settle(func(set *appsv1beta1.SidecarSet) error {
				if set.Status.ObservedGeneration != set.Generation {
					return fmt.Errorf("not seen yet")
				}
				return want(set)
			})
		}
		f.Stop()
		w.behind = 0
		w.settle(ready)
		var revisions appsv1.ControllerRevisionList
		if err := w.env.Client.List(t.Context(), &revisions, client.InNamespace(w.ns)); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, r := range revisions.Items {
			if seen[string(r.Data.Raw)] {
				t.Errorf("a revision is there twice: %s", r.Name)
			}
			seen[string(r.Data.Raw)] = true
		}
	}
}

func cold(*appsv1beta1.SidecarSet) {}

func variable(set *appsv1beta1.SidecarSet) {
	set.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "b"}}
}

func withoutVariable(set *appsv1beta1.SidecarSet) { image("v2")(set); set.Spec.Containers[0].Env = nil }

// Each write of an update goes wrong in each way that there is.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	for name, scenario := range map[string]testkit.Scenario{
		"cold": life(0, cold, image("v2")), "what cannot change": life(0, cold, variable, withoutVariable), "hot": life(0, hot, image("v2")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.Matrix(t, scenario)
		})
	}
}

// Many writes go wrong, while the cache shows everything a few events late.
func TestRandomFaultsWithALaggingCache(t *testing.T) {
	t.Parallel()
	for _, behind := range []int{0, 2} {
		t.Run(fmt.Sprintf("%d events behind", behind), func(t *testing.T) {
			t.Parallel()
			testkit.RandomMatrix(t, 2, 0.2, life(behind, cold, image("v2"), variable, withoutVariable))
		})
	}
}
