// Package share turns what a user writes as a number or as a percentage into a number of pods.
package share

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// Of is the number of pods that value stands for among all; otherwise counts where the user says nothing. It is never
// negative.
func Of(value *intstr.IntOrString, otherwise intstr.IntOrString, all int, roundUp bool) (int, error) {
	v := ptr.Deref(value, otherwise)
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, all, roundUp)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a whole number nor a percentage: %w", v.String(), err)
	}
	return max(0, n), nil
}

// Zero reports whether value stands for no pods, whatever their number; otherwise is the answer where it says nothing.
func Zero(value *intstr.IntOrString, otherwise bool) bool {
	if value == nil {
		return otherwise
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(value, 100, true)
	return err == nil && n == 0
}

// Pace is how many pods that are not available yet stop the creation of more: at least one, so that creation never ends;
// negative where the user says nothing.
func Pace(value *intstr.IntOrString, all int) (int, error) {
	if value == nil {
		return -1, nil
	}
	n, err := Of(value, intstr.IntOrString{}, all, true)
	if err != nil {
		return 0, fmt.Errorf("spec.scaleStrategy.maxUnavailable: %w", err)
	}
	return max(1, n), nil
}

// Partition is how many of all pods keep their revision. A percentage below 100% leaves at least one of several to be
// updated.
func Partition(value *intstr.IntOrString, all int) (int, error) {
	kept, err := Of(value, intstr.FromInt32(0), all, true)
	if err != nil {
		return 0, err
	}
	kept = min(kept, all)
	if value != nil && value.Type == intstr.String && value.StrVal != "100%" && kept == all && all > 1 {
		kept = all - 1
	}
	return kept, nil
}

// Seconds is a number of seconds as the user writes it.
func Seconds(n int32) time.Duration { return time.Duration(n) * time.Second }
