package main

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/policy/cascade"
)

//go:embed manifest/talk.yaml
var talkManifest string

const (
	talkObjects   = 10_000
	talkNamespace = "talk-production"
	forbidden     = "forbidden by ResourcesProtectionDeletion"
)

func talkScenario() scenario {
	return scenario{
		name: "talk", group: guards, title: "the manifests of the talk, unchanged, and what each of them keeps from happening",
		about: `
A definition, a Namespace, a Deployment and a CloneSet labelled policy.kruise.io/disable-cascading-deletion, a
PodDeletionFlowControl of 100 in 10 minutes, 500 an hour and 5,000 a day with a white list, a PodUnavailableBudget with targetRef and
a Deployment annotated policy.kruise.io/generate-pub-maxUnavailable are applied from one file (e2e/scenario/manifest/talk.yaml).
The definition then gets 10,000 objects.`,
		play: playTalk,
	}
}

func playTalk(ctx context.Context, p *play) error {
	p.heard.take()
	if err := p.applyTalk(ctx); err != nil {
		return err
	}
	warned := p.heard.take()
	p.claim(len(warned) == 0, "all manifests are accepted without a warning%s", listed(warned))
	for _, act := range []func(context.Context) error{
		p.talkDefinition, p.talkWorkloads, p.talkBudgets, p.talkFlowControl, p.talkNamespace,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// applyTalk applies the file object by object: the definition's objects can be made only once it is served.
func (p *play) applyTalk(ctx context.Context) error {
	p.atEnd(p.tidyTalk)
	if err := p.apply(ctx, talkManifest); err != nil {
		return err
	}
	for _, name := range []string{"web", "automatic"} {
		d := p.ref("apps/v1", "Deployment", name)
		d.SetNamespace(talkNamespace)
		if err := p.until(ctx, 2*time.Minute, "Deployment "+name+" is available", func(ctx context.Context) (bool, error) {
			err := p.refresh(ctx, d)
			return number(d, "status", "availableReplicas") == number(d, "spec", "replicas"), err
		}); err != nil {
			return err
		}
	}
	set := p.ref("apps.kruise.io/v1beta1", "CloneSet", "api")
	set.SetNamespace(talkNamespace)
	return p.ready(ctx, time.Minute, set)
}

// talkDefinition fills the definition and tries to delete it.
func (p *play) talkDefinition(ctx context.Context) error {
	begun := time.Now()
	err := inParallel(ctx, 32, talkObjects, func(ctx context.Context, i int) error {
		u := p.ref("talk.example.com/v1", "Database", fmt.Sprintf("db-%05d", i))
		u.SetNamespace(talkNamespace)
		u.Object["spec"] = map[string]any{"size": int64(i)}
		return p.client.Create(ctx, u)
	})
	if err != nil {
		return fmt.Errorf("make the objects: %w", err)
	}
	p.figure(fmt.Sprintf("%d objects were made in", talkObjects), "%.1f s", time.Since(begun).Seconds())
	crd := p.ref("apiextensions.k8s.io/v1", "CustomResourceDefinition", "databases.talk.example.com")
	crd.SetNamespace("")
	if err := p.letCount(ctx, crd); err != nil {
		return err
	}
	const tries = 40
	var took []time.Duration
	for range tries {
		asked := time.Now()
		err := p.client.Delete(ctx, crd)
		took = append(took, time.Since(asked))
		if !refusedBy(err, forbidden) {
			p.claim(false, "a definition with %d objects is not deleted: the answer was %v", talkObjects, err)
			return nil
		}
		if len(took) == 1 {
			p.figure("the answer", "%s", oneLine(err.Error()))
		}
	}
	slices.Sort(took)
	p.claim(true, "a definition with %d objects is not deleted", talkObjects)
	p.claim(quantile(took, 50) < 50*time.Millisecond, "it is refused in less than 50 ms (p50 of %d tries: %s)", tries, quantile(took, 50))
	p.figure("time of the refusal", "p50 %s, p90 %s, longest %s", quantile(took, 50), quantile(took, 90), quantile(took, 100))
	return nil
}

// letCount allows the operator to count the definition's objects, as the refusal says that one must.
func (p *play) letCount(ctx context.Context, crd *unstructured.Unstructured) error {
	const mayNot = "may not list"
	p.claimRefused(p.client.Delete(ctx, crd), mayNot,
		"a definition whose objects the operator may not list is not deleted, and the answer says how to allow it")
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "holdfast-list-" + crd.GetName(), Labels: map[string]string{cascade.RoleLabel: "true"}},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"talk.example.com"}, Resources: []string{"databases"}, Verbs: []string{"list"}}},
	}
	if err := p.client.Create(ctx, role); err != nil {
		return fmt.Errorf("let the operator list the objects: %w", err)
	}
	p.atEnd(func(ctx context.Context) error { return p.remove(ctx, role) })
	return p.until(ctx, 30*time.Second, "the operator may list the objects", func(ctx context.Context) (bool, error) {
		err := p.client.Delete(ctx, crd)
		return refusedBy(err, forbidden) && !refusedBy(err, mayNot), nil
	})
}

// talkWorkloads tries to delete the workloads as they are, and again when they are scaled to 0.
func (p *play) talkWorkloads(ctx context.Context) error {
	for _, w := range []*unstructured.Unstructured{
		p.ref("apps/v1", "Deployment", "web"), p.ref("apps.kruise.io/v1alpha1", "CloneSet", "api"),
	} {
		w.SetNamespace(talkNamespace)
		err := p.client.Delete(ctx, w, client.DryRunAll)
		p.claimRefused(err, forbidden, "%s %s is not deleted while it has replicas, as a dry run tells", w.GetKind(), w.GetName())
		err = p.client.Delete(ctx, w)
		p.claimRefused(err, forbidden, "%s %s is not deleted while it has replicas", w.GetKind(), w.GetName())
	}
	web := p.ref("apps/v1", "Deployment", "web")
	web.SetNamespace(talkNamespace)
	if err := p.merge(ctx, web, `{"spec":{"replicas":0}}`); err != nil {
		return err
	}
	err := p.client.Delete(ctx, web)
	p.claim(err == nil, "Deployment web can be deleted once it is scaled to 0%s", unless(err))
	return nil
}

// talkBudgets looks at the budget of the talk, and at the one that an annotation made.
func (p *play) talkBudgets(ctx context.Context) error {
	budget := p.ref("policy.kruise.io/v1beta1", "PodUnavailableBudget", "api")
	budget.SetNamespace(talkNamespace)
	err := p.until(ctx, 30*time.Second, "the budget allows one", func(ctx context.Context) (bool, error) {
		err := p.refresh(ctx, budget)
		return number(budget, "status", "unavailableAllowed") == 1, err
	})
	p.claim(err == nil, "the PodUnavailableBudget allows 1 of 4 pods to be away%s", unless(err))
	var pods corev1.PodList
	if err := p.client.List(ctx, &pods, client.InNamespace(talkNamespace), client.MatchingLabels{"app": "api"}); err != nil {
		return fmt.Errorf("list the pods of the CloneSet: %w", err)
	}
	passed, denied := 0, 0
	err = inParallel(ctx, len(pods.Items), len(pods.Items), func(ctx context.Context, i int) error {
		switch err := p.client.Delete(ctx, &pods.Items[i]); {
		case err == nil:
			passed++
		case apierrors.IsForbidden(err), apierrors.IsTooManyRequests(err):
			denied++
		default:
			return err //nolint:wrapcheck // said below
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete the pods of the CloneSet at once: %w", err)
	}
	p.claim(passed == 1 && denied == 3, "of 4 pods that are deleted at once, 1 goes and 3 stay (%d went, %d were denied)", passed, denied)
	return p.talkAutomatic(ctx)
}

// talkAutomatic looks for the budget of the annotated Deployment.
func (p *play) talkAutomatic(ctx context.Context) error {
	var made *unstructured.Unstructured
	err := p.until(ctx, 30*time.Second, "the annotated Deployment has a budget", func(ctx context.Context) (bool, error) {
		all := &unstructured.UnstructuredList{}
		all.SetAPIVersion("policy.kruise.io/v1beta1")
		all.SetKind("PodUnavailableBudgetList")
		if err := p.client.List(ctx, all, client.InNamespace(talkNamespace)); err != nil {
			return false, err //nolint:wrapcheck // until says what for
		}
		for i := range all.Items {
			owners := all.Items[i].GetOwnerReferences()
			if len(owners) == 1 && owners[0].Kind == "Deployment" && owners[0].Name == "automatic" {
				made = &all.Items[i]
			}
		}
		return made != nil && condition(made, "Enforced") == "True", nil
	})
	if err != nil {
		p.claim(false, "the annotated Deployment gets a budget that is enforced: %v", err)
		return nil
	}
	p.claim(text(made, "spec", "maxUnavailable") == "20%",
		"the annotated Deployment gets a budget of 20%% (%s), which it owns", made.GetName())
	p.claim(number(made, "status", "unavailableAllowed") == 1, "it allows 1 of 5 pods to be away")
	return nil
}

// talkFlowControl deletes more pods than the shortest window allows, and some of the white list.
func (p *play) talkFlowControl(ctx context.Context) error {
	policy := p.ref("policy.kruise.io/v1alpha1", "PodDeletionFlowControl", "talk")
	policy.SetNamespace("")
	err := p.until(ctx, 30*time.Second, "the flow control is enforced", func(ctx context.Context) (bool, error) {
		err := p.refresh(ctx, policy)
		return condition(policy, "Enforced") == "True", err
	})
	if err != nil {
		return err
	}
	const n = 120
	if err := p.makePods(ctx, n+20); err != nil {
		return err
	}
	for i := n; i < n+20; i++ {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: fmt.Sprintf("p-%04d", i)}}
		if err := p.merge(ctx, pod, `{"metadata":{"labels":{"deletion":"free"}}}`); err != nil {
			return err
		}
	}
	passed := 0
	for i := range n + 20 {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: fmt.Sprintf("p-%04d", i)}}
		err := p.client.Delete(ctx, pod)
		if err == nil {
			passed++
		} else if !apierrors.IsForbidden(err) && !apierrors.IsTooManyRequests(err) {
			return fmt.Errorf("delete pod %s: %w", pod.Name, err)
		}
		if i == n-1 {
			// Before them went one pod of the budget, and those of the Deployment that was scaled to 0.
			p.claim(passed < 100 && passed >= 95, "of %d more pods, deleted one after the other, %d go", n, passed)
			passed = 0
		}
	}
	p.claim(passed == 20, "all 20 pods of the white list can be deleted all the same (%d could)", passed)
	const full = "100/100 per 10m"
	err = p.until(ctx, 15*time.Second, "the status tells it", func(ctx context.Context) (bool, error) {
		err := p.refresh(ctx, policy)
		return strings.Contains(text(policy, "status", "used"), full), err
	})
	p.claim(err == nil, "with what went before them it is exactly 100: the status says %q", text(policy, "status", "used"))
	return nil
}

// talkNamespace tries to delete the namespace with its pods.
func (p *play) talkNamespace(ctx context.Context) error {
	err := p.client.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: talkNamespace}})
	p.claimRefused(err, forbidden, "the Namespace is not deleted while it has pods")
	return nil
}

// tidyTalk takes the labels away and deletes all of it.
func (p *play) tidyTalk(ctx context.Context) error {
	objects, err := p.parseManifest(talkManifest)
	if err != nil {
		return err
	}
	const label = `{"metadata":{"labels":{"policy.kruise.io/disable-cascading-deletion":null}}}`
	slices.Reverse(objects)
	for _, u := range objects {
		if err := p.merge(ctx, u.DeepCopy(), label); client.IgnoreNotFound(err) != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	for _, u := range objects {
		if err := p.remove(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// refusedBy reports whether the API server refused with this text.
func refusedBy(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// claimRefused claims that something was refused with this text, and tells what was answered if not.
func (p *play) claimRefused(err error, text, format string, args ...any) {
	if refusedBy(err, text) {
		p.claim(true, format, args...)
		return
	}
	p.claim(false, "%s: the answer was %v", fmt.Sprintf(format, args...), err)
}

// unless adds to a claim what was answered instead.
func unless(err error) string {
	if err == nil {
		return ""
	}
	return ": " + oneLine(err.Error())
}

// listed adds to a claim what there is though there should be nothing.
func listed(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return ": " + oneLine(strings.Join(all, "; "))
}
