package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
)

// revisions reads the history, and adds the revision of a template that is new.
func (e *Engine) revisions(ctx context.Context, src Source, m *memory, state *State) error {
	var list appsv1.ControllerRevisionList
	err := e.Client.List(ctx, &list, client.InNamespace(src.Owner.GetNamespace()),
		client.MatchingFields{OwnerIndex: string(src.Owner.GetUID())}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list the revisions of %s %s: %w", src.Kind.Kind, client.ObjectKeyFromObject(src.Owner), err)
	}
	for i := range list.Items {
		state.History = append(state.History, &list.Items[i])
		if list.Items[i].Name == src.CurrentRevision {
			state.Current = &list.Items[i]
		}
	}
	if len(state.History) == 0 {
		if err := e.inherit(ctx, src, m); err != nil {
			return err
		}
	}
	if state.Update, err = e.updateRevision(ctx, src, m, state); err != nil {
		return err
	}
	if state.Current == nil {
		state.Current = state.Update
	}
	return nil
}

// inherit adopts the history of a workload that was deleted and left its pods behind. Pods name their revision: without it
// they would all be strangers of an unknown revision, and be replaced.
func (e *Engine) inherit(ctx context.Context, src Source, m *memory) error {
	var orphans appsv1.ControllerRevisionList
	err := e.Client.List(ctx, &orphans, client.InNamespace(src.Owner.GetNamespace()),
		client.MatchingFields{OwnerIndex: orphan}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return fmt.Errorf("list the revisions that %s %s may inherit: %w", src.Kind.Kind, client.ObjectKeyFromObject(src.Owner), err)
	}
	adopted := false
	for i := range orphans.Items {
		rev := &orphans.Items[i]
		ours := strings.HasPrefix(rev.Name, src.Owner.GetName()+"-") && src.Selector.Matches(labels.Set(rev.Labels))
		if _, err := revision.Template(rev); !ours || err != nil || rev.DeletionTimestamp != nil {
			continue
		}
		if err := e.mayAdopt(ctx, src); err != nil {
			return err
		}
		fresh := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: rev.Namespace, Name: rev.Name}}
		body, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"uid": rev.UID, "resourceVersion": rev.ResourceVersion,
			"ownerReferences": []any{metav1.NewControllerRef(src.Owner, src.Kind)},
		}})
		if err != nil {
			return fmt.Errorf("encode the patch of ControllerRevision %s/%s: %w", rev.Namespace, rev.Name, err)
		}
		if err := e.Client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, body)); err != nil {
			return fmt.Errorf("adopt ControllerRevision %s/%s: %w", rev.Namespace, rev.Name, err)
		}
		m.wrote(revisionKind(), fresh.ResourceVersion)
		adopted = true
	}
	if adopted {
		return reconcile.Wait(cacheInterval, "revisions were adopted")
	}
	return nil
}

// updateRevision finds or makes the revision of the template.
func (e *Engine) updateRevision(ctx context.Context, src Source, m *memory, state *State) (*appsv1.ControllerRevision, error) {
	for _, rev := range state.History {
		if m.generation == src.Owner.GetGeneration() && rev.Name == m.revision {
			return rev, nil
		}
	}
	rev := revision.Find(state.History, src.Template)
	var err error
	switch next := revision.Next(state.History); {
	case rev == nil:
		rev, err = e.newRevision(ctx, src, m, state, next)
	case rev.Revision != next-1:
		rev, err = e.renumber(ctx, m, rev, next) // a template that comes back is the newest again
	}
	if err != nil {
		return nil, err
	}
	m.generation, m.revision = src.Owner.GetGeneration(), rev.Name
	return rev, nil
}

func (e *Engine) newRevision(ctx context.Context, src Source, m *memory, state *State, number int64) (*appsv1.ControllerRevision, error) {
	rev, err := revision.New(src.Owner, src.Kind, src.Template, src.Labels, ptr.Deref(state.CollisionCount, 0))
	if err != nil {
		return nil, err
	}
	rev.Revision = number
	if err = e.Client.Create(ctx, rev); err == nil {
		m.wrote(revisionKind(), rev.ResourceVersion)
		state.History = append(state.History, rev)
		return rev, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create ControllerRevision %s/%s: %w", rev.Namespace, rev.Name, err)
	}
	var existing appsv1.ControllerRevision
	if err := e.Live.Get(ctx, client.ObjectKeyFromObject(rev), &existing); err != nil {
		return nil, fmt.Errorf("read ControllerRevision %s/%s, whose name is taken: %w", rev.Namespace, rev.Name, err)
	}
	if metav1.IsControlledBy(&existing, src.Owner) && revision.Find([]*appsv1.ControllerRevision{&existing}, src.Template) != nil {
		m.wrote(revisionKind(), existing.ResourceVersion)
		return nil, reconcile.Wait(cacheInterval, "the cache does not show the newest revision yet")
	}
	state.CollisionCount = ptr.To(ptr.Deref(state.CollisionCount, 0) + 1)
	return e.newRevision(ctx, src, m, state, number)
}

func (e *Engine) renumber(
	ctx context.Context, m *memory, rev *appsv1.ControllerRevision, number int64,
) (*appsv1.ControllerRevision, error) {
	fresh := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: rev.Namespace, Name: rev.Name}}
	body := fmt.Appendf(nil, `{"revision":%d}`, number)
	if err := e.Client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, body)); err != nil {
		return nil, fmt.Errorf("give ControllerRevision %s/%s the number %d: %w", rev.Namespace, rev.Name, number, err)
	}
	m.wrote(revisionKind(), fresh.ResourceVersion)
	return fresh, nil
}

// paths finds how pods of each revision in use become the update revision.
func (e *Engine) paths(m *memory, state *State) error {
	state.Paths = map[string]Path{}
	target, err := m.template(state.Update)
	if err != nil {
		return err
	}
	inUse := map[string]bool{}
	for i := range state.Members {
		inUse[state.Members[i].Revision] = true
	}
	for _, rev := range state.History {
		if !inUse[rev.Name] {
			continue
		}
		from, err := m.template(rev)
		if err != nil {
			return err
		}
		delta, blocked := inplace.Between(from, target)
		state.Paths[rev.Name] = Path{Delta: delta, Blocked: blocked}
	}
	return nil
}

// template decodes a revision once.
func (m *memory) template(rev *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if tmpl := m.templates[rev.Name]; tmpl != nil {
		return tmpl, nil
	}
	tmpl, err := revision.Template(rev)
	if err != nil {
		return nil, err
	}
	m.templates[rev.Name] = tmpl
	return tmpl, nil
}

// trim deletes the oldest revisions that no pod runs, beyond the limit.
func (e *Engine) trim(ctx context.Context, src Source, m *memory, state State) error {
	used := map[string]bool{state.Update.Name: true, state.Current.Name: true}
	for i := range state.Members {
		used[state.Members[i].Revision] = true
	}
	limit := int(ptr.Deref(src.HistoryLimit, revision.DefaultHistoryLimit))
	for _, rev := range revision.Outdated(state.History, used, limit) {
		if err := e.Client.Delete(ctx, rev, client.Preconditions{UID: &rev.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete ControllerRevision %s/%s, which is beyond revisionHistoryLimit: %w", rev.Namespace, rev.Name, err)
		}
		m.mu.Lock()
		delete(m.templates, rev.Name)
		m.mu.Unlock()
	}
	return nil
}
