package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/policy"
	"github.com/holdfast-io/holdfast/internal/policy/cascade"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func budget(change func(*v1beta1.PodUnavailableBudget)) v1beta1.PodUnavailableBudget {
	b := v1beta1.PodUnavailableBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	b.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	b.Status = v1beta1.PodUnavailableBudgetStatus{UnavailableAllowed: 1, CurrentAvailable: 5, DesiredAvailable: 4, TotalReplicas: 5}
	change(&b)
	return b
}

func TestGuardsOfPod(t *testing.T) {
	t.Parallel()
	soon := metav1.NewTime(at.Add(90 * time.Second))
	flow := func(change func(*v1alpha1.PodDeletionFlowControl)) v1alpha1.PodDeletionFlowControl {
		f := v1alpha1.PodDeletionFlowControl{ObjectMeta: metav1.ObjectMeta{Name: "all"}}
		f.Status = v1alpha1.PodDeletionFlowControlStatus{Left: 0, Used: "100/100 per 10m", Rules: []v1alpha1.DeletionRuleStatus{
			{Interval: metav1.Duration{Duration: 10 * time.Minute}, Limit: 100, Count: 100, NextFree: &soon},
		}}
		change(&f)
		return f
	}
	for _, test := range []struct {
		reason string
		budget func(*v1beta1.PodUnavailableBudget)
		flow   func(*v1alpha1.PodDeletionFlowControl)
		pod    func(*corev1.Pod)
		owner  string
		want   string
	}{
		{reason: "by selector", budget: func(*v1beta1.PodUnavailableBudget) {}, want: "PodUnavailableBudget default/web 1 may go now: 5 of 5 pods available, 4 wanted"},
		{
			reason: "not guarded", budget: func(*v1beta1.PodUnavailableBudget) {},
			pod: func(p *corev1.Pod) { p.Labels["pub.kruise.io/no-protect"] = "true" },
		},
		{
			reason: "other labels",
			budget: func(b *v1beta1.PodUnavailableBudget) { b.Spec.Selector.MatchLabels["app"] = "db" },
		},
		{
			reason: "ignored",
			budget: func(b *v1beta1.PodUnavailableBudget) { b.Spec.IgnoredPodSelector = b.Spec.Selector },
		},
		{
			reason: "by target", owner: "Deployment/web", want: "PodUnavailableBudget default/web 1 may go now",
			budget: func(b *v1beta1.PodUnavailableBudget) {
				b.Spec.Selector, b.Spec.TargetRef = nil, &v1beta1.TargetReference{Kind: "Deployment", Name: "web"}
			},
		},
		{
			reason: "by another target", owner: "Deployment/api",
			budget: func(b *v1beta1.PodUnavailableBudget) {
				b.Spec.Selector, b.Spec.TargetRef = nil, &v1beta1.TargetReference{Kind: "Deployment", Name: "web"}
			},
		},
		{
			reason: "not enforced", want: "NOT enforced: the target is gone",
			budget: func(b *v1beta1.PodUnavailableBudget) {
				b.Status.Conditions = []metav1.Condition{{Type: "Enforced", Status: metav1.ConditionFalse, Message: "the target is gone"}}
			},
		},
		{
			reason: "a full window", flow: func(*v1alpha1.PodDeletionFlowControl) {},
			want: "PodDeletionFlowControl all 0 may go now: 100/100 per 10m; the window of 10m0s has room in 90s",
		},
		{
			reason: "a breaker", want: "its breaker is open, for 90s",
			flow: func(f *v1alpha1.PodDeletionFlowControl) {
				f.Status.Left, f.Status.Breaker = 5, v1alpha1.DeletionBreakerStatus{State: v1alpha1.BreakerOpen, Until: &soon}
			},
		},
		{
			reason: "the white list",
			flow: func(f *v1alpha1.PodDeletionFlowControl) {
				f.Spec.WhiteListSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
			},
		},
		{
			reason: "another namespace",
			flow: func(f *v1alpha1.PodDeletionFlowControl) {
				f.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"tier": "prod"}}
			},
		},
		{
			reason: "only observed", want: "it only observes",
			flow: func(f *v1alpha1.PodDeletionFlowControl) { f.Spec.Mode = v1alpha1.Observe },
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			book := guardBook{}
			if test.budget != nil {
				book.budgets = []v1beta1.PodUnavailableBudget{budget(test.budget)}
			}
			if test.flow != nil {
				book.flows = []v1alpha1.PodDeletionFlowControl{flow(test.flow)}
			}
			p := testkit.Pod()
			if test.pod != nil {
				test.pod(p)
			}
			var told strings.Builder
			for _, row := range guardRows(book.of(p, test.owner, at)) {
				told.WriteString(strings.TrimSpace(row[0]) + " " + row[1] + ": " + row[2])
			}
			got := told.String()
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// What was decided about a pod is told long after the pod is gone.
func TestWhoDeleted(t *testing.T) {
	s := newShell(t)
	store := policy.NewStore(s.env.Client, s.namespace)
	now := time.Now()
	all := []policy.Decision{
		{
			ID: "d-1", Time: now.Add(-time.Hour), User: "alice", Operation: "DELETE", Kind: "Pod", Namespace: s.namespace, Name: "web-1",
			Workload: "Deployment/web", Outcome: policy.Denied, Guard: "PodUnavailableBudget shop/web", Reason: "BudgetExhausted", Times: 7,
			Notes: map[string]string{"count": "1/1"},
		},
		{
			ID: "d-2", Time: now.Add(-time.Minute), User: "bob", Client: "pod-name=cleaner-1", Operation: "EVICT", Kind: "Pod",
			Namespace: s.namespace, Name: "web-1", Workload: "Deployment/web", Outcome: policy.Allowed, BreakGlass: "incident",
		},
		{ID: "d-3", Time: now, User: "eve", Operation: "DELETE", Kind: "CustomResourceDefinition.apiextensions.k8s.io", Name: "things.guard.test", Outcome: policy.Denied},
		{ID: "d-4", Time: now, User: "mallory", Operation: "DELETE", Kind: "Pod", Namespace: "elsewhere", Name: "web-1", Outcome: policy.Allowed},
	}
	if err := store.Append(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args    []string
		code    int
		want    []string
		without []string
	}{
		{
			args:    []string{"web-1"},
			want:    []string{"60m", "Denied x7", "DELETE", "pod/web-1 of deployment/web", "alice", "BudgetExhausted 1/1", "d-1", "bob (pod-name=cleaner-1)", "BreakGlass incident"},
			without: []string{"mallory", "eve"},
		},
		{args: []string{"pod/web-1", "-A"}, want: []string{"mallory", "elsewhere/pod/web-1"}},
		{args: []string{"deployment/web"}, want: []string{"alice", "bob"}, without: []string{"eve"}},
		{args: []string{"crd/things.guard.test"}, code: CodeNotFound},
		{args: []string{"customresourcedefinition/things.guard.test"}, want: []string{"eve", "customresourcedefinition/things.guard.test"}},
		{args: []string{"--denied"}, want: []string{"alice", "eve"}, without: []string{"bob"}},
		{args: []string{"--limit", "1"}, want: []string{"eve"}, without: []string{"alice"}},
		{args: []string{"web-1", "-o", "json"}, want: []string{`"kind": "Trace"`, `"id": "d-1"`}},
		{args: []string{"nobody"}, code: CodeNotFound, want: []string{"no decision about", "audit log"}},
		{args: []string{"a", "b"}, code: CodeUsage},
	} {
		out := s.run(test.code, append([]string{"who-deleted", "--system-namespace", s.namespace}, test.args...)...)
		s.says(out, test.want...)
		for _, unwanted := range test.without {
			if strings.Contains(out, unwanted) {
				t.Errorf("%v: %q has %q", test.args, out, unwanted)
			}
		}
	}
}

func TestDelete(t *testing.T) {
	s := newShell(t)
	labels := map[string]string{"app": "web"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.local/pause:1"}}},
		}},
	}
	if err := s.env.Client.Create(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web-1", "web-2", "lone"} {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.local/pause:1"}}},
		}
		if name != "lone" {
			p.OwnerReferences = []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: deployment.UID, Controller: ptr.To(true),
			}}
		}
		if err := s.env.Client.Create(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	pods := func() int {
		list := &corev1.PodList{}
		if err := s.env.Client.List(t.Context(), list, client.InNamespace(s.namespace)); err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	for _, test := range []struct {
		args []string
		code int
		want []string
		left int
	}{
		{
			args: []string{"--preview", "deploy/web"}, left: 3,
			want: []string{"deployment/web in namespace", "would be deleted", "2 pods", "no guard would keep any of the 2 pods", "nothing was deleted"},
		},
		{args: []string{"--preview", "ns/" + s.namespace}, left: 3, want: []string{"3 pods", "everything else in the namespace"}},
		{args: []string{"--preview", "crd/clonesets.apps.kruise.io"}, left: 3, want: []string{"objects of kind CloneSet"}},
		{args: []string{"--preview", "pod", "-l", "app=web", "-o", "json"}, left: 3, want: []string{`"kind": "Preview"`, `"object": "pod/lone"`}},
		{args: []string{"pod/lone"}, code: CodeFailed, left: 3, want: []string{"[y/N]", "nothing was deleted"}},
		{args: []string{"pod", "lone", "--yes"}, left: 2, want: []string{"pod/lone deleted"}},
		{args: []string{"pod/lone", "--yes"}, code: CodeNotFound, left: 2, want: []string{"is not in namespace"}},
		{args: []string{"frobs/x", "--yes"}, code: CodeNotFound, left: 2, want: []string{`no type "frobs"`}},
		{args: []string{"pod"}, code: CodeUsage, left: 2},
		{args: []string{}, code: CodeUsage, left: 2},
		{args: []string{"pods", "-l", "app=web", "--yes"}, left: 0, want: []string{"pod/web-1 deleted", "pod/web-2 deleted"}},
	} {
		out := s.run(test.code, append([]string{"delete"}, test.args...)...)
		if left := pods(); left != test.left {
			t.Errorf("%v: %d pods left, want %d: %s", test.args, left, test.left, out)
		}
		s.says(out, test.want...)
	}
}

// no is a guard that lets only one pod go.
type no struct{}

func (no) Name() string                                                 { return "PodUnavailableBudget" }
func (no) Check(context.Context, disruption.Request) disruption.Verdict { return disruption.Verdict{} }
func (no) Release(context.Context, disruption.Request)                  {}
func (no) Take(_ context.Context, r disruption.Request) (disruption.Verdict, error) {
	if r.Pod.Name == "free" {
		return disruption.Verdict{}, nil
	}
	return disruption.Verdict{
		Outcome: disruption.Deny, Guard: "PodUnavailableBudget shop/web", Reason: "BudgetExhausted", Message: "3 of 4 pods must stay",
	}, nil
}

// What a guard denies stays, with its reason; a preview says so before, and takes nothing.
func TestDeleteGuarded(t *testing.T) {
	s := newShell(t)
	heads, err := metadata.NewForConfig(s.env.Config)
	s.must(err)
	gate := &policy.Gate{Guards: disruption.Chain{no{}}, Clock: clock.RealClock{}}
	keeper := &cascade.Keeper{Counter: &cascade.Counter{Metadata: heads, Live: s.env.Client}, Clock: clock.RealClock{}}
	hooks := slices.Concat((&policy.Pods{Gate: gate, Live: s.env.Client}).Hooks(policy.Scope{}), keeper.Hooks())
	for i := range hooks {
		hooks[i].NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}}
	}
	s.env.ServeHooks(t, "delete-"+s.namespace, hooks)
	for _, name := range []string{"free", "web-1"} {
		s.must(s.env.Client.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name, Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.local/pause:1"}}},
		}))
	}
	s.must(s.env.Client.Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: "front", Labels: map[string]string{"policy.kruise.io/delete-protection": "Always"},
		},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}},
	}))
	testkit.Eventually(t, 20*time.Second, "the hooks are asked", func(ctx context.Context) error {
		front := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "front"}}
		if err := s.env.Client.Delete(ctx, front, client.DryRunAll); err == nil {
			return errors.New("it would be deleted")
		}
		return nil
	})
	s.says(s.run(CodeOK, "delete", "--preview", "pod/web-1", "svc/front", "ns/"+s.namespace),
		"pod/web-1 in namespace "+s.namespace+": would NOT be deleted", "3 of 4 pods must stay",
		"service/front in namespace "+s.namespace+": would NOT be deleted", "labelled policy.kruise.io/delete-protection=Always",
		"a guard would keep pod web-1", "nothing was deleted")
	s.says(s.run(CodeForbidden, "delete", "svc/front", "--yes"), "1 object not deleted, protected", "forbidden by ResourcesProtectionDeletion")
	s.says(s.run(CodeTimeout, "delete", "pod", "-l", "app=web", "--yes", "--timeout", "0"),
		"pod/free deleted", "pod/web-1 stays for now", "3 of 4 pods must stay", "1 object not deleted")
}
