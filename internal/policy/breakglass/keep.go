package breakglass

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

const (
	// How often admission policies are told who is let through, besides at each change.
	publishInterval = 10 * time.Second
	// Retention is how long an expired BreakGlass can still be looked at.
	Retention = 7 * 24 * time.Hour
)

// Reconcile keeps the condition of a BreakGlass, and deletes it when it has been expired for long.
func (k *Keeper) Reconcile(ctx context.Context, glass *v1alpha1.BreakGlass) (reconcile.Result, error) {
	now := k.deps.Clock.Now()
	if err := k.publish(ctx, now); err != nil {
		return reconcile.Result{}, err
	}
	end := expiry(glass)
	if now.Sub(end) >= Retention {
		if err := k.deps.Client.Delete(ctx, glass); client.IgnoreNotFound(err) != nil {
			return reconcile.Result{}, fmt.Errorf("delete BreakGlass %s, which expired %s ago: %w", glass.Name, Retention, err)
		}
		return reconcile.Result{}, nil
	}
	want := glass.Status.DeepCopy()
	changed := fill(want, glass, now)
	if !equality.Semantic.DeepEqual(want, &glass.Status) {
		if _, err := k.amend(ctx, glass.Name, func(s *v1alpha1.BreakGlassStatus) { fill(s, glass, now) }); err != nil {
			return reconcile.Result{}, err
		}
		tell(ctx, glass, changed)
	}
	if active(glass, now) {
		return reconcile.After(end.Sub(now)), nil
	}
	return reconcile.After(end.Add(Retention).Sub(now)), nil
}

// Run tells the admission policies again and again until ctx ends: of a BreakGlass that was deleted no pass tells.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(publishInterval)
	defer ticker.Stop()
	for {
		if err := k.publish(ctx, k.deps.Clock.Now()); err != nil && ctx.Err() == nil {
			logf.FromContext(ctx).Error(err, "break-glass: trying again", "in", publishInterval.String())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// fill sets what time alone decides, and answers whether the condition changed.
func fill(s *v1alpha1.BreakGlassStatus, glass *v1alpha1.BreakGlass, now time.Time) bool {
	end := metav1.NewTime(expiry(glass))
	s.ObservedGeneration, s.ExpiresAt = glass.Generation, &end
	condition := metav1.Condition{
		Type: v1alpha1.BreakGlassActive, Status: metav1.ConditionTrue, Reason: "Open", ObservedGeneration: glass.Generation,
		LastTransitionTime: metav1.NewTime(now),
		Message:            fmt.Sprintf("opens %s until %s: %s", guards(glass), end.UTC().Format(time.RFC3339), glass.Spec.Reason),
	}
	if !active(glass, now) {
		condition.Status, condition.Reason = metav1.ConditionFalse, "Expired"
		condition.Message = fmt.Sprintf("expired at %s: it opens nothing, and is deleted at %s",
			end.UTC().Format(time.RFC3339), end.Add(Retention).UTC().Format(time.RFC3339))
	}
	return meta.SetStatusCondition(&s.Conditions, condition)
}

func guards(glass *v1alpha1.BreakGlass) string {
	var names []string
	for _, guard := range glass.Spec.Guards {
		names = append(names, string(guard))
	}
	return strings.Join(names, ", ")
}

// tell says once that a BreakGlass opens something, and once that it ended.
func tell(ctx context.Context, glass *v1alpha1.BreakGlass, changed bool) {
	if !changed {
		return
	}
	if condition := meta.FindStatusCondition(glass.Status.Conditions, v1alpha1.BreakGlassActive); condition != nil {
		reconcile.Event(ctx, corev1.EventTypeNormal, "Expired", "it opens nothing any more, after %d uses", glass.Status.Uses)
		return
	}
	reconcile.Event(ctx, corev1.EventTypeWarning, "Opened", "%s made it; it opens %s for %s: %s",
		glass.Annotations[v1alpha1.BreakGlassCreator], guards(glass), glass.Spec.ExpiresAfter, glass.Spec.Reason)
}

// publish tells the admission policies whom to leave to the webhook, which knows what exactly is opened, and until when.
func (k *Keeper) publish(ctx context.Context, now time.Time) error {
	list := &v1alpha1.BreakGlassList{}
	if !k.isMissing(now) {
		err := k.deps.Client.List(ctx, list)
		if meta.IsNoMatchError(err) {
			k.setMissing(now.Add(missingInterval)) // nobody is let through
		} else if err != nil {
			return fmt.Errorf("list the BreakGlasses: %w", err)
		}
	}
	count := 0
	for i := range list.Items {
		if active(&list.Items[i], now) {
			count++
		}
	}
	if k.deps.Metrics != nil {
		k.deps.Metrics.active.Set(float64(count))
	}
	users, groups := subjects(list.Items, now)
	return k.deps.Tell(ctx, users, groups)
}

// subjects are those whom active BreakGlasses let through the deletion protection.
func subjects(glasses []v1alpha1.BreakGlass, now time.Time) (users, groups []string) {
	for i := range glasses {
		glass := &glasses[i]
		if !active(glass, now) || !slices.Contains(glass.Spec.Guards, v1alpha1.OpensDeletionProtection) {
			continue
		}
		for _, s := range glass.Spec.Subjects {
			switch s.Kind {
			case v1alpha1.SubjectGroup:
				groups = append(groups, s.Name)
			case v1alpha1.SubjectServiceAccount:
				users = append(users, username(s))
			case v1alpha1.SubjectUser:
				users = append(users, s.Name)
			}
		}
	}
	return users, groups
}

func isConflict(err error) bool { return apierrors.IsConflict(err) }
