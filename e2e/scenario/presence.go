package main

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// presence follows how many pods are there, at every event of a watch. A pod is there while it is ready, is not on its way
// out, and its kubelet has seen its newest spec: one whose image was just changed is away, although it still serves.
type presence struct {
	events watch.Interface
	done   chan struct{}
	want   int

	mu       sync.Mutex
	pods     map[types.UID]bool
	armed    bool // all were there once: before that, fewer say nothing
	mostAway int
	judged   int
	gone     int
	stopped  bool
	cut      bool // the watch ended by itself: it has not seen everything
}

// follow begins to watch the scenario's pods with these labels, of which want are wanted.
func (p *play) follow(ctx context.Context, want int, labels map[string]string) (*presence, error) {
	events, err := p.client.Watch(ctx, &corev1.PodList{}, client.InNamespace(p.namespace), client.MatchingLabels(labels))
	if err != nil {
		return nil, fmt.Errorf("watch the pods: %w", err)
	}
	w := &presence{events: events, done: make(chan struct{}), want: want, pods: map[types.UID]bool{}}
	go w.run()
	return w, nil
}

func (w *presence) run() {
	defer close(w.done)
	for event := range w.events.ResultChan() {
		if p, ok := event.Object.(*corev1.Pod); ok {
			w.note(event.Type, p)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = !w.stopped
}

// note applies one event, and judges the state after it.
func (w *presence) note(kind watch.EventType, p *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kind == watch.Deleted {
		delete(w.pods, p.UID)
		w.gone++
	} else {
		w.pods[p.UID] = pod.Active(p) && pod.Ready(p) && p.Status.ObservedGeneration >= p.Generation
	}
	there := 0
	for _, is := range w.pods {
		if is {
			there++
		}
	}
	w.armed = w.armed || there >= w.want
	if !w.armed {
		return
	}
	w.judged++
	w.mostAway = max(w.mostAway, w.want-there)
}

// stop ends the watch, and says how many were away at most, at how many events that was looked at, and how many pods went.
func (w *presence) stop() (mostAway, judged, gone int) {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.events.Stop()
	<-w.done
	if w.cut || !w.armed {
		cluster.Saw("the watch of the pods has not seen everything: it counts as if all had been away")
		return w.want, w.judged, w.gone
	}
	return w.mostAway, w.judged, w.gone
}
