package advancedcronjob

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

const (
	// manyMissed is how far missed times are counted.
	manyMissed = 100
	// lookAgain is how long a pass may be away although nothing is due: clocks are set, and machines sleep.
	lookAgain = 10 * time.Minute

	defaultSuccessfulHistory, defaultFailedHistory = 3, 1
)

// plan is what a pass does.
type plan struct {
	// start is the time whose job is to be started; zero: none is.
	start time.Time
	// replace are the jobs that must go before that.
	replace []job
	// missed is how many times were missed for good; manyMissed stands for that many or more.
	missed int
	// settled is up to when nothing is due any more, once the plan is carried out.
	settled time.Time
	// expired are the ended jobs beyond the history limits.
	expired []job
	held    []appsv1beta1.HeldChange
	// next is the next time of the schedule; again, in how long to look again.
	next  time.Time
	again time.Duration
}

// decide is pure. The jobs are in the order of their times.
func decide(acj *appsv1beta1.AdvancedCronJob, s schedule, jobs []job, now time.Time) plan {
	from := settledBefore(acj, jobs, now)
	p := plan{settled: from, next: s.next(now), again: lookAgain, expired: expired(acj, jobs)}
	if until := p.next.Sub(now); !p.next.IsZero() && until < lookAgain {
		p.again = until
	}
	due := latest(s, from, now)
	if due.IsZero() {
		return p
	}
	if ptr.Deref(acj.Spec.Paused, false) {
		p.hold(appsv1beta1.HeldByPaused, "the job of %s is due, but spec.paused is true", due)
		return p
	}
	if deadline := acj.Spec.StartingDeadlineSeconds; deadline != nil {
		if now.Sub(due) > time.Duration(*deadline)*time.Second {
			p.missed, p.settled = countUpTo(s, from, due, manyMissed), due
			return p
		}
	}
	p.begin(acj, active(jobs), due)
	if p.start.IsZero() {
		p.wakeAtDeadline(acj, due, now)
		return p
	}
	p.missed, p.settled = countUpTo(s, from, due, manyMissed+1)-1, due
	return p
}

// begin starts the job of a time, as far as the jobs that still run let it.
func (p *plan) begin(acj *appsv1beta1.AdvancedCronJob, active []job, due time.Time) {
	switch acj.Spec.ConcurrencyPolicy {
	case appsv1beta1.ForbidConcurrent:
		if len(active) > 0 {
			p.hold(appsv1beta1.HeldByConcurrency, "the job of %s waits for "+active[0].String()+
				" to end, as spec.concurrencyPolicy is Forbid", due)
			return
		}
	case appsv1beta1.ReplaceConcurrent:
		p.replace = active
	case appsv1beta1.AllowConcurrent:
	}
	p.start = due
}

// wakeAtDeadline comes again when a job that waits has waited too long.
func (p *plan) wakeAtDeadline(acj *appsv1beta1.AdvancedCronJob, due, now time.Time) {
	if deadline := acj.Spec.StartingDeadlineSeconds; deadline != nil {
		p.again = min(p.again, due.Add(time.Duration(*deadline)*time.Second).Sub(now)+time.Second)
	}
}

func (p *plan) hold(reason appsv1beta1.HeldReason, format string, due time.Time) {
	p.held = append(p.held, appsv1beta1.HeldChange{Reason: reason, Message: fmt.Sprintf(format, due.UTC().Format(time.RFC3339)), Count: 1})
}

// settledBefore is up to when nothing is due any more. Jobs that exist count although the status does not tell of them: the
// write of it may have failed.
func settledBefore(acj *appsv1beta1.AdvancedCronJob, jobs []job, now time.Time) time.Time {
	s := &acj.Status
	from := acj.CreationTimestamp.UTC()
	if s.ObservedSchedule != "" && s.ObservedSchedule != line(acj) {
		from = now
	}
	if s.LastScheduleTime != nil && s.LastScheduleTime.After(from) {
		from = s.LastScheduleTime.UTC()
	}
	if s.SettledTime != nil && s.SettledTime.After(from) {
		from = s.SettledTime.UTC()
	}
	for _, j := range jobs {
		if j.scheduled.After(from) {
			from = j.scheduled
		}
	}
	return from
}

// line is the schedule with its time zone.
func line(acj *appsv1beta1.AdvancedCronJob) string {
	if acj.Spec.TimeZone == nil {
		return acj.Spec.Schedule
	}
	return "TZ=" + *acj.Spec.TimeZone + " " + acj.Spec.Schedule
}

func active(jobs []job) []job {
	var found []job
	for _, j := range jobs {
		if j.outcome == running {
			found = append(found, j)
		}
	}
	return found
}

// expired are the oldest of the ended jobs, beyond the limits. One whose time the status does not show as settled yet is kept:
// it is the only proof that it was started.
func expired(acj *appsv1beta1.AdvancedCronJob, jobs []job) []job {
	keep := map[outcome]int{
		succeeded: int(ptr.Deref(acj.Spec.SuccessfulJobsHistoryLimit, defaultSuccessfulHistory)),
		failed:    int(ptr.Deref(acj.Spec.FailedJobsHistoryLimit, defaultFailedHistory)),
	}
	var gone []job
	for _, j := range slices.Backward(jobs) {
		if j.outcome == running || j.leaving {
			continue
		}
		if keep[j.outcome] > 0 {
			keep[j.outcome]--
			continue
		}
		if settled := acj.Status.SettledTime; settled != nil && !j.scheduled.After(settled.Time) {
			gone = append(gone, j)
		}
	}
	return gone
}
