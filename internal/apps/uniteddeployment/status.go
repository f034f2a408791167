package uniteddeployment

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

const (
	reasonRefused = report.Refused
	// maxNamed is how many pods an entry of status.held names.
	maxNamed = 5
)

func reasonOf(problems []error) string {
	for _, problem := range problems {
		if errors.Is(problem, errFit) {
			return "SubsetsDoNotFit"
		}
	}
	return "InvalidSubset"
}

// statusOf is the status of a subset, or an empty one.
func statusOf(ud *appsv1beta1.UnitedDeployment, subset string) appsv1beta1.SubsetStatus {
	for _, s := range ud.Status.SubsetStatuses {
		if s.Name == subset {
			return s
		}
	}
	return appsv1beta1.SubsetStatus{Name: subset}
}

// fill writes the status from what was seen and done. It is pure.
func fill(ud *appsv1beta1.UnitedDeployment, st state, p plan, h history, acted error, now time.Time) {
	s := &ud.Status
	s.ObservedGeneration, s.CollisionCount, s.UpdatedRevision = ud.Generation, h.collisions, h.updated.Name
	if selector, err := metav1.LabelSelectorAsSelector(ud.Spec.Selector); err == nil {
		s.LabelSelector = selector.String()
	}
	s.Held = p.held
	s.SubsetStatuses = nil
	for i, subset := range p.subsets {
		one := appsv1beta1.SubsetStatus{Name: subset.Name, ReservedPods: p.reserved[i]}
		if p.schedulable != nil {
			one.Conditions = p.schedulable[i].List()
		}
		if c := st.chosen[subset.Name]; c != nil {
			one.Replicas, one.ReadyReplicas = c.asked, c.counts.ready
			one.Partition = keeps(c)
		}
		s.SubsetStatuses = append(s.SubsetStatuses, one)
	}
	for _, c := range st.others {
		s.SubsetStatuses = append(s.SubsetStatuses, appsv1beta1.SubsetStatus{
			Name: c.subset, Replicas: c.asked, ReadyReplicas: c.counts.ready,
		})
	}
	count(ud, st, p, h)
	if s.CurrentRevision == "" || settled(ud, st, p) {
		s.CurrentRevision = s.UpdatedRevision
	}
	conditions(ud, st, p, acted, now)
}

// count adds up the workloads. Pods count as updated when their workload has the newest revision and says so itself.
func count(ud *appsv1beta1.UnitedDeployment, st state, p plan, h history) {
	s := &ud.Status
	s.Replicas, s.ReadyReplicas, s.UpdatedReplicas, s.UpdatedReadyReplicas, s.ReservedPods = 0, 0, 0, 0, 0
	for i, subset := range p.subsets {
		s.ReservedPods += p.reserved[i]
		c := st.chosen[subset.Name]
		if c == nil {
			continue
		}
		s.Replicas += max(c.counts.pods-p.reserved[i], 0)
		s.ReadyReplicas += c.counts.ready
		if c.counts.observed && c.object.GetLabels()[appsv1beta1.ControllerRevisionHash] == h.updated.Name {
			s.UpdatedReplicas += c.counts.updated
			s.UpdatedReadyReplicas += c.counts.updatedAndReady
		}
	}
	for _, c := range st.others {
		s.Replicas += c.counts.pods
		s.ReadyReplicas += c.counts.ready
	}
}

// settled reports whether every pod of every subset is of the newest revision.
func settled(ud *appsv1beta1.UnitedDeployment, st state, p plan) bool {
	pods := int32(0)
	for _, c := range st.chosen {
		pods += c.counts.pods
	}
	return provisioned(st, p) && len(p.changes) == 0 && ud.Status.UpdatedReplicas == pods
}

// provisioned reports whether every subset has its workload, and no other does.
func provisioned(st state, p plan) bool {
	for _, subset := range p.subsets {
		if c := st.chosen[subset.Name]; c == nil || c.leaving {
			return false
		}
	}
	return len(st.others) == 0
}

// done reports whether all that the spec asks for now is there, and ready.
func done(st state, p plan) bool {
	if !provisioned(st, p) || len(p.changes)+len(p.problems) > 0 {
		return false
	}
	for i, subset := range p.subsets {
		c := st.chosen[subset.Name]
		n, wanted := c.counts, c.asked-p.reserved[i]
		if c.asked != p.target[i] || !n.observed || n.pods != c.asked || n.ready < wanted || n.updated < wanted-keeps(c) {
			return false
		}
	}
	return true
}

func conditions(ud *appsv1beta1.UnitedDeployment, st state, p plan, acted error, now time.Time) {
	all := report.From(ud.Status.Conditions)
	say := func(kind string, is bool, reason, message string) {
		if is {
			all.Set(kind, corev1.ConditionTrue, reason, message, now)
			return
		}
		all.Set(kind, corev1.ConditionFalse, "InProgress", "workloads of subsets are being made, changed or deleted", now)
	}
	there := provisioned(st, p)
	say(appsv1beta1.UnitedDeploymentSubsetProvisioned, there, "Provisioned", "every subset has its workload, and no other does")
	say(appsv1beta1.UnitedDeploymentSubsetUpdated, there && len(p.changes) == 0, "Updated",
		"the workload of every subset has the newest revision and its number of pods")
	if failure := errors.Join(append([]error{quiet(acted)}, p.problems...)...); failure != nil {
		all.Set(appsv1beta1.UnitedDeploymentSubsetFailure, corev1.ConditionTrue, "Error", failure.Error(), now)
	} else {
		all.Remove(appsv1beta1.UnitedDeploymentSubsetFailure)
	}
	switch {
	case hopeless(acted):
		all.Stall(reasonRefused, acted, now)
	case len(p.problems) > 0:
		all.Stall(reasonOf(p.problems), errors.Join(p.problems...), now)
	default:
		standing := report.Standing{
			Done: done(st, p), Available: ud.Status.ReadyReplicas, Held: p.held,
			FailedScale: appsv1beta1.UnitedDeploymentSubsetFailure, FailedUpdate: appsv1beta1.UnitedDeploymentSubsetFailure,
		}
		all.Kstatus(standing, now)
	}
	ud.Status.Conditions = all.List()
}

// quiet leaves out what passes by itself.
func quiet(err error) error {
	var failed *actError
	if err == nil || apierrors.IsConflict(err) || !errors.As(err, &failed) {
		return nil
	}
	return err
}

func reportStalled(ud *appsv1beta1.UnitedDeployment, reason string, err error, now time.Time) {
	s := &ud.Status
	s.ObservedGeneration = ud.Generation
	all := report.From(s.Conditions)
	all.Stall(reason, err, now)
	s.Conditions = all.List()
}
