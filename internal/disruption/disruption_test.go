package disruption_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/internal/disruption"
)

// fixed is a guard with fixed answers that writes down what it is asked.
type fixed struct {
	name        string
	check, take disruption.Verdict
	err         error
	log         *[]string
}

func (f fixed) Name() string { return f.name }

func (f fixed) Check(context.Context, disruption.Request) disruption.Verdict {
	*f.log = append(*f.log, "check "+f.name)
	return f.check
}

func (f fixed) Take(context.Context, disruption.Request) (disruption.Verdict, error) {
	*f.log = append(*f.log, "take "+f.name)
	return f.take, f.err
}

func (f fixed) Release(context.Context, disruption.Request) {
	*f.log = append(*f.log, "release "+f.name)
}

func TestChain(t *testing.T) {
	t.Parallel()
	no := disruption.Verdict{Outcome: disruption.Deny, Guard: "b", Reason: "Full"}
	yes := func(guard string) disruption.Verdict {
		return disruption.Verdict{Guard: guard, Notes: map[string]string{guard: "1"}}
	}
	tests := []struct {
		reason  string
		a, b    fixed
		log     string
		outcome disruption.Outcome
		guard   string
		failed  bool
	}{
		{
			reason: "all are checked before any takes", a: fixed{take: yes("a")}, b: fixed{take: yes("b")},
			log: "check a, check b, take a, take b", guard: "b",
		},
		{
			reason: "a check that denies costs no permit", a: fixed{take: yes("a")}, b: fixed{check: no},
			log: "check a, check b", outcome: disruption.Deny, guard: "b",
		},
		{
			reason: "what was taken is given back when a later guard denies", a: fixed{take: yes("a")}, b: fixed{take: no},
			log: "check a, check b, take a, take b, release a", outcome: disruption.Deny, guard: "b",
		},
		{
			reason: "and when a later guard fails", a: fixed{take: yes("a")}, b: fixed{err: errors.New("no answer")},
			log: "check a, check b, take a, take b, release a", failed: true,
		},
		{
			reason: "a guard without a say leaves the words to the other", a: fixed{take: yes("a")}, b: fixed{},
			log: "check a, check b, take a, take b", guard: "a",
		},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			var log []string
			test.a.name, test.b.name, test.a.log, test.b.log = "a", "b", &log, &log
			got, err := disruption.Chain{test.a, test.b}.Ask(t.Context(), disruption.Request{Pod: &corev1.Pod{}})
			if (err != nil) != test.failed || got.Outcome != test.outcome || got.Guard != test.guard {
				t.Errorf("got %+v and error %v", got, err)
			}
			if log := strings.Join(log, ", "); log != test.log {
				t.Errorf("asked: %s; want: %s", log, test.log)
			}
		})
	}
}
