// Package podunavailablebudget keeps PodUnavailableBudgets: it answers, on every replica, whether a pod may go now, and
// keeps the ledger of what was allowed true to what has happened since.
package podunavailablebudget

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

const (
	// How often a budget is looked at when nothing happens: what its workloads want may change without a pod's changing.
	resync = 30 * time.Second
	// How long a change of mere figures waits after a write.
	figuresInterval = time.Second
	// How long a decision waits for the cache to show what the ledger rests on, before it asks the API server.
	catchUp = 200 * time.Millisecond
	tick    = 5 * time.Millisecond
	// How long a cluster that does not serve the kind is not asked for it again.
	missingInterval = 10 * time.Second
	// How many budgets are remembered before those are dropped that nobody has written lately, and how long that is.
	maxMemos = 1000
	memoLife = 10 * time.Minute
)

// Deps are what the room needs from the operator.
type Deps struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Admission reads and writes to the API server with connections of its own.
	Admission client.Client
	// Position of the cache.
	Position workload.Position
	Clock    clock.PassiveClock
	Log      logr.Logger
	// Recorder tells of denials; nil: nobody does.
	Recorder record.EventRecorder
	// Metrics count decisions; nil: nobody does.
	Metrics *Metrics
	// Asked tells whether the API server asks us about pods; nil: not looked for.
	Asked *admission.Asked
	// Guarded tells whether it does so in a namespace; nil: in each.
	Guarded func(namespace string) bool
}

// What keeping budgets takes. These lines stand apart: controller-gen does not see them in the comment of a declaration.

// +kubebuilder:rbac:groups=policy.kruise.io,resources=podunavailablebudgets,verbs=get;list;watch
// +kubebuilder:rbac:groups=policy.kruise.io,resources=podunavailablebudgets/status,verbs=get;update;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=replicasets;daemonsets,verbs=get
// +kubebuilder:rbac:groups=apps,resources=deployments/scale;statefulsets/scale;replicasets/scale,verbs=get
// +kubebuilder:rbac:groups="",resources=replicationcontrollers;replicationcontrollers/scale,verbs=get
// +kubebuilder:rbac:groups=apps.kruise.io,resources=clonesets;statefulsets;uniteddeployments;daemonsets,verbs=get
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingwebhookconfigurations,resourceNames=holdfast,verbs=get
// +kubebuilder:rbac:groups=apps.kruise.io,resources=clonesets/scale;statefulsets/scale;uniteddeployments/scale,verbs=get

// Keeper keeps budgets. It is safe for concurrent use.
type Keeper struct {
	deps Deps
	// decide reads and writes as admission does, keep as the controller does.
	decide, keep source
	owners       owners
	// patience is how long a decision waits for the cache.
	patience time.Duration

	mu      sync.Mutex
	budgets map[types.NamespacedName]*memo
	// kept is how many of them were left when they were tidied last.
	kept int
	// missing is until when the cluster is not asked again for a kind that it does not serve.
	missing time.Time
}

// memo is what the keeper remembers of one budget.
type memo struct {
	// turn lets one decision at a time be made here; what other replicas decide meanwhile is seen by the resourceVersion.
	turn chan struct{}
	born time.Time
	// written is the budget as our own last write returned it, wrote when that was.
	written *policyv1beta1.PodUnavailableBudget
	wrote   time.Time
}

// New makes the keeper.
func New(d Deps) *Keeper {
	k := &Keeper{deps: d, patience: catchUp, budgets: map[types.NamespacedName]*memo{}}
	k.decide = source{reader: d.Admission, scales: d.Admission, owners: &k.owners}
	k.keep = source{reader: d.Live, scales: d.Client, owners: &k.owners}
	return k
}

// Forget drops what is remembered of a budget that is gone.
func (k *Keeper) Forget(key types.NamespacedName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.budgets, key)
}

func (k *Keeper) memo(key types.NamespacedName) *memo {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.budgets[key]
	if m == nil {
		k.tidy()
		m = &memo{turn: make(chan struct{}, 1), born: k.deps.Clock.Now()}
		k.budgets[key] = m
	}
	return m
}

// tidy drops what is old: only the replica that leads hears of budgets that are gone. Whoever decides by a memo that is
// dropped still writes by compare-and-swap. The lock is held.
func (k *Keeper) tidy() {
	if len(k.budgets) < maxMemos || len(k.budgets) < 2*k.kept {
		return
	}
	now := k.deps.Clock.Now()
	maps.DeleteFunc(k.budgets, func(_ types.NamespacedName, m *memo) bool { return now.Sub(m.born) > memoLife })
	k.kept = len(k.budgets)
}

// take waits for the turn at a budget.
func (m *memo) take(ctx context.Context) error {
	select {
	case m.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for other decisions on the same budget: %w", ctx.Err())
	}
}

func (m *memo) done() { <-m.turn }

// newest prefers what our own last write returned to a cache that has not seen that write yet.
func (m *memo) newest(cached *policyv1beta1.PodUnavailableBudget) *policyv1beta1.PodUnavailableBudget {
	if m.written != nil && m.written.UID == cached.UID && reconcile.Newer(m.written.ResourceVersion, cached.ResourceVersion) {
		return m.written
	}
	m.written = nil
	return cached
}

// Reconcile is one pass over a budget, and over the marks of its pods.
func (k *Keeper) Reconcile(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget) (reconcile.Result, error) {
	if pub.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	guarded, result, err := k.pass(ctx, pub)
	if err != nil {
		return result, err
	}
	return result, k.mark(ctx, pub, guarded) // outside the turn: decisions need not wait for it
}

// pass observes, settles what is over, and reports; it answers which pods are guarded. It writes the status itself, by
// compare-and-swap: decisions are written to the same status, and none of them may get lost.
func (k *Keeper) pass(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget) ([]*corev1.Pod, reconcile.Result, error) {
	m := k.memo(client.ObjectKeyFromObject(pub))
	if err := m.take(ctx); err != nil {
		return nil, reconcile.Result{}, err
	}
	defer m.done()
	pub = m.newest(pub)
	seen, err := k.observe(ctx, pub)
	if err != nil {
		return nil, reconcile.Result{}, err
	}
	after := pub.DeepCopy()
	report(after, seen, k.deps.Clock.Now())
	if again, hold := k.unhurried(m, pub, after); hold {
		return seen.guarded.active, reconcile.After(again), nil
	}
	if err := k.write(ctx, k.deps.Client, m, after); err != nil {
		return nil, reconcile.Result{}, err
	}
	tell(ctx, pub, after)
	return seen.guarded.active, reconcile.After(again(after, k.deps.Clock.Now())), nil
}

// observation is what a pass has seen of a budget.
type observation struct {
	scope    scope
	guarded  guarded
	open     []policyv1beta1.PodGrant
	overlaps []string
	// unasked is why not everybody asks; nil: everybody does.
	unasked *problem
}

func (k *Keeper) observe(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget) (observation, error) {
	var o observation
	var err error
	if o.scope, err = k.keep.scope(ctx, pub); err != nil {
		return o, err
	}
	if o.scope.problem != nil {
		return o, nil
	}
	if !k.shows(ctx, pub.Status.PodsVersion) {
		return o, reconcile.Wait(100*time.Millisecond, "the cache does not show the pods that the ledger rests on")
	}
	if o.guarded, err = k.cached(ctx, pub, o.scope); err != nil {
		return o, err
	}
	if err = k.keep.wants(ctx, pub, &o.scope, &o.guarded); err != nil {
		return o, err
	}
	if desired, err := limits(pub).Desired(o.scope.total); err == nil && desired >= o.scope.total {
		// Nothing may go: unless nobody wants the pods any more, and then they would stay for good.
		o.scope.total = k.keep.withoutLeaving(ctx, pub.Namespace, o.scope)
	}
	if o.open, err = k.settle(ctx, pub, &o.guarded); err != nil {
		return o, err
	}
	if o.overlaps, err = k.overlaps(ctx, pub, o.guarded); err != nil {
		return o, err
	}
	o.unasked, err = k.unasked(ctx, pub)
	return o, err
}

// unhurried reports whether there is nothing to write, or nothing that cannot wait, and how long to wait then.
func (k *Keeper) unhurried(m *memo, before, after *policyv1beta1.PodUnavailableBudget) (time.Duration, bool) {
	now := k.deps.Clock.Now()
	if !changed(before, after) {
		return again(before, now), true
	}
	if left := figuresInterval - now.Sub(m.wrote); left > 0 && figuresOnly(before, after) {
		return left, true
	}
	return 0, false
}

// write replaces the status, if nobody else has written since. A budget that is gone needs none.
func (k *Keeper) write(ctx context.Context, c client.Client, m *memo, pub *policyv1beta1.PodUnavailableBudget) error {
	if err := c.Status().Update(ctx, pub); err != nil {
		m.written = nil
		return fmt.Errorf("write the ledger of PodUnavailableBudget %s/%s: %w", pub.Namespace, pub.Name, err)
	}
	m.written, m.wrote = pub, k.deps.Clock.Now()
	return nil
}

// tell makes events of what began or ended.
func tell(ctx context.Context, before, after *policyv1beta1.PodUnavailableBudget) {
	for _, kind := range []string{policyv1beta1.BudgetEnforced, policyv1beta1.BudgetOverlapping, policyv1beta1.BudgetBlocking} {
		was, is := condition(before, kind), condition(after, kind)
		if is == nil || was != nil && was.Status == is.Status && was.Reason == is.Reason {
			continue
		}
		switch bad := (is.Status == "True") != (kind == policyv1beta1.BudgetEnforced); {
		case bad:
			reconcile.Event(ctx, corev1.EventTypeWarning, is.Reason, "%s", is.Message)
		case kind == policyv1beta1.BudgetEnforced:
			reconcile.Event(ctx, corev1.EventTypeNormal, is.Reason, "%s", is.Message)
		}
	}
}
