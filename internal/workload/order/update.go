package order

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Priority turns a priority strategy into an order. Weights add up and the heaviest pod goes first; of ordered keys the
// first that tells two pods apart decides: the larger trailing number of the label's value goes first, a pod without the
// label last.
func Priority(strategy *appsv1beta1.UpdatePriorityStrategy) (Less, error) {
	if strategy == nil {
		return Chain(), nil
	}
	if len(strategy.WeightPriority) > 0 {
		return byWeight(strategy.WeightPriority)
	}
	chain := make([]Less, 0, len(strategy.OrderPriority))
	for _, term := range strategy.OrderPriority {
		chain = append(chain, byOrderedKey(term.OrderedKey))
	}
	return Chain(chain...), nil
}

func byWeight(terms []appsv1beta1.UpdatePriorityWeightTerm) (Less, error) {
	type weight struct {
		matches labels.Selector
		weight  int32
	}
	weights := make([]weight, 0, len(terms))
	for i := range terms {
		selector, err := metav1.LabelSelectorAsSelector(&terms[i].MatchSelector)
		if err != nil {
			return nil, fmt.Errorf("weightPriority[%d].matchSelector: %w", i, err)
		}
		weights = append(weights, weight{selector, terms[i].Weight})
	}
	weigh := func(p *corev1.Pod) int32 {
		sum := int32(0)
		for _, w := range weights {
			if w.matches.Matches(labels.Set(p.Labels)) {
				sum += w.weight
			}
		}
		return sum
	}
	return func(a, b *corev1.Pod) int { return cmp.Compare(weigh(b), weigh(a)) }, nil
}

func byOrderedKey(key string) Less {
	return func(a, b *corev1.Pod) int {
		valueA, hasA := a.Labels[key]
		valueB, hasB := b.Labels[key]
		if hasA != hasB {
			return rank(hasB) - rank(hasA)
		}
		return cmp.Compare(trailingNumber(valueB), trailingNumber(valueA))
	}
}

// trailingNumber reads the number at the end of a value such as "zone-12"; 0 without one.
func trailingNumber(value string) int64 {
	start := len(value)
	for start > 0 && value[start-1] >= '0' && value[start-1] <= '9' {
		start--
	}
	number, err := strconv.ParseInt(value[start:], 10, 64)
	if err != nil {
		return 0
	}
	return number
}

// Scatter spreads the pods that carry each term's label evenly over the sequence; all else keeps its order. Of many terms
// the last has the final word.
func Scatter(pods []*corev1.Pod, terms appsv1beta1.UpdateScatterStrategy) []*corev1.Pod {
	for _, term := range terms {
		pods = scatter(pods, term)
	}
	return pods
}

func scatter(pods []*corev1.Pod, term appsv1beta1.UpdateScatterTerm) []*corev1.Pod {
	var with, without []*corev1.Pod
	for _, p := range pods {
		if p.Labels[term.Key] == term.Value {
			with = append(with, p)
		} else {
			without = append(without, p)
		}
	}
	if len(with) == 0 || len(without) == 0 {
		return pods
	}
	// The marked pod i of m belongs at place i*(n-1)/(m-1), rounded: the first opens the sequence and the last closes it.
	spread := make([]*corev1.Pod, 0, len(pods))
	marked := len(with)
	for i := range pods {
		gaps := max(1, marked-1)
		next := (2*(marked-len(with))*(len(pods)-1) + gaps) / (2 * gaps)
		if len(without) == 0 || len(with) > 0 && i >= next {
			spread, with = append(spread, with[0]), with[1:]
		} else {
			spread, without = append(spread, without[0]), without[1:]
		}
	}
	return spread
}

// Sort sorts a copy of the pods.
func Sort(pods []*corev1.Pod, less Less) []*corev1.Pod {
	sorted := slices.Clone(pods)
	slices.SortStableFunc(sorted, less)
	return sorted
}
