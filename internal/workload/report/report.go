package report

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// Refused is the reason of Stalled when the API server will not take the pods as the template has them.
const Refused = "RefusedByAPIServer"

// Standing is how a workload stands, as far as its conditions tell.
type Standing struct {
	// Done says that all that the spec asks for now is there and available.
	Done      bool
	Available int32
	// Held are the changes that wait.
	Held []appsv1beta1.HeldChange
	// Throttled is what workload.Throttled says of the changes that wait: why pods that are to go may not yet; "" when they may.
	Throttled string
	// Acted is what the pass could not do.
	Acted error
	// FailedScale and FailedUpdate are the kind's own conditions for failures to create or delete, and to change pods.
	FailedScale, FailedUpdate string
}

// Failures sets the conditions for what could not be done, and removes them when it could.
func (all *Conditions) Failures(s Standing, now time.Time) {
	var failed *workload.Error
	if !errors.As(s.Acted, &failed) {
		failed = &workload.Error{}
	}
	if s.Throttled != "" {
		all.Set(DeletionThrottled, corev1.ConditionTrue, DeletionThrottled, s.Throttled, now)
	} else {
		all.Remove(DeletionThrottled)
	}
	fail := func(kind string, err error) {
		if err == nil || apierrors.IsConflict(err) {
			all.Remove(kind)
			return
		}
		all.Set(kind, corev1.ConditionTrue, kind, err.Error(), now)
	}
	fail(s.FailedScale, failed.Scale)
	fail(s.FailedUpdate, failed.Update)
}

// Kstatus sets Ready, Reconciling and Stalled (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus). The
// conditions for failures, and Progressing, must be set already.
func (all *Conditions) Kstatus(s Standing, now time.Time) {
	ready, reason, message := corev1.ConditionFalse, "InProgress", all.waits(s)
	if s.Done {
		ready, reason, message = corev1.ConditionTrue, "Available", fmt.Sprintf("%d pods are available", s.Available)
	}
	all.Set(Ready, ready, reason, message, now)
	if s.Done {
		all.Remove(Reconciling, Stalled)
		return
	}
	if c := all.Find(Progressing); c != nil && c.Reason == DeadlineExceeded {
		all.Set(Stalled, corev1.ConditionTrue, c.Reason, c.Message, now)
		all.Remove(Reconciling)
		return
	}
	if hopeless(s.Acted) {
		all.Set(Stalled, corev1.ConditionTrue, Refused, s.Acted.Error(), now)
		all.Remove(Reconciling)
		return
	}
	all.Remove(Stalled)
	all.Set(Reconciling, corev1.ConditionTrue, reason, message, now)
}

// waits is one sentence on what is missing. It names reasons, not numbers, so that it changes when something happens and
// not with every pod.
func (all *Conditions) waits(s Standing) string {
	for _, kind := range []string{s.FailedScale, s.FailedUpdate} {
		if c := all.Find(kind); c != nil {
			return c.Message
		}
	}
	if len(s.Held) > 0 {
		return fmt.Sprintf("waits: %s: %s", s.Held[0].Reason, s.Held[0].Message)
	}
	return "pods are being created, changed, deleted or started"
}

// Stall says that nothing goes on until the user acts. The error for the frame is reconcile.Stalled.
func (all *Conditions) Stall(reason string, err error, now time.Time) {
	all.Set(Ready, corev1.ConditionFalse, reason, err.Error(), now)
	all.Set(Stalled, corev1.ConditionTrue, reason, err.Error(), now)
	all.Remove(Reconciling)
}

// hopeless reports whether what failed will fail again until somebody changes the spec.
func hopeless(err error) bool {
	var failed *workload.Error
	if !errors.As(err, &failed) {
		return false
	}
	return failed.Scale != nil && (apierrors.IsInvalid(failed.Scale) || apierrors.IsBadRequest(failed.Scale))
}

// Verdict says to the frame how a pass goes on that could not do everything.
func Verdict(err error) error {
	if hopeless(err) {
		return reconcile.Stalled(Refused, fmt.Errorf("spec.template or spec.volumeClaimTemplates: %w", err))
	}
	return err
}

// Sooner is the earlier of two times from now, of which 0 means never.
func Sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
