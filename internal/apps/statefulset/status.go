package statefulset

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

// fillStatus fills the status from what was seen and done. It is pure.
func fillStatus(set *appsv1beta1.StatefulSet, state workload.State, plan workload.Plan, acted error, now time.Time) {
	s := &set.Status
	s.ObservedGeneration = set.Generation
	s.CollisionCount = state.CollisionCount
	s.UpdateRevision = state.Update.Name
	s.Held = workload.Summary(plan.Held)
	s.VolumeClaims = volumes(set, state, plan.Set.Slots)
	if selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector); err == nil {
		s.LabelSelector = selector.String()
	}
	count(s, state)
	if s.CurrentRevision == "" || settled(set) {
		s.CurrentRevision = s.UpdateRevision
	}
	s.CurrentReplicas = 0
	for i := range state.Members {
		if state.Members[i].Revision == s.CurrentRevision {
			s.CurrentReplicas++
		}
	}
	all := report.From(s.Conditions)
	standing := report.Standing{
		Done: done(set, state, plan), Available: s.AvailableReplicas, Held: s.Held, Acted: acted,
		Throttled:    workload.Throttled(plan.Held),
		FailedScale:  appsv1beta1.StatefulSetConditionFailedCreatePod,
		FailedUpdate: appsv1beta1.StatefulSetConditionFailedUpdatePod,
	}
	all.Failures(standing, now)
	all.Kstatus(standing, now)
	s.Conditions = all.List()
}

func count(s *appsv1beta1.StatefulSetStatus, state workload.State) {
	c := state.Count()
	s.Replicas, s.ReadyReplicas, s.AvailableReplicas = c.All, c.Ready, c.Available
	s.UpdatedReplicas, s.UpdatedReadyReplicas, s.UpdatedAvailableReplicas = c.Updated, c.UpdatedReady, c.UpdatedAvailable
}

// settled reports whether every pod is at the update revision and ready, so that it is the current one from now on.
func settled(set *appsv1beta1.StatefulSet) bool {
	s := &set.Status
	return s.UpdatedReplicas == s.Replicas && s.ReadyReplicas == s.Replicas && int(s.Replicas) >= replicasOf(set)
}

// done reports whether every number has its pod, of its revision and available, and there are no others.
func done(set *appsv1beta1.StatefulSet, state workload.State, plan workload.Plan) bool {
	who := identityOf(set)
	revisions := make(map[string]string, len(plan.Set.Slots))
	for _, slot := range plan.Set.Slots {
		revisions[slot.Key] = slot.Revision
	}
	for i := range state.Members {
		m := &state.Members[i]
		revision, wanted := revisions[who.place(m.Pod)]
		if !wanted || !m.Available || m.Revision != revision && m.Revision != state.Update.Name {
			return false
		}
		delete(revisions, who.place(m.Pod))
	}
	return len(revisions) == 0
}

// reportStalled says that nothing goes on until the user acts.
func reportStalled(set *appsv1beta1.StatefulSet, reason string, err error, now time.Time) {
	all := report.From(set.Status.Conditions)
	all.Stall(reason, err, now)
	set.Status.ObservedGeneration, set.Status.Conditions = set.Generation, all.List()
}

// reportConflict says whether a StatefulSet of the group apps has the same name.
func reportConflict(set *appsv1beta1.StatefulSet, conflict bool, now time.Time) {
	all := report.From(set.Status.Conditions)
	if conflict {
		all.Set(appsv1beta1.StatefulSetConditionNameConflict, corev1.ConditionTrue, "StatefulSetOfGroupApps", nameConflict(set), now)
	} else {
		all.Remove(appsv1beta1.StatefulSetConditionNameConflict)
	}
	set.Status.Conditions = all.List()
}
