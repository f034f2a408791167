package pull

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

const (
	// refusedInterval is when pull pods are tried again that the API server would not take.
	refusedInterval = time.Minute
	// failedInterval is when a write is tried again that failed for another reason.
	failedInterval = 5 * time.Second
)

// Puller makes and deletes the pull pods of sets. It is safe for concurrent use on different sets.
type Puller struct {
	// Client reads from the cache, by workload.OwnerIndex, and writes to the API server.
	Client client.Client
	// Wrote is told the resourceVersion of each pod that is made, so that the next pass waits until the cache shows it.
	Wrote func(owner client.Object, resourceVersion string)
	Clock clock.PassiveClock

	mu       sync.Mutex
	memories map[types.NamespacedName]*memory
}

// memory is what is known of the pulls of one set beyond its pods. After a restart of the operator some images are pulled
// again, which costs little: the nodes have them.
type memory struct {
	uid      types.UID
	revision string
	outcomes Outcomes
	// refused is why the API server would not take a pull pod, until is when it is asked again.
	refused string
	until   time.Time
}

// Forget drops what is remembered of a set that is gone.
func (p *Puller) Forget(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.memories, key)
}

// recall returns the memory of the owner's pulls for a revision; what was learned for another one does not count.
func (p *Puller) recall(owner client.Object, revision string) *memory {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := client.ObjectKeyFromObject(owner)
	m := p.memories[key]
	if m == nil || m.uid != owner.GetUID() || m.revision != revision {
		m = &memory{uid: owner.GetUID(), revision: revision, outcomes: Outcomes{}}
		if p.memories == nil {
			p.memories = map[types.NamespacedName]*memory{}
		}
		p.memories[key] = m
	}
	return m
}

// Ahead brings the images of changes that wait to the nodes, as far as the strategy asks for it, and adds to the plan what
// stands in the way of that.
func (p *Puller) Ahead(
	ctx context.Context, o Owner, strategy *appsv1beta1.InPlaceUpdateStrategy, state workload.State, plan *workload.Plan,
) {
	held, again := p.Bring(ctx, o, NewWish(strategy, state, *plan, false))
	plan.Held = append(plan.Held, held...)
	if again > 0 && (plan.Again == 0 || again < plan.Again) {
		plan.Again = again
	}
}

// Bring gets on with what is wished. It returns what stands in the way, and when time alone will allow more. Nothing waits
// for a pull, so nothing that goes wrong here is an error of the pass.
func (p *Puller) Bring(ctx context.Context, o Owner, w Wish) ([]workload.Held, time.Duration) {
	pods, err := p.pods(ctx, o.Object)
	if err != nil {
		log.FromContext(ctx).Error(err, "images are not pulled ahead for now")
		return nil, failedInterval
	}
	if len(w.Images) == 0 && len(pods) == 0 {
		p.Forget(client.ObjectKeyFromObject(o.Object))
		return nil, 0
	}
	m, now := p.recall(o.Object, w.Revision), p.Clock.Now()
	if left := m.until.Sub(now); left <= 0 {
		m.refused = ""
	} else if m.refused != "" {
		w.Parallel = 0
	}
	plan := Decide(w, pods, m.outcomes, now)
	tell(ctx, plan.Learned)
	maps.Copy(m.outcomes, plan.Learned)
	again := plan.Again
	if err := p.act(ctx, o, w, plan, m); err != nil {
		log.FromContext(ctx).Error(err, "images are not pulled ahead for now")
		again = sooner(again, failedInterval)
	}
	if m.refused != "" {
		again = sooner(again, m.until.Sub(now))
	}
	return held(w, m), again
}

// Stop deletes the pull pods of a set that is on its way out: the garbage collector leaves them where it is told to leave
// the set's pods.
func (p *Puller) Stop(ctx context.Context, set client.Object) error {
	pods, err := p.pods(ctx, set)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if err := p.remove(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}

func (p *Puller) pods(ctx context.Context, set client.Object) ([]*corev1.Pod, error) {
	var list corev1.PodList
	err := p.Client.List(ctx, &list, client.InNamespace(set.GetNamespace()),
		client.MatchingFields{workload.OwnerIndex: workload.PullIndex(set.GetUID())}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the pull pods of %s: %w", client.ObjectKeyFromObject(set), err)
	}
	pods := make([]*corev1.Pod, 0, len(list.Items))
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	return pods, nil
}

func (p *Puller) act(ctx context.Context, o Owner, w Wish, plan Plan, m *memory) error {
	for _, pod := range plan.Delete {
		if err := p.remove(ctx, pod); err != nil {
			return err
		}
	}
	for _, at := range plan.Create {
		fresh := build(o, at, w.Timeout)
		switch err := p.Client.Create(ctx, fresh); {
		case err == nil:
			p.Wrote(o.Object, fresh.ResourceVersion)
		case apierrors.IsAlreadyExists(err): // ours: the name says so. Its event is on its way.
		case apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
			m.refused, m.until = short(err.Error()), p.Clock.Now().Add(refusedInterval)
			reconcile.Event(ctx, corev1.EventTypeWarning, "FailedImagePreDownload",
				"the API server takes no pod that pulls an image ahead: %s", m.refused)
			return nil
		default:
			return fmt.Errorf("create pod %s/%s to pull %s on %s: %w", fresh.Namespace, fresh.Name, at.Image, at.Node, err)
		}
	}
	return nil
}

func (p *Puller) remove(ctx context.Context, pod *corev1.Pod) error {
	err := p.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // a conflict: the name has another pod already
		return nil
	}
	return fmt.Errorf("delete pull pod %s/%s: %w", pod.Namespace, pod.Name, err)
}

// sooner returns the earlier of two times of which 0 means never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}
