package daemonset

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/hook"
	"github.com/holdfast-io/holdfast/internal/workload/node"
	"github.com/holdfast-io/holdfast/internal/workload/report"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// defaultBurst counts where the user says nothing, as in Kubernetes.
const defaultBurst = 250

// decide is what is to be done now. It is pure.
func decide(ds *appsv1beta1.DaemonSet, state workload.State, s survey, now time.Time) (workload.Plan, error) {
	set, err := setOf(ds, state, s)
	if err != nil {
		return workload.Plan{}, err
	}
	burst, err := share.Of(ds.Spec.BurstReplicas, intstr.FromInt32(defaultBurst), s.desired, true)
	if err != nil {
		return workload.Plan{}, fmt.Errorf("spec.burstReplicas: %w", err)
	}
	plan := workload.Limit(set, state, workload.Diff(set, state), now)
	s.explain(plan.Held)
	inBursts(&plan, max(1, burst))
	plan.Again = report.Sooner(plan.Again, s.again)
	return plan, nil
}

// setOf says what a DaemonSet wants in the engine's words.
func setOf(ds *appsv1beta1.DaemonSet, state workload.State, s survey) (workload.Set, error) {
	rolling := ptr.Deref(ds.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateDaemonSet{})
	limits, err := limitsOf(rolling, s.desired)
	if err != nil {
		return workload.Set{}, err
	}
	kept, err := share.Partition(rolling.Partition, s.desired)
	if err != nil {
		return workload.Set{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.partition: %w", err)
	}
	set := workload.Set{
		Slots: s.slots(state, max(0, s.desired-kept), partitioned(ds)), Limits: limits,
		Change: appsv1beta1.RecreatePodUpdatePolicy, Lifecycle: ds.Spec.Lifecycle,
		Place: node.Of, Shape: s.shape, Bury: s.spent,
	}
	if rolling.Type == appsv1beta1.InplaceRollingUpdateType {
		set.Change = appsv1beta1.InPlaceIfPossiblePodUpdatePolicy
	}
	set.Gates = hook.Needed(ds.Spec.Lifecycle, 0, set.Change)
	set.Halt(rolling.Paused, ds.Spec.UpdateStrategy.Type == appsv1beta1.OnDeleteDaemonSetStrategyType)
	return set, nil
}

func partitioned(ds *appsv1beta1.DaemonSet) bool {
	return ds.Spec.ScaleStrategy != nil && ds.Spec.ScaleStrategy.PartitionedScaling
}

// limitsOf scales the limits to the nodes that should have a pod.
func limitsOf(rolling appsv1beta1.RollingUpdateDaemonSet, desired int) (workload.Limits, error) {
	surge, err := share.Of(rolling.MaxSurge, intstr.FromInt32(0), desired, true)
	if err != nil {
		return workload.Limits{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.maxSurge: %w", err)
	}
	unavailable, err := share.Of(rolling.MaxUnavailable, defaultMaxUnavailable(rolling), desired, true)
	if err != nil {
		return workload.Limits{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.maxUnavailable: %w", err)
	}
	if surge == 0 && unavailable == 0 {
		unavailable = 1 // both can be scaled to 0 of few nodes, and then nothing would ever move
	}
	if rolling.Paused {
		surge = 0
	}
	return workload.Limits{Unavailable: unavailable, Surge: surge, Starting: -1}, nil
}

// defaultMaxUnavailable is 1, but where a surge makes the update go on it need not take anything away.
func defaultMaxUnavailable(rolling appsv1beta1.RollingUpdateDaemonSet) intstr.IntOrString {
	if share.Zero(rolling.MaxSurge, true) {
		return intstr.FromInt32(1)
	}
	return intstr.FromInt32(0)
}

// burstInterval is when the next burst comes at the latest; the events of the one before bring it sooner.
const burstInterval = time.Second

// inBursts keeps of a plan as many creations and as many deletions as are made in one go. Steps come in the order of their
// urgency, pods to be made in that of their nodes.
func inBursts(plan *workload.Plan, burst int) {
	if len(plan.Births) > burst {
		for _, b := range plan.Births[burst:] {
			plan.Held = append(plan.Held, bursting(workload.Change{Verb: workload.Create, Key: b.Key, Revision: b.Revision}))
		}
		plan.Births = plan.Births[:burst]
		plan.Again = report.Sooner(plan.Again, burstInterval)
	}
	deletions := 0
	plan.Steps = slices.DeleteFunc(plan.Steps, func(s workload.Step) bool {
		if s.Change.Verb != workload.Delete && s.Change.Verb != workload.Replace || s.Mark != "" {
			return false
		}
		if deletions++; deletions <= burst {
			return false
		}
		plan.Held = append(plan.Held, bursting(s.Change))
		plan.Again = report.Sooner(plan.Again, burstInterval)
		return true
	})
}

func bursting(c workload.Change) workload.Held {
	return workload.Held{
		Change: c, Reason: appsv1beta1.HeldByScaleStrategy,
		Message: "as many pods are created or deleted in one go as spec.burstReplicas allows; the next follow",
	}
}
