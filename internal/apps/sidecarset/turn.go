package sidecarset

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// How long until a workload is asked again whose turn somebody else has.
const ownerInterval = 100 * time.Millisecond

// turns are those that a pass has taken. While it holds one, no other controller takes pods of that workload away.
type turns struct {
	reconciler *Reconciler
	ctx        context.Context //nolint:containedctx // the life of the pass
	owners     map[types.UID]*owner
	busy       map[types.UID]string
	done       []func()
	err        error
}

func (r *Reconciler) turns(ctx context.Context) *turns {
	return &turns{reconciler: r, ctx: ctx, owners: map[types.UID]*owner{}, busy: map[types.UID]string{}}
}

// release gives all turns back.
func (t *turns) release() {
	for _, done := range t.done {
		done()
	}
	t.done = nil
}

// lend finds the workload of a pod, takes its turn, and counts how many of its pods may be taken.
func (t *turns) lend(p *corev1.Pod) (*owner, string) {
	ref := ownerUID(p)
	if ref == "" {
		return nil, ""
	}
	if o, known := t.owners[ref]; known {
		return o, t.busy[ref]
	}
	o, busy, err := t.take(p)
	if err != nil {
		t.err = err
		busy = err.Error()
	}
	if o != nil {
		for _, uid := range o.uids {
			t.owners[uid], t.busy[uid] = o, busy
		}
	}
	t.owners[ref], t.busy[ref] = o, busy
	return o, busy
}

func (t *turns) take(p *corev1.Pod) (*owner, string, error) {
	r := t.reconciler
	o, err := r.ownerOf(t.ctx, p)
	if err != nil || o == nil {
		return nil, "", err
	}
	if r.deps.Turns != nil {
		version, done, ok := r.deps.Turns.Take(o.turn)
		if !ok {
			return o, o.name + " changes pods of its own just now", nil
		}
		t.done = append(t.done, done)
		synced, known := r.deps.Position.Synced(t.ctx, podKind())
		if known && reconcile.Newer(version, synced) {
			return o, o.name + " has changed pods of its own, which the cache does not show yet", nil
		}
	}
	return o, "", r.count(t.ctx, o, p.Namespace)
}

// count finds how many pods of a workload are available, and so how many of them may be taken. What was changed just now
// counts as away until the kubelet has made the change.
func (r *Reconciler) count(ctx context.Context, o *owner, namespace string) error {
	o.available = map[types.UID]bool{}
	for _, uid := range o.uids {
		var pods corev1.PodList
		err := r.deps.Client.List(ctx, &pods, client.InNamespace(namespace), client.MatchingFields{workload.OwnerIndex: string(uid)},
			client.UnsafeDisableDeepCopy)
		if err != nil {
			return fmt.Errorf("list the pods of %s: %w", o.name, err)
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			if r.deps.Turns != nil && r.deps.Turns.HasLeft(o.turn, p.UID) {
				continue
			}
			if serving(p, o.minReady, r.deps.Clock.Now()) {
				o.available[p.UID] = true
			}
		}
	}
	o.budget = len(o.available) - (o.desired - o.unavailable)
	return nil
}
