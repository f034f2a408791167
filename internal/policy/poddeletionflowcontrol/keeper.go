// Package poddeletionflowcontrol lets no more pods be deleted in a time than was agreed, on all replicas together.
package poddeletionflowcontrol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// How often the cluster is asked again for a kind that it does not serve.
const kindInterval = 5 * time.Second

// What keeping the limits takes. The ledgers go with their policies.

// +kubebuilder:rbac:groups=policy.kruise.io,resources=poddeletionflowcontrols,verbs=get;list;watch
// +kubebuilder:rbac:groups=policy.kruise.io,resources=poddeletionflowcontrols/status,verbs=get;patch
// +kubebuilder:rbac:groups=policy.kruise.io,resources=poddeletionledgers,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=holdfast-system,resources=leases,verbs=create
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=holdfast-system,resources=leases,resourceNames=holdfast-deletions,verbs=get;update
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingwebhookconfigurations,resourceNames=holdfast,verbs=get

// Deps are what the guard needs from the operator.
type Deps struct {
	// Client reads from the cache.
	Client client.Client
	// Admission reads and writes at the API server, with connections of its own: the ledgers and the lease.
	Admission client.Client
	// Informers are those of the cache behind Client: every replica follows the policies and the ledgers.
	Informers cache.Informers
	Clock     clock.WithTicker
	Log       logr.Logger
	Metrics   *Metrics
	// SystemNamespace holds the lease; its pods are never limited.
	SystemNamespace string
	// Identity of this replica, for people; it is made unique.
	Identity string
	// Address is where other replicas reach this one, as host:port; nil or "": nowhere, each writes for itself.
	Address func() string
	// Caller reaches other replicas.
	Caller Caller
	// Asked tells whether the API server asks us about pods; nil: not looked for.
	Asked *admission.Asked
	// Store keeps the ledgers; nil: in the API server.
	Store Store
}

// Keeper keeps the limits on this replica.
type Keeper struct {
	client    client.Client
	admission client.Client
	informers cache.Informers
	clock     clock.WithTicker
	log       logr.Logger
	metrics   *Metrics
	system    string
	identity  string
	address   func() string
	caller    Caller
	store     Store
	asked     *admission.Asked
	owner     owner
	patience  time.Duration // with the preferred replica
	epoch     time.Time     // when we began
	offset    atomic.Int64  // by which our clock is behind the API server's
	measured  time.Time     // when that was; for the campaign alone
	served    atomic.Int32
	known     chan struct{} // closed when served is known

	mu    sync.Mutex
	books map[string]*book
	fresh []*book // whose scribe is not started yet
	born  chan struct{}
	// called has the campaign begin when there is a policy to keep.
	called chan struct{}
	list   atomic.Pointer[[]*book] // by name
}

// What is known of the kind in this cluster.
const (
	unknown int32 = iota
	absent
	present
)

// firstLook is how long a decision waits for the policies to be read; the API server waits for 3 s.
const firstLook = 2 * time.Second

var errNotReady = errors.New("the limits are not read yet: try again in a few seconds")

// New makes the keeper. It answers once Run has read the policies.
func New(d Deps) *Keeper {
	k := &Keeper{
		client: d.Client, admission: d.Admission, informers: d.Informers, clock: d.Clock, log: d.Log, metrics: d.Metrics,
		system: d.SystemNamespace, identity: strings.TrimPrefix(d.Identity+"_"+uuid.NewString()[:8], "_"),
		address: d.Address, caller: d.Caller, store: d.Store, asked: d.Asked, patience: peerLimit,
		books: map[string]*book{}, born: make(chan struct{}, 1), called: make(chan struct{}, 1), known: make(chan struct{}),
	}
	k.epoch = k.clock.Now()
	if k.store == nil {
		k.store = &ledgers{client: d.Admission}
	}
	return k
}

// now is our own time, by which we keep deadlines: that of the start and what has elapsed since, so that a clock that is set
// meanwhile frees no window.
func (k *Keeper) now() time.Time { return k.epoch.Add(k.clock.Since(k.epoch)) }

// ledgerTime is a time of ours as it is written down: as the API server would have it, where our own clock is wrong.
func (k *Keeper) ledgerTime(now time.Time) time.Time { return now.Add(time.Duration(k.offset.Load())) }

// Run follows the policies, writes for them and keeps the lease until ctx ends. It must run on every replica.
func (k *Keeper) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { k.campaign(ctx) })
	if k.informers != nil {
		wg.Go(func() { k.follow(ctx) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.born:
		}
		k.mu.Lock()
		fresh := k.fresh
		k.fresh = nil
		k.mu.Unlock()
		for _, b := range fresh {
			wg.Go(func() { b.scribe(ctx) })
		}
	}
}

// Ready tells why nothing can be answered yet, or nil.
func (k *Keeper) Ready() error {
	if k.served.Load() == unknown {
		return errNotReady
	}
	return nil
}

// await waits a little for the first look at the policies: a replica that has just started is asked before it is told to be
// ready, since the API server keeps its connections.
func (k *Keeper) await(ctx context.Context) {
	if k.served.Load() != unknown {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, firstLook)
	defer cancel()
	select {
	case <-ctx.Done():
	case <-k.known:
	}
}

// learned notes whether the cluster serves the kind.
func (k *Keeper) learned(served int32) {
	if k.served.Swap(served) == unknown {
		close(k.known)
	}
}

// follow has the cache show us the policies and the ledgers, as soon as the cluster serves them.
func (k *Keeper) follow(ctx context.Context) {
	for {
		err := k.inform(ctx)
		if err == nil {
			k.learned(present)
			return
		}
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			k.learned(absent)
		} else {
			k.log.Error(err, "the limits on deletions cannot be read yet: trying again", "in", kindInterval.String())
		}
		k.pause(ctx, kindInterval)
		if ctx.Err() != nil {
			return
		}
	}
}

func (k *Keeper) inform(ctx context.Context) error {
	var registered []toolscache.ResourceEventHandlerRegistration
	for _, one := range []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
	}{
		{&v1alpha1.PodDeletionFlowControl{}, handler(k.See, k.Forget)},
		{&v1alpha1.PodDeletionLedger{}, handler(k.seeLedger, func(*v1alpha1.PodDeletionLedger) {})},
	} {
		informer, err := k.informers.GetInformer(ctx, one.object, cache.BlockUntilSynced(true))
		if err != nil {
			return fmt.Errorf("watch %T: %w", one.object, err)
		}
		registration, err := informer.AddEventHandler(one.handler)
		if err != nil {
			return fmt.Errorf("watch %T: %w", one.object, err)
		}
		registered = append(registered, registration)
	}
	for _, r := range registered {
		if !toolscache.WaitForCacheSync(ctx.Done(), r.HasSynced) {
			return fmt.Errorf("watch the limits: %w", context.Cause(ctx))
		}
	}
	return nil
}

// handler calls see with every object that is new or changed, and forget with those that are gone.
func handler[T client.Object](see, forget func(T)) toolscache.ResourceEventHandler {
	one := func(obj any, f func(T)) {
		if tombstone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
			obj = tombstone.Obj
		}
		if typed, ok := obj.(T); ok {
			f(typed)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { one(obj, see) },
		UpdateFunc: func(_, obj any) { one(obj, see) },
		DeleteFunc: func(obj any) { one(obj, forget) },
	}
}

// See takes in a policy that is new or changed.
func (k *Keeper) See(p *v1alpha1.PodDeletionFlowControl) {
	t, err := read(p)
	if err != nil {
		k.log.Error(err, "a PodDeletionFlowControl makes no sense, and is not enforced", "policy", p.Name)
		k.drop(p.Name)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.books[t.name]; b != nil && b.terms.Load().uid == t.uid {
		if b.terms.Load().generation <= t.generation {
			b.terms.Store(t)
			b.stir()
		}
		return
	} else if b != nil {
		close(b.gone) // what was set aside for a former policy of that name means nothing
	}
	b := newBook(k, t)
	k.books[t.name] = b
	k.fresh = append(k.fresh, b)
	k.publish()
	for _, waiting := range []chan struct{}{k.born, k.called} {
		select {
		case waiting <- struct{}{}:
		default:
		}
	}
}

// Forget drops a policy that is gone.
func (k *Keeper) Forget(p *v1alpha1.PodDeletionFlowControl) { k.drop(p.Name) }

func (k *Keeper) drop(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.books[name]
	if b == nil {
		return
	}
	close(b.gone)
	delete(k.books, name)
	k.fresh = slices.DeleteFunc(k.fresh, func(other *book) bool { return other == b })
	k.publish()
	k.metrics.forget(name)
}

// publish makes the list that decisions read.
func (k *Keeper) publish() {
	list := make([]*book, 0, len(k.books))
	for _, b := range k.books {
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b *book) int { return strings.Compare(a.terms.Load().name, b.terms.Load().name) })
	k.list.Store(&list)
}

func (k *Keeper) all() []*book {
	if list := k.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (k *Keeper) book(name string) *book {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.books[name]
}

func (k *Keeper) seeLedger(stored *v1alpha1.PodDeletionLedger) {
	b := k.book(stored.Name)
	if b == nil {
		return // its scribe reads it when it needs it
	}
	l, err := flow.Read(stored)
	if err != nil {
		k.log.Error(err, "a ledger cannot be read", "policy", stored.Name)
		return
	}
	b.see(l, stored.ResourceVersion)
}

// refresh reads the policy of a book from the API server, when the ledger was written for another one than we know.
func (k *Keeper) refresh(ctx context.Context, b *book, written *flow.Ledger) (*terms, error) {
	t := b.terms.Load()
	if k.admission == nil {
		return t, nil
	}
	p := &v1alpha1.PodDeletionFlowControl{}
	if err := k.admission.Get(ctx, types.NamespacedName{Name: t.name}, p); err != nil {
		return nil, fmt.Errorf("read PodDeletionFlowControl %s, which has changed: %w", t.name, err)
	}
	k.See(p)
	if k.book(t.name) != b {
		return nil, fmt.Errorf("PodDeletionFlowControl %s was made anew: try again", t.name)
	}
	t = b.terms.Load()
	if t.uid == written.PolicyUID && t.generation < written.Generation {
		return nil, fmt.Errorf("PodDeletionFlowControl %s is at generation %d, and its ledger was written by %d: try again",
			t.name, t.generation, written.Generation)
	}
	return t, nil
}

// labelsOf reads the labels of a namespace from the cache.
func (k *Keeper) labelsOf(ctx context.Context, namespace string) (labels.Set, error) {
	ns := &corev1.Namespace{}
	err := k.client.Get(ctx, types.NamespacedName{Name: namespace}, ns)
	if apierrors.IsNotFound(err) {
		return labels.Set{corev1.LabelMetadataName: namespace}, nil // the cache has not heard of it yet
	}
	if err != nil {
		return nil, fmt.Errorf("read namespace %s: %w", namespace, err)
	}
	return ns.Labels, nil
}

// pause waits, or until ctx ends.
func (k *Keeper) pause(ctx context.Context, d time.Duration) {
	timer := k.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C():
	}
}
