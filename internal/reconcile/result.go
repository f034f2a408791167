package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Result says when a room wants to be called again, if nothing happens before.
type Result struct {
	// After is the time until the next pass; zero means that there is nothing to come back for.
	After time.Duration
}

// After asks for another pass in d; zero and less ask for none.
func After(d time.Duration) Result {
	return Result{After: max(d, 0)}
}

// Wait is the error of a pass that can only go on later: it is neither logged as an error nor counted as one.
func Wait(after time.Duration, reason string) error {
	return &waitError{after: after, reason: reason}
}

// Stalled is the error of a pass that only the user can help: it is not retried. Events still lead to passes, so that the
// status stays true, but the error is told once for each generation. Reason is CamelCase: it becomes the event's.
func Stalled(reason string, err error) error {
	return &stalledError{reason: reason, err: err}
}

// IsWait tells whether a pass ended with the error of Wait.
func IsWait(err error) bool {
	var wait *waitError
	return errors.As(err, &wait)
}

type waitError struct {
	after  time.Duration
	reason string
}

func (e *waitError) Error() string {
	return fmt.Sprintf("waiting %s: %s", e.after, e.reason)
}

type stalledError struct {
	reason string
	err    error
}

func (e *stalledError) Error() string { return fmt.Sprintf("%s: %v", e.reason, e.err) }
func (e *stalledError) Unwrap() error { return e.err }

// outcome is how a pass ended; it is the bounded label of the metrics.
type outcome string

const (
	outcomeSuccess  outcome = "success"
	outcomeGone     outcome = "gone"
	outcomeWait     outcome = "wait"
	outcomeStalled  outcome = "stalled"
	outcomeConflict outcome = "conflict"
	outcomeCanceled outcome = "canceled"
	outcomeError    outcome = "error"
	outcomePanic    outcome = "panic"
)

// verdict is what the frame makes of a room's error.
type verdict struct {
	outcome outcome
	after   time.Duration // of the shortest wait
	stalled *stalledError
}

// classify weighs every error that a pass joined: a plain one outweighs the special ones, since it must be seen and retried.
func classify(err error) verdict {
	if err == nil {
		return verdict{outcome: outcomeSuccess}
	}
	v := verdict{}
	for _, leaf := range leaves(err) {
		one := classifyLeaf(leaf)
		if weight(one.outcome) > weight(v.outcome) {
			v.outcome = one.outcome
		}
		if one.stalled != nil && v.stalled == nil {
			v.stalled = one.stalled
		}
		if one.outcome == outcomeWait && (v.after == 0 || one.after < v.after) {
			v.after = one.after
		}
	}
	return v
}

func classifyLeaf(err error) verdict {
	var stalled *stalledError
	var wait *waitError
	switch {
	case errors.As(err, &stalled):
		return verdict{outcome: outcomeStalled, stalled: stalled}
	case errors.As(err, &wait):
		return verdict{outcome: outcomeWait, after: wait.after}
	case apierrors.IsConflict(err):
		return verdict{outcome: outcomeConflict}
	case errors.Is(err, context.Canceled):
		return verdict{outcome: outcomeCanceled}
	}
	return verdict{outcome: outcomeError}
}

func weight(o outcome) int {
	switch o {
	case outcomeError:
		return 5
	case outcomeCanceled:
		return 4
	case outcomeConflict:
		return 3
	case outcomeWait:
		return 2
	case outcomeStalled:
		return 1
	default:
		return 0
	}
}

// leaves undoes errors.Join and errors that wrap several. An error that wraps one stays whole, with its text; so does one
// of the special ones, whatever it wraps.
func leaves(err error) []error {
	for e := err; e != nil; e = errors.Unwrap(e) {
		switch e := e.(type) { //nolint:errorlint // each link of the chain is looked at by itself
		case *stalledError, *waitError:
			return []error{err}
		case interface{ Unwrap() []error }:
			var all []error
			for _, one := range e.Unwrap() {
				all = append(all, leaves(one)...)
			}
			return all
		}
	}
	return []error{err}
}
