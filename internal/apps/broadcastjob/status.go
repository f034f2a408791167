package broadcastjob

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

// fillStatus fills the status from what was seen and done. The numbers of a job that has ended stay as they were then, but
// for pods that are still to go. It is pure.
func fillStatus(
	job *appsv1beta1.BroadcastJob, state workload.State, t tally, o outcome, plan workload.Plan, acted error, now time.Time,
) {
	s := &job.Status
	_, before := already(job)
	s.ObservedGeneration = job.Generation
	s.Active = int32(len(state.Members)) //nolint:gosec // there are not that many nodes
	if !before {
		s.Desired, s.Succeeded, s.Failed = int32(t.desired), int32(t.succeeded), int32(t.failed) //nolint:gosec // nor these
	}
	s.Active -= int32(len(t.spent)) //nolint:gosec // they have failed, and are being stopped
	s.Phase = o.phase
	s.Held = workload.Summary(plan.Held)
	if o.ended != "" && s.CompletionTime == nil {
		s.CompletionTime = ptr.To(metav1.NewTime(now))
	}
	all := conditionsOf(s)
	how := report.Standing{
		Held: s.Held, Acted: acted, Throttled: workload.Throttled(plan.Held),
		FailedScale: string(appsv1beta1.JobFailedScale), FailedUpdate: "FailedUpdate",
	}
	all.Failures(how, now)
	if o.ended != "" {
		all.Set(string(o.ended), corev1.ConditionTrue, o.reason, o.message, now)
	}
	stand(&all, how, t, o, now)
	if t.desired == 0 && o.ended == "" {
		kind := string(appsv1beta1.JobNoMatchingNodes)
		all.Set(kind, corev1.ConditionTrue, kind, t.lacks.Message(t.nodes), now)
	} else {
		all.Remove(string(appsv1beta1.JobNoMatchingNodes))
	}
	s.Conditions = listOf(all)
}

// stand sets Ready, Reconciling and Stalled: a job is ready when it is done.
func stand(all *report.Conditions, how report.Standing, t tally, o outcome, now time.Time) {
	switch {
	case o.ended == appsv1beta1.JobComplete || o.reason == reasonComplete:
		all.Set(report.Ready, corev1.ConditionTrue, reasonComplete, o.message, now)
		all.Remove(report.Reconciling, report.Stalled)
	case o.reason != "": // it has failed, or is paused: the user must act
		all.Set(report.Ready, corev1.ConditionFalse, o.reason, o.message, now)
		all.Set(report.Stalled, corev1.ConditionTrue, o.reason, o.message, now)
		all.Remove(report.Reconciling)
	case t.desired == 0:
		message := t.lacks.Message(t.nodes)
		all.Set(report.Ready, corev1.ConditionFalse, string(appsv1beta1.JobNoMatchingNodes), message, now)
		all.Set(report.Reconciling, corev1.ConditionTrue, string(appsv1beta1.JobNoMatchingNodes), message, now)
		all.Remove(report.Stalled)
	default:
		all.Kstatus(how, now)
	}
}

// standing is the reason of the condition Ready.
func standing(job *appsv1beta1.BroadcastJob) string {
	all := conditionsOf(&job.Status)
	if c := all.Find(report.Ready); c != nil {
		return c.Reason
	}
	return ""
}

// tell publishes that a job has ended, or what keeps it from going on.
func tell(ctx context.Context, o outcome) {
	kind := corev1.EventTypeNormal
	if o.reason == reasonFailed || o.reason == reasonDeadline {
		kind = corev1.EventTypeWarning
	}
	reconcile.Event(ctx, kind, o.reason, "%s", o.message)
}

func conditionsOf(s *appsv1beta1.BroadcastJobStatus) report.Conditions {
	return report.Read(s.Conditions, func(c appsv1beta1.JobCondition) report.Condition {
		return report.Condition{
			Type: string(c.Type), Status: c.Status, Reason: c.Reason, Message: c.Message,
			Changed: c.LastTransitionTime, Updated: c.LastProbeTime,
		}
	})
}

func listOf(all report.Conditions) []appsv1beta1.JobCondition {
	return report.Write(all, func(c report.Condition) appsv1beta1.JobCondition {
		return appsv1beta1.JobCondition{
			Type: appsv1beta1.JobConditionType(c.Type), Status: c.Status, Reason: c.Reason, Message: c.Message,
			LastTransitionTime: c.Changed, LastProbeTime: c.Updated,
		}
	})
}
