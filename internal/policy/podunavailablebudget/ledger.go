package podunavailablebudget

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/disruption/budget"
)

func limits(pub *policyv1beta1.PodUnavailableBudget) budget.Limits {
	return budget.Limits{MaxUnavailable: pub.Spec.MaxUnavailable, MinAvailable: pub.Spec.MinAvailable}
}

// enter is the budget with a decision in its ledger.
func enter(pub *policyv1beta1.PodUnavailableBudget, d decision) *policyv1beta1.PodUnavailableBudget {
	after := pub.DeepCopy()
	inscribe(&after.Status, d.answer.Grants)
	after.Status.PodsVersion = newest(after.Status.PodsVersion, d.version)
	figures(&after.Status, d.answer.Figures)
	return after
}

// inscribe writes down the grants, and the two maps that follow from them.
func inscribe(s *policyv1beta1.PodUnavailableBudgetStatus, grants []policyv1beta1.PodGrant) {
	s.Grants, s.DisruptedPods, s.UnavailablePods = grants, nil, nil
	note := func(pods *map[string]metav1.Time, g *policyv1beta1.PodGrant) {
		if *pods == nil {
			*pods = map[string]metav1.Time{}
		}
		(*pods)[g.Pod] = g.Time
	}
	for i := range grants {
		if disruption.Operation(grants[i].Operation).Removes() {
			note(&s.DisruptedPods, &grants[i])
		} else {
			note(&s.UnavailablePods, &grants[i])
		}
	}
}

func figures(s *policyv1beta1.PodUnavailableBudgetStatus, f budget.Figures) {
	s.TotalReplicas, s.DesiredAvailable = int32(f.Total), int32(f.Desired)          //nolint:gosec // numbers of pods
	s.CurrentAvailable, s.UnavailableAllowed = int32(f.Available), int32(f.Allowed) //nolint:gosec // numbers of pods
}

// settle strikes out what is over: what the view shows to have happened, and what has lapsed. Of the latter the API server
// itself is asked, since a cache may be as late as the act.
func (k *Keeper) settle(
	ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, g *guarded,
) (open []policyv1beta1.PodGrant, err error) {
	now := k.deps.Clock.Now()
	open, _ = budget.Settle(pub.Status.Grants, g.view)
	kept := make([]policyv1beta1.PodGrant, 0, len(open))
	for i := range open {
		grant := &open[i]
		if budget.Lapses(grant, now) > 0 {
			kept = append(kept, *grant)
			continue
		}
		live := &corev1.Pod{}
		err := k.deps.Live.Get(ctx, types.NamespacedName{Namespace: pub.Namespace, Name: grant.Pod}, live)
		switch {
		case apierrors.IsNotFound(err):
			// The cache will show it; whoever sees the ledger without this grant must, too.
			kept = append(kept, *grant)
		case err != nil:
			return nil, fmt.Errorf("ask what has become of pod %s/%s: %w", pub.Namespace, grant.Pod, err)
		case budget.Void(grant, live, now):
			g.newest = newest(g.newest, live.ResourceVersion)
		default:
			kept = append(kept, *grant)
		}
	}
	return kept, nil
}

// again is when time alone changes something.
func again(pub *policyv1beta1.PodUnavailableBudget, now time.Time) time.Duration {
	soonest := resync
	for i := range pub.Status.Grants {
		if left := budget.Lapses(&pub.Status.Grants[i], now); left > 0 {
			soonest = min(soonest, left)
		}
	}
	return max(soonest, time.Second)
}

// changed reports whether a status says anything new. That the pods have moved on without a consequence is nothing new.
func changed(before, after *policyv1beta1.PodUnavailableBudget) bool {
	a, b := before.Status.DeepCopy(), after.Status.DeepCopy()
	a.PodsVersion, b.PodsVersion = "", ""
	return !apiequality.Semantic.DeepEqual(a, b)
}

// figuresOnly reports whether a change is of numbers alone, which nobody decides by.
func figuresOnly(before, after *policyv1beta1.PodUnavailableBudget) bool {
	a, b := before.DeepCopy(), after.DeepCopy()
	for _, s := range []*policyv1beta1.PodUnavailableBudgetStatus{&a.Status, &b.Status} {
		figures(s, budget.Figures{})
		for i := range s.Workloads {
			s.Workloads[i].Replicas = 0
		}
		for i := range s.Conditions {
			s.Conditions[i].Message = ""
		}
	}
	return !changed(a, b) && slices.EqualFunc(a.Status.Workloads, b.Status.Workloads,
		func(x, y policyv1beta1.GuardedWorkload) bool { return x == y })
}
