package podunavailablebudget

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
)

func aim(apiVersion, kind, name string) func(*policyv1beta1.PodUnavailableBudget) {
	return func(pub *policyv1beta1.PodUnavailableBudget) {
		pub.Spec.TargetRef = &policyv1beta1.TargetReference{APIVersion: apiVersion, Kind: kind, Name: name}
	}
}

// TestTargetComesLater: a budget that is older than its target and its pods guards them as soon as they are there.
func TestTargetComesLater(t *testing.T) {
	s := newScene(t)
	s.budget("web", "1")
	r := s.lagging(nil)
	r.reconcile("web")
	stored := s.stored("web")
	enforcedAs(t, stored, policyv1beta1.BudgetEnforced, metav1.ConditionFalse, "TargetNotFound")
	enforcedAs(t, stored, policyv1beta1.BudgetReconciling, metav1.ConditionTrue, "TargetNotFound")
	if message := condition(stored, policyv1beta1.BudgetEnforced).Message; !strings.Contains(message, "create it, or correct spec.targetRef") {
		t.Errorf("message %q", message)
	}
	s.deployment("web", 2)
	pods := s.pods("web", 2)
	r.fresh()
	r.allows(disruption.Delete, pods[0], "one may be away")
	r.denies(disruption.Delete, pods[1], "no pass was made since, but a decision looks by itself")
	r.fresh().reconcile("web")
	stored = s.stored("web")
	enforcedAs(t, stored, policyv1beta1.BudgetEnforced, metav1.ConditionTrue, "Enforced")
	enforcedAs(t, stored, policyv1beta1.BudgetReady, metav1.ConditionTrue, "Enforced")
	if condition(stored, policyv1beta1.BudgetReconciling) != nil || stored.Status.Selector != "app=web" {
		t.Errorf("status %+v", stored.Status)
	}
}

// TestFiguresOfACloneSet: a budget in percent whose target is named at an older version, or by its group alone, and which has
// no status yet.
func TestFiguresOfACloneSet(t *testing.T) {
	s := newScene(t)
	set := &appsv1beta1.CloneSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1beta1.CloneSetSpec{
			Replicas: ptr.To[int32](5), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: podSpec()},
		},
	}
	s.create(set)
	pods := s.pods("web", 5, func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{
			*metav1.NewControllerRef(set, appsv1beta1.SchemeGroupVersion.WithKind("CloneSet")),
		}
	})
	s.budget("most", "60%", aim("apps.kruise.io/v1alpha1", "CloneSet", "web"))
	s.budget("least", "0", aim("apps.kruise.io", "CloneSet", "web"), func(pub *policyv1beta1.PodUnavailableBudget) {
		pub.Spec.MaxUnavailable, pub.Spec.MinAvailable = nil, ptr.To(intstr.FromString("40%"))
	})
	r := s.lagging(nil)
	for _, name := range []string{"most", "least"} {
		r.reconcile(name)
		got := s.stored(name).Status
		if got.UnavailableAllowed != 3 || got.CurrentAvailable != 5 || got.DesiredAvailable != 2 || got.TotalReplicas != 5 || got.ObservedGeneration != 1 {
			t.Errorf("%s: %+v, want 3 of 5 allowed, and 2 to stay", name, got)
		}
	}
	for i, p := range pods[:3] {
		r.fresh().allows(disruption.Delete, p, fmt.Sprintf("the %d. of 3", i+1))
	}
	r.denies(disruption.Delete, pods[3], "2 must stay")
}

// TestTargetChanges: the budget follows its reference at once, before any pass over it.
func TestTargetChanges(t *testing.T) {
	s := newScene(t)
	s.deployment("web", 2)
	s.deployment("db", 2)
	web, db := s.pods("web", 2), s.pods("db", 2)
	s.budget("web", "0")
	r := s.lagging(nil)
	r.reconcile("web")
	r.denies(disruption.Delete, web[0], "it is guarded")
	r.allows(disruption.Delete, db[0], "it is not")
	pub := s.stored("web")
	pub.Spec.TargetRef.Name = "db"
	if err := s.env.Client.Update(t.Context(), pub); err != nil {
		t.Fatal(err)
	}
	r.fresh()
	r.allows(disruption.Delete, web[1], "it is not guarded any more")
	r.denies(disruption.Delete, db[1], "it is now")
	r.fresh().reconcile("web")
	if status := s.stored("web").Status; status.Selector != "app=db" || status.Workloads[0].Name != "db" {
		t.Errorf("status %+v", status)
	}
}

func TestTargetsThatCannotBeAsked(t *testing.T) {
	s := newScene(t)
	s.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
	s.budget("kind", "1", aim("example.com/v1", "Rollout", "web"))
	s.budget("scale", "1", aim("v1", "ServiceAccount", "web"))
	s.budget("given", "1", aim("v1", "ServiceAccount", "web"), func(pub *policyv1beta1.PodUnavailableBudget) {
		pub.Spec.ProtectTotalReplicas = ptr.To(int32(2))
	})
	account := &corev1.ServiceAccount{}
	if err := s.env.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "web"}, account); err != nil {
		t.Fatal(err)
	}
	pods := s.pods("web", 2, func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ServiceAccount", Name: "web", UID: account.UID, Controller: ptr.To(true)}}
	})
	r := s.lagging(nil)
	for name, want := range map[string]string{"kind": "TargetKindUnknown", "scale": "TargetHasNoScale"} {
		r.reconcile(name)
		enforcedAs(t, s.stored(name), policyv1beta1.BudgetEnforced, metav1.ConditionFalse, want)
	}
	r.reconcile("given")
	enforcedAs(t, s.stored("given"), policyv1beta1.BudgetEnforced, metav1.ConditionTrue, "Enforced")
	r.allows(disruption.Delete, pods[0], "the number is given, and the pods say whose they are")
	r.denies(disruption.Delete, pods[1], "one is about to go")
}

// TestWorkloadsBehindReplicaSets: a selector's pods belong to a Deployment by way of a ReplicaSet, and still do when
// somebody deletes that ReplicaSet to make the garbage collector take all pods.
func TestWorkloadsBehindReplicaSets(t *testing.T) {
	s := newScene(t)
	d := s.deployment("web", 3)
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web-abc", OwnerReferences: []metav1.OwnerReference{
			*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment")),
		}},
		Spec: appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template, Replicas: ptr.To(int32(3))},
	}
	s.create(set)
	owned := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
	}
	pods := s.pods("web", 3, owned)
	s.budget("web", "1", bySelector("web"))
	r := s.lagging(nil)
	r.reconcile("web")
	status := s.stored("web").Status
	if len(status.Workloads) != 1 || status.Workloads[0].Kind != "Deployment" || status.TotalReplicas != 3 {
		t.Fatalf("status %+v", status)
	}
	if err := s.env.Client.Delete(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	fresh := s.lagging(nil) // it has never heard of the ReplicaSet
	fresh.allows(disruption.Delete, pods[0], "one may be away")
	fresh.denies(disruption.Delete, pods[1], "the Deployment still wants three")
	if err := s.env.Client.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	fresh.allows(disruption.Delete, pods[1], "nobody wants them any more")
}

// TestWorkloadOnItsWayOut: who deletes a workload in the foreground wants its pods gone, and nobody replaces them.
func TestWorkloadOnItsWayOut(t *testing.T) {
	s := newScene(t)
	d := s.deployment("web", 3)
	pods := s.pods("web", 3)
	s.budget("web", "1")
	r := s.lagging(nil)
	r.reconcile("web")
	if err := s.env.Client.Delete(t.Context(), d, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		r.allows(disruption.Delete, p, "its workload is being deleted")
	}
}

// TestBlockingWorkloadOnItsWayOut: even a budget that allows none must not keep a workload from being deleted.
func TestBlockingWorkloadOnItsWayOut(t *testing.T) {
	s := newScene(t)
	d := s.deployment("web", 2)
	pods := s.pods("web", 2)
	s.budget("web", "0")
	r := s.lagging(nil)
	r.reconcile("web")
	r.fresh().denies(disruption.Delete, pods[0], "it allows none")
	if err := s.env.Client.Delete(t.Context(), d, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	r.fresh().reconcile("web")
	for _, p := range pods {
		r.fresh().allows(disruption.Delete, p, "its workload is being deleted")
	}
}

func TestBlocking(t *testing.T) {
	s := newScene(t)
	s.deployment("web", 2)
	s.pods("web", 2)
	pub := s.budget("web", "0")
	r := s.lagging(nil)
	r.reconcile("web")
	enforcedAs(t, s.stored("web"), policyv1beta1.BudgetBlocking, metav1.ConditionTrue, "AllowsNone")
	warnings, errs := r.keeper.Validate(t.Context(), nil, pub)
	if len(errs) > 0 || len(warnings) != 1 || !strings.Contains(warnings[0], "drains") {
		t.Errorf("warnings %q, errors %v", warnings, errs)
	}
	pub.Spec.MaxUnavailable, pub.Spec.MinAvailable = nil, ptr.To(intstr.FromInt32(2))
	if warnings, _ := r.keeper.Validate(t.Context(), nil, pub); len(warnings) != 1 || !strings.Contains(warnings[0], "2 pods are wanted") {
		t.Errorf("warnings %q", warnings)
	}
	pub.Spec.MinAvailable = ptr.To(intstr.FromInt32(1))
	if warnings, _ := r.keeper.Validate(t.Context(), nil, pub); len(warnings) != 0 {
		t.Errorf("warnings %q", warnings)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	one, many, negative, minus := intstr.FromInt32(1), intstr.FromString("120%"), intstr.FromInt32(-1), int32(-1)
	for _, test := range []struct {
		reason string
		edit   func(*policyv1beta1.PodUnavailableBudgetSpec)
		want   []string
	}{
		{"as it should be", func(*policyv1beta1.PodUnavailableBudgetSpec) {}, nil},
		{"whom?", func(s *policyv1beta1.PodUnavailableBudgetSpec) { s.TargetRef = nil }, []string{"spec.targetRef"}},
		{
			"whom of both?", func(s *policyv1beta1.PodUnavailableBudgetSpec) {
				s.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
			}, []string{"spec.selector"},
		},
		{
			"everybody", func(s *policyv1beta1.PodUnavailableBudgetSpec) {
				s.TargetRef, s.Selector = nil, &metav1.LabelSelector{}
			},
			[]string{"spec.selector"},
		},
		{
			"a target with half a name", func(s *policyv1beta1.PodUnavailableBudgetSpec) { s.TargetRef.Kind = "" },
			[]string{"spec.targetRef.kind"},
		},
		{"how many?", func(s *policyv1beta1.PodUnavailableBudgetSpec) { s.MaxUnavailable = nil }, []string{"spec.maxUnavailable"}},
		{"how many of both?", func(s *policyv1beta1.PodUnavailableBudgetSpec) { s.MinAvailable = &one }, []string{"spec.minAvailable"}},
		{"more than all", func(s *policyv1beta1.PodUnavailableBudgetSpec) { s.MaxUnavailable = &many }, []string{"spec.maxUnavailable"}},
		{"fewer than none", func(s *policyv1beta1.PodUnavailableBudgetSpec) { s.MaxUnavailable = &negative }, []string{"spec.maxUnavailable"}},
		{
			"what an annotation of an older version may say", func(s *policyv1beta1.PodUnavailableBudgetSpec) {
				s.ProtectOperations = []policyv1beta1.PodOperation{"DELETE", "PATCH"}
			}, []string{"spec.protectOperations[1]"},
		},
		{"fewer than none wanted", func(s *policyv1beta1.PodUnavailableBudgetSpec) { s.ProtectTotalReplicas = &minus }, []string{"spec.protectTotalReplicas"}},
		{
			"nobody is guarded", func(s *policyv1beta1.PodUnavailableBudgetSpec) { s.IgnoredPodSelector = &metav1.LabelSelector{} },
			[]string{"spec.ignoredPodSelector"},
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			spec := policyv1beta1.PodUnavailableBudgetSpec{
				TargetRef: &policyv1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}, MaxUnavailable: &one,
			}
			test.edit(&spec)
			var fields []string
			for _, err := range validate(&spec) {
				fields = append(fields, err.Field)
			}
			if !slices.Equal(fields, test.want) {
				t.Errorf("errors at %v, want %v", fields, test.want)
			}
		})
	}
}

// TestSchema: what is refused while the operator is down.
func TestSchema(t *testing.T) {
	s := newScene(t)
	one := intstr.FromInt32(1)
	for name, spec := range map[string]policyv1beta1.PodUnavailableBudgetSpec{
		"neither":   {MaxUnavailable: &one},
		"no limit":  {TargetRef: &policyv1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"}},
		"all":       {Selector: &metav1.LabelSelector{}, MaxUnavailable: &one},
		"percent":   {Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, MaxUnavailable: ptr.To(intstr.FromString("120%"))},
		"operation": {Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, MaxUnavailable: &one, ProtectOperations: []policyv1beta1.PodOperation{"PATCH"}},
	} {
		pub := &policyv1beta1.PodUnavailableBudget{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: "bad-"}, Spec: spec}
		if err := s.env.Client.Create(t.Context(), pub); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestMarks: pods name the budget that guards them, and no other one that they are not guarded by.
func TestMarks(t *testing.T) {
	s := newScene(t)
	s.deployment("web", 2)
	pods := append(s.pods("web", 2), s.pods("db", 1, func(p *corev1.Pod) {
		p.Annotations = map[string]string{"kruise.io/related-pub": "web"}
	})...)
	s.budget("web", "1")
	r := s.lagging(nil)
	marked := func(want ...string) {
		t.Helper()
		for i, p := range pods {
			if got := s.pod(p.Name).Annotations["kruise.io/related-pub"]; got != want[i] {
				t.Errorf("pod %s is marked %q, want %q", p.Name, got, want[i])
			}
		}
	}
	r.reconcile("web")
	marked("web", "web", "")
	s.budget("second", "1", bySelector("web"))
	r.fresh().reconcile("second")
	marked("web", "web", "")
	before := s.pod(pods[0].Name).ResourceVersion
	r.fresh().reconcile("web")
	if after := s.pod(pods[0].Name).ResourceVersion; after != before {
		t.Errorf("a pod that is marked was written again: %s, %s", before, after)
	}
	if err := s.env.Client.Delete(t.Context(), s.stored("web")); err != nil {
		t.Fatal(err)
	}
	r.fresh().reconcile("second")
	marked("second", "second", "")
	pub := s.stored("second")
	pub.Spec.Selector.MatchLabels["app"] = "db"
	if err := s.env.Client.Update(t.Context(), pub); err != nil {
		t.Fatal(err)
	}
	r.fresh().reconcile("second")
	marked("", "", "second")
}
