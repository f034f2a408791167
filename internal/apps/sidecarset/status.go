package sidecarset

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

// The set's own conditions.
const (
	// failedUpdate is True when pods could not be changed.
	failedUpdate = "FailedUpdate"
	// notUpgradable is True when pods must be made anew to get the newest revision.
	notUpgradable = "NotUpgradable"
	// notInjected is True when pods lack the containers that the set should have given them.
	notInjected = "NotInjected"
	// clashing is True when another set gives the same pods what this one gives them.
	clashing = "Clashing"
)

// report fills the status from what was seen and done, and returns when time alone will change something.
func (r *Reconciler) report(
	ctx context.Context, set *appsv1beta1.SidecarSet, seen state, p plan, acted error, now time.Time,
) (time.Duration, error) {
	var others appsv1beta1.SidecarSetList
	if err := r.deps.Client.List(ctx, &others, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list SidecarSets: %w", err)
	}
	if p.stuck > 0 && (set.Status.ObservedGeneration != set.Generation || report.From(set.Status.Conditions).Find(notUpgradable) == nil) {
		reconcile.Event(ctx, corev1.EventTypeNormal, "NotUpgradablePods", "%d pod(s) cannot get revision %s in place, and are passed over",
			p.stuck, seen.latest)
	}
	summarize(set, seen, p, acted, clashes(set, others.Items), now)
	return p.again, nil
}

// summarize fills the status. It is pure.
func summarize(set *appsv1beta1.SidecarSet, seen state, p plan, acted error, clashed []string, now time.Time) {
	s := &set.Status
	s.ObservedGeneration, s.LatestRevision = set.Generation, seen.latest
	s.MatchedPods, s.UpdatedPods, s.ReadyPods, s.UpdatedReadyPods = 0, 0, 0, 0
	running := int32(0)
	for i := range seen.members {
		m := &seen.members[i]
		settled := m.waits == "" && !m.hot
		s.MatchedPods++
		s.UpdatedPods += count(m.updated)
		s.ReadyPods += count(m.Ready)
		s.UpdatedReadyPods += count(m.updated && m.Ready && settled)
		running += count(!settled)
	}
	s.Held = workload.Summary(p.held)
	conditions := report.From(s.Conditions)
	tell(&conditions, notUpgradable, p.stuck > 0, "ImmutableField",
		"pods cannot get the newest revision in place: status.held says why, and their condition SidecarSetUpgradable is False; "+
			"delete them, and new ones have it", now)
	tell(&conditions, notInjected, len(seen.missed) > 0, "CreatedWithout", fmt.Sprintf("pods were created without the containers, "+
		"while the operator was away, injection was paused or the selector another one: %s; delete them, and new ones have the containers",
		some(seen.missed)), now)
	message := ""
	if len(clashed) > 0 {
		message = clashed[0]
	}
	tell(&conditions, clashing, message != "", "SameContainer", message, now)
	standing := report.Standing{
		Done:      message == "" && running == 0 && p.stuck == 0 && int(s.UpdatedPods) >= p.expected && s.UpdatedReadyPods == s.UpdatedPods,
		Available: s.UpdatedReadyPods, Held: s.Held, FailedUpdate: failedUpdate,
	}
	if acted != nil {
		standing.Acted = &workload.Error{Update: acted}
		standing.Done = false
	}
	conditions.Failures(standing, now)
	conditions.Kstatus(standing, now)
	s.Conditions = conditions.List()
}

func tell(conditions *report.Conditions, kind string, is bool, reason, message string, now time.Time) {
	if !is {
		conditions.Remove(kind)
		return
	}
	conditions.Set(kind, corev1.ConditionTrue, reason, message, now)
}

// some names the first of many.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func count(yes bool) int32 {
	if yes {
		return 1
	}
	return 0
}

func reportStalled(set *appsv1beta1.SidecarSet, reason string, err error, now time.Time) {
	set.Status.ObservedGeneration = set.Generation
	conditions := report.From(set.Status.Conditions)
	conditions.Stall(reason, err, now)
	set.Status.Conditions = conditions.List()
}
