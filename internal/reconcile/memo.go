package reconcile

import (
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// memo is what the frame remembers of one object between passes. The queue never runs two passes over one object at a
// time, so only the map of memos needs a lock.
type memo struct {
	uid types.UID
	// written is the object as our own last write returned it, kept while the cache is behind it.
	written client.Object
	// wroteAt is when the status was written last.
	wroteAt time.Time
	// counted is how many writes in a row told nothing but counters.
	counted int
	// stalledAt is the generation that is stalled, and stalledFor its reason.
	stalledAt  int64
	stalledFor string
	conflicts  int
	// events wait for the status that they belong to.
	events []note
}

func (f *Frame[T]) memo(key types.NamespacedName, obj T) *memo {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.memos[key]
	if m == nil || m.uid != obj.GetUID() {
		m = &memo{uid: obj.GetUID()}
		f.memos[key] = m
	}
	return m
}

func (f *Frame[T]) forget(key types.NamespacedName) {
	f.mu.Lock()
	delete(f.memos, key)
	f.countStalled()
	f.mu.Unlock()
	if room, ok := f.room.(Forgetter); ok {
		room.Forget(key)
	}
}

// freshest prefers what our own last write returned to a cache that has not seen that write yet: the room would otherwise
// judge by a status that is older than its own.
func freshest[T client.Object](m *memo, cached T) T {
	if m.written == nil {
		return cached
	}
	order, err := resourceversion.CompareResourceVersion(cached.GetResourceVersion(), m.written.GetResourceVersion())
	if err != nil || order >= 0 {
		m.written = nil
		return cached
	}
	return m.written.DeepCopyObject().(T) //nolint:forcetypeassert // only a T is ever remembered
}

// noteStalled remembers a stalled generation, so that its user is told once and not at every pass.
func (f *Frame[T]) noteStalled(m *memo, v verdict, generation int64, events *buffer) {
	if v.stalled == nil {
		if v.outcome == outcomeSuccess {
			f.setStalled(m, 0, "")
		}
		return
	}
	if m.stalledAt != generation || m.stalledFor != v.stalled.reason {
		events.warn(v.stalled)
	}
	f.setStalled(m, generation, v.stalled.reason)
}

func (f *Frame[T]) setStalled(m *memo, generation int64, reason string) {
	if m.stalledAt == generation && m.stalledFor == reason {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m.stalledAt, m.stalledFor = generation, reason
	f.countStalled()
}

func (f *Frame[T]) countStalled() {
	n := 0
	for _, m := range f.memos {
		if m.stalledFor != "" {
			n++
		}
	}
	f.opts.Metrics.setStalled(f.opts.Name, n)
}

func joinErrors(a, b error) error {
	if a == nil {
		return b
	}
	return errors.Join(a, b)
}
