package podunavailablebudget

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/budget"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// GuardName is the name of the guard.
const GuardName = "PodUnavailableBudget"

const (
	// reasonContended: others decide about the same budget so often that this decision could not be written.
	reasonContended = "BudgetContended"
	// How often a decision is made again because somebody else has written meanwhile.
	attempts = 12
	// How long until asking again may help, after that many.
	contendedAfter = time.Second
)

// Guard is what admission and our own controllers ask.
func (k *Keeper) Guard() disruption.Guard { return k }

// Name of the guard.
func (k *Keeper) Name() string { return GuardName }

var _ disruption.Guard = &Keeper{}

// Check denies, from memory, what a budget that allows none would deny. Whether a budget is exhausted is not for memory to
// say: the very act in question may have been granted a moment ago, on another replica.
func (k *Keeper) Check(ctx context.Context, r disruption.Request) disruption.Verdict {
	if seen := look(r.Pod); !seen.Serving || !seen.Available {
		return disruption.Verdict{}
	}
	all, err := k.list(ctx, r.Pod.Namespace)
	if err != nil {
		return disruption.Verdict{} // Take will say so
	}
	for i := range all.Items {
		pub := &all.Items[i]
		s := &pub.Status
		if s.ObservedGeneration != pub.Generation || s.DesiredAvailable < s.TotalReplicas || s.TotalReplicas == 0 ||
			!enforces(pub, r) || s.Selector == "" || len(s.Grants) > 0 || pub.Spec.IgnoredPodSelector != nil ||
			!meta.IsStatusConditionTrue(s.Conditions, policyv1beta1.BudgetEnforced) {
			continue
		}
		if selector, err := labels.Parse(s.Selector); err == nil && selector.Matches(labels.Set(r.Pod.Labels)) {
			figures := budget.Figures{Total: int(s.TotalReplicas), Desired: int(s.DesiredAvailable), Available: int(s.CurrentAvailable)}
			return k.denied(pub, r, budget.Answer{Reason: budget.NeverAllows, Figures: figures})
		}
	}
	return disruption.Verdict{}
}

// Take asks every budget that guards the pod; all must allow. What one has granted when another denies lapses in seconds.
func (k *Keeper) Take(ctx context.Context, r disruption.Request) (disruption.Verdict, error) {
	v, err := k.takeAll(ctx, r)
	switch {
	case err != nil:
		k.deps.Metrics.decided(string(r.Operation), "error")
	case v.Outcome == disruption.Deny:
		k.deps.Metrics.decided(string(r.Operation), "denied")
	case v.Guard != "":
		k.deps.Metrics.decided(string(r.Operation), "allowed")
	}
	return v, err
}

func (k *Keeper) takeAll(ctx context.Context, r disruption.Request) (disruption.Verdict, error) {
	final := disruption.Verdict{}
	if !pod.Active(r.Pod) {
		return final, nil // it is gone already, as far as anybody counts on it
	}
	keys, err := k.concerned(ctx, r)
	if err != nil {
		return final, err
	}
	for i, key := range keys {
		v, err := k.takeOne(ctx, key, r)
		if err != nil || v.Outcome == disruption.Deny {
			for _, earlier := range keys[:i] {
				k.release(ctx, earlier, r)
			}
			return v, err
		}
		if v.Guard != "" {
			final = v
		}
	}
	return final, nil
}

// enforces reports whether the budget has a say in the operation.
func enforces(pub *policyv1beta1.PodUnavailableBudget, r disruption.Request) bool {
	operations := pub.Spec.ProtectOperations
	return pub.DeletionTimestamp == nil &&
		(len(operations) == 0 || slices.Contains(operations, policyv1beta1.PodOperation(r.Operation)))
}

// concerned are the budgets that may guard the pod, in a fixed order. Labels alone rule most of them out.
func (k *Keeper) concerned(ctx context.Context, r disruption.Request) ([]types.NamespacedName, error) {
	all, err := k.list(ctx, r.Pod.Namespace)
	if err != nil {
		return nil, err
	}
	var keys []types.NamespacedName
	for i := range all.Items {
		pub := &all.Items[i]
		if !enforces(pub, r) {
			continue
		}
		may, err := k.decide.mayGuard(ctx, pub, r.Pod)
		if err != nil {
			return nil, err
		}
		if may {
			keys = append(keys, client.ObjectKeyFromObject(pub))
		}
	}
	slices.SortFunc(keys, func(a, b types.NamespacedName) int { return strings.Compare(a.Name, b.Name) })
	return keys, nil
}

// list reads the budgets of a namespace from the cache. A cluster without the kind has none, and is not asked for it at
// every decision.
func (k *Keeper) list(ctx context.Context, namespace string) (*policyv1beta1.PodUnavailableBudgetList, error) {
	all := &policyv1beta1.PodUnavailableBudgetList{}
	now := k.deps.Clock.Now()
	k.mu.Lock()
	missing := now.Before(k.missing)
	k.mu.Unlock()
	if missing {
		return all, nil
	}
	err := k.deps.Client.List(ctx, all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)
	if meta.IsNoMatchError(err) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.missing = now.Add(missingInterval)
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the PodUnavailableBudgets of namespace %s: %w", namespace, err)
	}
	return all, nil
}

// takeOne asks one budget. The first look may be at the cache: what is decided by it is written only if nothing has been
// written since. Everything that needs no write is looked at once more, on the API server itself.
func (k *Keeper) takeOne(ctx context.Context, key types.NamespacedName, r disruption.Request) (disruption.Verdict, error) {
	m := k.memo(key)
	if err := m.take(ctx); err != nil {
		return disruption.Verdict{}, err
	}
	defer m.done()
	live := false
	for range attempts {
		pub, err := k.read(ctx, m, key, live)
		if apierrors.IsNotFound(err) {
			return disruption.Verdict{}, nil
		}
		if err != nil {
			return disruption.Verdict{}, err
		}
		d, err := k.decision(ctx, pub, r)
		switch {
		case err != nil:
			return disruption.Verdict{}, err
		case d.mute:
			return disruption.Verdict{}, nil
		case !d.answer.Write || r.DryRun || !d.answer.Allowed:
			if !live && !r.DryRun {
				live = true
				continue
			}
			return k.verdict(pub, r, d), nil
		}
		after := enter(pub, d)
		err = k.write(ctx, k.deps.Admission, m, after)
		if err == nil {
			return k.verdict(after, r, d), nil
		}
		if !apierrors.IsConflict(err) {
			return disruption.Verdict{}, err
		}
		k.deps.Metrics.conflict()
		live = true
	}
	return disruption.Verdict{
		Outcome: disruption.Deny, Guard: named(key), Reason: reasonContended, After: contendedAfter, Throttled: true,
		Message: fmt.Sprintf("%s: too many decisions at once; ask again", named(key)),
	}, nil
}

// read returns the budget: as the API server has it, or as the cache or our own last write has it.
func (k *Keeper) read(ctx context.Context, m *memo, key types.NamespacedName, live bool) (*policyv1beta1.PodUnavailableBudget, error) {
	pub := &policyv1beta1.PodUnavailableBudget{}
	from := client.Reader(k.deps.Client)
	if live {
		from = k.deps.Admission
	}
	if err := from.Get(ctx, key, pub); err != nil {
		return nil, fmt.Errorf("read %s: %w", named(key), err)
	}
	if !live {
		pub = m.newest(pub)
	}
	return pub, nil
}

func named(key types.NamespacedName) string { return GuardName + " " + key.String() }

// decision is a budget's answer, and what it rests on.
type decision struct {
	answer budget.Answer
	// version of pods that the answer rests on.
	version string
	// mute says that the budget does not guard the pod.
	mute bool
}

// decision asks a budget as it is given. It writes nothing.
func (k *Keeper) decision(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, r disruption.Request) (decision, error) {
	if !enforces(pub, r) {
		return decision{mute: true}, nil
	}
	sc, err := k.decide.scope(ctx, pub)
	if err != nil || sc.problem != nil {
		return decision{mute: true}, err
	}
	if yes, _, err := k.decide.guards(ctx, sc, r.Pod); err != nil || !yes {
		return decision{mute: true}, err
	}
	g, err := k.observed(ctx, pub, sc)
	if err != nil {
		return decision{}, err
	}
	if err := k.decide.wants(ctx, pub, &sc, &g); err != nil {
		return decision{}, err
	}
	seen, err := k.freshest(ctx, r.Pod, g.view)
	if err != nil || seen.Pod == nil {
		return decision{mute: true}, err
	}
	ledger := budget.Ledger{Limits: limits(pub), Total: sc.total, Grants: pub.Status.Grants}
	answer, err := ledger.Ask(r, g.view, seen, k.deps.Clock.Now())
	if !answer.Allowed {
		if total := k.decide.withoutLeaving(ctx, pub.Namespace, sc); total < ledger.Total {
			ledger.Total = total
			answer, err = ledger.Ask(r, g.view, seen, k.deps.Clock.Now())
		}
	}
	if err != nil {
		return decision{}, fmt.Errorf("%s cannot be understood, so it allows nothing: %w", named(client.ObjectKeyFromObject(pub)), err)
	}
	return decision{answer: answer, version: newest(g.evidence(pub.Status.Grants), seen.Pod.ResourceVersion)}, nil
}

// freshest is the pod as it was seen last. That a pod does not serve is believed only of the API server itself: it may go
// freely then, and an older view may not know that it is back. A pod that is gone is none.
func (k *Keeper) freshest(ctx context.Context, asked *corev1.Pod, view budget.View) (budget.Seen, error) {
	seen, known := view.Find(asked.UID)
	if !known || reconcile.Newer(asked.ResourceVersion, seen.Pod.ResourceVersion) {
		seen = look(asked)
	}
	if seen.Available {
		return seen, nil
	}
	live := &corev1.Pod{}
	err := k.deps.Admission.Get(ctx, client.ObjectKeyFromObject(asked), live)
	if apierrors.IsNotFound(err) || err == nil && (live.UID != asked.UID || !pod.Active(live)) {
		return budget.Seen{}, nil
	}
	if err != nil {
		return budget.Seen{}, fmt.Errorf("read pod %s/%s: %w", asked.Namespace, asked.Name, err)
	}
	return look(live), nil
}

// verdict puts a decision into words.
func (k *Keeper) verdict(pub *policyv1beta1.PodUnavailableBudget, r disruption.Request, d decision) disruption.Verdict {
	if !d.answer.Allowed {
		return k.denied(pub, r, d.answer)
	}
	f := d.answer.Figures
	return disruption.Verdict{
		Guard: named(client.ObjectKeyFromObject(pub)), Reason: "BudgetAllows", Notes: notes(f),
		Message: fmt.Sprintf("%d of %d wanted pods are available, %d must stay", f.Available, f.Total, f.Desired),
	}
}

func notes(f budget.Figures) map[string]string {
	return map[string]string{
		"pub-available": strconv.Itoa(f.Available), "pub-desired": strconv.Itoa(f.Desired), "pub-total": strconv.Itoa(f.Total),
	}
}

func (k *Keeper) denied(pub *policyv1beta1.PodUnavailableBudget, r disruption.Request, a budget.Answer) disruption.Verdict {
	name := named(client.ObjectKeyFromObject(pub))
	f := a.Figures
	limit := "spec.maxUnavailable"
	if pub.Spec.MinAvailable != nil {
		limit = "spec.minAvailable"
	}
	var message string
	switch a.Reason {
	case budget.NeverAllows:
		message = fmt.Sprintf("%s allows none of its %d pods to be away (%s)", name, f.Total, limit)
	case budget.Full:
		message = fmt.Sprintf("%s has as many changes under way as it can keep in mind; wait until some are done", name)
	default:
		message = fmt.Sprintf("%s needs %d of %d pods to stay available, and %d are; wait until more are, or until the pods that "+
			"were allowed to go are replaced", name, f.Desired, f.Total, f.Available)
	}
	message += fmt.Sprintf("; to let pod %s go all the same, change %s, or set its label pub.kruise.io/no-protect=true", r.Pod.Name, limit)
	if k.deps.Recorder != nil && !r.DryRun {
		reason := "PubPreventPodUpdate"
		if r.Operation.Removes() {
			reason = "PubPreventPodDeletion"
		}
		k.deps.Recorder.Eventf(pub, corev1.EventTypeWarning, reason, "%s of pod %s was denied: %d of %d pods are available, %d must stay",
			r.Operation, r.Pod.Name, f.Available, f.Total, f.Desired)
	}
	return disruption.Verdict{Outcome: disruption.Deny, Guard: name, Reason: string(a.Reason), Message: message, Notes: notes(f)}
}

// Release lets what was taken for a request lapse soon.
func (k *Keeper) Release(ctx context.Context, r disruption.Request) {
	if r.DryRun {
		return
	}
	keys, err := k.concerned(ctx, r)
	if err != nil {
		k.deps.Log.Error(err, "a grant was not given back; it lapses by itself", "pod", r.Pod.Namespace+"/"+r.Pod.Name)
		return
	}
	for _, key := range keys {
		k.release(ctx, key, r)
	}
}

// release marks a grant; one that cannot be marked lapses by itself, only later.
func (k *Keeper) release(ctx context.Context, key types.NamespacedName, r disruption.Request) {
	m := k.memo(key)
	if m.take(ctx) != nil {
		return
	}
	defer m.done()
	for attempt := range attempts {
		pub, err := k.read(ctx, m, key, attempt > 0)
		if err != nil {
			break
		}
		after := pub.DeepCopy()
		grants, found := budget.Release(after.Status.Grants, r, k.deps.Clock.Now())
		if !found {
			if attempt > 0 {
				return
			}
			continue
		}
		inscribe(&after.Status, grants)
		if err = k.write(ctx, k.deps.Admission, m, after); err == nil {
			return
		} else if !apierrors.IsConflict(err) {
			break
		}
	}
	k.deps.Log.V(1).Info("a grant was not given back; it lapses by itself", "budget", key.String(), "pod", r.Pod.Name)
}
