package sidecarset

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
)

// revisions reads the history, and adds the revision of the spec when it is new.
func (r *Reconciler) revisions(ctx context.Context, set *appsv1beta1.SidecarSet, e *entry) ([]*appsv1.ControllerRevision, error) {
	all, err := history(ctx, r.deps.Client, r.namespace, set.UID)
	if err != nil {
		return nil, err
	}
	wanted, err := newRevision(set, r.namespace, ptr.Deref(set.Status.CollisionCount, 0))
	if err != nil {
		return nil, err
	}
	wanted.Revision = revision.Next(all)
	found := revision.Same(all, wanted)
	if found == nil {
		return all, r.create(ctx, set, wanted, &all)
	}
	e.latest = found.Name
	patch := map[string]any{}
	if found.Revision != wanted.Revision-1 {
		patch["revision"] = wanted.Revision // a spec that comes back is the newest again
	}
	if version := set.Spec.CustomVersion; version != "" && found.Labels[appsv1beta1.SidecarSetCustomVersion] != version {
		patch["metadata"] = map[string]any{"labels": map[string]string{appsv1beta1.SidecarSetCustomVersion: version}}
	}
	if len(patch) == 0 {
		return all, nil
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("encode the patch of ControllerRevision %s/%s: %w", found.Namespace, found.Name, err)
	}
	fresh := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: found.Namespace, Name: found.Name}}
	if err := r.deps.Client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, raw)); err != nil {
		return nil, fmt.Errorf("bring ControllerRevision %s/%s up to date: %w", found.Namespace, found.Name, err)
	}
	return nil, reconcile.Wait(cacheInterval, "a revision was brought up to date")
}

// create makes a revision. A name that is taken by another content counts as a collision, and is another one next time.
func (r *Reconciler) create(
	ctx context.Context, set *appsv1beta1.SidecarSet, rev *appsv1.ControllerRevision, all *[]*appsv1.ControllerRevision,
) error {
	err := r.deps.Client.Create(ctx, rev)
	if err == nil {
		*all = append(*all, rev)
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ControllerRevision %s/%s: %w", rev.Namespace, rev.Name, err)
	}
	var existing appsv1.ControllerRevision
	if err := r.deps.Live.Get(ctx, client.ObjectKeyFromObject(rev), &existing); err != nil {
		return fmt.Errorf("read ControllerRevision %s/%s, whose name is taken: %w", rev.Namespace, rev.Name, err)
	}
	if metav1.IsControlledBy(&existing, set) && revision.Same([]*appsv1.ControllerRevision{&existing}, rev) != nil {
		return reconcile.Wait(cacheInterval, "the cache does not show the newest revision yet")
	}
	set.Status.CollisionCount = ptr.To(ptr.Deref(set.Status.CollisionCount, 0) + 1)
	return reconcile.Wait(cacheInterval, "the name of the newest revision was taken")
}

// trim deletes the oldest revisions that no pod has and nobody asks for, beyond the limit.
func (r *Reconciler) trim(ctx context.Context, set *appsv1beta1.SidecarSet, all []*appsv1.ControllerRevision, seen state, e *entry) error {
	used := map[string]bool{e.latest: true}
	for i := range seen.members {
		used[seen.members[i].record.ControllerRevision] = true
	}
	if wanted := set.Spec.InjectionStrategy.Revision; wanted != nil {
		if rev := named(all, set.Name, wanted); rev != nil {
			used[rev.Name] = true
		}
	}
	limit := int(ptr.Deref(set.Spec.RevisionHistoryLimit, revision.DefaultHistoryLimit))
	for _, rev := range revision.Outdated(all, used, limit) {
		if err := r.deps.Client.Delete(ctx, rev, client.Preconditions{UID: &rev.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ControllerRevision %s/%s, which is beyond revisionHistoryLimit: %w", rev.Namespace, rev.Name, err)
		}
	}
	return nil
}
