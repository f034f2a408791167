package cloneset

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// report fills the status from what was seen and done, and returns when time alone will change something. It is pure.
func report(cs *appsv1beta1.CloneSet, state workload.State, plan workload.Plan, acted error, now time.Time) time.Duration {
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
	failures(s, acted, now)
	again := progress(cs, old, now)
	kstatus(cs, acted, now)
	if plan.Again > 0 && (again == 0 || plan.Again < again) {
		again = plan.Again
	}
	return again
}

func count(s *appsv1beta1.CloneSetStatus, state workload.State, plan workload.Plan) {
	s.Replicas, s.ReadyReplicas, s.AvailableReplicas = 0, 0, 0
	s.UpdatedReplicas, s.UpdatedReadyReplicas, s.UpdatedAvailableReplicas = 0, 0, 0
	for i := range state.Members {
		m := &state.Members[i]
		updated := add(m.Revision == state.Update.Name)
		s.Replicas++
		s.UpdatedReplicas += updated
		s.ReadyReplicas += add(m.Ready)
		s.UpdatedReadyReplicas += updated * add(m.Ready)
		s.AvailableReplicas += add(m.Available)
		s.UpdatedAvailableReplicas += updated * add(m.Available)
	}
	s.ExpectedUpdatedReplicas = 0
	for _, slot := range plan.Set.Slots {
		s.ExpectedUpdatedReplicas += add(slot.Revision == state.Update.Name)
	}
}

func add(yes bool) int32 {
	if yes {
		return 1
	}
	return 0
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

// failures sets the conditions for what could not be done, and removes them when it could.
func failures(s *appsv1beta1.CloneSetStatus, acted error, now time.Time) {
	var failed *workload.Error
	if !errors.As(acted, &failed) {
		failed = &workload.Error{}
	}
	fail := func(kind appsv1beta1.CloneSetConditionType, reason string, err error) {
		if err == nil || apierrors.IsConflict(err) {
			remove(s, kind)
			return
		}
		set(s, kind, corev1.ConditionTrue, reason, err.Error(), now)
	}
	fail(appsv1beta1.CloneSetConditionFailedScale, "FailedScale", failed.Scale)
	fail(appsv1beta1.CloneSetConditionFailedUpdate, "FailedUpdate", failed.Update)
}

// progress sets the condition Progressing, and returns when the deadline for more progress is.
func progress(cs *appsv1beta1.CloneSet, old appsv1beta1.CloneSetStatus, now time.Time) time.Duration {
	s := &cs.Status
	const kind = appsv1beta1.CloneSetConditionProgressing
	rolling := ptr.Deref(cs.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateCloneSetStrategy{})
	switch {
	case rolling.Paused:
		set(s, kind, corev1.ConditionUnknown, appsv1beta1.CloneSetProgressPaused, "the update is paused", now)
		return 0
	case done(cs) && s.ExpectedUpdatedReplicas < ptr.Deref(cs.Spec.Replicas, 1):
		set(s, kind, corev1.ConditionTrue, appsv1beta1.CloneSetProgressPartitionAvailable,
			fmt.Sprintf("%d pods are updated and available; the partition keeps the others", s.UpdatedAvailableReplicas), now)
		return 0
	case done(cs):
		set(s, kind, corev1.ConditionTrue, appsv1beta1.CloneSetProgressAvailable, "all pods are updated and available", now)
		return 0
	}
	deadline := deadline(cs)
	last := find(s, kind)
	moved := last == nil || cs.Generation != old.ObservedGeneration || forward(s, &old) ||
		last.Reason != appsv1beta1.CloneSetProgressUpdated && last.Reason != appsv1beta1.CloneSetProgressDeadlineExceeded
	if moved {
		// The time of the last progress is what the deadline counts from, so it is written although nothing else changes.
		set(s, kind, corev1.ConditionTrue, appsv1beta1.CloneSetProgressUpdated,
			"pods are on their way to what the spec asks for", now)
		find(s, kind).LastUpdateTime = metav1.NewTime(now)
		return deadline
	}
	if deadline == 0 || last.Reason == appsv1beta1.CloneSetProgressDeadlineExceeded {
		return 0
	}
	if left := deadline - now.Sub(last.LastUpdateTime.Time); left > 0 {
		return left
	}
	message := fmt.Sprintf("no progress for progressDeadlineSeconds (%s)", deadline)
	if len(s.Held) > 0 {
		message += ": " + s.Held[0].Message
	}
	set(s, kind, corev1.ConditionFalse, appsv1beta1.CloneSetProgressDeadlineExceeded, message, now)
	return 0
}

// deadline is 0 where there is none.
func deadline(cs *appsv1beta1.CloneSet) time.Duration {
	d := cs.Spec.ProgressDeadlineSeconds
	if d == nil || *d == 1<<31-1 {
		return 0
	}
	return seconds(*d)
}

// forward reports whether the set came nearer to what the spec asks for.
func forward(s, old *appsv1beta1.CloneSetStatus) bool {
	return s.UpdatedReplicas > old.UpdatedReplicas || s.UpdatedReadyReplicas > old.UpdatedReadyReplicas ||
		s.UpdatedAvailableReplicas > old.UpdatedAvailableReplicas || s.ReadyReplicas > old.ReadyReplicas ||
		s.AvailableReplicas > old.AvailableReplicas ||
		s.Replicas-s.UpdatedReplicas < old.Replicas-old.UpdatedReplicas
}

// kstatus sets Ready, Reconciling and Stalled.
func kstatus(cs *appsv1beta1.CloneSet, acted error, now time.Time) {
	s := &cs.Status
	ready, reason, message := corev1.ConditionFalse, "InProgress", waits(cs)
	if done(cs) {
		ready, reason, message = corev1.ConditionTrue, "Available", fmt.Sprintf("%d pods are available", s.AvailableReplicas)
	}
	set(s, appsv1beta1.CloneSetConditionReady, ready, reason, message, now)
	if ready == corev1.ConditionTrue {
		remove(s, appsv1beta1.CloneSetConditionReconciling)
		remove(s, appsv1beta1.CloneSetConditionStalled)
		return
	}
	if c := find(s, appsv1beta1.CloneSetConditionProgressing); c.Reason == appsv1beta1.CloneSetProgressDeadlineExceeded {
		set(s, appsv1beta1.CloneSetConditionStalled, corev1.ConditionTrue, c.Reason, c.Message, now)
		remove(s, appsv1beta1.CloneSetConditionReconciling)
		return
	}
	if hopeless(acted) {
		set(s, appsv1beta1.CloneSetConditionStalled, corev1.ConditionTrue, "RefusedByAPIServer", acted.Error(), now)
		remove(s, appsv1beta1.CloneSetConditionReconciling)
		return
	}
	remove(s, appsv1beta1.CloneSetConditionStalled)
	set(s, appsv1beta1.CloneSetConditionReconciling, corev1.ConditionTrue, reason, message, now)
}

// waits is one sentence on what is missing. It names reasons, not numbers, so that it changes when something happens and
// not with every pod.
func waits(cs *appsv1beta1.CloneSet) string {
	for _, kind := range []appsv1beta1.CloneSetConditionType{
		appsv1beta1.CloneSetConditionFailedScale, appsv1beta1.CloneSetConditionFailedUpdate,
	} {
		if c := find(&cs.Status, kind); c != nil {
			return c.Message
		}
	}
	if held := cs.Status.Held; len(held) > 0 {
		return fmt.Sprintf("waits: %s: %s", held[0].Reason, held[0].Message)
	}
	return "pods are being created, changed, deleted or started"
}

// hopeless reports whether what failed will fail again until somebody changes the spec.
func hopeless(err error) bool {
	var failed *workload.Error
	if !errors.As(err, &failed) {
		return false
	}
	return failed.Scale != nil && (apierrors.IsInvalid(failed.Scale) || apierrors.IsBadRequest(failed.Scale))
}

// verdict says to the frame how a failed pass goes on.
func verdict(err error) error {
	if hopeless(err) {
		return reconcile.Stalled("RefusedByAPIServer", fmt.Errorf("spec.template or spec.volumeClaimTemplates: %w", err))
	}
	return err
}

func reportStalled(cs *appsv1beta1.CloneSet, reason string, err error, now time.Time) {
	s := &cs.Status
	s.ObservedGeneration = cs.Generation
	set(s, appsv1beta1.CloneSetConditionReady, corev1.ConditionFalse, reason, err.Error(), now)
	set(s, appsv1beta1.CloneSetConditionStalled, corev1.ConditionTrue, reason, err.Error(), now)
	remove(s, appsv1beta1.CloneSetConditionReconciling)
}

func find(s *appsv1beta1.CloneSetStatus, kind appsv1beta1.CloneSetConditionType) *appsv1beta1.CloneSetCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			return &s.Conditions[i]
		}
	}
	return nil
}

// set writes a condition; nothing changes, the times neither, when it says this already.
func set(
	s *appsv1beta1.CloneSetStatus, kind appsv1beta1.CloneSetConditionType,
	status corev1.ConditionStatus, reason, message string, now time.Time,
) {
	c := find(s, kind)
	if c == nil {
		s.Conditions = append(slices.Clip(s.Conditions), appsv1beta1.CloneSetCondition{Type: kind})
		slices.SortFunc(s.Conditions, func(a, b appsv1beta1.CloneSetCondition) int { return cmp.Compare(a.Type, b.Type) })
		c = find(s, kind)
	}
	if c.Status == status && c.Reason == reason && c.Message == message {
		return
	}
	if c.Status != status {
		c.LastTransitionTime = metav1.NewTime(now)
	}
	c.Status, c.Reason, c.Message, c.LastUpdateTime = status, reason, message, metav1.NewTime(now)
}

func remove(s *appsv1beta1.CloneSetStatus, kind appsv1beta1.CloneSetConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c appsv1beta1.CloneSetCondition) bool { return c.Type == kind })
}
