package daemonset

import (
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload/node"
)

// How long a node gets no pod after one failed there: each further failure of the same revision doubles it. A pod that lived
// for twice the longest time begins anew. These are the times of Kubernetes.
const (
	firstRest = time.Second
	lastRest  = 15 * time.Minute
)

// failuresBefore is the annotation of a pod that tells how many before it have failed on its node, one after the other. A
// failed pod stays until its successor has been made with a count of one more: so the count outlives the operator.
const failuresBefore = "holdfast.io/failures-before"

// failure is the last pod of a node that has failed.
type failure struct {
	pod *corev1.Pod
	// count is how many have failed one after the other, this one among them.
	count int
	// left is how long the node gets no pod of the same revision.
	left time.Duration
}

// failures finds the failures of the nodes. since tells when a pod was first seen to have failed. One that was asked to go may
// end as Failed, too, and has done nothing wrong. It is pure.
func failures(gone []*corev1.Pod, since func(p *corev1.Pod) time.Time, now time.Time) map[string]*failure {
	last := map[string]*failure{}
	for _, p := range gone {
		if p.Status.Phase != corev1.PodFailed || pod.Terminating(p) {
			continue
		}
		at := since(p)
		f := &failure{pod: p, count: 1}
		if at.Sub(p.CreationTimestamp.Time) <= 2*lastRest {
			f.count += before(p)
		}
		f.left = max(0, restAfter(f.count)-now.Sub(at))
		if other := last[node.Of(p)]; other == nil || f.count > other.count {
			last[node.Of(p)] = f
		}
	}
	return last
}

func before(p *corev1.Pod) int {
	n, err := strconv.Atoi(p.Annotations[failuresBefore])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func restAfter(count int) time.Duration {
	rest := firstRest
	for n := 1; n < count && rest < lastRest; n++ {
		rest *= 2
	}
	return min(rest, lastRest)
}

// clocks remember when the failed pods of each set were first seen. After a restart of the operator their rest begins anew; how
// long it is, the pods know.
type clocks struct {
	mu   sync.Mutex
	sets map[types.NamespacedName]map[types.UID]time.Time
}

// look returns when the failed ones among the pods were first seen, and forgets all others.
func (c *clocks) look(set types.NamespacedName, gone []*corev1.Pod, now time.Time) func(p *corev1.Pod) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var seen map[types.UID]time.Time
	for _, p := range gone {
		if p.Status.Phase != corev1.PodFailed {
			continue
		}
		if seen == nil {
			seen = map[types.UID]time.Time{}
		}
		seen[p.UID] = now
		if at, known := c.sets[set][p.UID]; known {
			seen[p.UID] = at
		}
	}
	if seen == nil {
		delete(c.sets, set)
	} else {
		if c.sets == nil {
			c.sets = map[types.NamespacedName]map[types.UID]time.Time{}
		}
		c.sets[set] = seen
	}
	return func(p *corev1.Pod) time.Time { return seen[p.UID] }
}

func (c *clocks) forget(set types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sets, set)
}
