// Package breakglass lets people through guards in an emergency: only those named, only what is named, only until it
// expires, and never without a trace.
package breakglass

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/policy"
)

// How long the cluster is not asked again for a kind that it does not have.
const missingInterval = 30 * time.Second

// Deps are what the room needs from the operator.
type Deps struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Live reads from the API server.
	Live  client.Reader
	Clock clock.PassiveClock
	// Tell leaves these users and groups to the webhook, and nobody else, in what the API server enforces by itself.
	Tell func(ctx context.Context, users, groups []string) error
	// Recorder tells of uses; nil: they are not told by events.
	Recorder record.EventRecorder
	// Metrics count uses; nil: they are not counted.
	Metrics *Metrics
}

// Metrics are the figures of break-glasses.
type Metrics struct {
	uses   *prometheus.CounterVec
	active prometheus.Gauge
}

// NewMetrics registers the figures with reg.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		uses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "holdfast_break_glass_uses_total", Help: "What break-glasses let through, by the guard that had denied it.",
		}, []string{"guard"}),
		active: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "holdfast_break_glasses_active", Help: "Break-glasses that open something now, as the leader sees it.",
		}),
	}
	for _, c := range []prometheus.Collector{m.uses, m.active} {
		if err := reg.Register(c); err != nil {
			return nil, err //nolint:wrapcheck // names the metric itself
		}
	}
	return m, nil
}

// What it takes. These lines stand apart: controller-gen does not see them in the comment of a declaration.

// +kubebuilder:rbac:groups=policy.kruise.io,resources=breakglasses,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=policy.kruise.io,resources=breakglasses/status,verbs=patch;update

// Keeper knows what is open, keeps the status of each BreakGlass, and tells the admission policies.
type Keeper struct {
	deps Deps

	mu sync.Mutex
	// missing is until when the cluster is taken not to have the kind.
	missing time.Time
}

// New makes the room.
func New(d Deps) *Keeper { return &Keeper{deps: d} }

var _ policy.Opener = &Keeper{}

// Opens names the BreakGlass that grants a wish, the first by name; "" when none does.
func (k *Keeper) Opens(ctx context.Context, w policy.Wish) (string, error) {
	now := k.deps.Clock.Now()
	if k.isMissing(now) {
		return "", nil
	}
	list := &v1alpha1.BreakGlassList{}
	if err := k.deps.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil { // it is only read
		if meta.IsNoMatchError(err) {
			k.setMissing(now.Add(missingInterval))
			return "", nil
		}
		return "", fmt.Errorf("list the BreakGlasses: %w", err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.BreakGlass) int { return strings.Compare(a.Name, b.Name) })
	for i := range list.Items {
		if grants(&list.Items[i], w, now) {
			return list.Items[i].Name, nil
		}
	}
	return "", nil
}

func (k *Keeper) isMissing(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return now.Before(k.missing)
}

func (k *Keeper) setMissing(until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.missing = until
}

// expiry is when a BreakGlass ends; one whose time cannot be read ended when it was made.
func expiry(g *v1alpha1.BreakGlass) time.Time {
	d, err := time.ParseDuration(g.Spec.ExpiresAfter)
	if err != nil || d < 0 {
		d = 0
	}
	return g.CreationTimestamp.Add(min(d, 24*time.Hour))
}

// active tells whether a BreakGlass opens anything.
func active(g *v1alpha1.BreakGlass, now time.Time) bool {
	return g.DeletionTimestamp == nil && now.Before(expiry(g))
}

// grants tells whether a BreakGlass grants a wish. What cannot be read grants nothing.
func grants(g *v1alpha1.BreakGlass, w policy.Wish, now time.Time) bool {
	return active(g, now) && slices.Contains(g.Spec.Guards, v1alpha1.BreakGlassGuard(w.Guard)) &&
		slices.ContainsFunc(g.Spec.Subjects, func(s v1alpha1.BreakGlassSubject) bool { return is(s, w.User) }) &&
		reaches(g.Spec, w)
}

// is tells whether a user is the subject.
func is(s v1alpha1.BreakGlassSubject, user authenticationv1.UserInfo) bool {
	switch s.Kind {
	case v1alpha1.SubjectUser:
		return s.Name == user.Username
	case v1alpha1.SubjectGroup:
		return slices.Contains(user.Groups, s.Name)
	case v1alpha1.SubjectServiceAccount:
		return username(s) == user.Username
	}
	return false
}

// username of a service account.
func username(s v1alpha1.BreakGlassSubject) string {
	return "system:serviceaccount:" + s.Namespace + ":" + s.Name
}

// reaches tells whether an object is among those that are opened.
func reaches(spec v1alpha1.BreakGlassSpec, w policy.Wish) bool {
	namespace := w.Namespace
	if w.Kind.Kind == "Namespace" && w.Kind.Group == corev1.GroupName {
		namespace = w.Name
	}
	if len(spec.Namespaces) > 0 && !slices.Contains(spec.Namespaces, namespace) {
		return false
	}
	if len(spec.Kinds) > 0 && !slices.Contains(spec.Kinds, v1alpha1.BreakGlassKind{Group: w.Kind.Group, Kind: w.Kind.Kind}) {
		return false
	}
	if spec.Selector == nil {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	return err == nil && selector.Matches(labels.Set(w.Labels))
}

// Used takes in what was let through, in the batches of the journal.
func (k *Keeper) Used(ctx context.Context, decisions []policy.Decision) {
	uses := map[string][]policy.Decision{}
	for _, d := range decisions {
		if d.BreakGlass != "" {
			uses[d.BreakGlass] = append(uses[d.BreakGlass], d)
		}
	}
	for name, of := range uses {
		k.used(ctx, name, of)
	}
}

func (k *Keeper) used(ctx context.Context, name string, decisions []policy.Decision) {
	latest := make([]v1alpha1.BreakGlassUse, 0, len(decisions))
	total := int64(0)
	for _, d := range decisions {
		times := max(d.Times, 1)
		total += int64(times)
		if k.deps.Metrics != nil {
			k.deps.Metrics.uses.WithLabelValues(d.GuardKind()).Add(float64(times))
		}
		latest = append(latest, v1alpha1.BreakGlassUse{
			Time: metav1.NewTime(d.Time), User: d.User, Operation: d.Operation, Object: object(d), Guard: d.Guard, Decision: d.ID,
			Times: int32(min(times, 1<<30)), //nolint:gosec // bounded just here
		})
	}
	glass, err := k.amend(ctx, name, func(s *v1alpha1.BreakGlassStatus) {
		s.Uses += total
		s.LastUses = append(slices.Clone(latest), s.LastUses...)
		slices.SortStableFunc(s.LastUses, func(a, b v1alpha1.BreakGlassUse) int { return b.Time.Compare(a.Time.Time) })
		s.LastUses = s.LastUses[:min(len(s.LastUses), v1alpha1.MaxBreakGlassUses)]
	})
	if err != nil || k.deps.Recorder == nil {
		return // the decision itself is written down; the object may be gone by now
	}
	d := decisions[len(decisions)-1]
	k.deps.Recorder.Eventf(glass, corev1.EventTypeWarning, "Used", "%s did %s of %s despite %s (decision %s), and %d more in this moment",
		d.User, d.Operation, object(d), d.Guard, d.ID, total-1)
}

func object(d policy.Decision) string {
	if d.Namespace == "" {
		return d.Kind + " " + d.Name
	}
	return d.Kind + " " + d.Namespace + "/" + d.Name
}

// How often a status write that lost against another one is tried again.
const maxConflicts = 5

// amend changes a status as it is now at the API server: every replica counts uses, and none may undo another's.
func (k *Keeper) amend(ctx context.Context, name string, change func(*v1alpha1.BreakGlassStatus)) (*v1alpha1.BreakGlass, error) {
	for try := 0; ; try++ {
		glass := &v1alpha1.BreakGlass{}
		if err := k.deps.Live.Get(ctx, types.NamespacedName{Name: name}, glass); err != nil {
			return nil, fmt.Errorf("read BreakGlass %s: %w", name, err)
		}
		before := glass.DeepCopy()
		change(&glass.Status)
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		err := k.deps.Client.Status().Patch(ctx, glass, patch)
		if err == nil {
			return glass, nil
		}
		if !isConflict(err) || try == maxConflicts {
			return nil, fmt.Errorf("write the status of BreakGlass %s: %w", name, err)
		}
	}
}
