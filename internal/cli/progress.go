package cli

import "fmt"

// State is where a rollout stands.
type State string

// The states of a rollout.
const (
	StateDone    State = "Done"    // every pod that should be updated is, and all are available
	StateOngoing State = "Ongoing" // changes are still being made, or held back
	StateFailed  State = "Failed"  // it will not go on by itself
)

// Progress is where a rollout stands, and why.
type Progress struct {
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
}

// progress judges a workload by its spec and status alone.
func progress(w Workload) Progress {
	if p, failed := failure(w); failed {
		return p
	}
	switch {
	case w.Kind.Ends != "":
		return jobProgress(w)
	case w.Kind.Podless || w.Kind.Injects:
		return conditionProgress(w)
	}
	return rolloutProgress(w)
}

// rolloutProgress judges a workload whose pods are to stay.
func rolloutProgress(w Workload) Progress {
	updated, goal, desired := w.number(w.Kind.Updated, 0), w.toUpdate(), w.desired()
	total, available := w.number(w.Kind.Total, 0), w.number(w.Kind.Available, 0)
	switch {
	case w.Object.GetDeletionTimestamp() != nil:
		return ongoing("Deleting", "it is being deleted")
	case !w.observed():
		return ongoing("NotObserved", "its controller has not seen generation %d of the spec yet", w.Object.GetGeneration())
	case updated < goal && w.paused():
		return ongoing("Paused", "%d of %d pods updated; paused", updated, goal)
	case updated < goal && w.strategy() == "OnDelete":
		return ongoing("OnDelete", "%d of %d pods updated; the others are updated when somebody deletes them", updated, goal)
	case updated < goal:
		return ongoing("Updating", "%d of %d pods updated", updated, goal)
	case total > desired:
		return ongoing("Removing", "%s still to go", pods(total-desired))
	case total < desired:
		return ongoing("Creating", "%d of %d pods created", total, desired)
	case available < desired:
		return ongoing("Unavailable", "%d of %d pods available", available, desired)
	}
	message := fmt.Sprintf("%d of %d pods updated, all available", updated, desired)
	if kept := w.kept(); kept > 0 && updated < desired {
		message = fmt.Sprintf("%d of %d pods updated, %d kept by partition, all available", updated, desired, desired-updated)
	}
	return Progress{State: StateDone, Message: message}
}

// jobProgress judges a job, whose pods run to their end.
func jobProgress(w Workload) Progress {
	desired, active := w.desired(), w.number(w.Kind.Ready, 0)
	succeeded, failed := w.number(w.Kind.Available, 0), w.number("status.failed", 0)
	counts := fmt.Sprintf("%d of %d pods succeeded", succeeded, desired)
	if failed > 0 {
		counts += fmt.Sprintf(", %d failed", failed)
	}
	switch {
	case w.Object.GetDeletionTimestamp() != nil:
		return ongoing("Deleting", "it is being deleted")
	case !w.observed():
		return ongoing("NotObserved", "its controller has not seen generation %d of the spec yet", w.Object.GetGeneration())
	case w.condition("Ready").Status == "True":
		return Progress{State: StateDone, Message: counts}
	case w.paused():
		return ongoing("Paused", "%s; paused", counts)
	}
	return ongoing("Running", "%s, %d running", counts, active)
}

// conditionProgress judges what has no pods of its own by its condition alone.
func conditionProgress(w Workload) Progress {
	ready := w.condition("Ready")
	switch {
	case w.Object.GetDeletionTimestamp() != nil:
		return ongoing("Deleting", "it is being deleted")
	case !w.observed():
		return ongoing("NotObserved", "its controller has not seen generation %d of the spec yet", w.Object.GetGeneration())
	case ready.Status != "True":
		return ongoing(ready.Reason, "%s", ready.Message)
	}
	message := ready.Message
	if next := w.text("status.nextScheduleTime"); next != "" {
		message += ", the next at " + next
	}
	return Progress{State: StateDone, Message: message}
}

func ongoing(reason, format string, args ...any) Progress {
	return Progress{State: StateOngoing, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// failure tells whether the controller has given the rollout up, or the user must act.
func failure(w Workload) (Progress, bool) {
	if !w.observed() {
		return Progress{}, false // the conditions speak of an older spec
	}
	if c := w.condition("Stalled"); c.Status == "True" {
		return Progress{State: StateFailed, Reason: c.Reason, Message: c.Message}, true
	}
	if c := w.condition("Progressing"); c.Reason == "ProgressDeadlineExceeded" {
		return Progress{
			State: StateFailed, Reason: c.Reason,
			Message: fmt.Sprintf("no progress within its progressDeadlineSeconds: %s", c.Message),
		}, true
	}
	return Progress{}, false
}

// pods counts pods in words.
func pods(n int64) string { return plural(n, "pod") }

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
