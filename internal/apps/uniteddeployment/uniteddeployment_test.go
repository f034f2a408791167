package uniteddeployment

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestEveryFamily(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(*appsv1beta1.UnitedDeployment){
		"CloneSet": func(*appsv1beta1.UnitedDeployment) {}, "Deployment": ofDeployments, "StatefulSet": ofStatefulSets,
		"Advanced StatefulSet": ofAdvancedStatefulSets,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, united(6, "2 50% -", of), nil)
			w.guard(6, 0)
			w.settle(w.Ready)
			if got := w.spread(); got != "a 2/2, b 3/3, c 1/1" {
				t.Errorf("pods: %s", got)
			}
			ud := w.Get()
			s := ud.Status
			if s.Replicas != 6 || s.ReadyReplicas != 6 || s.UpdatedReplicas != 6 || s.UpdatedReadyReplicas != 6 || s.CurrentRevision != s.UpdatedRevision ||
				s.LabelSelector != "app=shop" || len(s.SubsetStatuses) != 3 || s.SubsetStatuses[1].Replicas != 3 || s.SubsetStatuses[1].ReadyReplicas != 3 {
				t.Errorf("status %+v", s)
			}
			child := w.children()["shop-a"]
			shape := shapeOf(child)
			if child.GetLabels()[appsv1beta1.SubsetName] != "a" || child.GetLabels()["app"] != "shop" || !metav1.IsControlledBy(child, ud) ||
				child.GetLabels()[appsv1beta1.ControllerRevisionHash] != s.UpdatedRevision || shape.template.Labels[appsv1beta1.SubsetName] != "a" ||
				(*shape.selector).MatchLabels[appsv1beta1.SubsetName] != "a" || shape.template.Labels[appsv1beta1.ControllerRevisionHash] != s.UpdatedRevision {
				t.Errorf("got %+v", child)
			}
			// A new image, and another number.
			w.Change(func(ud *appsv1beta1.UnitedDeployment) {
				f, _ := familyOf(&ud.Spec.Template)
				setImage(ud, f, "registry.local/shop:v2")
				ud.Spec.Replicas = ptr.To[int32](8)
			})
			w.guard(8, 6)
			w.settle(w.Ready)
			if got := w.spread(); got != "a 2/2, b 4/4, c 2/2" {
				t.Errorf("pods: %s", got)
			}
			for name, child := range w.children() {
				if image := shapeOf(child).template.Spec.Containers[0].Image; image != "registry.local/shop:v2" {
					t.Errorf("%s has %s", name, image)
				}
				if now := shapeOf(child).template.Labels[appsv1beta1.ControllerRevisionHash]; now == s.UpdatedRevision || now != w.Get().Status.UpdatedRevision {
					t.Errorf("the pods of %s are to be of revision %s", name, now)
				}
			}
			if revisions := w.revisions(); len(revisions) != 2 {
				t.Errorf("%d revisions", len(revisions))
			}
		})
	}
}

func setImage(ud *appsv1beta1.UnitedDeployment, f family, image string) {
	switch f.field {
	case "cloneSetTemplate":
		ud.Spec.Template.CloneSetTemplate.Spec.Template.Spec.Containers[0].Image = image
	case "deploymentTemplate":
		ud.Spec.Template.DeploymentTemplate.Spec.Template.Spec.Containers[0].Image = image
	case "statefulSetTemplate":
		ud.Spec.Template.StatefulSetTemplate.Spec.Template.Spec.Containers[0].Image = image
	case "advancedStatefulSetTemplate":
		ud.Spec.Template.AdvancedStatefulSetTemplate.Spec.Template.Spec.Containers[0].Image = image
	}
}

func (w *world) revisions() []appsv1.ControllerRevision {
	w.T.Helper()
	var list appsv1.ControllerRevisionList
	if err := w.Env.Client.List(w.T.Context(), &list, client.InNamespace(w.Namespace)); err != nil {
		w.T.Fatal(err)
	}
	return list.Items
}

func TestASubsetIsWhatItsFieldsSay(t *testing.T) {
	t.Parallel()
	zone := corev1.NodeSelectorRequirement{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{"z1"}}
	ud := united(2, "- -", func(ud *appsv1beta1.UnitedDeployment) {
		a := &ud.Spec.Topology.Subsets[0]
		a.NodeSelectorTerm = corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{zone}}
		a.Tolerations = []corev1.Toleration{{Key: "spot", Operator: corev1.TolerationOpExists}}
		a.Patch = runtime.RawExtension{Raw: []byte(`{"metadata":{"annotations":{"size":"small"}},"spec":{"containers":[{"name":"main","env":[{"name":"ZONE","value":"z1"}]}]}}`)}
		tmpl := ud.Spec.Template.CloneSetTemplate
		tmpl.Labels, tmpl.Annotations = map[string]string{"team": "x"}, map[string]string{"note": "y"}
		disk := corev1.NodeSelectorRequirement{Key: "disk", Operator: corev1.NodeSelectorOpExists}
		tmpl.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{disk}}, {MatchExpressions: []corev1.NodeSelectorRequirement{disk}}},
		}}}
	})
	w := newWorld(t, ud, nil)
	w.settle(w.Ready)
	a, b := w.children()["shop-a"], w.children()["shop-b"]
	tmpl := shapeOf(a).template
	terms := tmpl.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) != 2 || len(terms[0].MatchExpressions) != 2 || terms[1].MatchExpressions[1].Key != "zone" {
		t.Errorf("affinity: %+v", terms)
	}
	if len(tmpl.Spec.Tolerations) != 1 || tmpl.Annotations["size"] != "small" || tmpl.Spec.Containers[0].Env[0].Value != "z1" ||
		tmpl.Spec.Containers[0].Image != "registry.local/shop:v1" || a.GetAnnotations()[appsv1beta1.SubsetPatch] == "" ||
		a.GetLabels()["team"] != "x" || a.GetAnnotations()["note"] != "y" {
		t.Errorf("got %+v\n%+v", a, tmpl)
	}
	if other := shapeOf(b).template; len(other.Spec.Tolerations) != 0 || len(other.Spec.Containers[0].Env) != 0 || b.GetAnnotations()[appsv1beta1.SubsetPatch] != "" {
		t.Errorf("the other subset has it, too: %+v", other)
	}
	// What is taken out of the spec goes, a restart that somebody asked for stays, and so does what somebody else has set.
	restarted := as[*appsv1beta1.CloneSet](t, a.DeepCopyObject())
	restarted.Spec.Template.Annotations[appsv1beta1.RestartedAt] = "now"
	restarted.Labels["other"] = "z"
	if err := w.Env.Client.Update(t.Context(), restarted); err != nil {
		t.Fatal(err)
	}
	w.Change(func(ud *appsv1beta1.UnitedDeployment) {
		ud.Spec.Topology.Subsets[0].Tolerations = nil
		ud.Spec.Topology.Subsets[0].Patch = runtime.RawExtension{Raw: []byte(`{"metadata":{"annotations":{"size":"big"}}}`)}
	})
	w.settle(w.Ready)
	a = w.children()["shop-a"]
	tmpl = shapeOf(a).template
	if len(tmpl.Spec.Tolerations) != 0 || len(tmpl.Spec.Containers[0].Env) != 0 || tmpl.Annotations["size"] != "big" ||
		tmpl.Annotations[appsv1beta1.RestartedAt] != "now" || a.GetLabels()["other"] != "z" {
		t.Errorf("got %+v", tmpl)
	}
}

func TestSomebodyElsesChangeIsTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(2, "- -"), nil)
	w.settle(w.Ready)
	a := as[*appsv1beta1.CloneSet](t, w.children()["shop-a"])
	a.Spec.Template.Spec.Containers[0].Image = "registry.local/other:v1"
	a.Spec.Replicas = ptr.To[int32](7)
	if err := w.Env.Client.Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	w.settle(w.Ready)
	a = as[*appsv1beta1.CloneSet](t, w.children()["shop-a"])
	if a.Spec.Template.Spec.Containers[0].Image != "registry.local/shop:v1" || *a.Spec.Replicas != 1 {
		t.Errorf("got %+v", a.Spec)
	}
}

// Pods carry the revision that their template came with: one that leaves the template as it is replaces none of them.
func TestARevisionThatLeavesThePodsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(2, "- -", ofDeployments), nil)
	w.settle(w.Ready)
	first := w.Get().Status.UpdatedRevision
	w.Change(func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Template.DeploymentTemplate.Spec.MinReadySeconds = 7 })
	w.settle(w.Ready)
	a, second := as[*appsv1.Deployment](t, w.children()["shop-a"]), w.Get().Status.UpdatedRevision
	if second == first || a.Spec.MinReadySeconds != 7 || a.Labels[appsv1beta1.ControllerRevisionHash] != second {
		t.Errorf("%s after %s: %+v", second, first, a)
	}
	if of := a.Spec.Template.Labels[appsv1beta1.ControllerRevisionHash]; of != first {
		t.Errorf("its pods go from %s to %q", first, of)
	}
	// The same holds for a workload that another controller made, and did not seal.
	delete(a.Annotations, appsv1beta1.SubsetTemplateHash)
	a.Spec.Template.Labels[appsv1beta1.ControllerRevisionHash] = "shop-old"
	if err := w.Env.Client.Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	w.settle(func() error {
		if a = as[*appsv1.Deployment](t, w.children()["shop-a"]); a.Annotations[appsv1beta1.SubsetTemplateHash] == "" {
			return errors.New("it is not sealed")
		}
		return w.Ready()
	})
	if of := a.Spec.Template.Labels[appsv1beta1.ControllerRevisionHash]; of != "shop-old" {
		t.Errorf("its pods go from shop-old to %q", of)
	}
}

// The selector of a workload cannot change: one that is asked for later is for workloads that are made later.
func TestAnotherSelectorOfTheTemplate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(2, "- -", ofDeployments), nil)
	w.settle(w.Ready)
	w.Change(func(ud *appsv1beta1.UnitedDeployment) {
		more := map[string]string{"app": "shop", "tier": "web"}
		set := &ud.Spec.Template.DeploymentTemplate.Spec
		set.Selector, set.Template.Labels = &metav1.LabelSelector{MatchLabels: more}, more
	})
	w.settle(w.Ready)
	a := w.children()["shop-a"]
	if shape := shapeOf(a); shape.template.Labels["tier"] != "web" || (*shape.selector).MatchLabels["tier"] != "" {
		t.Errorf("got %+v", shape.template.Labels)
	}
}

// A CloneSet takes names off podsToDelete when their pods have gone: they are not put there again.
func TestNamesThatAreDoneWith(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(2, "- -"), nil)
	w.settle(w.Ready)
	w.Change(func(ud *appsv1beta1.UnitedDeployment) {
		ud.Spec.Template.CloneSetTemplate.Spec.ScaleStrategy.PodsToDelete = []string{"shop-a-x1y2z"}
	})
	w.settle(w.Ready)
	a := as[*appsv1beta1.CloneSet](t, w.children()["shop-a"])
	if got := a.Spec.ScaleStrategy.PodsToDelete; !slices.Equal(got, []string{"shop-a-x1y2z"}) {
		t.Fatalf("the names are %q", got)
	}
	a.Spec.ScaleStrategy.PodsToDelete = nil
	if err := w.Env.Client.Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	w.settle(w.Ready)
	if got := as[*appsv1beta1.CloneSet](t, w.children()["shop-a"]).Spec.ScaleStrategy.PodsToDelete; len(got) != 0 {
		t.Errorf("the names are back: %q", got)
	}
}

// Pods move from subset to subset a few at a time: never too many, and at most a fifth away.
func TestAMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(10, "10 0"), nil)
	w.settle(w.Ready)
	w.guard(10, 8)
	w.Change(func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Topology.Subsets = parseSubsets("0 10") })
	if err := w.Pass(w.T); err != nil {
		t.Fatal(err)
	}
	held := w.Get().Status.Held
	if len(held) != 1 || held[0].Reason != "Subset" || held[0].Message == "" {
		t.Errorf("it does not say what it waits for: %+v", held)
	}
	w.settle(w.Ready)
	if got := w.spread(); got != "b 10/10" {
		t.Errorf("pods: %s", got)
	}
}

func TestASubsetIsTakenOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(9, "- - -"), nil)
	w.settle(w.Ready)
	w.guard(9, 7)
	w.Change(func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Topology.Subsets = ud.Spec.Topology.Subsets[:2] })
	w.settle(w.Ready)
	if got := w.spread(); got != "a 5/5, b 4/4" {
		t.Errorf("pods: %s", got)
	}
	if len(w.children()) != 2 || len(w.Get().Status.SubsetStatuses) != 2 {
		t.Errorf("its workload is still there: %s", w.describe())
	}
}

func TestAdaptiveMovesPodsThatFindNoNode(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(*appsv1beta1.UnitedDeployment){
		"CloneSet": func(*appsv1beta1.UnitedDeployment) {}, "StatefulSet": ofStatefulSets,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, united(10, "..5 ..", adaptively(false), of), nil)
			w.space["a"] = 2
			w.guard(10, 7)
			w.settle(w.Ready)
			if got := w.spread(); got != "a 2/2, b 8/8" {
				t.Errorf("pods: %s", got)
			}
			c := w.Get().Status.SubsetStatuses[0].Conditions
			if len(c) != 1 || c[0].Type != "Schedulable" || c[0].Status != "False" || !strings.Contains(c[0].Message, "0/3 nodes are available") {
				t.Errorf("subset a: %+v", c)
			}
			// There is room again: what runs stays where it runs, and what comes goes where it belongs.
			w.space["a"] = 10
			w.Clock.Step(6 * time.Minute)
			w.settle(w.Ready)
			if got := w.spread(); got != "a 2/2, b 8/8" {
				t.Errorf("pods were moved that ran: %s", got)
			}
			w.guard(12, 7)
			w.Change(func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Replicas = ptr.To[int32](12) })
			w.settle(w.Ready)
			if got := w.spread(); got != "a 4/4, b 8/8" {
				t.Errorf("pods: %s", got)
			}
		})
	}
}

func TestNobodyHasRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(6, "..4 ..4", adaptively(false)), nil)
	w.space["a"], w.space["b"] = 2, 2
	w.guard(6, 0)
	w.settle(func() error {
		for _, h := range w.Get().Status.Held {
			if h.Reason == "Scheduling" && len(h.Pods) > 0 && strings.Contains(h.Message, "no other subset takes them") {
				return nil
			}
		}
		return fmt.Errorf("held: %+v", w.Get().Status.Held)
	})
	w.space["b"] = 4
	w.settle(w.Ready)
	if got := w.spread(); got != "a 2/2, b 4/4" {
		t.Errorf("pods: %s", got)
	}
}

func TestReserve(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(10, "..5 ..", adaptively(true)), nil)
	w.space["a"] = 2
	w.guard(13, 7)
	w.settle(func() error {
		if got := w.spread(); got != "a 2/5, b 8/8" {
			return errors.New(got)
		}
		return nil
	})
	reserved := 0
	for _, p := range w.pods() {
		if p.Labels[appsv1beta1.ReservedPod] == "true" {
			reserved++
		}
	}
	w.settle(w.Ready)
	if s := w.Get().Status; reserved != 3 || s.ReservedPods != 3 || s.Replicas != 10 || s.SubsetStatuses[0].ReservedPods != 3 {
		t.Errorf("%d pods are labelled; status %+v", reserved, s)
	}
	// One comes to life: one that stood in goes. Then the others.
	w.space["a"] = 3
	w.settle(func() error {
		if got := w.spread(); got != "a 3/5, b 7/7" {
			return errors.New(got)
		}
		return nil
	})
	w.space["a"] = 5
	w.settle(func() error {
		if got := w.spread(); got != "a 5/5, b 5/5" {
			return errors.New(got)
		}
		return w.Ready()
	})
	for _, p := range w.pods() {
		if _, has := p.Labels[appsv1beta1.ReservedPod]; has {
			t.Errorf("%s is ready, but labelled as reserved", p.Name)
		}
	}
	if s := w.Get().Status; s.ReservedPods != 0 || s.Replicas != 10 {
		t.Errorf("status %+v", s)
	}
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		of   func(*appsv1beta1.UnitedDeployment)
		want func(t *testing.T, child client.Object) any
		is   any
	}{
		"CloneSet": {func(*appsv1beta1.UnitedDeployment) {}, func(t *testing.T, o client.Object) any {
			t.Helper()
			return as[*appsv1beta1.CloneSet](t, o).Spec.UpdateStrategy.RollingUpdate.Partition.String()
		}, "2"},
		"StatefulSet": {ofStatefulSets, func(t *testing.T, o client.Object) any {
			t.Helper()
			return *as[*appsv1.StatefulSet](t, o).Spec.UpdateStrategy.RollingUpdate.Partition
		}, int32(2)},
		"Advanced StatefulSet": {ofAdvancedStatefulSets, func(t *testing.T, o client.Object) any {
			t.Helper()
			return *as[*appsv1beta1.StatefulSet](t, o).Spec.UpdateStrategy.RollingUpdate.Partition
		}, int32(2)},
		"Deployment": {ofDeployments, func(t *testing.T, o client.Object) any {
			t.Helper()
			return as[*appsv1.Deployment](t, o).Spec.Paused
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, united(4, "- -", test.of, func(ud *appsv1beta1.UnitedDeployment) {
				ud.Spec.UpdateStrategy.ManualUpdate = &appsv1beta1.ManualUpdate{Partitions: map[string]int32{"a": 2, "b": 0}}
			}), nil)
			w.settle(w.Ready)
			if got := test.want(t, w.children()["shop-a"]); got != test.is {
				t.Errorf("got %v, want %v", got, test.is)
			}
			if s := w.Get().Status.SubsetStatuses; s[0].Partition != 2 || s[1].Partition != 0 {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(2, "- -", func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.RevisionHistoryLimit = ptr.To[int32](1) }), nil)
	w.settle(w.Ready)
	first := w.Get().Status.UpdatedRevision
	for _, image := range []string{"v2", "v3", "v1"} {
		w.Change(func(ud *appsv1beta1.UnitedDeployment) { setImage(ud, w.family, "registry.local/shop:"+image) })
		w.settle(w.Ready)
	}
	w.settle(w.Ready)
	revisions := w.revisions()
	if s := w.Get().Status; len(revisions) > 2 || s.CurrentRevision != s.UpdatedRevision {
		t.Errorf("%d revisions, status %+v", len(revisions), s)
	}
	// v1 was beyond the limit once v3 came, and has come back under its own name.
	if s := w.Get().Status; s.UpdatedRevision != first {
		t.Errorf("the template of %s came back as %s", first, s.UpdatedRevision)
	}
}

func TestOrphansAreAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(4, "- -"), nil)
	w.settle(w.Ready)
	before := w.children()
	old := w.Get()
	if err := w.Env.Client.Delete(t.Context(), old, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	for _, object := range before { // as the garbage collector does with --cascade=orphan
		object.SetOwnerReferences(nil)
		if err := w.Env.Client.Update(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	for _, rev := range w.revisions() {
		if err := w.Env.Client.Delete(t.Context(), &rev); err != nil {
			t.Fatal(err)
		}
	}
	again := united(4, "- -")
	again.Namespace = w.Namespace
	Default(again)
	if err := w.Env.Client.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	w.guard(4, 4)
	w.settle(w.Ready)
	for name, object := range w.children() {
		if object.GetUID() != before[name].GetUID() || !metav1.IsControlledBy(object, again) {
			t.Errorf("%s was not adopted", name)
		}
	}
}

// Other controllers add random characters to the names of the workloads, and say less in their selectors: they are kept as they are.
func TestWorkloadsOfAnotherControllerAreTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, united(4, "- -"), nil)
	ud := w.Get()
	former := &appsv1beta1.CloneSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.Namespace, Name: "shop-a-x7k2p", OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(ud, kind())},
		Labels: map[string]string{"app": "shop", appsv1beta1.SubsetName: "a", appsv1beta1.ControllerRevisionHash: "shop-old"},
	}}
	former.Spec = *ud.Spec.Template.CloneSetTemplate.Spec.DeepCopy()
	former.Spec.Replicas = ptr.To[int32](2)
	former.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{appsv1beta1.SubsetName: "a"}}
	former.Spec.Template.Labels = map[string]string{"app": "shop", appsv1beta1.SubsetName: "a", appsv1beta1.ControllerRevisionHash: "shop-old"}
	if err := w.Env.Client.Create(t.Context(), former); err != nil {
		t.Fatal(err)
	}
	w.guard(4, 0)
	w.settle(w.Ready)
	children := w.children()
	now, ok := children[former.Name].(*appsv1beta1.CloneSet)
	if !ok || children["shop-b"] == nil || len(children) != 2 {
		t.Fatalf("got %s", w.describe())
	}
	if was, is := former.Spec.Template, now.Spec.Template; !apiequality.Semantic.DeepEqual(was, is) {
		t.Errorf("its pods are to be made anew: %+v, then %+v", was, is)
	}
	if s := w.Get().Status; s.UpdatedReplicas != 4 || s.SubsetStatuses[0].ReadyReplicas != 2 {
		t.Errorf("status %+v", s)
	}
}

func TestWhatCannotBeDone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason  string
		change  func(ud *appsv1beta1.UnitedDeployment)
		prepare func(w *world)
		status  string
		want    []string
		spread  string
	}{
		{
			reason: "scaled below the minima", change: func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Replicas = ptr.To[int32](3) },
			status: "SubsetsDoNotFit", want: []string{"minReplicas add up to 4, more than the 3", "lower one of them"}, spread: "a 2/2, b 1/1",
		},
		{
			reason: "scaled beyond the limits", change: func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Replicas = ptr.To[int32](9) },
			status: "SubsetsDoNotFit", want: []string{"maxReplicas add up to 8, less than the 9", "raise one of them"}, spread: "a 4/4, b 4/4",
		},
		{
			reason: "a patch of nothing", change: func(ud *appsv1beta1.UnitedDeployment) {
				ud.Spec.Topology.Subsets[0].Patch = runtime.RawExtension{Raw: []byte(`{"spec":{"containrs":[]}}`)}
				ud.Spec.Replicas = ptr.To[int32](5)
			},
			status: "InvalidSubset", want: []string{"spec.topology.subsets[0].patch", "containrs"}, spread: "a 3/3, b 2/2",
		},
		{
			reason: "a patch of the labels", change: func(ud *appsv1beta1.UnitedDeployment) {
				ud.Spec.Topology.Subsets[1].Patch = runtime.RawExtension{Raw: []byte(`{"metadata":{"labels":{"app":"other"}}}`)}
			},
			status: "InvalidSubset", want: []string{"spec.selector", "make them agree"}, spread: "a 2/2, b 2/2",
		},
		{
			reason: "a pod that the API server refuses", change: func(ud *appsv1beta1.UnitedDeployment) {
				ud.Spec.Template.CloneSetTemplate.Spec.ProgressDeadlineSeconds = ptr.To[int32](0)
			},
			status: "RefusedByAPIServer", want: nil, spread: "a 2/2, b 2/2",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, united(4, "2..4 2..4"), nil)
			w.settle(w.Ready)
			ud := w.Get()
			test.change(ud)
			if err := w.Env.Client.Update(t.Context(), ud); err != nil {
				if test.want == nil {
					return // refused already by the schema that it shares with CloneSet
				}
				t.Fatal(err)
			}
			w.settle(func() error {
				c := w.condition("Stalled")
				if c.Status != "True" || c.Reason != test.status || w.spread() != test.spread {
					return fmt.Errorf("%+v; %s", c, w.spread())
				}
				return nil
			})
			for _, part := range test.want {
				if c := w.condition("Stalled"); !strings.Contains(c.Message, part) {
					t.Errorf("got %q, want %q", c.Message, part)
				}
			}
		})
	}
}

func TestANameThatSomebodyElseHas(t *testing.T) {
	t.Parallel()
	ud := united(4, "- -")
	w := newWorld(t, ud, nil)
	other := &appsv1beta1.CloneSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "shop-a"}}
	other.Spec.Selector, other.Spec.Template = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}, podTemplateOf("registry.local/other:v1")
	other.Spec.Template.Labels = other.Spec.Selector.MatchLabels
	if err := w.Env.Client.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_ = w.Pass(w.T) // its error is in the condition
	}
	if c := w.condition("SubsetFailure"); !strings.Contains(c.Message, `subset "a": create CloneSet shop-a: an object of that name exists`) {
		t.Errorf("got %+v", c)
	}
	var still appsv1beta1.CloneSet
	if err := w.Env.Client.Get(t.Context(), client.ObjectKeyFromObject(other), &still); err != nil || len(still.OwnerReferences) > 0 {
		t.Errorf("it was touched: %+v %v", still.ObjectMeta, err)
	}
}

// life takes an object through all it knows: up, moved, changed, a subset less, down.
func life(of func(*appsv1beta1.UnitedDeployment), behind int) testkit.Scenario {
	return func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		w := newWorld(t, united(5, "3 -", of), f)
		w.Lag.Behind = behind
		w.guard(5, 0)
		w.settle(w.Ready)
		w.guard(5, 3)
		steps := []func(*appsv1beta1.UnitedDeployment){
			func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Topology.Subsets = parseSubsets("1 -") },
			func(ud *appsv1beta1.UnitedDeployment) { setImage(ud, w.family, "registry.local/shop:v2") },
			func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Topology.Subsets = parseSubsets("-") },
		}
		for _, step := range steps {
			w.Change(step)
			w.settle(w.Ready)
		}
		f.Stop()
		w.Lag.Behind = 0
		w.Restart()
		w.watch = func() {}
		w.Change(func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Replicas = ptr.To[int32](2) })
		w.settle(w.Ready)
		if got := w.spread(); got != "a 2/2" || len(w.children()) != 1 {
			t.Errorf("pods: %s; %s", got, w.describe())
		}
		seen := map[string]bool{}
		for _, rev := range w.revisions() {
			if seen[string(rev.Data.Raw)] || !metav1.IsControlledBy(&rev, w.Get()) {
				t.Errorf("revision %s is there twice, or nobody's", rev.Name)
			}
			seen[string(rev.Data.Raw)] = true
		}
	}
}

// Each write goes wrong in each way that there is: never a workload twice, never a pod too many.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	testkit.Matrix(t, life(func(*appsv1beta1.UnitedDeployment) {}, 0))
}

func TestRandomFaultsWithALaggingCache(t *testing.T) {
	t.Parallel()
	testkit.RandomMatrix(t, 2, 0.15, life(ofDeployments, 2))
}
