package advancedcronjob

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

const (
	reasonRefused = report.Refused
	maxActive     = 100
)

// fill writes the status from what was seen and done, and tells of it.
func fill(
	ctx context.Context, acj *appsv1beta1.AdvancedCronJob, jobs []job, started *job, p plan, acted error, now time.Time,
) {
	s := &acj.Status
	s.ObservedGeneration, s.Type = acj.Generation, typeOf(acj)
	ended(ctx, s.Active, jobs)
	s.Active = references(jobs, started, p)
	s.Held = p.held
	s.NextScheduleTime = nil
	if !p.next.IsZero() && !ptr.Deref(acj.Spec.Paused, false) {
		s.NextScheduleTime = ptr.To(metav1.NewTime(p.next))
	}
	if p.start.IsZero() || started != nil {
		missed(ctx, p)
		s.SettledTime, s.ObservedSchedule = ptr.To(metav1.NewTime(p.settled)), line(acj)
	}
	if last := lastStarted(jobs, started); last.After(ptr.Deref(s.LastScheduleTime, metav1.Time{}).Time) {
		s.LastScheduleTime = ptr.To(metav1.NewTime(last))
	}
	conditions(acj, acted, now)
}

// ended tells of the jobs that have ended since the last pass.
func ended(ctx context.Context, before []corev1.ObjectReference, jobs []job) {
	for _, ref := range before {
		i := slices.IndexFunc(jobs, func(j job) bool { return j.object.GetUID() == ref.UID })
		if i < 0 || jobs[i].outcome == running {
			continue
		}
		level := corev1.EventTypeNormal
		if jobs[i].outcome == failed {
			level = corev1.EventTypeWarning
		}
		reconcile.Event(ctx, level, "SawCompletedJob", "%s has ended: %s", jobs[i], jobs[i].outcome)
	}
}

func missed(ctx context.Context, p plan) {
	switch {
	case p.missed == 0:
	case p.start.IsZero():
		reconcile.Event(ctx, corev1.EventTypeWarning, "MissedSchedule",
			"%s up to %s passed without a job, and startingDeadlineSeconds is over", times(p.missed), p.settled.UTC().Format(time.RFC3339))
	default:
		reconcile.Event(ctx, corev1.EventTypeWarning, "MissedSchedule",
			"%s passed without a job; only the last, %s, is made up for", times(p.missed), p.start.UTC().Format(time.RFC3339))
	}
}

func times(n int) string {
	switch {
	case n == 1:
		return "1 time"
	case n >= manyMissed:
		return fmt.Sprintf("%d times or more", manyMissed)
	default:
		return fmt.Sprintf("%d times", n)
	}
}

// references are the jobs that run, less those that were deleted in this pass.
func references(jobs []job, started *job, p plan) []corev1.ObjectReference {
	if started != nil && !slices.ContainsFunc(jobs, func(j job) bool { return j.object.GetUID() == started.object.GetUID() }) {
		jobs = append(slices.Clone(jobs), *started)
	}
	var refs []corev1.ObjectReference
	for _, j := range jobs {
		gone := started != nil && slices.ContainsFunc(p.replace, func(r job) bool { return r.object.GetUID() == j.object.GetUID() })
		if j.outcome == running && !gone && len(refs) < maxActive {
			refs = append(refs, j.ref())
		}
	}
	return refs
}

// lastStarted is the latest time for which there is a job.
func lastStarted(jobs []job, started *job) time.Time {
	var last time.Time
	if started != nil {
		last = started.scheduled
	}
	for _, j := range jobs {
		if j.scheduled.After(last) {
			last = j.scheduled
		}
	}
	return last
}

func conditions(acj *appsv1beta1.AdvancedCronJob, acted error, now time.Time) {
	all := report.From(acj.Status.Conditions)
	switch {
	case acted == nil || apierrors.IsConflict(acted):
		reason, message := "Scheduled", "jobs are started at the times of spec.schedule"
		if ptr.Deref(acj.Spec.Paused, false) {
			reason, message = "Paused", "no jobs are started, as spec.paused is true"
		}
		all.Set(report.Ready, corev1.ConditionTrue, reason, message, now)
		all.Remove(report.Reconciling, report.Stalled)
	case hopeless(acted):
		all.Stall(reasonRefused, explain(acted), now)
	default:
		all.Set(report.Ready, corev1.ConditionFalse, "FailedStart", acted.Error(), now)
		all.Set(report.Reconciling, corev1.ConditionTrue, "FailedStart", acted.Error(), now)
		all.Remove(report.Stalled)
	}
	acj.Status.Conditions = all.List()
}

// explain adds what the user can do.
func explain(err error) error {
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("%w; the cluster does not serve that kind: install its CustomResourceDefinition, or use another template", err)
	}
	return fmt.Errorf("spec.template: %w", err)
}

func reportStalled(acj *appsv1beta1.AdvancedCronJob, reason string, err error, now time.Time) {
	s := &acj.Status
	s.ObservedGeneration, s.NextScheduleTime, s.Held = acj.Generation, nil, nil
	all := report.From(s.Conditions)
	all.Stall(reason, err, now)
	s.Conditions = all.List()
}
