package advancedcronjob

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// clock reads "15:04" or "15:04:05" of one day.
func clockTime(t *testing.T, text string) time.Time {
	t.Helper()
	if len(text) == len("15:04") {
		text += ":00"
	}
	return at(t, "2026-06-01T"+text+"Z")
}

// parseJobs reads "10:00 running", "10:10 ok", "10:20 failed", "10:30 leaving", separated by commas.
func parseJobs(t *testing.T, text string) []job {
	t.Helper()
	var jobs []job
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		when, how, _ := strings.Cut(word, " ")
		moment := clockTime(t, when)
		object := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
			Name: jobName("a", moment), Annotations: map[string]string{appsv1beta1.ScheduledAt: moment.Format(time.RFC3339)},
		}}
		switch how {
		case "ok":
			object.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
		case "failed":
			object.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
		case "leaving":
			object.DeletionTimestamp = ptr.To(metav1.NewTime(moment))
		}
		jobs = append(jobs, newJob(jobKind(), object))
	}
	return sorted(jobs)
}

// words is a plan in short.
func (p *plan) words() string {
	var all []string
	for _, j := range p.replace {
		all = append(all, "replace "+j.scheduled.Format("15:04"))
	}
	if !p.start.IsZero() {
		all = append(all, "start "+p.start.UTC().Format("15:04"))
	}
	if p.missed > 0 {
		all = append(all, fmt.Sprintf("missed %d", p.missed))
	}
	for _, j := range p.expired {
		all = append(all, "expire "+j.scheduled.Format("15:04"))
	}
	for _, h := range p.held {
		all = append(all, "held "+string(h.Reason))
	}
	return strings.Join(append(all, "again "+p.again.String()), "; ")
}

func TestDecide(t *testing.T) {
	paused := func(s *appsv1beta1.AdvancedCronJobSpec) { s.Paused = ptr.To(true) }
	deadline := func(seconds int64) func(*appsv1beta1.AdvancedCronJobSpec) {
		return func(s *appsv1beta1.AdvancedCronJobSpec) { s.StartingDeadlineSeconds = &seconds }
	}
	policy := func(p appsv1beta1.ConcurrencyPolicy) func(*appsv1beta1.AdvancedCronJobSpec) {
		return func(s *appsv1beta1.AdvancedCronJobSpec) { s.ConcurrencyPolicy = p }
	}
	history := func(good, bad int32) func(*appsv1beta1.AdvancedCronJobSpec) {
		return func(s *appsv1beta1.AdvancedCronJobSpec) {
			s.SuccessfulJobsHistoryLimit, s.FailedJobsHistoryLimit = &good, &bad
		}
	}
	every := func(line string) func(*appsv1beta1.AdvancedCronJobSpec) {
		return func(s *appsv1beta1.AdvancedCronJobSpec) { s.Schedule = line }
	}
	for _, test := range []struct {
		reason            string
		spec              []func(*appsv1beta1.AdvancedCronJobSpec)
		last, settled, of string // status: lastScheduleTime, settledTime, observedSchedule
		jobs, now, want   string
	}{
		{reason: "not due yet", now: "09:05", want: "again 10m0s"},
		{reason: "soon", now: "09:59:30", want: "again 30s"},
		{reason: "due", now: "10:00", want: "start 10:00; again 10m0s"},
		{reason: "due a while ago", now: "10:07", want: "start 10:00; again 10m0s"},
		{reason: "started already, says the status", last: "10:00", now: "10:07", want: "again 10m0s"},
		{reason: "started already, says the job", jobs: "10:00 running", now: "10:07", want: "again 10m0s"},
		{reason: "down for four hours: one catch-up, of the latest", last: "10:00", now: "14:20", want: "start 14:00; missed 3; again 10m0s"},
		{
			reason: "down for long: they are not even counted", spec: []func(*appsv1beta1.AdvancedCronJobSpec){every("* * * * *")},
			last: "10:00", now: "14:20:30", want: "start 14:20; missed 100; again 30s",
		},
		{
			reason: "too late by the deadline", spec: []func(*appsv1beta1.AdvancedCronJobSpec){deadline(600)},
			last: "10:00", now: "14:20", want: "missed 4; again 10m0s",
		},
		{
			reason: "too late, and said so already", spec: []func(*appsv1beta1.AdvancedCronJobSpec){deadline(600)},
			last: "10:00", settled: "14:00", now: "14:21", want: "again 10m0s",
		},
		{
			reason: "just in time", spec: []func(*appsv1beta1.AdvancedCronJobSpec){deadline(600)},
			last: "10:00", now: "11:10", want: "start 11:00; again 10m0s",
		},
		{reason: "paused", spec: []func(*appsv1beta1.AdvancedCronJobSpec){paused}, last: "10:00", now: "11:05", want: "held Paused; again 10m0s"},
		{reason: "paused, with nothing due", spec: []func(*appsv1beta1.AdvancedCronJobSpec){paused}, last: "10:00", now: "10:05", want: "again 10m0s"},
		{
			reason: "resumed: the last of the times that passed", last: "10:00", settled: "10:00", now: "12:30",
			want: "start 12:00; missed 1; again 10m0s",
		},
		{reason: "allowed beside another", jobs: "10:00 running", now: "11:00", want: "start 11:00; again 10m0s"},
		{
			reason: "forbidden beside another", spec: []func(*appsv1beta1.AdvancedCronJobSpec){policy(appsv1beta1.ForbidConcurrent)},
			jobs: "10:00 running", now: "11:05", want: "held Concurrency; again 10m0s",
		},
		{
			reason: "forbidden beside one that is being deleted", spec: []func(*appsv1beta1.AdvancedCronJobSpec){policy(appsv1beta1.ForbidConcurrent)},
			jobs: "10:00 leaving", now: "11:05", want: "held Concurrency; again 10m0s",
		},
		{
			reason: "no longer forbidden", spec: []func(*appsv1beta1.AdvancedCronJobSpec){policy(appsv1beta1.ForbidConcurrent)},
			jobs: "10:00 ok", now: "11:05", want: "start 11:00; again 10m0s",
		},
		{
			reason: "forbidden, and the deadline comes first", spec: []func(*appsv1beta1.AdvancedCronJobSpec){policy(appsv1beta1.ForbidConcurrent), deadline(360)},
			jobs: "10:00 running", now: "11:05", want: "held Concurrency; again 1m1s",
		},
		{
			reason: "forbidden for too long", spec: []func(*appsv1beta1.AdvancedCronJobSpec){policy(appsv1beta1.ForbidConcurrent), deadline(360)},
			jobs: "10:00 running", now: "11:07", want: "missed 1; again 10m0s",
		},
		{
			reason: "in place of others", spec: []func(*appsv1beta1.AdvancedCronJobSpec){policy(appsv1beta1.ReplaceConcurrent)},
			jobs: "10:00 running, 09:00 running, 08:00 ok", now: "11:00", want: "replace 09:00; replace 10:00; start 11:00; again 10m0s",
		},
		{
			reason: "history of both kinds", spec: []func(*appsv1beta1.AdvancedCronJobSpec){history(1, 1)}, settled: "14:00",
			jobs: "10:00 ok, 11:00 failed, 12:00 ok, 13:00 failed, 14:00 running", now: "14:05", want: "expire 11:00; expire 10:00; again 10m0s",
		},
		{
			reason: "no history at all", spec: []func(*appsv1beta1.AdvancedCronJobSpec){history(0, 0)}, settled: "11:00",
			jobs: "10:00 ok, 11:00 failed", now: "11:05", want: "expire 11:00; expire 10:00; again 10m0s",
		},
		{
			reason: "a job is kept until the status tells of it", spec: []func(*appsv1beta1.AdvancedCronJobSpec){history(0, 0)}, settled: "10:00",
			jobs: "10:00 ok, 11:00 ok", now: "11:05", want: "expire 10:00; again 10m0s",
		},
		{
			reason: "a job that goes already", spec: []func(*appsv1beta1.AdvancedCronJobSpec){history(0, 0)}, settled: "10:00",
			jobs: "10:00 leaving", now: "10:05", want: "again 10m0s",
		},
		{reason: "another schedule: what is over was none of its times", of: "0 3 * * *", last: "03:00", now: "10:20", want: "again 10m0s"},
		{reason: "another schedule, from its first time on", last: "03:00", settled: "10:20", now: "11:00", want: "start 11:00; again 10m0s"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			acj := &appsv1beta1.AdvancedCronJob{}
			acj.CreationTimestamp = metav1.NewTime(clockTime(t, "09:01"))
			acj.Spec.Schedule = "0 * * * *"
			for _, change := range test.spec {
				change(&acj.Spec)
			}
			for _, status := range []struct {
				text string
				into **metav1.Time
			}{{test.last, &acj.Status.LastScheduleTime}, {test.settled, &acj.Status.SettledTime}} {
				if status.text != "" {
					*status.into = ptr.To(metav1.NewTime(clockTime(t, status.text)))
				}
			}
			acj.Status.ObservedSchedule = test.of
			s, err := parse(acj.Spec.Schedule, nil, acj.CreationTimestamp.Time)
			if err != nil {
				t.Fatal(err)
			}
			p := decide(acj, s, parseJobs(t, test.jobs), clockTime(t, test.now))
			if got := p.words(); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}
