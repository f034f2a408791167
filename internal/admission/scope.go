package admission

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// ScopeCondition is the match condition of a hook that is kept at run time; see Scope.
	ScopeCondition = "in-scope"
	// ScopeWidened is the annotation of a configuration whose scope was widened for what may not be stored yet.
	ScopeWidened = "holdfast.io/scope-widened"
)

const (
	// How long nothing is taken out of a scope after it was widened: longer than an API server works on one request (60 s).
	widenedInterval = 90 * time.Second
	// How long the API servers get to hear of a wider scope: they watch their configurations, and nothing tells when they have
	// seen a change.
	heardInterval = 250 * time.Millisecond
	// Beyond these the condition is left out, and everything is asked about: many terms cost more than they save.
	maxTerms     = 60
	maxTermsSize = 8 << 10
)

// Scope is the requests that a mutating hook wants to hear of, as one match condition of it: terms of CEL, one of which must
// be true. What meets none costs nothing. Manifests know no terms, so they ask for everything; so does a hook whose condition
// is missing or not ours.
//
// Anybody may widen a scope, at any time, and has it in force before going on. It is only narrowed by who leads, from a list of
// what is stored, and never while something that it was widened for may still be on its way to the store: each widening
// changes an annotation, and nothing is taken out until that has stood for a while. Writes are bound to the version that was
// read, so that two that disagree can only lead to a scope that is too wide.
type Scope struct {
	// Client reads and writes the configuration itself, not a cache of it.
	Client client.Client
	Clock  clock.Clock
	// Configuration is the name of the MutatingWebhookConfiguration, and Hook that of the webhook in it.
	Configuration, Hook string

	mu sync.Mutex
	// widened is the annotation as it was seen last, and since when.
	widened string
	since   time.Time
}

// Widen has requests that meet the term asked about before it returns. by is who needs it.
func (s *Scope) Widen(ctx context.Context, term, by string) error {
	for range maxConflicts {
		config := &admissionregistrationv1.MutatingWebhookConfiguration{}
		err := s.Client.Get(ctx, types.NamespacedName{Name: s.Configuration}, config)
		if apierrors.IsNotFound(err) {
			return nil // nothing is asked about yet, and everything will be
		}
		if err != nil {
			return fmt.Errorf("read mutatingwebhookconfiguration %s: %w", s.Configuration, err)
		}
		hook := s.find(config)
		if hook == nil {
			return nil
		}
		before, have := config.DeepCopy(), termsOf(hook)
		now := have.with(term)
		now.write(hook)
		if config.Annotations == nil {
			config.Annotations = map[string]string{}
		}
		// It changes also when the term is there already: what needs it now may be stored just when its former user has gone.
		config.Annotations[ScopeWidened] = fmt.Sprintf("%s, after version %s", by, config.ResourceVersion)
		err = s.patch(ctx, config, before)
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil || have.equal(now) {
			return err
		}
		return s.heard(ctx)
	}
	return fmt.Errorf("write mutatingwebhookconfiguration %s: others wrote it %d times in between", s.Configuration, maxConflicts)
}

// heard waits until the API servers know the wider scope.
func (s *Scope) heard(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait until the API servers know the new scope of %s: %w", s.Hook, ctx.Err())
	case <-s.Clock.After(heardInterval):
		return nil
	}
}

// Keep brings the scope in config to the terms of what is stored, read after config was. It answers when it wants to be called
// again though nothing changes; a conflict is an error, which the next call mends.
func (s *Scope) Keep(
	ctx context.Context, config *admissionregistrationv1.MutatingWebhookConfiguration, stored []string,
) (time.Duration, error) {
	config = config.DeepCopy()
	hook := s.find(config)
	if hook == nil {
		return 0, nil
	}
	before, want := config.DeepCopy(), terms{}.with(stored...)
	left := s.left(config)
	if left > 0 {
		want = termsOf(hook).with(stored...)
	} else {
		delete(config.Annotations, ScopeWidened)
	}
	if !termsOf(hook).equal(want) {
		want.write(hook)
	}
	return left, s.patch(ctx, config, before)
}

// left is how long nothing may be taken out yet. The time is counted on one's own clock, from when one saw the annotation.
func (s *Scope) left(config *admissionregistrationv1.MutatingWebhookConfiguration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, text := s.Clock.Now(), config.Annotations[ScopeWidened]
	if text != s.widened {
		s.widened, s.since = text, now
	}
	if text == "" {
		return 0
	}
	return max(0, widenedInterval-now.Sub(s.since))
}

// patch writes what changed, if nobody wrote in between.
func (s *Scope) patch(ctx context.Context, config, before *admissionregistrationv1.MutatingWebhookConfiguration) error {
	if maps.Equal(config.Annotations, before.Annotations) && sameWebhooks(config, before) {
		return nil
	}
	err := s.Client.Patch(ctx, config, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		return fmt.Errorf("write mutatingwebhookconfiguration %s: %w", s.Configuration, err)
	}
	return nil
}

func (s *Scope) find(config *admissionregistrationv1.MutatingWebhookConfiguration) *admissionregistrationv1.MutatingWebhook {
	at := slices.IndexFunc(config.Webhooks, func(w admissionregistrationv1.MutatingWebhook) bool { return w.Name == s.Hook })
	if at < 0 {
		return nil
	}
	return &config.Webhooks[at]
}

// terms of a scope; all: everything is asked about, whatever the terms.
type terms struct {
	all  bool
	list []string // sorted
}

// How terms stand in the condition. None of them holds a line break: in texts it is written as \n.
const (
	noTerm    = "false"
	termBreak = " ||\n"
)

// termsOf reads a hook's scope. A condition that was written by somebody else is no reason not to ask.
func termsOf(hook *admissionregistrationv1.MutatingWebhook) terms {
	at := scopeAt(hook.MatchConditions)
	if at < 0 {
		return terms{all: true}
	}
	text := hook.MatchConditions[at].Expression
	if text == noTerm {
		return terms{}
	}
	var t terms
	for part := range strings.SplitSeq(text, termBreak) {
		term, ours := strings.CutPrefix(part, "(")
		if !ours || !strings.HasSuffix(term, ")") || strings.Contains(term, "?") { // a choice would not stay one beside others
			return terms{all: true}
		}
		term = strings.TrimSuffix(term, ")")
		t.list = append(t.list, term)
	}
	return t
}

func scopeAt(conditions []admissionregistrationv1.MatchCondition) int {
	return slices.IndexFunc(conditions, func(c admissionregistrationv1.MatchCondition) bool { return c.Name == ScopeCondition })
}

func (t terms) with(more ...string) terms {
	list := slices.Concat(t.list, more)
	slices.Sort(list)
	t.list = slices.Compact(list)
	t.all = t.all || len(t.list) > maxTerms || len(t.String()) > maxTermsSize
	if t.all {
		t.list = nil
	}
	return t
}

func (t terms) equal(other terms) bool { return t.all == other.all && slices.Equal(t.list, other.list) }

// String is the condition.
func (t terms) String() string {
	if len(t.list) == 0 {
		return noTerm
	}
	return "(" + strings.Join(t.list, ")"+termBreak+"(") + ")"
}

func (t terms) write(hook *admissionregistrationv1.MutatingWebhook) {
	kept := slices.DeleteFunc(slices.Clone(hook.MatchConditions), func(c admissionregistrationv1.MatchCondition) bool {
		return c.Name == ScopeCondition
	})
	if !t.all {
		kept = append(kept, admissionregistrationv1.MatchCondition{Name: ScopeCondition, Expression: t.String()})
	}
	hook.MatchConditions = kept
}

// adoptScopes takes over the scopes of the hooks as they are stored, for who writes all else of them.
func adoptScopes(wanted, stored client.Object, hooks []Hook) {
	want, ok := wanted.(*admissionregistrationv1.MutatingWebhookConfiguration)
	have, same := stored.(*admissionregistrationv1.MutatingWebhookConfiguration)
	if !ok || !same {
		return
	}
	for _, h := range hooks {
		s := Scope{Hook: h.Name}
		into, from := s.find(want), s.find(have)
		if !h.Scoped || into == nil || from == nil {
			continue
		}
		if at := scopeAt(from.MatchConditions); at >= 0 {
			into.MatchConditions = append(slices.Clip(into.MatchConditions), from.MatchConditions[at])
		}
	}
}
