package cloneset

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/order"
)

// defaultMaxUnavailable counts where the user says nothing.
var defaultMaxUnavailable = intstr.FromString("20%") //nolint:gochecknoglobals // a constant that Go cannot write as one

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

// decide is what is to be done now. It is pure.
func decide(cs *appsv1beta1.CloneSet, state workload.State, now time.Time) (workload.Plan, error) {
	set, err := setOf(cs, state)
	if err != nil {
		return workload.Plan{}, err
	}
	return workload.Limit(set, state, workload.Diff(set, state), now), nil
}

// setOf says what a CloneSet wants in the engine's words.
func setOf(cs *appsv1beta1.CloneSet, state workload.State) (workload.Set, error) {
	rolling := ptr.Deref(cs.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateCloneSetStrategy{})
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
	set := workload.Set{
		Slots: slots, Limits: limits,
		First: first, Scatter: rolling.ScatterStrategy,
		Change: rolling.PodUpdatePolicy, Grace: grace(rolling),
		Named: map[string]bool{}, Lifecycle: cs.Spec.Lifecycle,
		ReuseClaims: cs.Spec.ScaleStrategy.EnablePVCReuse, Claims: cs.Spec.VolumeClaimTemplates,
		IgnoreLeaving: cs.Spec.ScaleStrategy.ExcludePreparingDelete,
		Gates:         gates(cs, rolling),
	}
	if set.Change == "" {
		set.Change = appsv1beta1.RecreatePodUpdatePolicy
	}
	for _, name := range cs.Spec.ScaleStrategy.PodsToDelete {
		set.Named[name] = true
	}
	switch {
	case rolling.Paused:
		set.Hold = appsv1beta1.HeldByPaused
		set.HoldMessage = "the update is paused; set spec.updateStrategy.rollingUpdate.paused to false to go on"
	case cs.Spec.UpdateStrategy.Type == appsv1beta1.OnDeleteCloneSetStrategyType:
		set.Hold = appsv1beta1.HeldByOnDelete
		set.HoldMessage = "the update strategy is OnDelete: each pod is updated when somebody deletes it"
	}
	return set, nil
}

// limitsOf scales the limits. Rounding errs to the side of availability: maxUnavailable rounds down where a surge makes the
// update go on all the same.
func limitsOf(cs *appsv1beta1.CloneSet, rolling appsv1beta1.RollingUpdateCloneSetStrategy) (workload.Limits, error) {
	replicas := int(ptr.Deref(cs.Spec.Replicas, 1))
	surge, err := scaled(rolling.MaxSurge, intstr.FromInt32(0), replicas, true)
	if err != nil {
		return workload.Limits{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.maxSurge: %w", err)
	}
	if rolling.Paused {
		surge = 0
	}
	unavailable, err := scaled(rolling.MaxUnavailable, defaultMaxUnavailable, replicas, surge == 0)
	if err != nil {
		return workload.Limits{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.maxUnavailable: %w", err)
	}
	if surge == 0 && unavailable == 0 {
		unavailable = 1 // both can be scaled to 0 of few replicas, and then nothing would ever move
	}
	starting := -1
	if pace := cs.Spec.ScaleStrategy.MaxUnavailable; pace != nil {
		if starting, err = scaled(pace, intstr.IntOrString{}, replicas, true); err != nil {
			return workload.Limits{}, fmt.Errorf("spec.scaleStrategy.maxUnavailable: %w", err)
		}
		starting = max(1, starting)
	}
	return workload.Limits{Unavailable: unavailable, Surge: surge, Starting: starting}, nil
}

func scaled(value *intstr.IntOrString, otherwise intstr.IntOrString, replicas int, up bool) (int, error) {
	v := ptr.Deref(value, otherwise)
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, replicas, up)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a whole number nor a percentage: %w", v.String(), err)
	}
	return max(0, n), nil
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
	kept, err := scaled(value, intstr.FromInt32(0), replicas, true)
	if err != nil {
		return 0, fmt.Errorf("spec.updateStrategy.rollingUpdate.partition: %w", err)
	}
	kept = min(kept, replicas)
	if value != nil && value.Type == intstr.String && value.StrVal != "100%" && kept == replicas && replicas > 1 {
		kept = replicas - 1
	}
	return kept, nil
}

func grace(rolling appsv1beta1.RollingUpdateCloneSetStrategy) time.Duration {
	if rolling.InPlaceUpdateStrategy == nil {
		return 0
	}
	return seconds(rolling.InPlaceUpdateStrategy.GracePeriodSeconds)
}

// gates are the readiness gates that new pods need beyond those of their template: a gate costs a write per pod and makes
// pods wait for us, so they get one only where something takes them out of service by it.
func gates(cs *appsv1beta1.CloneSet, rolling appsv1beta1.RollingUpdateCloneSetStrategy) []corev1.PodConditionType {
	var gates []corev1.PodConditionType
	if grace(rolling) > 0 && rolling.PodUpdatePolicy != appsv1beta1.RecreatePodUpdatePolicy {
		gates = append(gates, appsv1beta1.InPlaceUpdateReady)
	}
	if l := cs.Spec.Lifecycle; l != nil && (marks(l.PreDelete) || marks(l.InPlaceUpdate) || marks(l.PreNormal)) {
		gates = append(gates, appsv1beta1.KruisePodReady)
	}
	return gates
}

func marks(h *appsv1beta1.LifecycleHook) bool { return h != nil && h.MarkPodNotReady }
