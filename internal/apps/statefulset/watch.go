package statefulset

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
	"github.com/holdfast-io/holdfast/internal/workload/watch"
)

// Watches are the kinds whose events concern a StatefulSet.
func (r *Reconciler) Watches() []reconcile.Watch {
	return []reconcile.Watch{
		{Object: &corev1.Pod{}, Map: watch.Pods(GroupKind(), r.selecting)},
		{Object: &corev1.PersistentVolumeClaim{}, Map: r.claimOwners},
	}
}

func (r *Reconciler) list(ctx context.Context, namespace string) (*appsv1beta1.StatefulSetList, error) {
	var sets appsv1beta1.StatefulSetList
	if err := r.deps.Client.List(ctx, &sets, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list StatefulSets of namespace %s: %w", namespace, err)
	}
	return &sets, nil
}

func (r *Reconciler) selecting(ctx context.Context, namespace string) ([]watch.Selecting, error) {
	sets, err := r.list(ctx, namespace)
	if err != nil {
		return nil, err
	}
	all := make([]watch.Selecting, 0, len(sets.Items))
	for i := range sets.Items {
		all = append(all, watch.Selecting{Object: &sets.Items[i], Selector: sets.Items[i].Spec.Selector})
	}
	return all, nil
}

// claimOwners maps a claim to the sets whose it is by its name: it may have been made by hand, or for a native StatefulSet.
func (r *Reconciler) claimOwners(ctx context.Context, obj client.Object) []ctrl.Request {
	stems := workload.IndexClaim(obj)
	if len(stems) == 0 {
		return nil
	}
	if set := obj.GetLabels()[appsv1beta1.OwnedByStatefulSet]; set != "" {
		return []ctrl.Request{{NamespacedName: client.ObjectKey{Namespace: obj.GetNamespace(), Name: set}}}
	}
	sets, err := r.list(ctx, obj.GetNamespace())
	if err != nil {
		log.FromContext(ctx).Error(err, "find the sets of a claim", "claim", client.ObjectKeyFromObject(obj))
		return nil
	}
	var requests []ctrl.Request
	for i := range sets.Items {
		set := &sets.Items[i]
		for j := range set.Spec.VolumeClaimTemplates {
			if template, ok := strings.CutSuffix(stems[0], "-"+set.Name); ok && template == set.Spec.VolumeClaimTemplates[j].Name {
				requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(set)})
			}
		}
	}
	return requests
}

// conflict finds out whether a StatefulSet of the group apps has the same name, and says so. It asks the API server, and so
// only when the spec is new, or as long as there was one: admission refuses the others.
func (r *Reconciler) conflict(ctx context.Context, set *appsv1beta1.StatefulSet, now time.Time) error {
	all := report.From(set.Status.Conditions)
	if set.Status.ObservedGeneration == set.Generation && all.Find(appsv1beta1.StatefulSetConditionNameConflict) == nil {
		return nil
	}
	found, err := native(ctx, r.deps.Live, set)
	if err != nil {
		return err
	}
	reportConflict(set, found, now)
	return nil
}

// native reports whether a StatefulSet of the group apps has the set's name.
func native(ctx context.Context, reader client.Reader, set *appsv1beta1.StatefulSet) (bool, error) {
	found := &metav1.PartialObjectMetadata{}
	found.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("StatefulSet"))
	switch err := reader.Get(ctx, client.ObjectKeyFromObject(set), found); {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("find out whether there is a StatefulSet of the group apps named %s/%s: %w", set.Namespace, set.Name, err)
	}
	return true, nil
}

// nameConflict says what two sets of one name do to each other.
func nameConflict(set client.Object) string {
	return fmt.Sprintf("there is a StatefulSet %s of the group apps in namespace %s: both would make the pods %s-0, %s-1 and so on, and "+
		"use the same claims; delete that one with --cascade=orphan, so that this one takes its pods over, or choose another name",
		set.GetName(), set.GetNamespace(), set.GetName(), set.GetName())
}
