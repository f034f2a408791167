package main

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// podFact is what the benchmark needs to know of a pod.
type podFact struct {
	ready       bool
	terminating bool
	wanted      string // the image of its spec
	running     string // the image that its node reports
}

// podCount sums up the pods of the namespace.
type podCount struct {
	total       int
	terminating int
	ready       int
	updated     int // ready, and both asked for and running the given image
}

// podTracker follows the pods of the namespace. It is safe for several goroutines.
type podTracker struct {
	mu         sync.Mutex
	pods       map[types.UID]podFact
	ready      int
	leastReady int
}

func newPodTracker() *podTracker {
	return &podTracker{pods: map[types.UID]podFact{}}
}

// watch follows the pods until ctx ends.
func (t *podTracker) watch(ctx context.Context, clientset kubernetes.Interface, namespace string) {
	source := cache.NewListWatchFromClient(clientset.CoreV1().RESTClient(), "pods", namespace, fields.Everything())
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: source,
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    t.put,
			UpdateFunc: func(_, pod any) { t.put(pod) },
			DeleteFunc: t.drop,
		},
	})
	informer.RunWithContext(ctx)
}

// put notes the newest state of a pod.
func (t *podTracker) put(object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	fact := podFact{terminating: pod.DeletionTimestamp != nil, wanted: pod.Spec.Containers[0].Image}
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			fact.ready = c.Status == corev1.ConditionTrue && !fact.terminating
		}
	}
	if len(pod.Status.ContainerStatuses) > 0 {
		fact.running = pod.Status.ContainerStatuses[0].Image
	}
	t.replace(pod.UID, &fact)
}

// drop notes that a pod is gone.
func (t *podTracker) drop(object any) {
	if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	if pod, ok := object.(*corev1.Pod); ok {
		t.replace(pod.UID, nil)
	}
}

// replace changes one fact, and keeps the sums.
func (t *podTracker) replace(uid types.UID, fact *podFact) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pods[uid].ready {
		t.ready--
	}
	if fact == nil {
		delete(t.pods, uid)
	} else {
		t.pods[uid] = *fact
		if fact.ready {
			t.ready++
		}
	}
	t.leastReady = min(t.leastReady, t.ready)
}

// count sums up the pods; updated counts those at image.
func (t *podTracker) count(image string) podCount {
	t.mu.Lock()
	defer t.mu.Unlock()
	var c podCount
	for _, fact := range t.pods {
		c.total++
		if fact.terminating {
			c.terminating++
		}
		if fact.ready {
			c.ready++
			if fact.wanted == image && fact.running == image {
				c.updated++
			}
		}
	}
	return c
}

// resetLeastReady makes leastReadyPods start anew.
func (t *podTracker) resetLeastReady() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leastReady = t.ready
}

// leastReadyPods is the smallest number of ready pods seen since the reset.
func (t *podTracker) leastReadyPods() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.leastReady
}
