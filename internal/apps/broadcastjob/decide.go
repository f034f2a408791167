package broadcastjob

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/node"
	"github.com/holdfast-io/holdfast/internal/workload/report"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// The reasons for which a job ends, or waits.
const (
	reasonComplete = "Complete"
	reasonFailed   = "PodFailed"
	reasonDeadline = "DeadlineExceeded"
)

// outcome is what a job has come to.
type outcome struct {
	phase appsv1beta1.BroadcastJobPhase
	// ended is Complete or Failed when the job ends, or has ended; "" before.
	ended           appsv1beta1.JobConditionType
	reason, message string
	// stop says that no pod is to run any more, hold that none is to be started, and why.
	stop bool
	hold appsv1beta1.HeldReason
	// again is when time alone changes something; 0: never.
	again time.Duration
}

// conclude says what the job has come to. It is pure.
func conclude(job *appsv1beta1.BroadcastJob, t tally, now time.Time) outcome {
	if o, finished := already(job); finished {
		return o
	}
	never := job.Spec.CompletionPolicy.Type == appsv1beta1.CompletionPolicyNever
	failure := fmt.Sprintf("pod %s has failed", t.example)
	over, left := deadline(job, now)
	switch policy := job.Spec.FailurePolicy.Type; {
	case over && (t.desired == 0 || t.succeeded < t.desired):
		return outcome{
			phase: appsv1beta1.BroadcastJobPhaseFailed, ended: appsv1beta1.JobFailed, reason: reasonDeadline, stop: true,
			message: fmt.Sprintf("the job was not done after spec.completionPolicy.activeDeadlineSeconds (%d)",
				*job.Spec.CompletionPolicy.ActiveDeadlineSeconds),
		}
	case t.failed > 0 && policy != appsv1beta1.FailurePolicyContinue && policy != appsv1beta1.FailurePolicyPause:
		o := outcome{phase: appsv1beta1.BroadcastJobPhaseFailed, reason: reasonFailed, stop: true}
		o.message = failure + ", and spec.failurePolicy.type is FailFast; look at its log, and make the job anew"
		if never {
			o.message = failure + ", and spec.failurePolicy.type is FailFast; look at its log, and delete it to go on, or set Continue"
		} else {
			o.ended = appsv1beta1.JobFailed
		}
		return o
	case t.failed > 0 && policy == appsv1beta1.FailurePolicyPause:
		return outcome{
			phase: appsv1beta1.BroadcastJobPhasePaused, reason: reasonFailed, hold: appsv1beta1.HeldByPaused, again: left,
			message: failure + ", and spec.failurePolicy.type is Pause; look at its log, and delete it to try again, or set Continue",
		}
	case t.desired > 0 && t.succeeded+t.failed == t.desired:
		o := outcome{phase: appsv1beta1.BroadcastJobPhaseCompleted, ended: appsv1beta1.JobComplete, reason: reasonComplete}
		o.message = fmt.Sprintf("of %d nodes, the pod has succeeded on %d and failed on %d", t.desired, t.succeeded, t.failed)
		if never {
			o.phase, o.ended = appsv1beta1.BroadcastJobPhaseRunning, ""
		}
		return o
	case job.Spec.Paused:
		return outcome{
			phase: appsv1beta1.BroadcastJobPhasePaused, reason: "Paused", hold: appsv1beta1.HeldByPaused, again: left,
			message: "the job is paused; set spec.paused to false to go on",
		}
	}
	return outcome{phase: appsv1beta1.BroadcastJobPhaseRunning, again: left}
}

// already is the outcome of a job that has ended before; nothing changes it.
func already(job *appsv1beta1.BroadcastJob) (outcome, bool) {
	for i := range job.Status.Conditions {
		c := &job.Status.Conditions[i]
		if c.Status == corev1.ConditionTrue && (c.Type == appsv1beta1.JobComplete || c.Type == appsv1beta1.JobFailed) {
			return outcome{phase: job.Status.Phase, ended: c.Type, reason: c.Reason, message: c.Message, stop: true}, true
		}
	}
	return outcome{}, false
}

// deadline tells whether the job has taken too long, and else when it will have; 0: never.
func deadline(job *appsv1beta1.BroadcastJob, now time.Time) (over bool, left time.Duration) {
	limit := job.Spec.CompletionPolicy.ActiveDeadlineSeconds
	if limit == nil || job.Status.StartTime == nil || job.Spec.CompletionPolicy.Type == appsv1beta1.CompletionPolicyNever {
		return false, 0
	}
	left = job.Status.StartTime.Add(time.Duration(*limit) * time.Second).Sub(now)
	return left <= 0, max(0, left)
}

// decide is what is to be done now. It is pure.
func decide(job *appsv1beta1.BroadcastJob, state workload.State, t tally, o outcome, now time.Time) (workload.Plan, error) {
	starts, err := free(job, state, t)
	if err != nil {
		return workload.Plan{}, err
	}
	if o.stop || o.hold != "" {
		starts = 0
	}
	set := workload.Set{Change: appsv1beta1.RecreatePodUpdatePolicy, Place: node.Of, Shape: shape, Ended: workload.KeepEnded}
	keep := t.spent // they are stopped another way, so that their logs stay
	if !o.stop {
		keep = slices.Concat(keep, t.running)
	}
	seen := map[string]bool{}
	for _, m := range keep {
		if at := node.Of(m.Pod); !seen[at] {
			seen[at] = true
			set.Slots = append(set.Slots, workload.Slot{Key: at, Revision: m.Revision})
		}
	}
	for _, name := range t.waiting[:min(starts, len(t.waiting))] {
		set.Slots = append(set.Slots, workload.Slot{Key: name, Revision: state.Update.Name})
	}
	slices.SortFunc(set.Slots, func(a, b workload.Slot) int { return cmp.Compare(a.Key, b.Key) })
	set.Limits = workload.Limits{Unavailable: len(set.Slots), Starting: -1} // a job's pods are no service that could be missed
	plan := workload.Limit(set, state, workload.Diff(set, state), now)
	plan.Held = slices.DeleteFunc(plan.Held, func(h workload.Held) bool {
		return h.Reason == appsv1beta1.HeldByPartition // a pod ends as it began; the template may have changed meanwhile
	})
	if !o.stop {
		plan.Held = append(plan.Held, waits(job, t, o, starts)...)
	}
	plan.Again = report.Sooner(plan.Again, report.Sooner(o.again, t.overdue))
	return plan, nil
}

// free is how many pods may be started beside those that run, wherever that is.
func free(job *appsv1beta1.BroadcastJob, state workload.State, t tally) (int, error) {
	parallel, err := share.Of(job.Spec.Parallelism, intstr.FromInt32(math.MaxInt32), t.desired, true)
	if err != nil {
		return 0, fmt.Errorf("spec.parallelism: %w", err)
	}
	return max(0, parallel-len(state.Members)-t.leaving), nil
}

// waits says of the nodes whose turn has not come what they wait for.
func waits(job *appsv1beta1.BroadcastJob, t tally, o outcome, starts int) []workload.Held {
	var held []workload.Held
	for _, name := range t.waiting[min(starts, len(t.waiting)):] {
		h := workload.Held{
			Change: workload.Change{Verb: workload.Create, Key: name}, Reason: appsv1beta1.HeldByScaleStrategy,
			Message: "as many pods run as spec.parallelism allows",
		}
		if o.hold != "" {
			h.Reason, h.Message = o.hold, o.message
		} else if share.Zero(job.Spec.Parallelism, false) {
			h.Message = "spec.parallelism is 0, so no pod is started; raise it to go on"
		}
		held = append(held, h)
	}
	return held
}

// shape ties a new pod to its node.
func shape(p *corev1.Pod, to string) {
	node.Pin(&p.Spec, to)
	if p.Spec.RestartPolicy == "" {
		p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	}
}
