package cloneset

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// fillStatus fills the status from what was seen and done, and returns when time alone will change something. It is pure.
func fillStatus(cs *appsv1beta1.CloneSet, state workload.State, plan workload.Plan, acted error, now time.Time) time.Duration {
	old := cs.Status
	s := &cs.Status
	count(s, state, plan)
	s.ObservedGeneration = cs.Generation
	s.CollisionCount = state.CollisionCount
	s.UpdateRevision = state.Update.Name
	s.Held = workload.Summary(plan.Held)
	if selector, err := metav1.LabelSelectorAsSelector(cs.Spec.Selector); err == nil {
		s.LabelSelector = selector.String()
	}
	if s.CurrentRevision == "" || settled(cs) {
		s.CurrentRevision = s.UpdateRevision
	}
	all := conditionsOf(s)
	standing := report.Standing{
		Done: done(cs), Available: s.AvailableReplicas, Held: s.Held, Acted: acted,
		Throttled:    workload.Throttled(plan.Held),
		FailedScale:  string(appsv1beta1.CloneSetConditionFailedScale),
		FailedUpdate: string(appsv1beta1.CloneSetConditionFailedUpdate),
	}
	all.Failures(standing, now)
	again := progress(cs, &all, old, now)
	all.Kstatus(standing, now)
	s.Conditions = listOf(all)
	return report.Sooner(again, plan.Again)
}

func conditionsOf(s *appsv1beta1.CloneSetStatus) report.Conditions {
	return report.Read(s.Conditions, func(c appsv1beta1.CloneSetCondition) report.Condition {
		return report.Condition{
			Type: string(c.Type), Status: c.Status, Reason: c.Reason, Message: c.Message,
			Changed: c.LastTransitionTime, Updated: c.LastUpdateTime,
		}
	})
}

func listOf(all report.Conditions) []appsv1beta1.CloneSetCondition {
	return report.Write(all, func(c report.Condition) appsv1beta1.CloneSetCondition {
		return appsv1beta1.CloneSetCondition{
			Type: appsv1beta1.CloneSetConditionType(c.Type), Status: c.Status, Reason: c.Reason, Message: c.Message,
			LastTransitionTime: c.Changed, LastUpdateTime: c.Updated,
		}
	})
}

func count(s *appsv1beta1.CloneSetStatus, state workload.State, plan workload.Plan) {
	c := state.Count()
	s.Replicas, s.ReadyReplicas, s.AvailableReplicas = c.All, c.Ready, c.Available
	s.UpdatedReplicas, s.UpdatedReadyReplicas, s.UpdatedAvailableReplicas = c.Updated, c.UpdatedReady, c.UpdatedAvailable
	s.ExpectedUpdatedReplicas = 0
	for _, slot := range plan.Set.Slots {
		if slot.Revision == state.Update.Name {
			s.ExpectedUpdatedReplicas++
		}
	}
}

// settled reports whether every pod is at the update revision, so that it is the current one from now on.
func settled(cs *appsv1beta1.CloneSet) bool {
	s := &cs.Status
	return s.UpdatedReplicas == s.Replicas && s.Replicas >= ptr.Deref(cs.Spec.Replicas, 1)
}

// done reports whether all that the spec asks for now is there and available.
func done(cs *appsv1beta1.CloneSet) bool {
	s := &cs.Status
	replicas := ptr.Deref(cs.Spec.Replicas, 1)
	return s.Replicas == replicas && s.AvailableReplicas >= replicas && s.UpdatedReplicas >= s.ExpectedUpdatedReplicas &&
		s.UpdatedAvailableReplicas >= min(s.ExpectedUpdatedReplicas, s.UpdatedReplicas)
}

// progress sets the condition Progressing, and returns when the deadline for more progress is.
func progress(cs *appsv1beta1.CloneSet, all *report.Conditions, old appsv1beta1.CloneSetStatus, now time.Time) time.Duration {
	s := &cs.Status
	const kind = report.Progressing
	rolling := rollingOf(cs)
	switch {
	case rolling.Paused:
		all.Set(kind, corev1.ConditionTrue, appsv1beta1.CloneSetProgressPaused, "the update is paused", now)
		return 0
	case done(cs) && s.ExpectedUpdatedReplicas < ptr.Deref(cs.Spec.Replicas, 1):
		all.Set(kind, corev1.ConditionTrue, appsv1beta1.CloneSetProgressPartitionAvailable,
			fmt.Sprintf("%d pods are updated and available; the partition keeps the others", s.UpdatedAvailableReplicas), now)
		return 0
	case done(cs):
		all.Set(kind, corev1.ConditionTrue, appsv1beta1.CloneSetProgressAvailable, "all pods are updated and available", now)
		return 0
	}
	deadline := deadline(cs)
	last := all.Find(kind)
	moved := last == nil || cs.Generation != old.ObservedGeneration || forward(s, &old) ||
		last.Reason != appsv1beta1.CloneSetProgressUpdated && last.Reason != appsv1beta1.CloneSetProgressDeadlineExceeded
	if moved {
		// The time of the last progress is what the deadline counts from, so it is written although nothing else changes.
		all.Set(kind, corev1.ConditionTrue, appsv1beta1.CloneSetProgressUpdated,
			"pods are on their way to what the spec asks for", now)
		all.Find(kind).Updated = metav1.NewTime(now)
		return deadline
	}
	if deadline == 0 || last.Reason == appsv1beta1.CloneSetProgressDeadlineExceeded {
		return 0
	}
	if left := deadline - now.Sub(last.Updated.Time); left > 0 {
		return left
	}
	message := fmt.Sprintf("no progress for progressDeadlineSeconds (%s)", deadline)
	if len(s.Held) > 0 {
		message += ": " + s.Held[0].Message
	}
	all.Set(kind, corev1.ConditionFalse, appsv1beta1.CloneSetProgressDeadlineExceeded, message, now)
	return 0
}

// deadline is 0 where there is none.
func deadline(cs *appsv1beta1.CloneSet) time.Duration {
	d := cs.Spec.ProgressDeadlineSeconds
	if d == nil || *d == 1<<31-1 {
		return 0
	}
	return share.Seconds(*d)
}

// forward reports whether the set came nearer to what the spec asks for.
func forward(s, old *appsv1beta1.CloneSetStatus) bool {
	return s.UpdatedReplicas > old.UpdatedReplicas || s.UpdatedReadyReplicas > old.UpdatedReadyReplicas ||
		s.UpdatedAvailableReplicas > old.UpdatedAvailableReplicas || s.ReadyReplicas > old.ReadyReplicas ||
		s.AvailableReplicas > old.AvailableReplicas ||
		s.Replicas-s.UpdatedReplicas < old.Replicas-old.UpdatedReplicas
}

// reportStalled says that nothing goes on until the user acts.
func reportStalled(cs *appsv1beta1.CloneSet, reason string, err error, now time.Time) {
	all := conditionsOf(&cs.Status)
	all.Stall(reason, err, now)
	cs.Status.ObservedGeneration, cs.Status.Conditions = cs.Generation, listOf(all)
}
