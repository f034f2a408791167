package statefulset

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// span is a range of ordinals, both ends included.
type span struct{ first, last int64 }

// parseSpan reads 3 or "5-7".
func parseSpan(value intstr.IntOrString) (span, error) {
	first, last, ranged := strings.Cut(value.String(), "-")
	if !ranged {
		last = first
	}
	from, err := strconv.ParseInt(first, 10, 32)
	if err != nil || from < 0 {
		return span{}, fmt.Errorf("%q is neither an ordinal of 0 or more nor a range of them, such as \"5-7\"", value.String())
	}
	to, err := strconv.ParseInt(last, 10, 32)
	if err != nil || to < 0 {
		return span{}, fmt.Errorf("%q is neither an ordinal of 0 or more nor a range of them, such as \"5-7\"", value.String())
	}
	if to < from {
		return span{}, fmt.Errorf("the range %q is reversed: write \"%d-%d\"", value.String(), to, from)
	}
	return span{from, to}, nil
}

// reserved are the ordinals that no pod gets, the lowest first.
func reserved(values []intstr.IntOrString) ([]span, error) {
	spans := make([]span, 0, len(values))
	for i, value := range values {
		s, err := parseSpan(value)
		if err != nil {
			return nil, fmt.Errorf("spec.reserveOrdinals[%d]: %w", i, err)
		}
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	return spans, nil
}

// ordinals are the numbers of the pods: as many as replicas from the start on, the reserved ones passed over.
func ordinals(set *appsv1beta1.StatefulSet) ([]int64, error) {
	spans, err := reserved(set.Spec.ReserveOrdinals)
	if err != nil {
		return nil, err
	}
	replicas := replicasOf(set)
	numbers := make([]int64, 0, replicas)
	next := int64(start(set))
	for len(numbers) < replicas {
		for len(spans) > 0 && spans[0].first <= next { // a range may cover the whole rest: it is passed over in one step
			next = max(next, spans[0].last+1)
			spans = spans[1:]
		}
		numbers = append(numbers, next)
		next++
	}
	return numbers, nil
}

func replicasOf(set *appsv1beta1.StatefulSet) int { return int(ptr.Deref(set.Spec.Replicas, 1)) }

func start(set *appsv1beta1.StatefulSet) int32 {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return set.Spec.Ordinals.Start
}

// ordinal reads the number of a pod from its name; "" when the name is not one of the set's. A number is written without
// zeros in front: web-01 is nobody's. It is asked for every pod in every pass, and so makes nothing.
func ordinal(set, name string) string {
	if len(name) < len(set)+2 || name[:len(set)] != set || name[len(set)] != '-' {
		return ""
	}
	number := name[len(set)+1:]
	const largest = "2147483647"
	if number[0] == '0' && len(number) > 1 || len(number) > len(largest) || len(number) == len(largest) && number > largest {
		return ""
	}
	for i := range len(number) {
		if number[i] < '0' || number[i] > '9' {
			return ""
		}
	}
	return number
}

// claimOrdinal reads the number of a claim of one template from its name.
func claimOrdinal(template, set, name string) string {
	if rest, ok := strings.CutPrefix(name, template); ok && len(rest) > 0 && rest[0] == '-' {
		return ordinal(set, rest[1:])
	}
	return ""
}
