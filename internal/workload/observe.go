package workload

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// Position tells how far the cache has got with a kind.
type Position interface {
	// Synced returns the resourceVersion up to which the cache shows every object of the kind; false when it does not know.
	Synced(ctx context.Context, kind schema.GroupVersionKind) (resourceVersion string, ok bool)
}

// store is a Position that also hands out the pods themselves.
type store interface {
	// Pods returns the pods with that value of OwnerIndex, uncopied and in no order; false when it does not know.
	Pods(ctx context.Context, namespace, owner string) ([]*corev1.Pod, bool)
}

// Engine observes workloads and changes their pods. It is safe for concurrent use on different workloads.
type Engine struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Position of the cache behind Client.
	Position Position
	Clock    clock.PassiveClock
	// Guard is asked before each change that takes a pod away; nil: nobody is.
	Guard disruption.Asker
	// Turns are shared by all engines: one controller at a time takes pods of a workload away.
	Turns *disruption.Turns

	memories memories
}

func podKind() schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind("Pod") }

func claimKind() schema.GroupVersionKind {
	return corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim")
}

func revisionKind() schema.GroupVersionKind {
	return appsv1.SchemeGroupVersion.WithKind("ControllerRevision")
}

// How long a pass waits for the cache to show the writes of the one before, until it looks again. The events that bring the
// cache up to date wake the workload earlier.
const cacheInterval = 100 * time.Millisecond

// OwnerIndex is the name of the cache's index from an object to its controller's UID.
const OwnerIndex = "holdfast.io/owner-uid"

// ClaimIndex is the name of the cache's index from a claim to its name without the ordinal at its end.
const ClaimIndex = "holdfast.io/claim-stem"

// IndexClaim computes the value of ClaimIndex: data-web for data-web-3.
func IndexClaim(o client.Object) []string {
	name := o.GetName()
	stem := strings.TrimRight(name, "0123456789")
	if stem == name || !strings.HasSuffix(stem, "-") {
		return nil
	}
	return []string{strings.TrimSuffix(stem, "-")}
}

// orphan is the index value of objects without a controller.
const orphan = "none"

// PullFor is the label of a pod that only brings an image to a node; its value is the UID of the set it does so for.
const PullFor = "holdfast.io/pull-for"

// PullIndex is the value of OwnerIndex of the pods that bring images to nodes for a set.
func PullIndex(set types.UID) string { return "pull-for/" + string(set) }

// IndexOwner computes the value of OwnerIndex. Pods that bring images are apart from the orphans: they have no controller
// either, and a selector that only says what pods must not be would match them.
func IndexOwner(o client.Object) []string {
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		return []string{string(ref.UID)}
	}
	if set := o.GetLabels()[PullFor]; set != "" {
		return []string{PullIndex(types.UID(set))}
	}
	return []string{orphan}
}

// Index makes the indexes that Observe reads by.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	for _, o := range []client.Object{&corev1.Pod{}, &corev1.PersistentVolumeClaim{}, &appsv1.ControllerRevision{}} {
		if err := indexer.IndexField(ctx, o, OwnerIndex, IndexOwner); err != nil {
			return fmt.Errorf("index %T by owner: %w", o, err)
		}
	}
	if err := indexer.IndexField(ctx, &corev1.PersistentVolumeClaim{}, ClaimIndex, IndexClaim); err != nil {
		return fmt.Errorf("index claims by name: %w", err)
	}
	return nil
}

// Forget drops what is remembered of a workload that is gone.
func (e *Engine) Forget(key types.NamespacedName) {
	if uid := e.memories.forget(key); uid != "" && e.Turns != nil {
		e.Turns.Forget(uid)
	}
}

// WrotePod makes the next pass over the owner wait until the cache shows a pod that was written beside the engine.
func (e *Engine) WrotePod(owner client.Object, resourceVersion string) {
	e.memory(owner).wrote(podKind(), resourceVersion)
}

func (e *Engine) memory(owner client.Object) *memory {
	return e.memories.of(client.ObjectKeyFromObject(owner), owner.GetUID())
}

// Observe reads the pods, claims and revisions of a workload. It writes only what belongs to seeing clearly: the revision
// of a new template, and the ownership of pods that the selector gains or loses.
func (e *Engine) Observe(ctx context.Context, src Source) (State, error) {
	m := e.memory(src.Owner)
	if err := e.resolve(ctx, src, m); err != nil {
		return State{}, err
	}
	if err := e.caughtUp(ctx, m); err != nil {
		return State{}, err
	}
	synced, _ := e.Position.Synced(ctx, podKind()) // before the pods are read: what is read may be newer, never older
	pods, err := e.pods(ctx, src, m)
	if err != nil {
		return State{}, err
	}
	state := NewState(src.Owner)
	state.synced = synced
	state.bound = e.bound(src)
	state.CollisionCount = src.CollisionCount
	if state.Claims, err = e.ownedClaims(ctx, src); err != nil {
		return State{}, err
	}
	if err := e.revisions(ctx, src, m, &state); err != nil {
		return State{}, err
	}
	e.sort(src, m, pods, &state)
	return state, e.paths(m, &state)
}

// caughtUp makes sure that the cache shows our own writes.
func (e *Engine) caughtUp(ctx context.Context, m *memory) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for kind, written := range m.written {
		synced, known := e.Position.Synced(ctx, kind)
		if known && reconcile.Newer(written, synced) {
			return reconcile.Wait(cacheInterval,
				fmt.Sprintf("the cache shows %ss up to version %s, our last write is %s", kind.Kind, synced, written))
		}
		delete(m.written, kind)
	}
	return nil
}

// resolve asks the API server about pods whose last write ended without an answer.
func (e *Engine) resolve(ctx context.Context, src Source, m *memory) error {
	m.mu.Lock()
	unsure := maps.Clone(m.unsure)
	m.mu.Unlock()
	for name, uid := range unsure {
		var p corev1.Pod
		err := e.Live.Get(ctx, types.NamespacedName{Namespace: src.Owner.GetNamespace(), Name: name}, &p)
		switch {
		case apierrors.IsNotFound(err):
			m.gone(uid) // a cache that still shows it must not count on it
		case err != nil:
			return fmt.Errorf("find out whether the last write of pod %s/%s happened: %w", src.Owner.GetNamespace(), name, err)
		default:
			if p.UID != uid {
				m.gone(uid)
			}
			m.wrote(podKind(), p.ResourceVersion)
		}
		m.mu.Lock()
		delete(m.unsure, name)
		m.mu.Unlock()
	}
	return nil
}

// pods lists the workload's pods without copying them, adopts orphans that the selector matches, and lets pods go that it
// does not match any more.
func (e *Engine) pods(ctx context.Context, src Source, m *memory) ([]*corev1.Pod, error) {
	owned, err := e.list(ctx, src, string(src.Owner.GetUID()))
	if err != nil {
		return nil, err
	}
	orphans, err := e.list(ctx, src, orphan)
	if err != nil {
		return nil, err
	}
	kept := make([]*corev1.Pod, 0, len(owned))
	for _, p := range owned {
		if src.Selector.Matches(labels.Set(p.Labels)) || pod.Terminating(p) {
			kept = append(kept, p)
			continue
		}
		if err := e.release(ctx, src, m, p); err != nil {
			return nil, err
		}
	}
	var found []*corev1.Pod
	for _, p := range orphans {
		if pod.Active(p) && src.Selector.Matches(labels.Set(p.Labels)) && (src.Adopts == nil || src.Adopts(p)) {
			found = append(found, p)
		}
	}
	if len(found) > 0 {
		return nil, e.adoptAll(ctx, src, m, found)
	}
	return kept, nil
}

// list reads the pods of an owner. They are the cache's own: a copy of each, at every pass over a big set, would be most of
// what the operator does.
func (e *Engine) list(ctx context.Context, src Source, owner string) ([]*corev1.Pod, error) {
	if store, ok := e.Position.(store); ok {
		if pods, known := store.Pods(ctx, src.Owner.GetNamespace(), owner); known {
			return pods, nil
		}
	}
	var list corev1.PodList
	err := e.Client.List(ctx, &list, client.InNamespace(src.Owner.GetNamespace()),
		client.MatchingFields{OwnerIndex: owner}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the pods of %s %s: %w", src.Kind.Kind, client.ObjectKeyFromObject(src.Owner), err)
	}
	pods := make([]*corev1.Pod, 0, len(list.Items))
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	return pods, nil
}

// adoptAll adopts pods, and always returns an error: what was decided about the others is decided again.
func (e *Engine) adoptAll(ctx context.Context, src Source, m *memory, found []*corev1.Pod) error {
	if err := e.mayAdopt(ctx, src); err != nil {
		return err
	}
	var mu sync.Mutex
	var failures []error
	Each(found, func(p *corev1.Pod) {
		if err := e.adopt(ctx, src, m, shallow(p)); err != nil {
			mu.Lock()
			defer mu.Unlock()
			failures = append(failures, err)
		}
	})
	if len(failures) > 0 {
		return join(failures)
	}
	return reconcile.Wait(cacheInterval, "pods were adopted")
}

func (e *Engine) adopt(ctx context.Context, src Source, m *memory, p *corev1.Pod) error {
	ref := metav1.NewControllerRef(src.Owner, src.Kind)
	body := patch{Metadata: patchMeta{UID: p.UID, ResourceVersion: p.ResourceVersion, OwnerReferences: []any{ref}}}
	if err := e.patchPod(ctx, m, p, body, ""); err != nil {
		return fmt.Errorf("adopt pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	reconcile.Event(ctx, corev1.EventTypeNormal, "Adopted", "adopted pod %s, which the selector matches", p.Name)
	return nil
}

// mayAdopt asks the API server whether the owner still exists: the cache may show one that is gone, and what is given to it
// would be collected as garbage.
func (e *Engine) mayAdopt(ctx context.Context, src Source) error {
	live, ok := src.Owner.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copy %s: not an API object", src.Kind.Kind)
	}
	if err := e.Live.Get(ctx, client.ObjectKeyFromObject(src.Owner), live); err != nil {
		return fmt.Errorf("read %s before it adopts anything: %w", src.Kind.Kind, err)
	}
	if live.GetUID() != src.Owner.GetUID() || live.GetDeletionTimestamp() != nil {
		return reconcile.Wait(cacheInterval, "the owner is being deleted and adopts nothing")
	}
	return nil
}

func (e *Engine) release(ctx context.Context, src Source, m *memory, p *corev1.Pod) error {
	remove := map[string]string{"$patch": "delete", "uid": string(src.Owner.GetUID())}
	body := patch{Metadata: patchMeta{UID: p.UID, OwnerReferences: []any{remove}}}
	if err := e.patchPod(ctx, m, shallow(p), body, ""); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release pod %s/%s, which the selector no longer matches: %w", p.Namespace, p.Name, err)
	}
	reconcile.Event(ctx, corev1.EventTypeNormal, "Released", "released pod %s, which the selector no longer matches", p.Name)
	return nil
}

func (e *Engine) ownedClaims(ctx context.Context, src Source) ([]*corev1.PersistentVolumeClaim, error) {
	if src.NamedClaims {
		return e.namedClaims(ctx, src)
	}
	var list corev1.PersistentVolumeClaimList
	err := e.Client.List(ctx, &list, client.InNamespace(src.Owner.GetNamespace()),
		client.MatchingFields{OwnerIndex: string(src.Owner.GetUID())}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the volume claims of %s %s: %w", src.Kind.Kind, client.ObjectKeyFromObject(src.Owner), err)
	}
	claims := make([]*corev1.PersistentVolumeClaim, 0, len(list.Items))
	for i := range list.Items {
		claims = append(claims, &list.Items[i])
	}
	return claims, nil
}

// namedClaims are the claims of all slots that ever were, by the names of the templates.
func (e *Engine) namedClaims(ctx context.Context, src Source) ([]*corev1.PersistentVolumeClaim, error) {
	var claims []*corev1.PersistentVolumeClaim
	for i := range src.Claims {
		var list corev1.PersistentVolumeClaimList
		stem := src.Claims[i].Name + "-" + src.Owner.GetName()
		err := e.Client.List(ctx, &list, client.InNamespace(src.Owner.GetNamespace()),
			client.MatchingFields{ClaimIndex: stem}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("list the volume claims %s-* of %s %s: %w",
				stem, src.Kind.Kind, client.ObjectKeyFromObject(src.Owner), err)
		}
		for j := range list.Items {
			claims = append(claims, &list.Items[j])
		}
	}
	return claims, nil
}

// sort divides the pods into members and those that hold no place, and forgets what is known of pods that are gone.
func (e *Engine) sort(src Source, m *memory, pods []*corev1.Pod, state *State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := e.Clock.Now()
	m.passes++
	full := state.fullNames()
	deleted := make(map[types.UID]bool, len(m.deleted))
	state.Divide(pods, func(p *corev1.Pod) (Member, bool) {
		if m.deleted[p.UID] {
			deleted[p.UID] = true
			return Member{}, false
		}
		f := m.facts[p.UID]
		if f == nil || f.resourceVersion != p.ResourceVersion {
			f = look(p)
			m.facts[p.UID] = f
		}
		f.seen = m.passes
		one := f.member(p, src.MinReady, now)
		if name, short := full[one.Revision]; short {
			one.Revision = name
		}
		return one, true
	})
	for id := range m.foreign {
		state.taken[id] = true
	}
	maps.DeleteFunc(m.facts, func(_ types.UID, f *facts) bool { return f.seen != m.passes })
	m.deleted = deleted
	if e.Turns != nil {
		e.Turns.Keep(src.Owner.GetUID(), deleted)
	}
}
