// Package report keeps the conditions of all workloads in one manner, so that they mean the same for every kind.
package report

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// The conditions that every kind has; they follow kstatus.
const (
	// Ready is True when every wanted pod is available and of its revision.
	Ready = "Ready"
	// Reconciling is True while pods are being created, updated or deleted, or wait for that.
	Reconciling = "Reconciling"
	// Stalled is True when nothing goes on until the user acts; the message says what to do.
	Stalled = "Stalled"
	// Progressing follows a rollout, where the kind has a deadline for it.
	Progressing = "Progressing"
	// DeletionThrottled is True while a PodDeletionFlowControl keeps pods that are to go; the message says until when.
	DeletionThrottled = "DeletionThrottled"
)

// DeadlineExceeded is the reason of Progressing when there was no progress for too long.
const DeadlineExceeded = "ProgressDeadlineExceeded"

// Condition is what the conditions of all kinds have between them.
type Condition struct {
	Type            string
	Status          corev1.ConditionStatus
	Reason, Message string
	// Changed is when the status last changed, Updated when anything did.
	Changed, Updated metav1.Time
}

// Conditions are those of one workload, sorted by type.
type Conditions []Condition //nolint:recvcheck // a list: only what adds to it needs its place

// Read makes Conditions of a kind's own list.
func Read[T any](list []T, one func(c T) Condition) Conditions {
	all := make(Conditions, 0, len(list))
	for i := range list {
		all = append(all, one(list[i]))
	}
	return all
}

// Write makes a kind's own list of Conditions; none of an empty one.
func Write[T any](all Conditions, one func(c Condition) T) []T {
	var list []T
	for i := range all {
		list = append(list, one(all[i]))
	}
	return list
}

// From reads the list that most kinds have in their status.
func From(list []appsv1beta1.WorkloadCondition) Conditions {
	return Read(list, func(c appsv1beta1.WorkloadCondition) Condition {
		return Condition{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message, Changed: c.LastTransitionTime}
	})
}

// List writes the list that most kinds have in their status.
func (all Conditions) List() []appsv1beta1.WorkloadCondition {
	return Write(all, func(c Condition) appsv1beta1.WorkloadCondition {
		return appsv1beta1.WorkloadCondition{
			Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message, LastTransitionTime: c.Changed,
		}
	})
}

// Find returns the condition of that type, or nil.
func (all Conditions) Find(kind string) *Condition {
	for i := range all {
		if all[i].Type == kind {
			return &all[i]
		}
	}
	return nil
}

// Set writes a condition; nothing changes, the times neither, when it says this already.
func (all *Conditions) Set(kind string, status corev1.ConditionStatus, reason, message string, now time.Time) {
	c := all.Find(kind)
	if c == nil {
		*all = append(slices.Clip(*all), Condition{Type: kind})
		slices.SortFunc(*all, func(a, b Condition) int { return cmp.Compare(a.Type, b.Type) })
		c = all.Find(kind)
	}
	if c.Status == status && c.Reason == reason && c.Message == message {
		return
	}
	if c.Status != status {
		c.Changed = metav1.NewTime(now)
	}
	c.Status, c.Reason, c.Message, c.Updated = status, reason, message, metav1.NewTime(now)
}

// Remove drops the conditions of these types.
func (all *Conditions) Remove(kinds ...string) {
	*all = slices.DeleteFunc(*all, func(c Condition) bool { return slices.Contains(kinds, c.Type) })
}
