package uniteddeployment

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// unlimited is the most that a subset takes that has no limit.
const unlimited = math.MaxInt32

// share is what a subset is to get: goal before any other gets more than its own, and most at the very most.
type share struct{ goal, most int32 }

// errFit is a topology that cannot hold spec.replicas; its text names the field and the fix.
var errFit = errors.New("the subsets do not fit spec.replicas")

// shares reads the topology for a number of replicas. Where the subsets cannot hold exactly that many, the error says so. Ranges
// are filled as far as they can be then; given numbers count for nothing, and all is shared evenly, so that nobody goes without.
func shares(subsets []appsv1beta1.Subset, replicas int32) ([]share, error) {
	if len(subsets) == 0 {
		if replicas == 0 {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: spec.topology.subsets is empty, so there is no place for a pod; name one subset at least", errFit)
	}
	for i := range subsets {
		if subsets[i].Replicas != nil {
			all, err := exact(subsets, replicas)
			if err != nil {
				all = evenly(make([]share, len(subsets)), func(int) bool { return true }, replicas)
			}
			return all, err
		}
	}
	for i := range subsets {
		if subsets[i].MinReplicas != nil || subsets[i].MaxReplicas != nil {
			return ranges(subsets, replicas)
		}
	}
	return exact(subsets, replicas)
}

// exact gives subsets what they say, and shares what is left among those that say nothing.
func exact(subsets []appsv1beta1.Subset, replicas int32) ([]share, error) {
	all := make([]share, len(subsets))
	left, silent := replicas, 0
	for i, n := range percentages(subsets, replicas) {
		switch value := subsets[i].Replicas; {
		case value == nil:
			silent++
			continue
		case value.Type == intstr.Int:
			n = value.IntVal
		}
		n = max(n, 0)
		all[i] = share{goal: min(n, left), most: min(n, left)}
		if n > left {
			return all, fmt.Errorf("%w: spec.topology.subsets[%d].replicas of %q brings the sum above the %d of spec.replicas; "+
				"lower it, or raise spec.replicas", errFit, i, subsets[i].Name, replicas)
		}
		left -= n
	}
	if silent == 0 && left > 0 {
		return all, fmt.Errorf("%w: what spec.topology.subsets[].replicas say adds up to %d, and spec.replicas is %d; "+
			"raise one of them, or leave it out of one subset, which then takes the rest", errFit, replicas-left, replicas)
	}
	return evenly(all, func(i int) bool { return subsets[i].Replicas == nil }, left), nil
}

// evenly shares what is left among some of the subsets; the first ones get one more.
func evenly(all []share, among func(i int) bool, left int32) []share {
	count := int32(0)
	for i := range all {
		if among(i) {
			count++
		}
	}
	for i := range all {
		if among(i) {
			n := (left + count - 1) / count
			all[i], left, count = share{goal: n, most: unlimited}, left-n, count-1
		}
	}
	return all
}

// named is how many pods the subsets ask for when each names a number; else one.
func named(subsets []appsv1beta1.Subset) int32 {
	sum := int64(0)
	for i := range subsets {
		value := subsets[i].Replicas
		if value == nil || value.Type != intstr.Int {
			return 1
		}
		sum += int64(max(value.IntVal, 0))
	}
	if len(subsets) == 0 {
		return 1
	}
	return int32(min(sum, unlimited))
}

// percentages turns percentages into whole pods that add up to their sum: each is rounded down, and what is left goes to
// those that lost most.
func percentages(subsets []appsv1beta1.Subset, replicas int32) []int32 {
	all := make([]int32, len(subsets))
	lost := make([]int64, len(subsets))
	var order []int
	var sum, given int64
	for i := range subsets {
		percent, ok := percent(subsets[i].Replicas)
		if !ok {
			continue
		}
		product := percent * int64(replicas)
		all[i], lost[i] = int32(product/100), product%100 //nolint:gosec // at most replicas
		sum, given = sum+product, given+product/100
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lost[b], lost[a]) })
	for _, i := range order {
		if given*100 >= sum-50 { // half a pod or more is one
			break
		}
		all[i]++
		given++
	}
	return all
}

func percent(value *intstr.IntOrString) (int64, bool) {
	if value == nil || value.Type == intstr.Int {
		return 0, false
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(value, 100, true)
	return int64(n), err == nil
}

// ranges reads minReplicas and maxReplicas.
func ranges(subsets []appsv1beta1.Subset, replicas int32) ([]share, error) {
	all := make([]share, len(subsets))
	var least, most int64
	var problem error
	for i := range subsets {
		low, high := scaled(subsets[i].MinReplicas, replicas, 0), scaled(subsets[i].MaxReplicas, replicas, unlimited)
		if low > high {
			problem = fmt.Errorf("%w: spec.topology.subsets[%d].minReplicas of %q is %d, more than its maxReplicas, %d; "+
				"lower the one, or raise the other", errFit, i, subsets[i].Name, low, high)
			low = high
		}
		all[i] = share{goal: low, most: high}
		least, most = least+int64(low), most+int64(high)
	}
	switch {
	case problem != nil:
	case least > int64(replicas):
		problem = fmt.Errorf("%w: spec.topology.subsets[].minReplicas add up to %d, more than the %d of spec.replicas; "+
			"lower one of them, or raise spec.replicas", errFit, least, replicas)
	case most < int64(replicas):
		problem = fmt.Errorf("%w: spec.topology.subsets[].maxReplicas add up to %d, less than the %d of spec.replicas; "+
			"raise one of them, or leave it out of one subset, which then takes the rest", errFit, most, replicas)
	}
	return all, problem
}

// scaled rounds up.
func scaled(value *intstr.IntOrString, replicas, otherwise int32) int32 {
	if value == nil {
		return otherwise
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(value, int(replicas), true)
	if err != nil {
		return otherwise
	}
	return int32(min(max(n, 0), unlimited)) //nolint:gosec // just bounded
}

// fixed spreads replicas as the shares say, whatever there is now: every subset gets its goal, in their order, and then
// its limit, in their order.
func fixed(all []share, replicas int32) []int32 {
	result := make([]int32, len(all))
	left := replicas
	for i, s := range all {
		result[i] = min(s.goal, left)
		left -= result[i]
	}
	for i, s := range all {
		more := min(s.most-result[i], left)
		result[i] += more
		left -= more
	}
	return result
}

// place is a subset as the adaptive strategy sees it.
type place struct {
	share
	// asked is how many pods its workload is asked for.
	asked int32
	// stuck is how many of them find no node, and can be moved.
	stuck int32
	// closed: it gets no more pods for now. trial: it may get more, but none are taken from elsewhere for it.
	closed, trial bool
}

// adaptive changes what there is as little as it can: pods that run stay where they are. With reserve, pods that find no node
// stay, too, and others stand in for them. It returns how many pods each subset gets.
func adaptive(places []place, replicas int32, reserve bool) []int32 {
	result := make([]int32, len(places))
	total, wanted := int32(0), replicas
	for i, p := range places {
		result[i] = min(p.asked, p.most)
		if reserve {
			wanted += min(p.stuck, result[i])
		} else {
			result[i] -= min(p.stuck, result[i])
		}
		total += result[i]
	}
	if total > wanted {
		shrink(places, result, total-wanted)
		return result
	}
	left := wanted - total
	left = grow(places, result, left, func(p place) int32 { return p.goal })
	left = grow(places, result, left, func(p place) int32 { return p.most })
	if left == 0 {
		rebalance(places, result)
		return result
	}
	if reserve { // nobody can stand in: more pods that find no node help nobody
		left -= min(left, wanted-replicas)
	}
	for i, p := range places { // no other place: they wait where they are, or where they were first to go
		back := min(p.most-result[i], max(p.asked-result[i], 0), left)
		result[i] += back
		left -= back
	}
	for i, p := range places {
		more := min(p.most-result[i], left)
		result[i] += more
		left -= more
	}
	return result
}

// grow adds pods to subsets that take them, up to a limit, and returns how many are left.
func grow(places []place, result []int32, left int32, limit func(place) int32) int32 {
	for i, p := range places {
		if p.closed {
			continue
		}
		more := min(max(min(limit(p), p.most)-result[i], 0), left)
		result[i] += more
		left -= more
	}
	return left
}

// shrink takes pods from the last subset to the first: what is beyond their goals before what is within.
func shrink(places []place, result []int32, excess int32) {
	for _, keep := range []func(place) int32{func(p place) int32 { return p.goal }, func(place) int32 { return 0 }} {
		for i, p := range slices.Backward(places) {
			less := min(max(result[i]-keep(p), 0), excess)
			result[i] -= less
			excess -= less
		}
	}
}

// rebalance gives subsets their goals from what the last ones have beyond theirs. A subset on trial waits until there are more
// pods: those that run elsewhere are not risked for it.
func rebalance(places []place, result []int32) {
	missing := int32(0)
	for i, p := range places {
		if !p.closed && !p.trial {
			missing += max(p.goal-result[i], 0)
		}
	}
	taken := int32(0)
	for i, p := range slices.Backward(places) {
		less := min(max(result[i]-p.goal, 0), missing-taken)
		result[i] -= less
		taken += less
	}
	for i, p := range places {
		if !p.closed && !p.trial {
			more := min(max(p.goal-result[i], 0), taken)
			result[i] += more
			taken -= more
		}
	}
}
