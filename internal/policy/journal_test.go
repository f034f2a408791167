package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	clocktesting "k8s.io/utils/clock/testing"
)

func TestRoutineDecisionsWait(t *testing.T) {
	t.Parallel()
	update := Decision{Operation: "update", Cause: "update by CloneSet shop/web: its revision is outdated", Outcome: Allowed}
	with := func(change func(*Decision)) Decision {
		d := update
		change(&d)
		return d
	}
	for _, test := range []struct {
		reason string
		noted  []Decision
		age    time.Duration
		want   bool
	}{
		{"nothing waits, but denials may have been repeated", nil, 0, true},
		{"our own, and no guard had a say", []Decision{update}, 2 * time.Second, false},
		{"the same, for long enough", []Decision{update}, 6 * time.Second, true},
		{"a guard had a say", []Decision{update, with(func(d *Decision) { d.Guard = "PodUnavailableBudget shop/web" })}, 0, true},
		{"somebody else asked", []Decision{with(func(d *Decision) { d.Cause = "" })}, 0, true},
		{"it was denied", []Decision{update, with(func(d *Decision) { d.Outcome = Denied })}, 0, true},
		{"a glass was broken", []Decision{with(func(d *Decision) { d.BreakGlass = "inc-42" })}, 0, true},
		{"they are many", slices.Repeat([]Decision{update}, maxRoutine), 0, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
			clock := clocktesting.NewFakeClock(now.Add(test.age))
			j := NewJournal(nil, nil, clock, logr.Discard(), "r")
			for i, d := range test.noted {
				d.Time, d.UID = now, string(rune('a'+i))
				j.Note(d, false)
			}
			if got := j.due(); got != test.want {
				t.Errorf("due: %v, want %v", got, test.want)
			}
		})
	}
}
