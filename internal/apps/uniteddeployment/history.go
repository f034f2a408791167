package uniteddeployment

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
)

// cacheInterval is how soon to look again at what the cache does not show yet.
const cacheInterval = 100 * time.Millisecond

// history are the revisions of the template.
type history struct {
	all     []*appsv1.ControllerRevision
	updated *appsv1.ControllerRevision
	// collisions is how often the name of one was found taken.
	collisions *int32
}

// content is what a revision holds; clients read it as a patch of the object.
func content(ud *appsv1beta1.UnitedDeployment) (any, error) {
	raw, err := json.Marshal(ud.Spec.Template)
	if err != nil {
		return nil, fmt.Errorf("encode spec.template of UnitedDeployment %s/%s: %w", ud.Namespace, ud.Name, err)
	}
	var template map[string]any
	if err := json.Unmarshal(raw, &template); err != nil {
		return nil, fmt.Errorf("decode spec.template of UnitedDeployment %s/%s: %w", ud.Namespace, ud.Name, err)
	}
	template["$patch"] = "replace"
	return map[string]any{"spec": map[string]any{"template": template}}, nil
}

// history reads the revisions, and adds one of a template that is new.
func (r *Reconciler) history(ctx context.Context, ud *appsv1beta1.UnitedDeployment) (history, error) {
	h := history{collisions: ud.Status.CollisionCount}
	var list appsv1.ControllerRevisionList
	err := r.Client.List(ctx, &list, client.InNamespace(ud.Namespace),
		client.MatchingFields{workload.OwnerIndex: string(ud.UID)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return h, fmt.Errorf("list the revisions of UnitedDeployment %s/%s: %w", ud.Namespace, ud.Name, err)
	}
	for i := range list.Items {
		h.all = append(h.all, &list.Items[i])
	}
	what, err := content(ud)
	if err != nil {
		return h, err
	}
	next := revision.Next(h.all)
	for _, rev := range h.all {
		if same(rev, what) && (h.updated == nil || rev.Revision > h.updated.Revision) {
			h.updated = rev
		}
	}
	switch {
	case h.updated == nil:
		return r.add(ctx, ud, h, what, next)
	case h.updated.Revision != next-1: // a template that comes back is the newest again
		return r.renumber(ctx, h, next)
	default:
		return h, nil
	}
}

func same(rev *appsv1.ControllerRevision, what any) bool {
	var held any
	return json.Unmarshal(rev.Data.Raw, &held) == nil && reflect.DeepEqual(held, what)
}

func (r *Reconciler) add(ctx context.Context, ud *appsv1beta1.UnitedDeployment, h history, what any, number int64) (history, error) {
	for range 10 { // as often as the name is found taken
		rev, err := revision.Of(ud, kind(), ud.Namespace, what, maps.Clone(ud.Spec.Selector.MatchLabels), ptr.Deref(h.collisions, 0))
		if err != nil {
			return h, fmt.Errorf("make a revision: %w", err)
		}
		rev.Revision = number
		err = r.Client.Create(ctx, rev)
		if err == nil {
			h.all, h.updated = append(h.all, rev), rev
			return h, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return h, fmt.Errorf("create ControllerRevision %s/%s: %w", rev.Namespace, rev.Name, err)
		}
		var existing appsv1.ControllerRevision
		if err := r.Live.Get(ctx, client.ObjectKeyFromObject(rev), &existing); err != nil {
			return h, fmt.Errorf("read ControllerRevision %s/%s, whose name is taken: %w", rev.Namespace, rev.Name, err)
		}
		if metav1.IsControlledBy(&existing, ud) && same(&existing, what) {
			h.all, h.updated = append(h.all, &existing), &existing // the cache does not show it yet
			return h, nil
		}
		h.collisions = ptr.To(ptr.Deref(h.collisions, 0) + 1)
	}
	return h, reconcile.Wait(time.Second, "no name was free for a revision")
}

func (r *Reconciler) renumber(ctx context.Context, h history, number int64) (history, error) {
	fresh := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: h.updated.Namespace, Name: h.updated.Name}}
	body := fmt.Appendf(nil, `{"revision":%d}`, number)
	if err := r.Client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, body)); err != nil {
		return h, fmt.Errorf("give ControllerRevision %s/%s the number %d: %w", fresh.Namespace, fresh.Name, number, err)
	}
	h.updated = fresh
	return h, nil
}

// trim deletes the oldest revisions that no subset has, beyond the limit.
func (r *Reconciler) trim(ctx context.Context, ud *appsv1beta1.UnitedDeployment, st state, h history) error {
	used := map[string]bool{h.updated.Name: true, ud.Status.CurrentRevision: true}
	for _, c := range st.chosen {
		used[c.object.GetLabels()[appsv1beta1.ControllerRevisionHash]] = true
	}
	limit := int(ptr.Deref(ud.Spec.RevisionHistoryLimit, revision.DefaultHistoryLimit))
	for _, rev := range revision.Outdated(h.all, used, limit) {
		if err := r.Client.Delete(ctx, rev, client.Preconditions{UID: &rev.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ControllerRevision %s/%s, which is beyond revisionHistoryLimit: %w", rev.Namespace, rev.Name, err)
		}
	}
	return nil
}
