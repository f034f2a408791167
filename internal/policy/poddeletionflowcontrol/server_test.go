package poddeletionflowcontrol

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// fleet is several keepers on one real API server.
type fleet struct {
	env    *testkit.Env
	system string
	mu     sync.Mutex
	all    map[string]*member
}

// member is one of them, until it is killed.
type member struct {
	*Keeper

	fleet *fleet
	name  string
	dead  atomic.Bool
	stop  context.CancelFunc
	done  chan struct{}
}

func newFleet(t testing.TB, size int) *fleet {
	t.Helper()
	ctrllog.SetLogger(logr.Discard())
	env := testkit.APIServer(t)
	f := &fleet{env: env, system: env.Namespace(t), all: map[string]*member{}}
	for i := range size {
		f.start(t, fmt.Sprintf("keeper-%d", i))
	}
	return f
}

func (f *fleet) start(t testing.TB, name string) *member {
	t.Helper()
	m := &member{fleet: f, name: name, done: make(chan struct{})}
	config := rest.CopyConfig(f.env.Config)
	direct, err := client.New(config, client.Options{Scheme: f.env.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	informers := f.env.Cache(t, cache.Options{})
	cached, err := client.New(config, client.Options{Scheme: f.env.Scheme, Cache: &client.CacheOptions{Reader: informers}})
	if err != nil {
		t.Fatal(err)
	}
	m.Keeper = New(Deps{
		Client: cached, Admission: direct, Informers: informers, Clock: clock.RealClock{}, Log: logr.Discard(),
		SystemNamespace: f.system, Identity: name, Address: func() string { return name }, Caller: m,
		Store: &mortal{Store: &ledgers{client: direct}, dead: &m.dead},
	})
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go func() { defer close(m.done); m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-m.done })
	f.mu.Lock()
	f.all[name] = m
	f.mu.Unlock()
	testkit.Eventually(t, 20*time.Second, "the keeper reads the policies", func(context.Context) error { return m.Ready() })
	return m
}

// kill ends a member: what it writes from now on fails, and nobody hears its answers.
func (m *member) kill() {
	m.dead.Store(true)
	m.stop()
}

// mortal is a store that ends with its replica.
type mortal struct {
	Store

	dead *atomic.Bool
}

func (s *mortal) Get(ctx context.Context, policy string) (*flow.Ledger, string, error) {
	if s.dead.Load() {
		return nil, "", errDead
	}
	return s.Store.Get(ctx, policy)
}

func (s *mortal) Put(ctx context.Context, policy, version string, l *flow.Ledger) (string, error) {
	if s.dead.Load() {
		return "", errDead
	}
	made, err := s.Store.Put(ctx, policy, version, l)
	if s.dead.Load() {
		return "", errDead
	}
	return made, err
}

// Call reaches another member.
func (m *member) Call(ctx context.Context, address, _ string, body []byte) ([]byte, error) {
	m.fleet.mu.Lock()
	other := m.fleet.all[address]
	m.fleet.mu.Unlock()
	if other == nil || other.dead.Load() {
		return nil, errDead
	}
	raw, err := other.Answer(ctx, body)
	if other.dead.Load() {
		return nil, errDead
	}
	return raw, err
}

func (f *fleet) policy(t testing.TB, change func(*v1alpha1.PodDeletionFlowControl)) *v1alpha1.PodDeletionFlowControl {
	t.Helper()
	p := policyOf(rule(10*time.Minute, 100), rule(time.Hour, 500), rule(24*time.Hour, 5000))
	p.ObjectMeta = metav1.ObjectMeta{Name: "p-" + strings.ToLower(strings.ReplaceAll(f.system, "test-", ""))}
	p.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"fleet": f.system}}
	if change != nil {
		change(p)
	}
	if err := f.env.Client.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := f.env.Client.Delete(ctx, p); err != nil {
			t.Log(err)
		}
	})
	testkit.Eventually(t, 10*time.Second, "every keeper sees the policy", func(context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, m := range f.all {
			if !m.dead.Load() && m.book(p.Name) == nil {
				return fmt.Errorf("%s does not", m.name)
			}
		}
		return nil
	})
	return p
}

func (f *fleet) request(uid string) disruption.Request {
	return disruption.Request{
		Operation: disruption.Delete, User: authenticationv1.UserInfo{Username: "script", Groups: []string{"ops"}},
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: uid, UID: types.UID(uid), Labels: map[string]string{"fleet": f.system},
		}},
	}
}

// leader waits until one of the members is the preferred one, and the others know.
func (f *fleet) leader(t testing.TB) *member {
	t.Helper()
	var found *member
	testkit.Eventually(t, 20*time.Second, "one keeper is preferred", func(context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		found = nil
		follow := 0
		for _, m := range f.all {
			if m.owner.mine(m.now()) {
				found = m
			}
			if _, ok := m.owner.other(m.now()); ok {
				follow++
			}
		}
		if found == nil || follow != len(f.all)-1 {
			return fmt.Errorf("%d of %d follow", follow, len(f.all))
		}
		return nil
	})
	return found
}

// TestConcurrentDeletions is the fleet's worst hour: 5,000 deletions at once against 100 in 10 minutes, on three replicas, of
// which two die in the middle, the preferred one among them.
func TestConcurrentDeletions(t *testing.T) {
	f := newFleet(t, 3)
	p := f.policy(t, nil)
	first := f.leader(t)
	var members []*member
	for _, m := range f.all {
		if m != first {
			members = append(members, m)
		}
	}
	second := members[0]
	members = append(members, first)

	var asked atomic.Int64
	var mu sync.Mutex
	allowed, lost := map[string]bool{}, []string{}
	denied := 0
	var wg sync.WaitGroup
	begun := time.Now()
	for i := range 5000 {
		m, pod := members[i%len(members)], fmt.Sprintf("pod-%d", i)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), flow.Reply)
			defer cancel()
			v, err := m.Guard().Take(ctx, f.request(pod))
			if asked.Add(1) == 400 {
				second.kill()
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case m.dead.Load() || err != nil:
				lost = append(lost, pod)
			case v.Outcome == disruption.Allow:
				if allowed[pod] = true; len(allowed) == 20 {
					first.kill()
				}
			default:
				denied++
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	t.Logf("5000 asked in %s: %d allowed, %d denied, %d not answered", took.Round(time.Millisecond), len(allowed), denied, len(lost))
	if !first.dead.Load() || !second.dead.Load() {
		t.Fatal("nobody was killed: nothing was tested")
	}
	// Whoever was not answered asks again, as the callers of a real API server do; then others ask for what is left.
	before := len(allowed)
	for i := range 200 {
		lost = append(lost, fmt.Sprintf("late-%d", i))
	}
	for _, pod := range lost {
		testkit.Eventually(t, 30*time.Second, "the survivor answers", func(ctx context.Context) error {
			v, err := members[1].Guard().Take(ctx, f.request(pod))
			if err == nil && v.Outcome == disruption.Allow {
				allowed[pod] = true
			}
			return err
		})
	}
	stored := &v1alpha1.PodDeletionLedger{}
	if err := f.env.Client.Get(t.Context(), types.NamespacedName{Name: p.Name}, stored); err != nil {
		t.Fatal(err)
	}
	l, err := flow.Read(stored)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d more by the survivor; the ledger holds %d", len(allowed)-before, l.Count(l.Clock, 10*time.Minute))
	if len(allowed) > 100 {
		t.Errorf("%d were let go, and the limit is 100", len(allowed))
	}
	// A replica that dies takes with it what it has set aside: a twentieth of 100.
	if least := 100 - 2*5; len(allowed) < least {
		t.Errorf("%d were let go, want at least %d", len(allowed), least)
	}
	if count := l.Count(l.Clock, 10*time.Minute); count != 100 {
		t.Errorf("the ledger holds %d when nothing is left, want 100", count)
	}
}

// TestRetriesCountOnce asks for one pod on all replicas.
func TestRetriesCountOnce(t *testing.T) {
	f := newFleet(t, 3)
	p := f.policy(t, nil)
	f.leader(t)
	for range 3 {
		for _, m := range f.all {
			v, err := m.Guard().Take(t.Context(), f.request("drained"))
			if err != nil || v.Outcome != disruption.Allow {
				t.Fatalf("%+v, %v", v, err)
			}
		}
	}
	dry := f.request("dry")
	dry.DryRun = true
	for _, m := range f.all {
		if v, err := m.Guard().Take(t.Context(), dry); err != nil || v.Outcome != disruption.Allow {
			t.Fatalf("dry run: %+v, %v", v, err)
		}
	}
	for _, m := range f.all {
		m.stop()
		<-m.done
	}
	stored := &v1alpha1.PodDeletionLedger{}
	if err := f.env.Client.Get(t.Context(), types.NamespacedName{Name: p.Name}, stored); err != nil {
		t.Fatal(err)
	}
	l, err := flow.Read(stored)
	if err != nil {
		t.Fatal(err)
	}
	if n := l.Count(l.Clock, 10*time.Minute); n != 1 || l.Admitted != 1 || len(l.Blocks) != 0 {
		t.Errorf("the ledger counts %d (admitted %d, blocks %v), want 1: nothing set aside after a stop, and nothing twice", n, l.Admitted, l.Blocks)
	}
}

// TestStatus follows a policy from its creation to its limit, as kubectl shows it.
func TestStatus(t *testing.T) {
	f := newFleet(t, 1)
	p := f.policy(t, func(p *v1alpha1.PodDeletionFlowControl) {
		p.Spec.LimitRules = []v1alpha1.DeletionLimitRule{rule(10*time.Minute, 3), rule(time.Hour, 5)}
		p.Spec.CircuitBreaker = &v1alpha1.DeletionCircuitBreaker{Denials: 4}
	})
	m := f.all["keeper-0"]
	frame := reconcile.New(m.client, m.Keeper, reconcile.Options{Name: "poddeletionflowcontrol", StatusInterval: -1})
	look := func(why string, judge func(s *v1alpha1.PodDeletionFlowControlStatus) error) *v1alpha1.PodDeletionFlowControl {
		t.Helper()
		shown := &v1alpha1.PodDeletionFlowControl{}
		testkit.Eventually(t, 20*time.Second, why, func(ctx context.Context) error {
			if _, err := frame.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Name: p.Name}}); err != nil {
				return err
			}
			if err := f.env.Client.Get(ctx, types.NamespacedName{Name: p.Name}, shown); err != nil {
				return err
			}
			return judge(&shown.Status)
		})
		return shown
	}
	condition := func(s *v1alpha1.PodDeletionFlowControlStatus, kind string, want metav1.ConditionStatus) error {
		if c := meta.FindStatusCondition(s.Conditions, kind); c == nil || c.Status != want {
			return fmt.Errorf("condition %s is %v, want %s", kind, c, want)
		}
		return nil
	}
	look("a new policy is enforced", func(s *v1alpha1.PodDeletionFlowControlStatus) error {
		if s.Used != "0/3 per 10m, 0/5 per 1h" || s.Left != 3 || s.ObservedGeneration != 1 || s.Breaker.State != v1alpha1.BreakerClosed {
			return fmt.Errorf("%+v", s)
		}
		return errors.Join(condition(s, "Ready", "True"), condition(s, "Enforced", "True"), condition(s, "LimitReached", "False"))
	})
	for i := range 9 {
		if _, err := m.Guard().Take(t.Context(), f.request(fmt.Sprint("pod-", i))); err != nil {
			t.Fatal(err)
		}
	}
	shown := look("the limit and the breaker show", func(s *v1alpha1.PodDeletionFlowControlStatus) error {
		if s.Admitted != 3 || s.Denied != 6 || s.Left != 0 || s.Used != "3/3 per 10m, 3/5 per 1h" {
			return fmt.Errorf("%+v", s)
		}
		return errors.Join(condition(s, "LimitReached", "True"), condition(s, "BreakerOpen", "True"), condition(s, "Enforced", "True"))
	})
	if s := shown.Status; s.Breaker.Trips != 1 || s.Breaker.Until == nil || s.Rules[0].NextFree == nil || len(s.RecentDecisions) == 0 ||
		s.RecentDecisions[0].User != "script" {
		t.Errorf("%+v", s)
	}
	shown.Annotations = map[string]string{v1alpha1.CloseBreaker: "1"}
	if err := f.env.Client.Update(t.Context(), shown); err != nil {
		t.Fatal(err)
	}
	look("the breaker is closed by hand", func(s *v1alpha1.PodDeletionFlowControlStatus) error {
		return errors.Join(condition(s, "BreakerOpen", "False"), condition(s, "LimitReached", "True"))
	})
	stored := &v1alpha1.PodDeletionLedger{}
	if err := f.env.Client.Get(t.Context(), types.NamespacedName{Name: p.Name}, stored); err != nil {
		t.Fatal(err)
	}
	if owner := stored.OwnerReferences; len(owner) != 1 || owner[0].UID != shown.UID {
		t.Errorf("the ledger would outlive its policy: %v", owner)
	}
}

// TestLostLedger takes the ledger away: what was counted is known to the replicas, and written down again.
func TestLostLedger(t *testing.T) {
	f := newFleet(t, 2)
	p := f.policy(t, func(p *v1alpha1.PodDeletionFlowControl) {
		p.Spec.LimitRules = []v1alpha1.DeletionLimitRule{rule(10*time.Minute, 3)}
	})
	m := f.leader(t)
	for i := range 2 {
		if v, err := m.Guard().Take(t.Context(), f.request(fmt.Sprint("pod-", i))); err != nil || v.Outcome != disruption.Allow {
			t.Fatal(v, err)
		}
	}
	if err := f.env.Client.Delete(t.Context(), &v1alpha1.PodDeletionLedger{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}); err != nil {
		t.Fatal(err)
	}
	allowed := 0
	for i := range 4 {
		for _, one := range f.all {
			v, err := one.Guard().Take(t.Context(), f.request(fmt.Sprint("more-", i, one.name)))
			if err != nil {
				t.Fatal(err)
			}
			if v.Outcome == disruption.Allow {
				allowed++
			}
		}
	}
	if allowed != 1 {
		t.Errorf("%d more were let go, want 1", allowed)
	}
}

// TestUnenforced: a policy that nobody asks says so.
func TestUnenforced(t *testing.T) {
	f := newFleet(t, 1)
	m := f.all["keeper-0"]
	m.asked = &admission.Asked{Reader: f.env.Client, Name: "none-" + f.system, Clock: m.clock}
	p := policyOf(rule(time.Minute, 1))
	if _, err := m.Reconcile(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.FlowControlEnforced)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != "NoWebhook" || !strings.Contains(c.Message, "holdfast install") {
		t.Errorf("%+v", c)
	}
	p.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
	if _, err := m.Reconcile(t.Context(), p); err == nil || !strings.Contains(err.Error(), "spec.selector") {
		t.Errorf("a spec that makes no sense: %v", err)
	}
	if c := meta.FindStatusCondition(p.Status.Conditions, "Stalled"); c == nil || c.Status != metav1.ConditionTrue {
		t.Errorf("%+v", p.Status.Conditions)
	}
}
