// Package policy keeps every way of taking pods away behind the guards, and remembers who asked and what they decided.
package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/holdfast-io/holdfast/internal/disruption"
)

// ReasonBreakGlass is the reason of what a break-glass let through.
const ReasonBreakGlass = "BreakGlass"

// Wish is what a break-glass may grant: to do this to that, although a guard denies it.
type Wish struct {
	// Guard is the kind of the guard that denies: PodUnavailableBudget, PodDeletionFlowControl, DeletionProtection.
	Guard     string
	User      authenticationv1.UserInfo
	Operation string
	Kind      schema.GroupKind
	Namespace string
	Name      string
	Labels    map[string]string
}

// Opener knows the glasses that are broken.
type Opener interface {
	// Opens names the break-glass that grants the wish; "" when none does.
	Opens(ctx context.Context, w Wish) (string, error)
}

// Gate is where our controllers and admission ask: it asks the guards, lets through whom a break-glass names, and
// remembers what was decided.
type Gate struct {
	Guards disruption.Chain
	// Account of the operator: our own controllers ask in its name.
	Account string
	Opener  Opener
	Journal *Journal
	Clock   clock.PassiveClock
}

var _ disruption.Asker = &Gate{}

// Ask is for our own controllers.
func (g *Gate) Ask(ctx context.Context, r disruption.Request) (disruption.Verdict, error) {
	if r.User.Username == "" {
		r.User.Username = g.Account
	}
	v, _, err := g.Decide(ctx, r)
	return v, err
}

// Decide asks about one request and remembers the answer, unless it was only a dry run.
func (g *Gate) Decide(ctx context.Context, r disruption.Request) (disruption.Verdict, Decision, error) {
	d := forPod(g.Clock.Now(), r)
	v, glass, err := g.ask(ctx, r)
	if err != nil {
		d.failed(err)
		return disruption.Verdict{}, g.Journal.Note(d, r.DryRun), err
	}
	d.Judged(v)
	if glass != "" {
		d.BreakGlass, d.Message = glass, v.Message
	}
	return v, g.Journal.Note(d, r.DryRun), nil
}

// ask asks the guards. One that denies, and that a break-glass opens, is left out, and the others are asked again: a person
// who may pass a budget must still keep to the limits that nobody opened for her.
func (g *Gate) ask(ctx context.Context, r disruption.Request) (v disruption.Verdict, glass string, err error) {
	chain, said := g.Guards, disruption.Verdict{}
	for range len(g.Guards) + 1 {
		if v, err = chain.Ask(ctx, r); err != nil {
			return v, "", fmt.Errorf("ask the guards: %w", err)
		}
		if v.Outcome == disruption.Allow {
			break
		}
		at := slices.IndexFunc(chain, func(guard disruption.Guard) bool { return kindOf(v.Guard) == guard.Name() })
		name := g.opened(ctx, r, v)
		if name == "" || at < 0 {
			return v, "", nil
		}
		glass, said = name, v
		chain = slices.Delete(slices.Clone(chain), at, at+1)
	}
	if glass == "" || v.Outcome == disruption.Deny {
		return v, "", nil
	}
	return disruption.Verdict{
		Outcome: disruption.Allow, Guard: said.Guard, Reason: ReasonBreakGlass,
		Message: fmt.Sprintf("BreakGlass %s lets %s through %s, which says: %s", glass, r.User.Username, said.Guard, said.Message),
		Notes:   said.Notes,
	}, glass, nil
}

// opened names the break-glass that opens the guard that denied. A failure to look opens nothing.
func (g *Gate) opened(ctx context.Context, r disruption.Request, v disruption.Verdict) string {
	if g.Opener == nil {
		return ""
	}
	name, err := g.Opener.Opens(ctx, Wish{
		Guard: kindOf(v.Guard), User: r.User, Operation: string(r.Operation), Kind: schema.GroupKind{Kind: "Pod"},
		Namespace: r.Pod.Namespace, Name: r.Pod.Name, Labels: r.Pod.Labels,
	})
	if err != nil {
		return ""
	}
	return name
}

func kindOf(guard string) string {
	kind, _, _ := strings.Cut(guard, " ")
	return kind
}
