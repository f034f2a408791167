package poddeletionflowcontrol

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const (
	// LeaseName is the lease by which the replicas agree on a preferred one. Nothing but speed depends on it.
	LeaseName = "holdfast-deletions"
	// annotationAddress on the lease is where its holder is reached.
	annotationAddress = "holdfast.io/address"

	leaseDuration = 6 * time.Second
	leaseRenewal  = 2 * time.Second
	// How soon whoever lost the race for the lease looks who has won it.
	leaseLost = 50 * time.Millisecond
	// How long nobody tries to reach a replica that did not answer: each time twice as long, up to the second one.
	unreachable     = time.Second
	unreachableMost = 8 * time.Second
	// How many answers in a row may be late before a replica is left alone for a while, too.
	maxSlow = 3
)

// owner is the preferred replica: it sets permits aside, and the others ask it.
type owner struct {
	mu      sync.Mutex
	until   time.Time // as long as we are it
	peer    string    // the address of another one
	avoid   time.Time // it does not answer: not before
	failed  int       // how often in a row it has not
	late    int       // how many answers in a row were late
	version string    // of the lease when it was seen last
	seen    time.Time // when that was
}

// mine tells whether this replica is the preferred one.
func (o *owner) mine(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return now.Before(o.until)
}

// near tells whether there is no other replica to ask.
func (o *owner) near(now time.Time) bool {
	_, ok := o.other(now)
	return !ok
}

// other is the address of the preferred replica, when it is another one that answers.
func (o *owner) other(now time.Time) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.peer, o.peer != "" && !now.Before(o.until) && !now.Before(o.avoid)
}

// shun notes that the preferred replica does not answer.
func (o *owner) shun(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leave(now)
}

// slow notes that the preferred replica answers late: it has enough to do.
func (o *owner) slow(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.late++; o.late >= maxSlow {
		o.leave(now)
	}
}

// leave the preferred replica alone for a while. What was on its way to it counts once. The lock is held.
func (o *owner) leave(now time.Time) {
	if now.Before(o.avoid) {
		return
	}
	o.avoid = now.Add(min(unreachable<<o.failed, unreachableMost))
	o.failed, o.late = min(o.failed+1, 3), 0
}

// answered notes that the preferred replica does answer.
func (o *owner) answered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed, o.late, o.avoid = 0, 0, time.Time{}
}

// setsAside tells whether this replica should set permits aside: the preferred one, and one that cannot ask it, which would
// otherwise write for each.
func (o *owner) setsAside(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return now.Before(o.until) || o.peer != "" && now.Before(o.avoid)
}

func (o *owner) set(until time.Time, peer string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if peer != o.peer {
		o.avoid, o.failed, o.late = time.Time{}, 0, 0 // it is another one
	}
	o.until, o.peer = until, peer
}

// campaign keeps the lease, or follows who has it, while there is a policy to keep.
func (k *Keeper) campaign(ctx context.Context) {
	if k.admission == nil {
		return // a test says who it is
	}
	defer k.resign(context.WithoutCancel(ctx))
	for ctx.Err() == nil {
		next := leaseRenewal
		if len(k.all()) > 0 {
			k.measure(ctx)
			if err := k.stand(ctx); err != nil && ctx.Err() == nil {
				k.log.V(1).Info("the lease of the deletions was not renewed", "error", err.Error())
				if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
					next = leaseLost
				}
			}
		}
		timer := k.clock.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-timer.C():
		case <-k.called: // the first permits should not have to wait for the next look
		}
		timer.Stop()
	}
}

// stand renews the lease, takes one that has run out, or notes who has it.
func (k *Keeper) stand(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaseRenewal)
	defer cancel()
	begun := k.now()
	lease := &coordinationv1.Lease{}
	err := k.admission.Get(ctx, types.NamespacedName{Namespace: k.system, Name: LeaseName}, lease)
	if apierrors.IsNotFound(err) {
		lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: k.system, Name: LeaseName}}
		k.claim(lease, begun)
		if err = k.admission.Create(ctx, lease); err == nil {
			k.owner.set(begun.Add(leaseDuration), "")
		}
		return err //nolint:wrapcheck // told by the caller
	}
	if err != nil {
		return err //nolint:wrapcheck // told by the caller
	}
	holder := ptr.Deref(lease.Spec.HolderIdentity, "")
	if holder != k.identity && holder != "" && !k.runOut(lease, begun) {
		k.owner.set(time.Time{}, lease.Annotations[annotationAddress])
		return nil
	}
	k.claim(lease, begun)
	if err = k.admission.Update(ctx, lease); err == nil {
		k.owner.set(begun.Add(leaseDuration), "")
	}
	return err //nolint:wrapcheck // told by the caller
}

// runOut tells whether the lease has not been renewed for its duration, by our own clock.
func (k *Keeper) runOut(lease *coordinationv1.Lease, now time.Time) bool {
	o := &k.owner
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.version != lease.ResourceVersion {
		o.version, o.seen = lease.ResourceVersion, now
	}
	return now.Sub(o.seen) > leaseDuration
}

func (k *Keeper) claim(lease *coordinationv1.Lease, now time.Time) {
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	delete(lease.Annotations, annotationAddress)
	if k.address != nil && k.address() != "" {
		lease.Annotations[annotationAddress] = k.address()
	}
	if ptr.Deref(lease.Spec.HolderIdentity, "") != k.identity {
		lease.Spec.AcquireTime = ptr.To(metav1.NewMicroTime(now))
	}
	lease.Spec.HolderIdentity = ptr.To(k.identity)
	lease.Spec.LeaseDurationSeconds = ptr.To(int32(leaseDuration.Seconds()))
	lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(now))
}

// resign frees the lease for another replica.
func (k *Keeper) resign(ctx context.Context) {
	if !k.owner.mine(k.now()) {
		return
	}
	k.owner.set(time.Time{}, "") // from now on each request writes for itself
	ctx, cancel := context.WithTimeout(ctx, leaseRenewal)
	defer cancel()
	lease := &coordinationv1.Lease{}
	if err := k.admission.Get(ctx, types.NamespacedName{Namespace: k.system, Name: LeaseName}, lease); err != nil {
		return // it runs out by itself
	}
	if ptr.Deref(lease.Spec.HolderIdentity, "") != k.identity {
		return
	}
	lease.Spec.HolderIdentity, lease.Annotations = ptr.To(""), nil
	if err := k.admission.Update(ctx, lease); err != nil {
		k.log.V(1).Info("the lease of the deletions was not given back; it runs out by itself", "error", err.Error())
	}
}
