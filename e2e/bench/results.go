package main

import (
	"slices"
	"time"
)

// results collects the figures of all repetitions.
type results struct {
	options  options
	figures  map[string]map[string][]figure // part, phase
	peaks    map[string][]int64             // part -> the operator's peak memory in bytes
	restarts []restartFigure
	notes    []note
	loads    []load
}

// restartFigure is what a restart of the operator cost.
type restartFigure struct {
	Pods  int
	Up    time.Duration // from nothing to all pods ready
	Asked string        // what was asked for while it was away
	First time.Duration // from its start to its first write to a pod
	Peak  int64         // its peak memory in bytes, before and after the restart
}

func newResults(o options) *results {
	return &results{options: o, figures: map[string]map[string][]figure{}, peaks: map[string][]int64{}}
}

func (r *results) add(part, phase string, f figure) {
	if r.figures[part] == nil {
		r.figures[part] = map[string][]figure{}
	}
	r.figures[part][phase] = append(r.figures[part][phase], f)
}

// empty reports whether nothing was measured.
func (r *results) empty() bool {
	return len(r.figures)+len(r.notes)+len(r.loads)+len(r.restarts) == 0
}

func (r *results) addPeak(part string, peak int64) { r.peaks[part] = append(r.peaks[part], peak) }

func (r *results) addRestart(f restartFigure) { r.restarts = append(r.restarts, f) }

// of returns the median of one number over the repetitions of a phase, and false where it was not measured.
func (r *results) of(part, phase string, number func(figure) float64) (float64, bool) {
	figures := r.figures[part][phase]
	if len(figures) == 0 {
		return 0, false
	}
	numbers := make([]float64, len(figures))
	for i, f := range figures {
		numbers[i] = number(f)
	}
	return median(numbers), true
}

// median is the middle number; of an even count, the mean of the two in the middle.
func median(numbers []float64) float64 {
	sorted := slices.Sorted(slices.Values(numbers))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
