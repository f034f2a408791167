package daemonset

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

// fillStatus fills the status from what was seen and done. It is pure.
func fillStatus(
	ds *appsv1beta1.DaemonSet, state workload.State, survey survey, plan workload.Plan, acted error, now time.Time,
) {
	s := &ds.Status
	count(s, state, survey)
	var kept int32
	s.ExpectedUpdatedNumber, kept = expected(state, survey, plan)
	s.ObservedGeneration = ds.Generation
	s.CollisionCount = state.CollisionCount
	s.UpdateRevision = state.Update.Name
	s.Held = workload.Summary(plan.Held)
	if s.CurrentRevision == "" || s.UpdatedNumberScheduled == s.DesiredNumberScheduled {
		s.CurrentRevision = s.UpdateRevision
	}
	all := report.From(s.Conditions)
	standing := report.Standing{
		Done: done(s, survey, kept), Available: s.NumberAvailable, Held: s.Held, Acted: acted,
		Throttled:    workload.Throttled(plan.Held),
		FailedScale:  appsv1beta1.DaemonSetConditionFailedScale,
		FailedUpdate: appsv1beta1.DaemonSetConditionFailedUpdate,
	}
	all.Failures(standing, now)
	all.Kstatus(standing, now)
	if survey.desired == 0 {
		all.Set(appsv1beta1.DaemonSetConditionNoMatchingNodes, corev1.ConditionTrue,
			appsv1beta1.DaemonSetConditionNoMatchingNodes, survey.lacks.Message(survey.nodes), now)
	} else {
		all.Remove(appsv1beta1.DaemonSetConditionNoMatchingNodes)
	}
	s.Conditions = all.List()
}

// count counts nodes as Kubernetes does: where there are several pods, the eldest speaks for the node.
func count(s *appsv1beta1.DaemonSetStatus, state workload.State, survey survey) {
	s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled = int32(survey.desired), 0, 0 //nolint:gosec // few nodes
	s.NumberReady, s.NumberAvailable, s.UpdatedNumberScheduled = 0, 0, 0
	on := 0
	for i := range survey.places {
		p := &survey.places[i]
		on += len(p.members)
		switch {
		case !p.wanted:
			s.NumberMisscheduled++
			continue
		case len(p.members) == 0:
			continue
		}
		m := p.eldest()
		s.CurrentNumberScheduled++
		s.NumberReady += add(m.Ready)
		s.NumberAvailable += add(m.Available)
		s.UpdatedNumberScheduled += add(m.Revision == state.Update.Name)
	}
	s.NumberMisscheduled += int32(len(state.Members) - on) //nolint:gosec // on nodes that should have none, or that are gone
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
}

func (p *place) eldest() *workload.Member {
	return slices.MinFunc(p.members, func(a, b *workload.Member) int {
		return cmp.Or(a.Pod.CreationTimestamp.Compare(b.Pod.CreationTimestamp.Time), cmp.Compare(a.Pod.Name, b.Pod.Name))
	})
}

func add(yes bool) int32 {
	if yes {
		return 1
	}
	return 0
}

// expected is on how many of the nodes that should have a pod it is to be of the update revision, and how many the partition
// keeps from getting their first pod.
func expected(state workload.State, survey survey, plan workload.Plan) (updated, kept int32) {
	for i, slot := range plan.Set.Slots {
		waits := slot.Hold == appsv1beta1.HeldByPartition
		updated += add(survey.places[i].wanted && slot.Revision == state.Update.Name && !waits)
		kept += add(waits)
	}
	return updated, kept
}

// done reports whether all that the spec asks for now is there and available.
func done(s *appsv1beta1.DaemonSetStatus, survey survey, kept int32) bool {
	return s.NumberAvailable+kept >= s.DesiredNumberScheduled && s.UpdatedNumberScheduled >= s.ExpectedUpdatedNumber && !survey.crowded()
}

// crowded reports whether some node has more than one pod.
func (s *survey) crowded() bool {
	return slices.ContainsFunc(s.places, func(p place) bool { return len(p.members) > 1 })
}
