package poddeletionflowcontrol

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

const (
	defaultDenials         = 10
	defaultBreakerInterval = time.Minute
	defaultCoolDown        = 10 * time.Minute
)

// terms are a PodDeletionFlowControl, read once so that a decision only compares.
type terms struct {
	name       string
	uid        string
	generation int64

	rules      []flow.Rule
	longest    time.Duration
	selector   labels.Selector
	namespaces labels.Selector // nil: all
	white      labels.Selector // nil: none
	observe    bool
	users      sets.Set[string]
	groups     sets.Set[string]
	enforceFor sets.Set[v1alpha1.SystemDeletion]
	breaker    *flow.Breaker
	closed     int64 // the trip that a person has declared over
}

var errNoRules = errors.New("spec.limitRules is empty: name at least one interval and limit")

// read turns the spec into terms; an error names the field that makes no sense.
func read(p *v1alpha1.PodDeletionFlowControl) (*terms, error) {
	t := &terms{
		name: p.Name, uid: string(p.UID), generation: p.Generation,
		observe: p.Spec.Mode == v1alpha1.Observe, enforceFor: sets.New(p.Spec.EnforceFor...),
	}
	for i, r := range p.Spec.LimitRules {
		if r.Interval.Duration <= 0 || r.Limit < 1 {
			return nil, fmt.Errorf("spec.limitRules[%d]: interval %s and limit %d must be positive", i, r.Interval.Duration, r.Limit)
		}
		t.rules = append(t.rules, flow.Rule{Interval: r.Interval.Duration, Limit: int(r.Limit)})
	}
	if len(t.rules) == 0 {
		return nil, errNoRules
	}
	t.longest = flow.Longest(t.rules)
	var err error
	if t.selector, err = selectorOr(labels.Everything(), p.Spec.Selector); err != nil {
		return nil, fmt.Errorf("spec.selector: %w", err)
	}
	if t.namespaces, err = selectorOr(nil, p.Spec.NamespaceSelector); err != nil {
		return nil, fmt.Errorf("spec.namespaceSelector: %w", err)
	}
	if t.white, err = selectorOr(nil, p.Spec.WhiteListSelector); err != nil {
		return nil, fmt.Errorf("spec.whiteListSelector: %w", err)
	}
	if e := p.Spec.Exempt; e != nil {
		t.users, t.groups = sets.New(e.Users...), sets.New(e.Groups...)
	}
	t.breaker = breaker(p.Spec.CircuitBreaker)
	// Anything but a number closes nothing; admission refuses it, and warns.
	t.closed, _ = strconv.ParseInt(p.Annotations[v1alpha1.CloseBreaker], 10, 64)
	return t, nil
}

func selectorOr(otherwise labels.Selector, s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return otherwise, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	return selector, nil
}

func breaker(b *v1alpha1.DeletionCircuitBreaker) *flow.Breaker {
	if b == nil {
		return nil
	}
	return &flow.Breaker{
		Denials:  int(max(b.Denials, 1)),
		Interval: ptr.Deref(b.Interval, metav1.Duration{Duration: defaultBreakerInterval}).Duration,
		CoolDown: ptr.Deref(b.CoolDown, metav1.Duration{Duration: defaultCoolDown}).Duration,
	}
}

// exempts tells whether a user's deletions are not the policy's business.
func (t *terms) exempts(u authenticationv1.UserInfo) bool {
	return t.users.Has(u.Username) || slices.ContainsFunc(u.Groups, t.groups.Has)
}

// forces tells whether a deletion is counted, but never denied.
func (t *terms) forces(by v1alpha1.SystemDeletion) bool {
	return t.observe || by != "" && !t.enforceFor.Has(by)
}
