package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// onSimulated puts a pod onto the simulated nodes, as a part of its spec in YAML's flow style.
const onSimulated = `nodeSelector: {holdfast.io/simulated: "true"}, tolerations: [{key: holdfast.io/simulated, operator: Exists}]`

// onReserved puts a pod onto the nodes that reserve gave the scenario.
func (p *play) onReserved() string {
	return fmt.Sprintf(`nodeSelector: {e2e: %s}, tolerations: [{key: holdfast.io/simulated, operator: Exists}]`, p.record.scenario.name)
}

// reserve labels some simulated nodes for the scenario alone, until it is over.
func (p *play) reserve(ctx context.Context, n int) ([]string, error) {
	var nodes corev1.NodeList
	if err := p.client.List(ctx, &nodes, client.MatchingLabels{"holdfast.io/simulated": "true"}); err != nil {
		return nil, fmt.Errorf("list the simulated nodes: %w", err)
	}
	var names []string
	for i := range nodes.Items {
		node := &nodes.Items[i]
		if len(names) == n {
			break
		}
		if node.Labels["e2e"] != "" {
			continue
		}
		if err := p.merge(ctx, node, `{"metadata":{"labels":{"e2e":%q}}}`, p.record.scenario.name); err != nil {
			return nil, err
		}
		names = append(names, node.Name)
		p.atEnd(func(ctx context.Context) error {
			return p.merge(ctx, node, `{"metadata":{"labels":{"e2e":null}},"spec":{"unschedulable":null}}`)
		})
	}
	if len(names) < n {
		return nil, fmt.Errorf("there are only %d free simulated nodes, want %d: give more with --simulated", len(names), n)
	}
	return names, nil
}

// evictions count what a drain met.
type evictions struct{ done, denied, unanswered int }

// drain does what `kubectl drain` does: it cordons the node, then evicts its pods of the scenario one by one, and asks again
// when the answer is 429 and only then.
func (p *play) drain(ctx context.Context, node string) (met evictions, err error) {
	if err := p.merge(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, `{"spec":{"unschedulable":true}}`); err != nil {
		return met, err
	}
	var pods corev1.PodList
	if err := p.client.List(ctx, &pods, client.InNamespace(p.namespace), client.MatchingFields{"spec.nodeName": node}); err != nil {
		return met, fmt.Errorf("list the pods of node %s: %w", node, err)
	}
	for i := range pods.Items {
		if err := p.evict(ctx, &pods.Items[i], &met); err != nil {
			return met, fmt.Errorf("drain node %s: %w", node, err)
		}
	}
	return met, nil
}

// evict evicts one pod, and waits until it is gone.
func (p *play) evict(ctx context.Context, victim *corev1.Pod, met *evictions) error {
	const pause = time.Second // kubectl's is 5 s
	for {
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: victim.Namespace, Name: victim.Name}}
		eviction.DeleteOptions = &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &victim.UID}}
		err := p.client.SubResource("eviction").Create(ctx, victim, eviction)
		switch {
		case err == nil:
			met.done++
			return p.gone(ctx, victim)
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			return nil // somebody else deleted it
		case apierrors.IsTooManyRequests(err):
			met.denied++
		case unanswered(err):
			met.unanswered++
		default:
			return fmt.Errorf("evict pod %s: %w", victim.Name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("evict pod %s: %w; the last answer was: %w", victim.Name, ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// gone waits until exactly this pod is gone.
func (p *play) gone(ctx context.Context, victim *corev1.Pod) error {
	return p.until(ctx, time.Minute, "pod "+victim.Name+" is gone", func(ctx context.Context) (bool, error) {
		var now corev1.Pod
		err := p.client.Get(ctx, client.ObjectKeyFromObject(victim), &now)
		return apierrors.IsNotFound(err) || err == nil && now.UID != victim.UID, client.IgnoreNotFound(err)
	})
}

// deletions count what a deleter met.
type deletions struct {
	done, denied, unanswered int
	denial                   error // the last one
}

// unanswered reports whether the API server got no answer of the operator in time.
func unanswered(err error) bool {
	return apierrors.IsInternalError(err) && strings.Contains(err.Error(), "failed calling webhook")
}

// deleteAtRandom deletes pods with these labels, any of them and as often as it can, for a time.
func (p *play) deleteAtRandom(ctx context.Context, labels map[string]string, length, pause time.Duration) (met deletions, err error) {
	end := time.Now().Add(length)
	for time.Now().Before(end) {
		pods, err := p.pods(ctx, labels)
		if err != nil {
			return met, err
		}
		if len(pods) > 0 {
			err := p.client.Delete(ctx, pods[rand.IntN(len(pods))]) //nolint:gosec // it need not surprise an attacker
			switch {
			case err == nil:
				met.done++
			case apierrors.IsForbidden(err), apierrors.IsTooManyRequests(err):
				met.denied++
				met.denial = err
			case unanswered(err):
				met.unanswered++
			case client.IgnoreNotFound(err) != nil:
				return met, fmt.Errorf("delete a pod at random: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return met, fmt.Errorf("delete pods at random: %w", ctx.Err())
		case <-time.After(pause):
		}
	}
	return met, nil
}

// together runs all at once, and returns when every one has ended.
func together(all ...func() error) error {
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, one := range all {
		running.Go(func() { errs[i] = one() })
	}
	running.Wait()
	return errors.Join(errs...)
}
