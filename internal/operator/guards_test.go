package operator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/operator"
	"github.com/holdfast-io/holdfast/internal/policy"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// guarded is a namespace with pods and a budget that lets none of them go, and an operator that guards it.
type guarded struct {
	*testkit.Env
	system, ns string
	operator   *process
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	env := testkit.APIServer(t)
	g := &guarded{Env: env, system: env.Namespace(t), ns: env.Namespace(t)}
	g.operator = start(t, kubeconfig(t, rest.CopyConfig(env.Config)), g.system)
	t.Cleanup(func() { g.away(t) })
	g.operator.awaitReady()
	for _, name := range []string{"web-0", "web-1", "web-2"} {
		g.pod(t, name)
	}
	budget := &v1beta1.PodUnavailableBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: "web"},
		Spec: v1beta1.PodUnavailableBudgetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, MinAvailable: ptr.To(intstr.FromInt32(3)),
		},
	}
	await(t, 30*time.Second, "budget", func() bool { return env.Client.Create(t.Context(), budget.DeepCopy()) == nil })
	await(t, 30*time.Second, "guarded pods", func() bool {
		return apierrors.IsForbidden(env.Client.Delete(t.Context(), g.named("web-0"), client.DryRunAll))
	})
	return g
}

// away takes from the server what the operator has put there.
func (g *guarded) away(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for _, object := range operator.Policies() {
		if err := client.IgnoreNotFound(g.Client.Delete(ctx, object)); err != nil {
			t.Error(err)
		}
	}
	for _, config := range configurations() {
		if err := client.IgnoreNotFound(g.Client.Delete(ctx, config)); err != nil {
			t.Error(err)
		}
	}
}

func (g *guarded) named(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: name}}
}

func (g *guarded) pod(t *testing.T, name string) {
	t.Helper()
	p := g.named(name)
	p.Labels = map[string]string{"app": "web"}
	p.Spec = corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "c", Image: "registry.local/pause:1"}}}
	if err := g.Client.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	now := metav1.Now()
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
		{Type: corev1.ContainersReady, Status: corev1.ConditionTrue, LastTransitionTime: now},
	}}
	if err := g.Client.Status().Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// as is a client that acts for somebody else.
func (g *guarded) as(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(g.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:masters")}
	c, err := client.New(config, client.Options{Scheme: g.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (g *guarded) evict(t *testing.T, name string) error {
	t.Helper()
	return g.Client.SubResource("eviction").Create(t.Context(), g.named(name), &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: name},
	})
}

// Every way of taking a pod away is asked about, and each answer is of the kind that its client understands.
func TestEveryWayIsGuarded(t *testing.T) {
	g := newGuarded(t)
	if err := g.Client.Delete(t.Context(), g.named("web-0")); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "PodUnavailableBudget") {
		t.Errorf("a deletion: %v", err)
	}
	err := g.evict(t, "web-0")
	if !apierrors.IsTooManyRequests(err) {
		t.Errorf("an eviction: %v", err)
	}
	if seconds, told := apierrors.SuggestsClientDelay(err); told {
		t.Errorf("the client is told to sleep %d seconds", seconds)
	}
	if err := g.Client.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(g.ns)); !apierrors.IsForbidden(err) {
		t.Errorf("a collection: %v", err)
	}
	p := g.named("web-0")
	if err := g.Client.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		t.Fatal(err)
	}
	changed := p.DeepCopy()
	changed.Spec.Containers[0].Image = "registry.local/pause:2"
	if err := g.Client.Update(t.Context(), changed); !apierrors.IsForbidden(err) {
		t.Errorf("another image: %v", err)
	}
	changed = p.DeepCopy()
	changed.Labels["x"] = "y"
	if err := g.Client.Update(t.Context(), changed); err != nil {
		t.Errorf("another label takes nothing away: %v", err)
	}
	list := &corev1.PodList{}
	if err := g.Client.List(t.Context(), list, client.InNamespace(g.ns)); err != nil || len(list.Items) != 3 {
		t.Errorf("%d pods are left, %v", len(list.Items), err)
	}
	// Who it was is written down, and survives the end of the operator.
	if _, code := g.operator.stop(); code != 0 {
		t.Errorf("ended with code %d", code)
	}
	decisions, err := policy.Read(t.Context(), g.Client, g.system)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, d := range decisions {
		if d.Namespace == g.ns && d.Outcome == policy.Denied && d.User != "" {
			seen[d.Operation] = true
		}
	}
	for _, operation := range []string{"DELETE", "EVICT", "UPDATE"} {
		if !seen[operation] {
			t.Errorf("no denied %s is written down: %+v", operation, decisions)
		}
	}
}

// With all replicas gone, nobody is locked out of what must go on: the kubelet finishes its pods, the operator's own
// namespace and kube-system are not guarded, what is labelled is protected by the API server alone, and the way out works.
func TestAllReplicasGone(t *testing.T) {
	g := newGuarded(t)
	going, err := g.goes(t)
	if err != nil {
		t.Fatal(err)
	}
	kept := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.ns, Name: "kept", Labels: map[string]string{"policy.kruise.io/delete-protection": "Cascading"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](3), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "kept"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "kept"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.local/pause:1"}}},
			},
		},
	}
	if err := g.Client.Create(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, "admission policies", func() bool {
		err := g.Client.Delete(t.Context(), kept.DeepCopy(), client.DryRunAll)
		return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") && strings.Contains(err.Error(), "forbidden by ResourcesProtectionDeletion")
	})
	if err := g.operator.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-g.operator.done

	if err := g.Client.Delete(t.Context(), g.named("web-0")); !apierrors.IsInternalError(err) {
		t.Errorf("a pod is not guarded while nobody answers: %v", err)
	}
	kubelet := g.as(t, "system:node:node-1", "system:nodes")
	if err := kubelet.Delete(t.Context(), going, client.GracePeriodSeconds(0)); err != nil {
		t.Errorf("the kubelet cannot finish its pod: %v", err)
	}
	if err := g.as(t, "system:serviceaccount:kube-system:pod-garbage-collector").Delete(t.Context(), g.named("web-2")); err != nil {
		t.Errorf("pods of lost nodes cannot be collected: %v", err)
	}
	own := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: g.system, Name: "replica"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "registry.local/pause:1"}},
	}}
	if err := g.Client.Create(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	if err := g.Client.Delete(t.Context(), own); err != nil {
		t.Errorf("the operator's own pods cannot be replaced: %v", err)
	}
	err = g.Client.Delete(t.Context(), kept)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "forbidden by ResourcesProtectionDeletion") {
		t.Errorf("a labelled Deployment: %v", err)
	}
	// The way out that the manual names.
	for _, config := range configurations() {
		if err := client.IgnoreNotFound(g.Client.Delete(t.Context(), config)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, 20*time.Second, "way out", func() bool { return g.Client.Delete(t.Context(), g.named("web-0")) == nil })
	if err := g.Client.Delete(t.Context(), kept); !apierrors.IsForbidden(err) {
		t.Errorf("without the webhooks a labelled Deployment: %v", err)
	}
}

// goes is a pod that is on its way out when the operator dies: its own namespace lets it begin.
func (g *guarded) goes(t *testing.T) (*corev1.Pod, error) {
	t.Helper()
	free := g.named("going")
	free.Labels = map[string]string{"app": "other"}
	free.Spec = corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "c", Image: "registry.local/pause:1"}}}
	if err := g.Client.Create(t.Context(), free); err != nil {
		return nil, fmt.Errorf("make a pod: %w", err)
	}
	await(t, 20*time.Second, "guards that have read their policies", func() bool { return g.Client.Delete(t.Context(), free) == nil })
	now := &corev1.Pod{}
	if err := g.Client.Get(t.Context(), client.ObjectKeyFromObject(free), now); err != nil || now.DeletionTimestamp == nil {
		return nil, fmt.Errorf("it is not terminating: %w", err)
	}
	return now, nil
}
