package cloneset

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/hook"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/order"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// defaultMaxUnavailable counts where the user says nothing.
var defaultMaxUnavailable = intstr.FromString("20%") //nolint:gochecknoglobals // a constant that Go cannot write as one

// decide is what is to be done now. It is pure.
func decide(cs *appsv1beta1.CloneSet, state workload.State, now time.Time) (workload.Plan, error) {
	set, err := setOf(cs, state)
	if err != nil {
		return workload.Plan{}, err
	}
	return workload.Limit(set, state, workload.Diff(set, state), now), nil
}

func rollingOf(cs *appsv1beta1.CloneSet) appsv1beta1.RollingUpdateCloneSetStrategy {
	return ptr.Deref(cs.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateCloneSetStrategy{})
}

// setOf says what a CloneSet wants in the engine's words.
func setOf(cs *appsv1beta1.CloneSet, state workload.State) (workload.Set, error) {
	rolling := rollingOf(cs)
	limits, err := limitsOf(cs, rolling)
	if err != nil {
		return workload.Set{}, err
	}
	slots, err := slotsOf(cs, rolling, state)
	if err != nil {
		return workload.Set{}, err
	}
	first, err := order.Priority(rolling.PriorityStrategy)
	if err != nil {
		return workload.Set{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.priorityStrategy.%w", err)
	}
	grace := inplace.Grace(rolling.InPlaceUpdateStrategy)
	set := workload.Set{
		Slots: slots, Limits: limits,
		First: first, Scatter: rolling.ScatterStrategy,
		Change: rolling.PodUpdatePolicy, Grace: grace,
		Named: map[string]bool{}, Lifecycle: cs.Spec.Lifecycle,
		ReuseClaims: cs.Spec.ScaleStrategy.EnablePVCReuse, Claims: cs.Spec.VolumeClaimTemplates,
		IgnoreLeaving: cs.Spec.ScaleStrategy.ExcludePreparingDelete,
		Gates:         hook.Needed(cs.Spec.Lifecycle, grace, rolling.PodUpdatePolicy),
	}
	if set.Change == "" {
		set.Change = appsv1beta1.RecreatePodUpdatePolicy
	}
	for _, name := range cs.Spec.ScaleStrategy.PodsToDelete {
		set.Named[name] = true
	}
	set.Halt(rolling.Paused, cs.Spec.UpdateStrategy.Type == appsv1beta1.OnDeleteCloneSetStrategyType)
	return set, nil
}

// limitsOf scales the limits. Rounding errs to the side of availability: maxUnavailable rounds down where a surge makes the
// update go on all the same.
func limitsOf(cs *appsv1beta1.CloneSet, rolling appsv1beta1.RollingUpdateCloneSetStrategy) (workload.Limits, error) {
	replicas := int(ptr.Deref(cs.Spec.Replicas, 1))
	surge, err := share.Of(rolling.MaxSurge, intstr.FromInt32(0), replicas, true)
	if err != nil {
		return workload.Limits{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.maxSurge: %w", err)
	}
	if rolling.Paused {
		surge = 0
	}
	unavailable, err := share.Of(rolling.MaxUnavailable, defaultMaxUnavailable, replicas, surge == 0)
	if err != nil {
		return workload.Limits{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.maxUnavailable: %w", err)
	}
	if surge == 0 && unavailable == 0 {
		unavailable = 1 // both can be scaled to 0 of few replicas, and then nothing would ever move
	}
	starting, err := share.Pace(cs.Spec.ScaleStrategy.MaxUnavailable, replicas)
	if err != nil {
		return workload.Limits{}, err
	}
	return workload.Limits{Unavailable: unavailable, Surge: surge, Starting: starting}, nil
}

// slotsOf is one slot per replica: as many as the partition says at the current revision, the others at the new one.
func slotsOf(cs *appsv1beta1.CloneSet, rolling appsv1beta1.RollingUpdateCloneSetStrategy, state workload.State) ([]workload.Slot, error) {
	replicas := int(ptr.Deref(cs.Spec.Replicas, 1))
	kept, err := partition(rolling.Partition, replicas)
	if err != nil {
		return nil, err
	}
	slots := make([]workload.Slot, replicas)
	for i := range slots {
		slots[i].Revision = state.Update.Name
		if i < kept {
			slots[i].Revision = state.Current.Name
		}
	}
	return slots, nil
}

// partition is how many pods keep their revision. A percentage below 100% leaves at least one to be updated.
func partition(value *intstr.IntOrString, replicas int) (int, error) {
	kept, err := share.Partition(value, replicas)
	if err != nil {
		return 0, fmt.Errorf("spec.updateStrategy.rollingUpdate.partition: %w", err)
	}
	return kept, nil
}
