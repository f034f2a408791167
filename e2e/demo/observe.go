package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/e2e/cluster"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// until waits until done.
func (s *stage) until(ctx context.Context, what string, done func() (bool, error)) error {
	return cluster.Until(ctx, what, " (`holdfast why cloneset/web` says what it waits for)", done)
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
	return cluster.Pods(ctx, s.client, namespace, map[string]string{"app": name})
}

// served asks every pod for its page, through the API server.
func (s *stage) served(ctx context.Context, pods map[types.UID]*corev1.Pod, want string) error {
	if s.cluster.Simulated > 0 {
		return nil // nothing runs there
	}
	config, err := s.cluster.Config()
	if err != nil {
		return err
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
	cluster.Saw("every pod serves the page of %s", want)
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
	case !away && (current.generation != known.generation || !pod.Ready(p)):
		a.since[p.UID] = now
		a.highest = max(a.highest, len(a.since))
	case away && pod.Ready(p) && current.containerID != known.containerID:
		a.total[p.UID] += now.Sub(begun)
		a.known[p.UID] = current
		delete(a.since, p.UID)
	}
}

// container is the status of a container, empty while there is none.
func container(p *corev1.Pod, name string) corev1.ContainerStatus {
	if status := pod.Container(p, name); status != nil {
		return *status
	}
	return corev1.ContainerStatus{}
}

func (a *awayTimes) most() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.highest
}

func (a *awayTimes) print(pods map[types.UID]*corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range cluster.Sorted(pods) {
		cluster.Saw("pod %s was away for %.1f s at most, from the change of its image until it was ready again", p.Name, a.total[p.UID].Seconds())
	}
}

func (a *awayTimes) stop() {
	a.events.Stop()
	<-a.done
}
