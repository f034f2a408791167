package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func budgetScenario() scenario {
	return scenario{
		name: "budget", group: guards, title: "an update, a drain and a script that deletes pods, against one budget",
		about: `
A CloneSet of 20 pods on 4 nodes has a PodUnavailableBudget with maxUnavailable 25%. At once, its image is updated in place with
maxUnavailable 50%, two of its nodes are drained as kubectl drain does it, and a script deletes pods at random 20 times a second
for 30 seconds. A pod is away from the change of its spec, or from its deletion, until it or another one is ready. After that, a
node with 6 pods and a budget of one is drained.`,
		play: playBudget,
	}
}

func playBudget(ctx context.Context, p *play) error {
	nodes, err := p.reserve(ctx, 4)
	if err != nil {
		return err
	}
	if err := p.apply(ctx, budgetManifest("web", p.onReserved(), 20, "50%", "25%")); err != nil {
		return err
	}
	web := p.ref("apps.kruise.io/v1beta1", "CloneSet", "web")
	if err := p.ready(ctx, time.Minute, web); err != nil {
		return err
	}
	if err := p.enforced(ctx, "web", 5); err != nil {
		return err
	}
	if err := p.allAtOnce(ctx, nodes[:2]); err != nil {
		return err
	}
	if err := p.ready(ctx, 2*time.Minute, web); err != nil {
		return err
	}
	pods, err := p.pods(ctx, map[string]string{"app": "web"})
	if err != nil {
		return err
	}
	updated := 0
	for _, pod := range pods {
		if pod.Spec.Containers[0].Image == "registry.local/app:v2" {
			updated++
		}
	}
	p.claim(updated == 20, "in the end all 20 pods run the new image (%d do)", updated)
	return p.drainOneByOne(ctx, nodes[2])
}

// budgetManifest is a CloneSet and its budget.
func budgetManifest(name, where string, replicas int, update, budget string) string {
	return cloneSetManifest(name, where, replicas, update) + fmt.Sprintf(`
---
apiVersion: policy.kruise.io/v1beta1
kind: PodUnavailableBudget
metadata: {name: %[1]s}
spec:
  targetRef: {apiVersion: apps.kruise.io/v1beta1, kind: CloneSet, name: %[1]s}
  maxUnavailable: %[2]s
`, name, budget)
}

// cloneSetManifest is a CloneSet whose image is changed in place; where is a part of its pods' spec.
func cloneSetManifest(name, where string, replicas int, update string) string {
	return fmt.Sprintf(`
apiVersion: apps.kruise.io/v1beta1
kind: CloneSet
metadata: {name: %[1]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec: {%[2]s, containers: [{name: main, image: "registry.local/app:v1"}]}
  updateStrategy:
    rollingUpdate: {podUpdatePolicy: InPlaceIfPossible, maxUnavailable: %[4]s}
`, name, where, replicas, update)
}

// enforced waits until the budget is asked and allows so many.
func (p *play) enforced(ctx context.Context, name string, allowed int64) error {
	u := p.ref("policy.kruise.io/v1beta1", "PodUnavailableBudget", name)
	err := p.until(ctx, 30*time.Second, "the budget is enforced", func(ctx context.Context) (bool, error) {
		if err := p.refresh(ctx, u); err != nil {
			return false, err
		}
		return condition(u, "Enforced") == "True" && number(u, "status", "unavailableAllowed") == allowed, nil
	})
	if err != nil {
		return fmt.Errorf("%w; its status: %v", err, u.Object["status"])
	}
	return nil
}

// allAtOnce updates, drains and deletes, and claims that no more than 5 pods were ever away.
func (p *play) allAtOnce(ctx context.Context, nodes []string) error {
	web := p.ref("apps.kruise.io/v1beta1", "CloneSet", "web")
	labels := map[string]string{"app": "web"}
	there, err := p.follow(ctx, 20, labels)
	if err != nil {
		return err
	}
	var drained evictions
	var deleted deletions
	begun := time.Now()
	var drainTook time.Duration
	err = together(
		func() error {
			return p.merge(ctx, web, `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"registry.local/app:v2"}]}}}}`)
		},
		func() error {
			for _, node := range nodes {
				met, err := p.drain(ctx, node)
				if err != nil {
					return err
				}
				drained.done += met.done
				drained.denied += met.denied
				drained.unanswered += met.unanswered
			}
			drainTook = time.Since(begun)
			return nil
		},
		func() error {
			met, err := p.deleteAtRandom(ctx, labels, 30*time.Second, 50*time.Millisecond)
			deleted = met
			return err
		},
	)
	if err == nil {
		err = p.ready(ctx, 2*time.Minute, web)
	}
	mostAway, judged, gone := there.stop()
	p.claim(mostAway <= 5, "never more than 5 of 20 pods were away (at most %d, at each of %d events)", mostAway, judged)
	p.figure("deletions at random", "%d let through, %d denied", deleted.done, deleted.denied)
	if deleted.denial != nil {
		p.figure("a denial", "%s", oneLine(deleted.denial.Error()))
	}
	p.figure("the drain of two nodes", "%d evictions, %d answers 429 before them, %.1f s", drained.done, drained.denied, drainTook.Seconds())
	p.figure("pods that went in all", "%d", gone)
	p.figure("update, drain and deletions at once", "%.1f s", time.Since(begun).Seconds())
	p.claim(drained.unanswered+deleted.unanswered == 0, "every request was answered in time (%d evictions and %d deletions were not)",
		drained.unanswered, deleted.unanswered)
	p.claim(deleted.denied > 0, "the budget was needed: %d deletions were denied", deleted.denied)
	if err != nil {
		return err
	}
	return p.claimEmpty(ctx, nodes)
}

// claimEmpty claims that a drain left nothing of the scenario on its nodes.
func (p *play) claimEmpty(ctx context.Context, nodes []string) error {
	left := 0
	for _, node := range nodes {
		var pods corev1.PodList
		if err := p.client.List(ctx, &pods, client.InNamespace(p.namespace), client.MatchingFields{"spec.nodeName": node}); err != nil {
			return fmt.Errorf("list the pods of node %s: %w", node, err)
		}
		left += len(pods.Items)
	}
	p.claim(left == 0, "the drained nodes are empty (%d pods left)", left)
	return nil
}

// drainOneByOne drains a node whose pods have a budget of one.
func (p *play) drainOneByOne(ctx context.Context, node string) error {
	where := fmt.Sprintf(`tolerations: [{key: holdfast.io/simulated, operator: Exists}],
      affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 100,
        preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}}]}},
      nodeSelector: {e2e: %s}`, node, p.record.scenario.name)
	if err := p.apply(ctx, budgetManifest("single", where, 6, "1", "1")); err != nil {
		return err
	}
	single := p.ref("apps.kruise.io/v1beta1", "CloneSet", "single")
	if err := p.ready(ctx, time.Minute, single); err != nil {
		return err
	}
	if err := p.enforced(ctx, "single", 1); err != nil {
		return err
	}
	there, err := p.follow(ctx, 6, map[string]string{"app": "single"})
	if err != nil {
		return err
	}
	begun := time.Now()
	met, err := p.drain(ctx, node)
	took := time.Since(begun)
	if err == nil {
		err = p.ready(ctx, time.Minute, single)
	}
	mostAway, judged, _ := there.stop()
	p.claim(err == nil && met.unanswered == 0,
		"a drain with a budget of one finishes by itself (%d evictions, %d answers 429 before them, %d requests without an answer)",
		met.done, met.denied, met.unanswered)
	p.claim(mostAway <= 1, "never more than 1 of 6 pods was away (at most %d, at each of %d events)", mostAway, judged)
	p.figure("the drain with a budget of one", "%.1f s for %d pods", took.Seconds(), met.done)
	if err != nil {
		return err
	}
	return p.claimEmpty(ctx, []string{node})
}
