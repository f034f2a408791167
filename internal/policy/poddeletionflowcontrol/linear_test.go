package poddeletionflowcontrol

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

// What is promised: all replicas together answer like one sequential counter. There is one order of all answers, in which
// each stands at one moment between its question and its answer, such that
//
//   - an admission finds, in every window, fewer pods than the limit: without any allowance;
//   - a denial finds a window full, if the counter may (a) remember a pod for longer than its window by memoryLonger, (b) take
//     questions that nobody got an answer to, and permits that were given back, for admitted, (c) hold permits that no pod has
//     got, since they are set aside, or were when a replica died; and (d) be read as it was stale ago.
const (
	// memoryLonger: a permit is stamped at the end of its life, windows are longer by the skew that clocks may have, and they
	// have it; older permits are joined under the later stamp.
	memoryLonger = flow.Life + 2*flow.Skew + 500*time.Millisecond
	// stale is how old a ledger may be that a denial rests on: the watch shows it, and others wait to write.
	stale = time.Second
	// unheard is for how long after the question a permit may still be written that nobody hears of: the API server's patience,
	// a replica that stands still, a write that was under way.
	unheard = 15 * time.Second
	// judgement is how long the search for an order may take. It mostly takes a hundredth; the few histories that it takes longer
	// for are held against what unfounded looks for alone, and their admissions against the counter.
	judgement = 3 * time.Second
)

// outcome of a question.
type outcome int

const (
	admitted outcome = iota
	refused
	// unanswered: nobody knows whether it was counted.
	unanswered
)

// operation is one question and its answer.
type operation struct {
	uid            string
	call, returned time.Time
	outcome        outcome
}

// counter is the sequential counter, with what it may take for admitted beside the admissions that it has seen.
type counter struct {
	rules []v1alpha1.DeletionLimitRule
	// maybe are the times of questions without an answer.
	maybe []int64
	// aside is how many permits whoever answered may have seen in the window that no pod has got.
	aside func(op *operation, window time.Duration) int
}

// memoryOf the counter are the pods that it has admitted, in the order of time.
type memoryOf struct {
	clock int64
	pods  []remembered
}

// remembered is an admission: when it can have been at the earliest, and at the latest, after which it is counted for as long as
// a window lasts.
type remembered struct {
	uid              string
	earliest, latest int64
}

// step answers one question at the first moment that is possible after all that came before.
func (c *counter) step(m memoryOf, op *operation, call int64) (bool, memoryOf) {
	now := max(m.clock, call)
	if op.outcome == refused {
		return slices.ContainsFunc(c.rules, func(r v1alpha1.DeletionLimitRule) bool {
			from := now - int64(r.Interval.Duration+memoryLonger)
			counted := c.between(from-int64(unheard), now) + c.aside(op, r.Interval.Duration)
			for _, p := range m.pods {
				if p.latest > from {
					counted++
				}
			}
			return counted >= int(r.Limit)
		}), memoryOf{clock: now, pods: m.pods}
	}
	next := memoryOf{clock: now, pods: make([]remembered, 0, len(m.pods)+1)}
	for _, p := range m.pods {
		if p.uid != op.uid && p.latest > now-int64(time.Hour) { // a pod counts once
			next.pods = append(next.pods, p)
		}
	}
	for _, r := range c.rules {
		counted := 0
		for _, p := range next.pods {
			if p.earliest > now-int64(r.Interval.Duration) {
				counted++
			}
		}
		if counted >= int(r.Limit) {
			return false, next
		}
	}
	next.pods = append(next.pods, remembered{uid: op.uid, earliest: now, latest: op.returned.UnixNano()})
	return true, next
}

// between is how many questions without an answer there were in a time.
func (c *counter) between(from, to int64) int {
	until := func(at int64) int { return sort.Search(len(c.maybe), func(i int) bool { return c.maybe[i] > at }) }
	return until(to) - until(from)
}

// linearizable looks for an order of the answers that the counter would have given.
func (c *counter) linearizable(history []*operation) porcupine.CheckResult {
	var operations []porcupine.Operation
	for i, op := range history {
		if op.outcome == unanswered {
			continue
		}
		call := op.call.UnixNano()
		if op.outcome == refused {
			call -= int64(stale)
		}
		operations = append(operations, porcupine.Operation{ClientId: i, Input: call, Output: op, Call: call, Return: op.returned.UnixNano()})
	}
	model := porcupine.Model{
		Init: func() any { return memoryOf{} },
		Step: func(state, input, output any) (bool, any) {
			return c.step(state.(memoryOf), output.(*operation), input.(int64)) //nolint:forcetypeassert // put in above
		},
		Equal: func(a, b any) bool {
			x, y := a.(memoryOf), b.(memoryOf) //nolint:forcetypeassert // put in above
			return x.clock == y.clock && slices.Equal(x.pods, y.pods)
		},
	}
	return porcupine.CheckOperationsTimeout(model, operations, judgement)
}

// linearize holds the world's history against the promise.
func (w *world) linearize(t *testing.T) {
	t.Helper()
	rules := slices.Clone(w.policy.Spec.LimitRules)
	for i := range rules {
		rules[i].Limit -= int32(w.prior) //nolint:gosec // below a limit
	}
	c := &counter{rules: rules, aside: w.aside}
	count := map[outcome]int{}
	for _, op := range w.history {
		count[op.outcome]++
		if op.outcome == unanswered {
			c.maybe = append(c.maybe, op.call.UnixNano())
		}
	}
	slices.Sort(c.maybe)
	if op := c.unfounded(w.history); op != nil {
		t.Errorf("pod %s was denied at %s although no window can have been full", op.uid, op.returned.Format(time.StampMilli))
	}
	admissions := slices.DeleteFunc(slices.Clone(w.history), func(op *operation) bool { return op.outcome != admitted })
	if result := c.linearizable(admissions); result != porcupine.Ok {
		t.Errorf("no order was found in which a sequential counter admits these %d (%s)", len(admissions), result)
	}
	result := c.linearizable(w.history)
	if result == porcupine.Illegal {
		t.Errorf("there is no order in which a sequential counter gives these answers: %d admitted, %d denied", count[admitted], count[refused])
	}
	t.Logf("order of %d answers: %s", count[admitted]+count[refused], result)
}

// unfounded finds a denial that none of the orders explains, whichever moment it is given and whatever else was under way then.
func (c *counter) unfounded(history []*operation) *operation {
	for _, op := range history {
		if op.outcome == refused && !c.founded(op, history) {
			return op
		}
	}
	return nil
}

// founded reports whether a window can have been full at some moment of a denial.
func (c *counter) founded(op *operation, history []*operation) bool {
	earliest, latest := op.call.Add(-stale).UnixNano(), op.returned.UnixNano()
	moments := []int64{earliest, latest}
	for _, other := range history {
		if at := other.call.UnixNano(); at > earliest && at < latest {
			moments = append(moments, at)
		}
	}
	for _, r := range c.rules {
		for _, now := range moments {
			from := now - int64(r.Interval.Duration+memoryLonger)
			pods := map[string]bool{}
			for _, other := range history {
				if other.outcome == admitted && other.call.UnixNano() <= now && other.returned.UnixNano() > from {
					pods[other.uid] = true
				}
			}
			if len(pods)+c.between(from-int64(unheard), now)+c.aside(op, r.Interval.Duration) >= int(r.Limit) {
				return true
			}
		}
	}
	return false
}

// aside is the most that any ledger held, of those that whoever denied may have read, without a pod's name: blocks, and what is
// left of them when their holder has died.
func (w *world) aside(op *operation, window time.Duration) int {
	most, cutoff := 0, op.call.Add(-stale-window-memoryLonger).UnixMilli()
	for i, p := range w.store.history {
		replaced := i+1 < len(w.store.history) && w.store.history[i+1].since.Before(op.call.Add(-stale))
		if replaced || p.since.After(op.returned) {
			continue
		}
		n := 0
		for _, b := range p.ledger.Blocks {
			if b.Stamp > cutoff {
				n += b.N
			}
		}
		for _, s := range p.ledger.Sums {
			if s.Stamp > cutoff {
				n += s.N
			}
		}
		most = max(most, n-w.prior)
	}
	return most
}

// TestCounter makes sure that the check finds what it looks for.
func TestCounter(t *testing.T) {
	epoch := time.Unix(1_900_000_000, 0)
	for _, tc := range []struct {
		name string
		// history, one word for each question: pod, +: admitted, -: denied, ?: not answered, and from when to when in seconds.
		history string
		aside   int
		want    porcupine.CheckResult
	}{
		{"two fit", "a+0,1 b+2,3 c-4,5", 0, porcupine.Ok},
		{"three do not", "a+0,1 b+2,3 c+4,5", 0, porcupine.Illegal},
		{"nor do three at the same time", "a+0,9 b+0,9 c+0,9", 0, porcupine.Illegal},
		{"a pod counts once", "a+0,1 a+2,3 b+4,5 a+6,7 c-8,9", 0, porcupine.Ok},
		{"the window moves on", "a+0,1 b+2,3 c+14,15 d+16,17", 0, porcupine.Ok},
		{"but not as early", "a+0,1 b+2,3 c+9,9", 0, porcupine.Illegal},
		{"a denial needs a reason", "a+0,1 c-4,5", 0, porcupine.Illegal},
		{"one that comes may be one", "a+0,1 b+4,9 c-4,5", 0, porcupine.Ok},
		{"one that comes later may not", "a+0,1 c-4,5 b+7,9", 0, porcupine.Illegal},
		{"the order must be one for all: b is before c, and c before b", "a+0,1 c-4,5 b+6,7 d-8,9", 0, porcupine.Illegal},
		{"a question that nobody got an answer to may be a reason", "a+0,1 b?2,3 c-4,5", 0, porcupine.Ok},
		{"a block that was set aside may be one", "a+0,1 c-4,5", 1, porcupine.Ok},
		{"it allows nobody more", "a+0,1 b+2,3 c+4,5", 1, porcupine.Illegal},
		{"a window that was full is remembered a little longer", "a+0,1 b+0,1 c-18,18", 0, porcupine.Ok},
		{"but not for long", "a+0,1 b+0,1 c-25,25", 0, porcupine.Illegal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &counter{rules: []v1alpha1.DeletionLimitRule{rule(10*time.Second, 2)}, aside: func(*operation, time.Duration) int { return tc.aside }}
			var history []*operation
			for word := range strings.FieldsSeq(tc.history) {
				op, from, to := &operation{uid: word[:1]}, 0, 0
				if _, err := fmt.Sscanf(word[2:], "%d,%d", &from, &to); err != nil {
					t.Fatal(err)
				}
				op.call, op.returned = epoch.Add(time.Duration(from)*time.Second), epoch.Add(time.Duration(to)*time.Second)
				op.outcome = map[byte]outcome{'+': admitted, '-': refused, '?': unanswered}[word[1]]
				if op.outcome == unanswered {
					c.maybe = append(c.maybe, op.call.UnixNano())
				}
				history = append(history, op)
			}
			if got := c.linearizable(history); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
