package sidecarset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

func podKind() schema.GroupVersionKind { return corev1.SchemeGroupVersion.WithKind("Pod") }

// ownerUID is that of the pod's controller; "" when it has none.
func ownerUID(p *corev1.Pod) types.UID {
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
		return ref.UID
	}
	return ""
}

// serving reports whether a pod is available and nothing is being done to it.
func serving(p *corev1.Pod, minReady time.Duration, now time.Time) bool {
	m := workload.NewMember(p, minReady, now)
	return pod.Active(p) && m.Available
}

// act makes the changes of a plan; what a guard keeps is held.
func (r *Reconciler) act(ctx context.Context, set *appsv1beta1.SidecarSet, e *entry, p *plan) error {
	var mu sync.Mutex
	var errs []error
	workload.Each(p.steps, func(s step) {
		kept, err := r.guarded(ctx, set, e, s)
		if err == nil && kept == nil {
			err = r.change(ctx, set, e, s)
		}
		mu.Lock()
		defer mu.Unlock()
		if kept != nil {
			p.held = append(p.held, *kept)
			p.again = report.Sooner(p.again, budgetInterval)
		}
		if err != nil {
			errs = append(errs, err)
		}
	})
	for _, err := range errs {
		if !apierrors.IsConflict(err) {
			reconcile.Event(ctx, corev1.EventTypeWarning, "FailedUpdatePod", "%v", err)
		}
	}
	return errors.Join(errs...)
}

// guarded asks the guards whether a pod may go for a moment.
func (r *Reconciler) guarded(ctx context.Context, set *appsv1beta1.SidecarSet, e *entry, s step) (*workload.Held, error) {
	if r.deps.Guard == nil || !s.change.disturbs() {
		return nil, nil //nolint:nilnil // nothing holds it
	}
	v, err := r.deps.Guard.Ask(ctx, disruption.Request{
		Operation: disruption.Update, Pod: s.member.Pod, Changed: s.change.apply(s.member.Pod, set.Name, e, r.deps.Clock.Now()),
		Cause: "update of its containers by SidecarSet " + set.Name,
	})
	if err != nil || v.Outcome == disruption.Allow {
		return nil, err
	}
	return &workload.Held{
		Change: workload.Change{Verb: workload.Update, Member: &s.member.Member}, Reason: appsv1beta1.HeldByGuard,
		Message: v.Message, Throttled: v.Throttled,
	}, nil
}

// change writes one pod: images and what is recorded of them together, so that a crash leaves a pod that is either changed
// or still to be changed.
func (r *Reconciler) change(ctx context.Context, set *appsv1beta1.SidecarSet, e *entry, s step) error {
	p := s.member.Pod
	after := s.change.apply(p, set.Name, e, r.deps.Clock.Now())
	body := map[string]any{"metadata": map[string]any{
		"uid": p.UID, "resourceVersion": p.ResourceVersion, "annotations": changed(p.Annotations, after.Annotations),
	}}
	if s.change.disturbs() {
		spec := map[string]any{}
		if list := images(p.Spec.Containers, s.change.images); len(list) > 0 {
			spec["containers"] = list
		}
		if list := images(p.Spec.InitContainers, s.change.images); len(list) > 0 {
			spec["initContainers"] = list
		}
		body["spec"] = spec
	}
	owner := types.UID("")
	if s.owner != nil {
		owner = s.owner.turn
	}
	switch err := r.patch(ctx, set, p, body, "", owner); {
	case apierrors.IsNotFound(err):
		return nil // somebody deleted it, and its event is on its way
	case err != nil:
		return fmt.Errorf("change pod %s/%s in place: %w", p.Namespace, p.Name, err)
	}
	if s.change.disturbs() {
		reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulUpdatePod", "changed the containers of pod %s/%s in place to revision %s",
			p.Namespace, p.Name, e.latest)
	}
	return nil
}

func changed(before, after map[string]string) map[string]string {
	all := map[string]string{}
	for key, value := range after {
		if have, has := before[key]; !has || have != value {
			all[key] = value
		}
	}
	return all
}

func images(containers []corev1.Container, wanted map[string]string) (list []map[string]string) {
	for i := range containers {
		if image, changes := wanted[containers[i].Name]; changes {
			list = append(list, map[string]string{"name": containers[i].Name, "image": image})
		}
	}
	return list
}

// patch writes to a pod, or to one of its subresources, and takes note of it, of a missing answer too.
func (r *Reconciler) patch(
	ctx context.Context, set *appsv1beta1.SidecarSet, p *corev1.Pod, body map[string]any, subresource string, turn types.UID,
) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	fresh := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
	data := client.RawPatch(types.StrategicMergePatchType, raw)
	if subresource == "" {
		err = r.deps.Client.Patch(ctx, fresh, data)
	} else {
		err = r.deps.Client.SubResource(subresource).Patch(ctx, fresh, data)
	}
	m := r.memory(set)
	if err != nil {
		if workload.Unanswered(err) {
			r.learn(ctx, m, client.ObjectKeyFromObject(p), turn)
		}
		return err //nolint:wrapcheck // the callers say what it was for
	}
	m.wrote(fresh.ResourceVersion)
	if r.deps.Turns != nil && turn != "" {
		r.deps.Turns.Wrote(turn, fresh.ResourceVersion)
	}
	return nil
}

// condition tells on the pod whether it can get the newest revision in place. Its message holds the sets with whether it can
// follow them: others may have an entry of their own. Which fields it is, the set's status says.
func (r *Reconciler) condition(ctx context.Context, set *appsv1beta1.SidecarSet, m *member) error {
	have := pod.Condition(m.Pod, appsv1beta1.SidecarSetUpgradable)
	follows := map[string]bool{}
	if have != nil && (json.Unmarshal([]byte(have.Message), &follows) != nil || follows == nil) {
		follows = map[string]bool{}
	}
	can := m.fixed == ""
	if told, is := follows[set.Name]; is && told == can || !is && can {
		return nil
	}
	follows[set.Name] = can
	next := corev1.PodCondition{
		Type: appsv1beta1.SidecarSetUpgradable, Status: corev1.ConditionTrue, Reason: "Upgradable",
		Message: inject.Text(follows), LastTransitionTime: metav1.NewTime(r.deps.Clock.Now()),
	}
	if slices.Contains(slices.Collect(maps.Values(follows)), false) {
		next.Status, next.Reason = corev1.ConditionFalse, appsv1beta1.UpdateImmutableField
	}
	if have != nil && have.Status == next.Status {
		next.LastTransitionTime = have.LastTransitionTime
	}
	err := r.patch(ctx, set, m.Pod, map[string]any{
		"metadata": map[string]any{"uid": m.Pod.UID, "resourceVersion": m.Pod.ResourceVersion},
		"status":   map[string]any{"conditions": pod.Patched{next}},
	}, "status", ownerUID(m.Pod))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write condition %s of pod %s/%s: %w", appsv1beta1.SidecarSetUpgradable, m.Pod.Namespace, m.Pod.Name, err)
	}
	return nil
}
