package daemonset

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload/node"
)

// How long a node gets no pod after one failed there: each further failure doubles it. A node whose pods have not failed for
// twice the longest time starts anew. These are the times of Kubernetes.
const (
	firstRest = time.Second
	lastRest  = 15 * time.Minute
)

// backoff remembers the failures of the nodes of each set. After a restart of the operator it starts anew.
type backoff struct {
	mu   sync.Mutex
	sets map[types.NamespacedName]map[string]*failure
}

type failure struct {
	pod   types.UID // the last one that failed
	rest  time.Duration
	until time.Time
}

// note counts the pods that have failed since the last look. One that was asked to go may end as Failed, too, and has done
// nothing wrong.
func (b *backoff) note(set types.NamespacedName, gone []*corev1.Pod, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range gone {
		if p.Status.Phase != corev1.PodFailed || pod.Terminating(p) {
			continue
		}
		if b.sets == nil {
			b.sets = map[types.NamespacedName]map[string]*failure{}
		}
		if b.sets[set] == nil {
			b.sets[set] = map[string]*failure{}
		}
		at := node.Of(p)
		f := b.sets[set][at]
		switch {
		case f == nil || now.Sub(f.until) > 2*lastRest:
			f = &failure{rest: firstRest}
		case f.pod == p.UID:
			continue
		default:
			f.rest = min(2*f.rest, lastRest)
		}
		f.pod, f.until = p.UID, now.Add(f.rest)
		b.sets[set][at] = f
	}
	for at, f := range b.sets[set] {
		if now.Sub(f.until) > 2*lastRest {
			delete(b.sets[set], at)
		}
	}
}

// left is how long the node gets no pod.
func (b *backoff) left(set types.NamespacedName, at string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.sets[set][at]
	if f == nil {
		return 0
	}
	return max(0, f.until.Sub(now))
}

func (b *backoff) forget(set types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sets, set)
}
