package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/operator"
)

func newClient(kubeconfig string) (client.WithWatch, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig %s: %w", kubeconfig, err)
	}
	scheme, err := operator.NewScheme()
	if err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make the client: %w", err)
	}
	return c, nil
}

// countRealNodes counts the nodes that a kubelet runs.
func countRealNodes(ctx context.Context, c client.Client) (int, error) {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return 0, fmt.Errorf("list the nodes: %w", err)
	}
	count := 0
	for _, n := range nodes.Items {
		if strings.HasPrefix(n.Status.NodeInfo.ContainerRuntimeVersion, "containerd://") {
			count++
		}
	}
	return count, nil
}

// until looks again and again, four times a second, until done.
func (s *stage) until(ctx context.Context, what string, done func() (bool, error)) error {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("wait until %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w (`holdfast why cloneset/web` says what it waits for)", what, ctx.Err())
		case <-ticker.C:
		}
	}
}

// settled waits until the CloneSet is as its spec asks.
func (s *stage) settled(ctx context.Context) error {
	var cs appsv1beta1.CloneSet
	return s.until(ctx, "CloneSet web is done", func() (bool, error) {
		if err := s.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, &cs); err != nil {
			return false, err //nolint:wrapcheck // until says what for
		}
		st := cs.Status
		want := *cs.Spec.Replicas
		return st.ObservedGeneration == cs.Generation && st.Replicas == want && st.UpdatedAvailableReplicas == want, nil
	})
}

func (s *stage) patch(ctx context.Context, operations string) error {
	cs := &appsv1beta1.CloneSet{}
	cs.Namespace, cs.Name = namespace, name
	if err := s.client.Patch(ctx, cs, client.RawPatch(types.JSONPatchType, []byte(operations))); err != nil {
		return fmt.Errorf("change CloneSet %s: %w", name, err)
	}
	return nil
}

// pods are the pods of the set that are not on their way out.
func (s *stage) pods(ctx context.Context) (map[types.UID]*corev1.Pod, error) {
	var list corev1.PodList
	if err := s.client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{"app": name}); err != nil {
		return nil, fmt.Errorf("list the pods: %w", err)
	}
	pods := map[types.UID]*corev1.Pod{}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			pods[list.Items[i].UID] = &list.Items[i]
		}
	}
	return pods, nil
}

func sorted(pods map[types.UID]*corev1.Pod) []*corev1.Pod {
	return slices.SortedFunc(maps.Values(pods), func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
}

// served asks every pod for its page, through the API server.
func (s *stage) served(ctx context.Context, pods map[types.UID]*corev1.Pod, want string) error {
	if s.cluster.simulated > 0 {
		return nil // nothing runs there
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.cluster.kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make the client: %w", err)
	}
	for _, p := range pods {
		page, err := clientset.CoreV1().Pods(namespace).ProxyGet("http", p.Name, "80", "/", nil).DoRaw(ctx)
		if err != nil {
			return fmt.Errorf("get the page of pod %s: %w", p.Name, err)
		}
		if !strings.Contains(string(page), want) {
			return fmt.Errorf("pod %s serves a page without %q: %s", p.Name, want, page)
		}
	}
	saw("every pod serves the page of %s", want)
	return nil
}

// awayTimes follows how long pods are away: from the change of their spec until they are ready with a new container. That is
// the most that it can have been; the kubelet may have let them serve for some of that time.
type awayTimes struct {
	events watch.Interface
	done   chan struct{}

	mu      sync.Mutex
	known   map[types.UID]spell
	since   map[types.UID]time.Time
	total   map[types.UID]time.Duration
	highest int
}

// spell is one spec of a pod, and the container that ran when it came.
type spell struct {
	generation  int64
	containerID string
}

// watchAway begins to follow the pods of the set.
func watchAway(ctx context.Context, c client.WithWatch) (*awayTimes, error) {
	events, err := c.Watch(ctx, &corev1.PodList{}, client.InNamespace(namespace), client.MatchingLabels{"app": name})
	if err != nil {
		return nil, fmt.Errorf("watch the pods: %w", err)
	}
	a := &awayTimes{
		events: events, done: make(chan struct{}),
		known: map[types.UID]spell{}, since: map[types.UID]time.Time{}, total: map[types.UID]time.Duration{},
	}
	go a.follow()
	return a, nil
}

func (a *awayTimes) follow() {
	defer close(a.done)
	for event := range a.events.ResultChan() {
		if p, ok := event.Object.(*corev1.Pod); ok {
			a.note(p, time.Now())
		}
	}
}

func (a *awayTimes) note(p *corev1.Pod, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	current := spell{p.Generation, container(p, "nginx").ContainerID}
	known, seen := a.known[p.UID]
	begun, away := a.since[p.UID]
	switch {
	case !seen:
		a.known[p.UID] = current
	case !away && (current.generation != known.generation || !isReady(p)):
		a.since[p.UID] = now
		a.highest = max(a.highest, len(a.since))
	case away && isReady(p) && current.containerID != known.containerID:
		a.total[p.UID] += now.Sub(begun)
		a.known[p.UID] = current
		delete(a.since, p.UID)
	}
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func (a *awayTimes) most() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.highest
}

func (a *awayTimes) print(pods map[types.UID]*corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range sorted(pods) {
		saw("pod %s was away for %.1f s at most, from the change of its image until it was ready again", p.Name, a.total[p.UID].Seconds())
	}
}

func (a *awayTimes) stop() {
	a.events.Stop()
	<-a.done
}

func since(t time.Time) time.Duration { return time.Since(t).Round(100 * time.Millisecond) }
