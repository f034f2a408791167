package disruption

import (
	"context"
	"iter"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Turns lets one controller at a time take pods of a workload away. A workload's own controller and, say, a SidecarSet's
// change the same pods; each counts how many are away before it takes more, and two that count at the same moment would
// both take the last one.
type Turns struct {
	mu     sync.Mutex
	taken  map[types.UID]bool
	writes map[types.UID]string
	left   map[types.UID]map[types.UID]bool // pods by workload
	bounds map[types.UID]map[string]int     // by workload and by whom
	await  func(ctx context.Context, pods iter.Seq[*corev1.Pod]) string
}

// NewTurns makes the book of turns of one process. Only the leader's controllers change pods, so that one process is enough.
func NewTurns() *Turns {
	return &Turns{
		taken: map[types.UID]bool{}, writes: map[types.UID]string{}, left: map[types.UID]map[types.UID]bool{},
		bounds: map[types.UID]map[string]int{},
	}
}

// Take takes the turn of a workload; false: somebody else has it, come again soon. Whoever got it calls done when its writes
// are made, and counts only once its cache has got as far as version: the newest resourceVersion of a pod that somebody
// else has written; "" when nobody has.
func (t *Turns) Take(workload types.UID) (version string, done func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken[workload] {
		return "", nil, false
	}
	t.taken[workload] = true
	return t.writes[workload], func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.taken, workload)
	}, true
}

// Wrote notes that a write of one of the workload's pods returned this resourceVersion, for whoever has the next turn.
func (t *Turns) Wrote(workload types.UID, version string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if newer(version, t.writes[workload]) {
		t.writes[workload] = version
	}
}

// Forget drops what is known of a workload that is gone.
func (t *Turns) Forget(workload types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.writes, workload)
	delete(t.left, workload)
	delete(t.bounds, workload)
}

// Bound is a limit beside the workload's own.
type Bound struct {
	// By whom, as a person would look for it: "SidecarSet log".
	By string
	// Most is how many pods of the workload may be away, whoever takes them.
	Most int
}

// Bind sets a limit for as long as somebody else changes pods of the workload: the tighter of two limits holds for both.
func (t *Turns) Bind(workload types.UID, b Bound) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bounds[workload] == nil {
		t.bounds[workload] = map[string]int{}
	}
	t.bounds[workload][b.By] = b.Most
}

// Await sets who is asked before a workload takes its turn: unsettled names who may set a limit for these pods and has not said
// which yet, such as just after a start; "" for nobody. Until then the workload takes no pods away by its own limit alone.
func (t *Turns) Await(unsettled func(ctx context.Context, pods iter.Seq[*corev1.Pod]) string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.await = unsettled
}

// Unsettled names somebody whose limit for the pods is not known yet; "" for nobody.
func (t *Turns) Unsettled(ctx context.Context, pods iter.Seq[*corev1.Pod]) string {
	t.mu.Lock()
	unsettled := t.await
	t.mu.Unlock()
	if unsettled == nil {
		return ""
	}
	return unsettled(ctx, pods)
}

// Unbind lifts it.
func (t *Turns) Unbind(workload types.UID, by string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if delete(t.bounds[workload], by); len(t.bounds[workload]) == 0 {
		delete(t.bounds, workload)
	}
}

// Bound is the tightest limit that others have set; false: nobody has.
func (t *Turns) Bound(workload types.UID) (tightest Bound, bounded bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for by, most := range t.bounds[workload] {
		if !bounded || most < tightest.Most || most == tightest.Most && by < tightest.By {
			tightest, bounded = Bound{By: by, Most: most}, true
		}
	}
	return tightest, bounded
}

// Left notes that a pod of the workload is on its way out: a cache may still show it in service.
func (t *Turns) Left(workload, pod types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left[workload] == nil {
		t.left[workload] = map[types.UID]bool{}
	}
	t.left[workload][pod] = true
}

// HasLeft reports whether somebody has deleted the pod.
func (t *Turns) HasLeft(workload, pod types.UID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.left[workload][pod]
}

// Keep forgets the pods of the workload that have left, but for those that the cache still shows.
func (t *Turns) Keep(workload types.UID, shown map[types.UID]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for pod := range t.left[workload] {
		if !shown[pod] {
			delete(t.left[workload], pod)
		}
	}
}

// newer compares resourceVersions as the numbers that they are.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
func newer(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}
