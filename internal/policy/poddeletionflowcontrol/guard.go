package poddeletionflowcontrol

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// maxGroups is how many groups of a user are told.
const maxGroups = 5

var _ disruption.Guard = &Keeper{}

// Guard answers for all policies.
func (k *Keeper) Guard() disruption.Guard { return k }

// Name of the guard.
func (k *Keeper) Name() string { return "PodDeletionFlowControl" }

// question is one policy that has a say.
type question struct {
	book *book
	ask  ask
}

// Check answers from memory.
func (k *Keeper) Check(ctx context.Context, r disruption.Request) disruption.Verdict {
	questions, err := k.questions(ctx, r, untold)
	if err != nil {
		return disruption.Verdict{} // Take will say why
	}
	final := disruption.Verdict{}
	for _, q := range questions {
		ans, decided := q.book.check(q.ask)
		if decided && !ans.Allowed {
			k.deny(q, ans, r.DryRun)
			return k.verdict(q, ans)
		}
		if r.DryRun && decided {
			final = combine(final, k.verdict(q, ans))
		}
	}
	return final
}

// Take takes a permit of every policy that has a say, durably.
func (k *Keeper) Take(ctx context.Context, r disruption.Request) (disruption.Verdict, error) {
	k.await(ctx)
	questions, err := k.questions(ctx, r, func(policy, reason string) {
		if !r.DryRun {
			k.metrics.decided(policy, "exempt", reason, 0)
		}
	})
	if err != nil {
		return disruption.Verdict{}, err
	}
	if r.DryRun {
		return k.Check(ctx, r), nil
	}
	final := disruption.Verdict{}
	for i, q := range questions {
		begun := k.clock.Now()
		ans, err := q.book.take(ctx, q.ask)
		name := q.book.terms.Load().name
		if err != nil || !ans.Allowed {
			for _, taken := range questions[:i] {
				taken.book.release(ctx, taken.ask.hash, 0)
			}
		}
		if err != nil {
			k.metrics.decided(name, "error", "Uncounted", k.clock.Since(begun))
			return disruption.Verdict{}, fmt.Errorf("PodDeletionFlowControl %s: %w", name, err)
		}
		if !ans.Allowed {
			k.deny(q, ans, false)
			return k.verdict(q, ans), nil
		}
		outcome := "allowed"
		if q.ask.force && ans.Reason != ReasonAdmitted {
			outcome = "would-deny"
		}
		k.metrics.decided(name, outcome, ans.Reason, k.clock.Since(begun))
		final = combine(final, k.verdict(q, ans))
	}
	return final, nil
}

// Release gives back what Take has taken.
func (k *Keeper) Release(ctx context.Context, r disruption.Request) {
	if r.DryRun {
		return
	}
	questions, err := k.questions(ctx, r, untold)
	if err != nil {
		return // the permits stay counted
	}
	for _, q := range questions {
		q.book.release(ctx, q.ask.hash, 0)
	}
}

func (k *Keeper) deny(q question, ans answer, dry bool) {
	if dry {
		return
	}
	q.book.note(q.ask, ans)
	k.metrics.decided(q.book.terms.Load().name, "denied", ans.Reason, 0)
}

func untold(string, string) {}

// questions are the policies that have a say about the request; exempt hears of those that would, were it another pod or
// user.
func (k *Keeper) questions(ctx context.Context, r disruption.Request, exempt func(policy, reason string)) ([]question, error) {
	p := r.Pod
	if !r.Operation.Removes() || over(p) || p.Namespace == metav1.NamespaceSystem || p.Namespace == k.system {
		return nil, nil
	}
	if removesWhatIsGone(r.User, p) {
		return nil, nil
	}
	if err := k.Ready(); err != nil {
		return nil, err
	}
	var namespace labels.Set
	var all []question
	for _, b := range k.all() {
		t := b.terms.Load()
		if !t.selector.Matches(labels.Set(p.Labels)) {
			continue
		}
		if t.namespaces != nil && namespace == nil {
			var err error
			if namespace, err = k.labelsOf(ctx, p.Namespace); err != nil {
				return nil, err
			}
		}
		if t.namespaces != nil && !t.namespaces.Matches(namespace) {
			continue
		}
		if reason := t.lets(r); reason != "" {
			exempt(t.name, reason)
			continue
		}
		all = append(all, question{b, ask{
			hash: flow.Hash(string(p.UID)), force: t.forces(systemDeletion(r.User, p)), patient: r.Cause != "", about: about(r),
		}})
	}
	return all, nil
}

// lets names why a request is not the policy's business; "": it is.
func (t *terms) lets(r disruption.Request) string {
	switch {
	case t.white != nil && t.white.Matches(labels.Set(r.Pod.Labels)):
		return ReasonWhiteListed
	case t.exempts(r.User):
		return ReasonExempt
	}
	return ""
}

// over tells whether the pod is going or done anyway.
func over(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func about(r disruption.Request) v1alpha1.DeletionDecision {
	d := v1alpha1.DeletionDecision{
		Pod: r.Pod.Namespace + "/" + r.Pod.Name, User: r.User.Username, Operation: string(r.Operation),
		Groups: r.User.Groups[:min(len(r.User.Groups), maxGroups)],
	}
	if owner := metav1.GetControllerOfNoCopy(r.Pod); owner != nil {
		d.Workload = owner.Kind + "/" + owner.Name
	}
	return d
}
