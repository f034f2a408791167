package statefulset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
)

// retentionOf is with whom the claims of a set go.
func retentionOf(set *appsv1beta1.StatefulSet) claim.Retention {
	policy := ptr.Deref(set.Spec.PersistentVolumeClaimRetentionPolicy, appsv1beta1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	return claim.Retention{
		WithSet: policy.WhenDeleted == appsv1beta1.DeletePersistentVolumeClaimRetentionPolicyType,
		WithPod: policy.WhenScaled == appsv1beta1.DeletePersistentVolumeClaimRetentionPolicyType,
	}
}

// claimShape finishes a new claim: it is the set's only where it goes with it.
func claimShape(set *appsv1beta1.StatefulSet) func(c *corev1.PersistentVolumeClaim, key string) {
	return func(c *corev1.PersistentVolumeClaim, _ string) {
		delete(c.Labels, appsv1beta1.CloneSetInstanceID)
		delete(c.Labels, appsv1beta1.VolumeClaimTemplateHash)
		c.Labels[appsv1beta1.OwnedByStatefulSet] = set.Name
		c.OwnerReferences = nil
		if retentionOf(set).WithSet {
			c.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, kind())}
		}
	}
}

// number of a claim, by whatever template; "" when it is not one of the set's.
func number(set *appsv1beta1.StatefulSet, c *corev1.PersistentVolumeClaim) string {
	for i := range set.Spec.VolumeClaimTemplates {
		if key := claimOrdinal(set.Spec.VolumeClaimTemplates[i].Name, set.Name, c.Name); key != "" {
			return key
		}
	}
	return ""
}

// inUse keeps of the claims of all numbers that ever were those whose number is wanted or has a pod.
func inUse(set *appsv1beta1.StatefulSet, state workload.State) ([]*corev1.PersistentVolumeClaim, error) {
	numbers, err := ordinals(set)
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool, len(numbers))
	for _, n := range numbers {
		used[strconv.FormatInt(n, 10)] = true
	}
	for key := range podsOf(set, state) {
		used[key] = true
	}
	return slices.DeleteFunc(slices.Clone(state.Claims), func(c *corev1.PersistentVolumeClaim) bool { return !used[number(set, c)] }), nil
}

// podsOf are the set's pods by their numbers, those on their way out among them.
func podsOf(set *appsv1beta1.StatefulSet, state workload.State) map[string]*corev1.Pod {
	who := identityOf(set)
	pods := make(map[string]*corev1.Pod, len(state.Members)+len(state.Gone))
	for _, p := range state.Gone {
		pods[who.place(p)] = p
	}
	for i := range state.Members {
		pods[who.place(state.Members[i].Pod)] = state.Members[i].Pod
	}
	delete(pods, "")
	return pods
}

// ownership is a claim whose owners are to be written.
type ownership struct {
	claim *corev1.PersistentVolumeClaim
	refs  []metav1.OwnerReference
}

// ownerships lists the claims whose owners are not as the retention policy asks. all are those of all numbers that ever were:
// one that has neither a pod nor a wanted number is looked at only if the set has made it.
func ownerships(
	set *appsv1beta1.StatefulSet, all []*corev1.PersistentVolumeClaim, state workload.State, slots []workload.Slot,
) []ownership {
	pods := podsOf(set, state)
	wanted := wantedKeys(slots)
	var changed []ownership
	for _, c := range all {
		key := number(set, c)
		pod := pods[key]
		switch {
		case key == "" || c.DeletionTimestamp != nil:
			continue
		case wanted[key]:
			pod = nil
		case pod != nil:
		case c.Labels[appsv1beta1.OwnedByStatefulSet] != set.Name, retentionOf(set).WithPod && claim.GoesWithPod(c):
			continue // it is not ours, or its pod has gone and the garbage collector is about to take it
		}
		if refs, differs := retentionOf(set).Owners(c, set, kind(), pod); differs {
			changed = append(changed, ownership{c, refs})
		}
	}
	return changed
}

func wantedKeys(slots []workload.Slot) map[string]bool {
	wanted := make(map[string]bool, len(slots))
	for i := range slots {
		wanted[slots[i].Key] = true
	}
	return wanted
}

// own writes with whom claims go, before any of their pods goes: a pod whose claims could not be written stays for now.
func (r *Reconciler) own(ctx context.Context, set *appsv1beta1.StatefulSet, changed []ownership, plan *workload.Plan) error {
	var errs []error
	failed := map[string]bool{}
	for _, o := range changed {
		if err := r.engine.OwnClaim(ctx, set, o.claim, o.refs); err != nil {
			errs = append(errs, err)
			failed[number(set, o.claim)] = true
		}
	}
	who := identityOf(set)
	plan.Steps = slices.DeleteFunc(plan.Steps, func(s workload.Step) bool {
		return s.Change.Verb == workload.Delete && failed[who.place(s.Change.Member.Pod)]
	})
	return errors.Join(errs...)
}

// growing are the keys of the slots whose claims may follow their templates, in the order of the update: those of pods that
// are updated, or are being made anew, and that the partition does not keep.
func growing(set *appsv1beta1.StatefulSet, state workload.State, wanted workload.Set) []string {
	strategy := ptr.Deref(set.Spec.VolumeClaimUpdateStrategy, appsv1beta1.VolumeClaimUpdateStrategy{})
	if strategy.Type != appsv1beta1.OnPodRollingUpdateVolumeClaimUpdateStrategyType || rollingOf(set).Paused {
		return nil
	}
	who := identityOf(set)
	outdated := map[string]bool{}
	for i := range state.Members {
		if state.Members[i].Revision != state.Update.Name {
			outdated[who.place(state.Members[i].Pod)] = true
		}
	}
	stays := kept(set, state, wanted.Slots, wanted.First)
	var keys []string
	for i := range slices.Backward(wanted.Slots) {
		if key := wanted.Slots[i].Key; !stays[i] && !outdated[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// grow brings claims to the size that their templates ask for, and adds to the plan what that waits for.
func (r *Reconciler) grow(ctx context.Context, set *appsv1beta1.StatefulSet, state workload.State, plan *workload.Plan) error {
	keys := growing(set, state, plan.Set)
	if len(keys) == 0 || len(set.Spec.VolumeClaimTemplates) == 0 {
		return nil
	}
	byName := make(map[string]*corev1.PersistentVolumeClaim, len(state.Claims))
	for _, c := range state.Claims {
		byName[c.Name] = c
	}
	wave := claim.Next(set.Name, set.Spec.VolumeClaimTemplates, byName, keys, plan.Set.Limits.Unavailable)
	hold := func(format string, args ...any) {
		plan.Held = append(plan.Held, workload.Held{
			Change: workload.Change{Verb: workload.Refresh}, Reason: appsv1beta1.HeldByPVC, Message: fmt.Sprintf(format, args...),
		})
	}
	for _, text := range wave.Following {
		hold("%s", text)
	}
	for _, name := range wave.Waiting {
		hold("claim %s grows when the volumes before it have grown: as many at a time as maxUnavailable allows (%d)",
			name, plan.Set.Limits.Unavailable)
	}
	var errs []error
	for _, growth := range wave.Grow {
		if err := r.engine.GrowClaim(ctx, set, growth); err != nil {
			reconcile.Event(ctx, corev1.EventTypeWarning, "FailedResizePVC", "%v", err)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// volumes says for each template how many of the wanted pods have a claim, and a volume, as large as it asks.
func volumes(set *appsv1beta1.StatefulSet, state workload.State, slots []workload.Slot) []appsv1beta1.VolumeClaimStatus {
	var all []appsv1beta1.VolumeClaimStatus
	wanted := wantedKeys(slots)
	for i := range set.Spec.VolumeClaimTemplates {
		tmpl := &set.Spec.VolumeClaimTemplates[i]
		status := appsv1beta1.VolumeClaimStatus{VolumeClaimName: tmpl.Name}
		for _, c := range state.Claims {
			if !wanted[claimOrdinal(tmpl.Name, set.Name, c.Name)] || claim.Larger(tmpl, c) {
				continue
			}
			status.CompatibleReplicas++
			if claim.Grew(c, tmpl) {
				status.CompatibleReadyReplicas++
			}
		}
		all = append(all, status)
	}
	return all
}
