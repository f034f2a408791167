package workload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
)

const (
	// parallel bounds the writes of one workload that are under way at once.
	parallel = 64
	// firstWindow and lastWindow bound how many creations are tried before their answers are in.
	firstWindow, lastWindow = 8, 512
)

// Error is what of a plan could not be done.
type Error struct {
	// Scale are failures to create or delete, Update failures to change.
	Scale, Update error
}

// Error joins the failures.
func (e *Error) Error() string { return errors.Join(e.Scale, e.Update).Error() }

// Unwrap gives the failures to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.Scale, e.Update} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// pass is one Act: what several writers of it share.
type pass struct {
	engine *Engine
	src    Source
	state  State
	plan   *Plan
	memory *memory

	mu            sync.Mutex
	scale, update []error
	// again says why the pass must be repeated although nothing failed; "": it need not.
	again string
	// born are the pods to be made, those that take the place of pods replaced in this pass among them.
	born []Birth
}

// Act makes the changes of a plan, and adds to what the plan holds back what the guards keep for now. What it could not do
// comes back as *Error; the rest is done all the same, but for creations, which stop at the first that fails.
func (e *Engine) Act(ctx context.Context, src Source, state State, plan *Plan) error {
	p := &pass{engine: e, src: src, state: state, plan: plan, memory: e.memory(src.Owner), born: plan.Births}
	done, err := e.turn(ctx, src, state)
	if err != nil {
		return err
	}
	defer done()
	Each(plan.Steps, func(s Step) { p.step(ctx, s) })
	p.claims(ctx)
	p.births(ctx)
	if err := e.trim(ctx, src, p.memory, state); err != nil {
		p.failed(true, err)
	}
	p.bury(ctx)
	return p.err()
}

// turn waits for nobody: when another controller changes pods of the workload, or has changed some since they were observed,
// what was decided is decided again.
func (e *Engine) turn(ctx context.Context, src Source, state State) (done func(), err error) {
	if e.Turns == nil {
		return func() {}, nil
	}
	if who := e.Turns.Unsettled(ctx, state.pods); who != "" {
		return nil, reconcile.Wait(cacheInterval, who+" may change pods of the workload, too, and has not told its limit yet")
	}
	version, done, ok := e.Turns.Take(src.Owner.GetUID())
	switch {
	case !ok:
		return nil, reconcile.Wait(cacheInterval, "another controller changes pods of the workload")
	case e.tightened(src, state):
		done()
		return nil, reconcile.Wait(cacheInterval, "another controller has begun to change pods of the workload since they were observed")
	case reconcile.Newer(version, state.synced):
		done()
		return nil, reconcile.Wait(cacheInterval, "another controller has changed pods of the workload since they were observed")
	}
	return done, nil
}

// bound is the limit that another controller has set, which changes pods of the workload, too.
func (e *Engine) bound(src Source) disruption.Bound {
	if e.Turns == nil {
		return disruption.Bound{}
	}
	b, _ := e.Turns.Bound(src.Owner.GetUID())
	return b
}

// tightened reports whether such a limit has come, or become tighter, since the pods were observed.
func (e *Engine) tightened(src Source, state State) bool {
	now := e.bound(src)
	return now.By != "" && (state.bound.By == "" || now.Most < state.bound.Most)
}

// left tells the other controllers of a pod that is on its way out.
func (e *Engine) left(owner, pod types.UID) {
	if e.Turns != nil {
		e.Turns.Left(owner, pod)
	}
}

// Each runs do for all items, some at a time, and returns when all are done.
func Each[T any](items []T, do func(T)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for _, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(item)
		})
	}
	wg.Wait()
}

func (p *pass) failed(scale bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if scale {
		p.scale = append(p.scale, err)
	} else {
		p.update = append(p.update, err)
	}
}

// How many failures an error quotes; the others are very likely the same.
const maxQuoted = 3

// retry asks for another pass soon: nothing that happens in the cluster would cause one.
func (p *pass) retry(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.again = why
}

func (p *pass) err() error {
	switch {
	case len(p.scale)+len(p.update) > 0:
	case p.again != "":
		return reconcile.Wait(cacheInterval, p.again)
	default:
		return nil
	}
	return &Error{Scale: join(p.scale), Update: join(p.update)}
}

func join(errs []error) error {
	// Sorted: they come from several writers at a time, and the same failures must read the same at every pass.
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	// A conflict means that something else changed first: it is looked at again anyway and must not hide what matters.
	for i, err := range errs {
		if !apierrors.IsConflict(err) {
			errs[0], errs[i] = errs[i], errs[0]
			break
		}
	}
	if rest := len(errs) - maxQuoted; rest > 0 {
		return errors.Join(append(errs[:maxQuoted:maxQuoted], fmt.Errorf("and %d more failures", rest))...)
	}
	return errors.Join(errs...)
}

// births creates pods in growing batches, so that a set whose pods are refused costs few attempts, and one whose pods are
// welcome few round trips.
func (p *pass) births(ctx context.Context) {
	for rest := p.born; len(rest) > 0; {
		p.memory.mu.Lock()
		window := min(p.memory.window, len(rest))
		p.memory.mu.Unlock()
		failures := p.batch(ctx, rest[:window])
		rest = rest[window:]
		p.adjust(failures)
		if len(failures) > 0 {
			return
		}
	}
}

func (p *pass) batch(ctx context.Context, births []Birth) []error {
	var mu sync.Mutex
	var failures []error
	Each(births, func(b Birth) {
		if err := p.create(ctx, b); err != nil {
			mu.Lock()
			failures = append(failures, err)
			mu.Unlock()
			p.failed(true, err)
		}
	})
	return failures
}

// adjust opens the window while creations succeed, and narrows it when the API server pushes back or refuses them.
func (p *pass) adjust(failures []error) {
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	switch {
	case len(failures) == 0:
		p.memory.window = min(2*p.memory.window, lastWindow)
	case apierrors.IsTooManyRequests(failures[0]) || apierrors.IsServerTimeout(failures[0]):
		p.memory.window = max(1, p.memory.window/2)
	default:
		p.memory.window = 1
	}
}

// claims grows, makes and deletes volume claims.
func (p *pass) claims(ctx context.Context) {
	if !p.src.NamedClaims {
		p.grow(ctx)
	}
	for _, id := range p.plan.Instances {
		if err := p.ensureClaims(ctx, id); err != nil {
			p.failed(true, err)
		}
	}
	p.discard(ctx)
}

// grow brings claims to the size that their template asks for.
func (p *pass) grow(ctx context.Context) {
	for _, growth := range claim.Grown(p.src.Owner.GetName(), p.src.Claims, p.state.Claims) {
		if err := p.engine.GrowClaim(ctx, p.src.Owner, growth); err != nil {
			p.failed(true, err)
		}
	}
}

// discard deletes claims that nobody will use again.
func (p *pass) discard(ctx context.Context) {
	for _, c := range p.plan.Spent {
		if used, err := p.inUse(ctx, c); used || err != nil {
			if err != nil {
				p.failed(true, err)
			}
			continue
		}
		if err := p.engine.Client.Delete(ctx, c, client.Preconditions{UID: &c.UID}); client.IgnoreNotFound(err) != nil {
			p.failed(true, fmt.Errorf("delete claim %s/%s, whose pod is gone: %w", c.Namespace, c.Name, err))
			continue
		}
		reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulDeletePVC", "deleted claim %s, whose pod is gone", c.Name)
	}
}

// inUse asks the API server whether a pod of the claim's instance exists after all. A deletion of a claim cannot be taken
// back, and a cache of pods that is older than the cache of claims would have us delete the claim of a pod made meanwhile.
func (p *pass) inUse(ctx context.Context, c *corev1.PersistentVolumeClaim) (bool, error) {
	key := client.ObjectKey{Namespace: c.Namespace, Name: p.src.Owner.GetName() + "-" + claim.Instance(c)}
	var user corev1.Pod
	err := p.engine.Live.Get(ctx, key, &user)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("find out whether a pod uses claim %s/%s: %w", c.Namespace, c.Name, err)
	}
	p.memory.wrote(podKind(), user.ResourceVersion)
	return true, nil
}

// ensureClaims makes the claims that the instance lacks.
func (p *pass) ensureClaims(ctx context.Context, id string) error {
	if len(p.src.Claims) == 0 || id == "" {
		return nil
	}
	wanted := claim.New(p.src.Owner, p.src.Kind, p.src.Labels, p.src.Claims, id)
	for _, c := range claim.Missing(wanted, p.state.Claims) {
		if p.plan.Set.ShapeClaim != nil {
			p.plan.Set.ShapeClaim(c, id)
		}
		switch err := p.engine.Client.Create(ctx, c); {
		case apierrors.IsAlreadyExists(err):
		case err != nil:
			return fmt.Errorf("create claim %s/%s of a template: %w", c.Namespace, c.Name, err)
		default:
			p.memory.wrote(claimKind(), c.ResourceVersion)
			reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulCreate", "created claim %s", c.Name)
		}
	}
	return nil
}

// bury deletes pods that have finished: their place is taken by others, and their names and claims would be in the way.
func (p *pass) bury(ctx context.Context) {
	if p.plan.Set.Ended == KeepEnded {
		return
	}
	Each(p.state.Gone, func(dead *corev1.Pod) {
		if dead.DeletionTimestamp != nil || p.memory.isDeleted(dead) || p.plan.Set.Bury != nil && !p.plan.Set.Bury(dead) {
			return
		}
		if err := p.delete(ctx, dead); err != nil {
			p.failed(true, err)
			return
		}
		reconcile.Event(ctx, corev1.EventTypeWarning, "FinishedPod", "deleted pod %s, which had ended as %s: %s",
			dead.Name, dead.Status.Phase, dead.Status.Reason)
	})
}

func (m *memory) isDeleted(p *corev1.Pod) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.deleted[p.UID]
}
