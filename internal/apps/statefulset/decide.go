package statefulset

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/hook"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/order"
	"github.com/holdfast-io/holdfast/internal/workload/pull"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// decide is what is to be done now. It is pure.
func decide(set *appsv1beta1.StatefulSet, state workload.State, now time.Time) (workload.Plan, error) {
	wanted, err := setOf(set, state)
	if err != nil {
		return workload.Plan{}, err
	}
	return workload.Limit(wanted, state, workload.Diff(wanted, state), now), nil
}

func rollingOf(set *appsv1beta1.StatefulSet) appsv1beta1.RollingUpdateStatefulSetStrategy {
	return ptr.Deref(set.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateStatefulSetStrategy{})
}

// aheadOf is how images are pulled ahead: the fields say so, or else the annotations, which users of OpenKruise write at either
// version.
func aheadOf(set *appsv1beta1.StatefulSet) *appsv1beta1.InPlaceUpdateStrategy {
	strategy := rollingOf(set).InPlaceUpdateStrategy
	if strategy != nil && strategy.ImagePreDownloadParallelism != nil {
		return strategy
	}
	annotated, _ := pull.Annotated(set.Annotations, replicasOf(set)) // admission tells of what cannot be read
	return annotated
}

// ordered: the policy of those who say nothing, as natively.
func ordered(set *appsv1beta1.StatefulSet) bool {
	return set.Spec.PodManagementPolicy != appsv1beta1.ParallelPodManagement
}

// setOf says what a StatefulSet wants in the engine's words.
func setOf(set *appsv1beta1.StatefulSet, state workload.State) (workload.Set, error) {
	rolling := rollingOf(set)
	limits, err := limitsOf(set, rolling)
	if err != nil {
		return workload.Set{}, err
	}
	first, err := priority(rolling)
	if err != nil {
		return workload.Set{}, err
	}
	numbers, err := ordinals(set)
	if err != nil {
		return workload.Set{}, err
	}
	who := identityOf(set)
	grace := inplace.Grace(rolling.InPlaceUpdateStrategy)
	wanted := workload.Set{
		Slots: slotsOf(set, state, numbers, first), Limits: limits, First: first,
		Change: cmp.Or(rolling.PodUpdatePolicy, appsv1beta1.RecreatePodUpdatePolicy), Grace: grace,
		Lifecycle: set.Spec.Lifecycle, Claims: set.Spec.VolumeClaimTemplates,
		Gates:   hook.Needed(set.Spec.Lifecycle, 0, rolling.PodUpdatePolicy),
		Ordered: ordered(set),
		Place:   who.place, PodName: who.name, Shape: who.shape, ShapeClaim: claimShape(set),
	}
	wanted.Halt(rolling.Paused, set.Spec.UpdateStrategy.Type == appsv1beta1.OnDeleteStatefulSetStrategyType)
	return wanted, nil
}

// limitsOf scales the limits. One pod at a time may be away in any case, or nothing would ever move.
func limitsOf(set *appsv1beta1.StatefulSet, rolling appsv1beta1.RollingUpdateStatefulSetStrategy) (workload.Limits, error) {
	limits := workload.Limits{Unavailable: 1, Starting: -1}
	if ordered(set) {
		return limits, nil
	}
	replicas := replicasOf(set)
	unavailable, err := share.Of(rolling.MaxUnavailable, intstr.FromInt32(1), replicas, true)
	if err != nil {
		return workload.Limits{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.maxUnavailable: %w", err)
	}
	limits.Unavailable = max(1, unavailable)
	if set.Spec.ScaleStrategy != nil {
		if limits.Starting, err = share.Pace(set.Spec.ScaleStrategy.MaxUnavailable, replicas); err != nil {
			return workload.Limits{}, err
		}
	}
	return limits, nil
}

// priority is the order of an update that does not follow the ordinals; nil when it does.
func priority(rolling appsv1beta1.RollingUpdateStatefulSetStrategy) (order.Less, error) {
	if rolling.UnorderedUpdate == nil {
		return nil, nil //nolint:nilnil // no order is an answer: the engine's own
	}
	less, err := order.Priority(rolling.UnorderedUpdate.PriorityStrategy)
	if err != nil {
		return nil, fmt.Errorf("spec.updateStrategy.rollingUpdate.unorderedUpdate.priorityStrategy.%w", err)
	}
	return less, nil
}

// slotsOf is one slot for each number: the partition's at the current revision, the others at the new one.
func slotsOf(set *appsv1beta1.StatefulSet, state workload.State, numbers []int64, first order.Less) []workload.Slot {
	slots := make([]workload.Slot, 0, len(numbers))
	going := goingClaims(set, state)
	for _, n := range numbers {
		slot := workload.Slot{Key: strconv.FormatInt(n, 10), Revision: state.Update.Name}
		if name := going[slot.Key]; name != "" {
			slot.Hold = appsv1beta1.HeldByPVC
			slot.Message = "claim " + name + " of the pod is still being deleted"
		}
		slots = append(slots, slot)
	}
	for i := range kept(set, state, slots, first) {
		slots[i].Revision = state.Current.Name
	}
	return slots
}

// goingClaims are, by number, claims that are on their way out. A pod that was made now could never start with one.
func goingClaims(set *appsv1beta1.StatefulSet, state workload.State) map[string]string {
	going := map[string]string{}
	for _, c := range state.Claims {
		if c.DeletionTimestamp != nil {
			going[number(set, c)] = c.Name
		}
	}
	return going
}

// kept are the indexes of the slots that the partition keeps: those with the lowest numbers or, where the order of the
// update is the pods' own, those that come last in it.
func kept(set *appsv1beta1.StatefulSet, state workload.State, slots []workload.Slot, first order.Less) map[int]bool {
	count := min(int(ptr.Deref(rollingOf(set).Partition, 0)), len(slots))
	all := upTo(len(slots))
	if first != nil && count > 0 {
		all = lastUpdated(set, state, slots, first)
	}
	chosen := make(map[int]bool, count)
	for _, i := range all[:count] {
		chosen[i] = true
	}
	return chosen
}

// Ranks of slots in an update that does not follow the ordinals, the last to be updated first. What is updated stays so, and
// an empty slot was most likely emptied by the update.
const (
	isUpdated = iota + 1
	isEmpty
	isOutdated
)

// lastUpdated orders slots from the one that would be updated last to the first: of the outdated ones priority decides, and
// then the number.
func lastUpdated(set *appsv1beta1.StatefulSet, state workload.State, slots []workload.Slot, first order.Less) []int {
	who := identityOf(set)
	pods := map[string]*corev1.Pod{}
	ranks := map[string]int{}
	for i := range state.Members {
		m := &state.Members[i]
		key := who.place(m.Pod)
		pods[key], ranks[key] = m.Pod, isOutdated
		if m.Revision == state.Update.Name {
			ranks[key] = isUpdated
		}
	}
	all := upTo(len(slots))
	slices.SortStableFunc(all, func(a, b int) int {
		x, y := slots[a].Key, slots[b].Key
		rank := cmp.Compare(cmp.Or(ranks[y], isEmpty), cmp.Or(ranks[x], isEmpty))
		if rank == 0 && ranks[x] == isOutdated {
			rank = first(pods[y], pods[x])
		}
		return cmp.Or(rank, cmp.Compare(a, b))
	})
	return all
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
