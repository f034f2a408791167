// Package disruption answers one question for everybody who takes pods away, be it for a moment: may this pod go now?
package disruption

import (
	"context"
	"fmt"
	"maps"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
)

// Operation is how a pod is taken away.
type Operation string

// The operations.
const (
	// Delete removes the pod, with its grace period or without.
	Delete Operation = "DELETE"
	// Evict removes the pod through its eviction subresource.
	Evict Operation = "EVICT"
	// Update changes the running pod so that containers of it start again: their images, or what a node daemon restarts
	// them for.
	Update Operation = "UPDATE"
	// Resize changes the resources of running containers.
	Resize Operation = "RESIZE"
)

// Removes reports whether the pod is gone afterwards, and not only away for a moment.
func (o Operation) Removes() bool { return o == Delete || o == Evict }

// Request is one wish to take a pod away. What it points to is shared: nobody changes it.
type Request struct {
	Operation Operation
	// Pod as it is: its metadata but for the managed fields, its status, and of its spec at least the readiness gates, the node,
	// the grace period, and of each container name, image and restart policy.
	Pod *corev1.Pod
	// Changed is the pod as it would be, for Update and Resize.
	Changed *corev1.Pod
	// User who asks. Our own controllers ask under the operator's own name.
	User authenticationv1.UserInfo
	// DryRun asks what would be answered: nothing is taken.
	DryRun bool
	// Cause says in a few words what for, when one of our controllers asks: "recreate update of CloneSet default/web".
	Cause string
}

// String names the request in messages.
func (r Request) String() string {
	return fmt.Sprintf("%s of pod %s/%s", r.Operation, r.Pod.Namespace, r.Pod.Name)
}

// Outcome is what a guard says.
type Outcome int

// The outcomes.
const (
	// Allow lets the pod go, as far as this guard is concerned. It is the zero value: a guard that has nothing to say.
	Allow Outcome = iota
	// Deny keeps the pod for now.
	Deny
)

// Verdict is a guard's answer.
type Verdict struct {
	Outcome Outcome
	// Guard that decided, as a person would look for it: "PodUnavailableBudget shop/web"; "" when none had a say.
	Guard string
	// Reason is one word for programs, such as BudgetExhausted, DeletionLimitReached, BreakerOpen.
	Reason string
	// Message is for people: what holds the pod, the figures, and the ways out.
	Message string
	// Throttled says that this pod may go, only not at this time: too many have gone lately.
	Throttled bool
	// After is how long until asking again may help; 0: nobody knows.
	After time.Duration
	// Notes are figures of the decision for the audit log, by key without prefix: "rule": "10m", "count": "100/100".
	Notes map[string]string
}

// Guard is one rule about pods that go. It is asked by admission on every replica and by our own controllers, concurrently.
type Guard interface {
	// Name of the guard: PodUnavailableBudget, PodDeletionFlowControl.
	Name() string
	// Check answers from memory, without I/O, and takes nothing. It denies what Take would certainly deny.
	Check(ctx context.Context, r Request) Verdict
	// Take takes a permit, durably before it allows. Asking again for the same pod and operation takes no second permit: our
	// controllers ask before they act, and admission asks about the same act again, maybe on another replica. A dry run takes
	// nothing.
	Take(ctx context.Context, r Request) (Verdict, error)
	// Release gives back what Take has taken just now, because another guard denied.
	Release(ctx context.Context, r Request)
}

// Asker is what a controller asks before it takes a pod away.
type Asker interface {
	Ask(ctx context.Context, r Request) (Verdict, error)
}

// Chain asks several guards; all must allow. The guards whose permits are dear come last.
type Chain []Guard

// Ask first checks with all guards, so that a pod that cannot go costs no permit, then takes a permit of each. The verdict
// is the first denial; or, when all allow, that of the last guard that had a say, with the notes of all.
func (c Chain) Ask(ctx context.Context, r Request) (Verdict, error) {
	for _, g := range c {
		if v := g.Check(ctx, r); v.Outcome == Deny {
			return v, nil
		}
	}
	final := Verdict{}
	for i, g := range c {
		v, err := g.Take(ctx, r)
		if err != nil || v.Outcome == Deny {
			for _, earlier := range c[:i] {
				earlier.Release(ctx, r)
			}
		}
		if err != nil {
			return Verdict{}, fmt.Errorf("ask %s about the %s: %w", g.Name(), r, err)
		}
		if v.Outcome == Deny {
			return v, nil
		}
		final = merge(final, v)
	}
	return final, nil
}

// merge keeps the later guard's words and both guards' notes.
func merge(a, b Verdict) Verdict {
	if b.Guard == "" {
		b.Guard, b.Reason, b.Message = a.Guard, a.Reason, a.Message
	}
	if len(a.Notes) > 0 {
		notes := make(map[string]string, len(a.Notes)+len(b.Notes))
		for _, from := range []map[string]string{a.Notes, b.Notes} {
			maps.Copy(notes, from)
		}
		b.Notes = notes
	}
	return b
}
