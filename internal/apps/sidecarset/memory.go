package sidecarset

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// memory is what is known of the own writes to a set's pods beyond the cache. Nothing in it is needed after a restart, when
// the cache starts from a list that holds every earlier write.
type memory struct {
	uid types.UID

	mu sync.Mutex
	// written is the newest version that a write of ours returned.
	written string
	// unsure are pods whose last write ended without an answer, with the workloads whose turn it was.
	unsure map[client.ObjectKey]types.UID
	// known are the pods as they were seen last; only the pass over the set, of which there is one at a time, uses it.
	known map[types.UID]remembered
	// seen is the generation of the set that has been looked at, so that its limit is known.
	seen atomic.Int64
	// bound are the workloads that a limit of ours holds for.
	bound map[types.UID]bool
	// missed are pods without the containers, as they were looked for at looked.
	missed []string
	looked time.Time
}

// cacheInterval is how long until the cache is looked at again; its events wake the set earlier.
const cacheInterval = 100 * time.Millisecond

func (r *Reconciler) memory(set *appsv1beta1.SidecarSet) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.memories[set.Name]; m != nil && m.uid == set.UID {
		return m
	}
	m := &memory{uid: set.UID, unsure: map[client.ObjectKey]types.UID{}, known: map[types.UID]remembered{}}
	r.memories[set.Name] = m
	return m
}

func (m *memory) wrote(version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if reconcile.Newer(version, m.written) {
		m.written = version
	}
}

// learn finds out whether a write without an answer has happened, before anybody else counts; a failure leaves it to the next
// pass.
func (r *Reconciler) learn(ctx context.Context, m *memory, key client.ObjectKey, turn types.UID) {
	var p corev1.Pod
	err := r.deps.Live.Get(ctx, key, &p)
	m.mu.Lock()
	if client.IgnoreNotFound(err) != nil {
		m.unsure[key] = turn
	} else {
		delete(m.unsure, key)
	}
	m.mu.Unlock()
	if err == nil {
		m.wrote(p.ResourceVersion)
		if r.deps.Turns != nil && turn != "" {
			r.deps.Turns.Wrote(turn, p.ResourceVersion)
		}
	}
}

// caughtUp makes sure that the cache shows our own writes, asking the API server about those without an answer.
func (r *Reconciler) caughtUp(ctx context.Context, m *memory) error {
	m.mu.Lock()
	unsure := maps.Clone(m.unsure)
	m.mu.Unlock()
	for key, turn := range unsure {
		r.learn(ctx, m, key, turn)
	}
	synced, known := r.deps.Position.Synced(ctx, podKind())
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case len(m.unsure) > 0:
		return reconcile.Wait(time.Second, "the API server does not tell whether the last write of a pod has happened")
	case known && reconcile.Newer(m.written, synced):
		return reconcile.Wait(cacheInterval, fmt.Sprintf("the cache shows pods up to version %s, our last write is %s", synced, m.written))
	}
	return nil
}

// settled notes that the limit of the set is known, or that nobody can tell it: a failed pass must not stop all workloads.
func (r *Reconciler) settled(set *appsv1beta1.SidecarSet) {
	r.memory(set).seen.Store(set.Generation)
}

// unsettled names a set whose containers some of the pods have, and that has not been looked at since it changed, or since the
// start.
func (r *Reconciler) unsettled(ctx context.Context, pods iter.Seq[*corev1.Pod]) string {
	var sets appsv1beta1.SidecarSetList
	if err := r.deps.Client.List(ctx, &sets, client.UnsafeDisableDeepCopy); err != nil {
		return "" // there are none, or nobody can read any
	}
	waited := r.unseen(sets.Items)
	if len(waited) == 0 {
		return ""
	}
	for p := range pods {
		for _, name := range inject.Names(p) {
			if waited[name] {
				return "SidecarSet " + name
			}
		}
	}
	return ""
}

// unseen are the names of sets that have not been looked at as they are.
func (r *Reconciler) unseen(sets []appsv1beta1.SidecarSet) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := map[string]bool{}
	for i := range sets {
		set := &sets[i]
		if m := r.memories[set.Name]; set.DeletionTimestamp == nil && (m == nil || m.uid != set.UID || m.seen.Load() < set.Generation) {
			names[set.Name] = true
		}
	}
	return names
}

// bind shares the set's limit with the workloads of its pods while these are being changed, and lifts it from all others.
func (r *Reconciler) bind(set *appsv1beta1.SidecarSet, members []member, most int) {
	if r.deps.Turns == nil {
		return
	}
	m, by := r.memory(set), "SidecarSet "+set.Name
	m.mu.Lock()
	defer m.mu.Unlock()
	bound := map[types.UID]bool{}
	for i := range members {
		if uid := ownerUID(members[i].Pod); uid != "" && most > 0 && !bound[uid] {
			bound[uid] = true
			r.deps.Turns.Bind(uid, disruption.Bound{By: by, Most: most})
		}
	}
	for uid := range m.bound {
		if !bound[uid] {
			r.deps.Turns.Unbind(uid, by)
		}
	}
	m.bound = bound
}
