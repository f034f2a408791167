package addon

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestServes(t *testing.T) {
	start := time.Date(2030, 1, 1, 12, 0, 0, 700_000_000, time.UTC)
	for _, test := range []struct {
		reason string
		change func(*corev1.Pod)
		since  time.Time
		want   bool
	}{
		{"a container of this run, Ready", nil, start, true},
		{"began in the second in which the run did", began(start.Truncate(time.Second)), start, true},
		{"remembered from an earlier run", began(start.Add(-time.Minute)), start, false},
		{"from earlier, on a node that has run all the time", began(start.Add(-time.Minute)), time.Time{}, true},
		{"not Ready yet", func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }, start, false},
		{"going", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: start} }, start, false},
		{"its container ended", func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State.Running = nil }, start, false},
		{"never placed", func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }, start, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			pod := &corev1.Pod{Status: corev1.PodStatus{
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			}}
			began(start.Add(5 * time.Second))(pod)
			if test.change != nil {
				test.change(pod)
			}
			if got := serves(pod, test.since); got != test.want {
				t.Errorf("serves: %t, want %t", got, test.want)
			}
		})
	}
}

func began(at time.Time) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}},
		}}
	}
}
