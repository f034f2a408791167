package uniteddeployment

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// child is the workload of a subset.
type child struct {
	object client.Object
	subset string
	asked  int32
	counts counts
	// most is how many pods it may have, be it that it reports them or that it was asked for them.
	most int32
	// leaving: it is being deleted.
	leaving bool
}

// state is what a pass knows.
type state struct {
	family family
	// chosen are the workloads of the subsets of the spec, by their names.
	chosen map[string]*child
	// others belong to subsets that are not in the spec any more, or are there twice.
	others []*child
	pods   map[string][]*corev1.Pod
}

// observe reads the workloads that belong to the object, and its pods if it is to move them.
func (r *Reconciler) observe(ctx context.Context, ud *appsv1beta1.UnitedDeployment, f family, m *memory) (state, error) {
	st := state{family: f, chosen: map[string]*child{}}
	selector, err := metav1.LabelSelectorAsSelector(ud.Spec.Selector)
	if err != nil {
		return st, fmt.Errorf("spec.selector: %w", err)
	}
	objects, err := r.owned(ctx, ud, f, selector, m)
	if err != nil {
		return st, err
	}
	for _, object := range objects {
		c := &child{
			object: object, subset: object.GetLabels()[appsv1beta1.SubsetName], asked: ptr.Deref(*shapeOf(object).replicas, 1),
			counts: countsOf(object), leaving: object.GetDeletionTimestamp() != nil,
		}
		c.most = m.most(object.GetName(), c.asked, c.counts.pods, c.counts.observed)
		if st.chosen[c.subset] == nil && inSpec(ud, c.subset) {
			st.chosen[c.subset] = c
		} else {
			st.others = append(st.others, c)
		}
	}
	if isAdaptive(ud) {
		st.pods, err = r.pods(ctx, ud, selector)
	}
	return st, err
}

func inSpec(ud *appsv1beta1.UnitedDeployment, subset string) bool {
	return slices.ContainsFunc(ud.Spec.Topology.Subsets, func(s appsv1beta1.Subset) bool { return s.Name == subset })
}

// owned lists the workloads that belong to the object, the oldest first, and takes on those that a former one of its name has left.
func (r *Reconciler) owned(
	ctx context.Context, ud *appsv1beta1.UnitedDeployment, f family, selector labels.Selector, m *memory,
) ([]client.Object, error) {
	list := f.list()
	err := r.Client.List(ctx, list, client.InNamespace(ud.Namespace), client.HasLabels{appsv1beta1.SubsetName})
	if err != nil {
		return nil, fmt.Errorf("list the %ss of UnitedDeployment %s/%s: %w", f.kind.Kind, ud.Namespace, ud.Name, err)
	}
	byName := map[string]client.Object{}
	err = meta.EachListItem(list, func(item runtime.Object) error {
		object, ok := item.(client.Object)
		if ok && (mine(ud, object) || mayBeMine(object, selector)) {
			byName[object.GetName()] = object
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the %ss of UnitedDeployment %s/%s: %w", f.kind.Kind, ud.Namespace, ud.Name, err)
	}
	if err := r.refresh(ctx, ud, f, m, byName); err != nil {
		return nil, err
	}
	var all []client.Object
	for _, object := range byName {
		if !mine(ud, object) {
			if err := r.adopt(ctx, ud, f, object, m); err != nil {
				return nil, err
			}
		}
		all = append(all, object)
	}
	slices.SortFunc(all, func(a, b client.Object) int {
		return cmp.Or(a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time), cmp.Compare(a.GetName(), b.GetName()))
	})
	return all, nil
}

func mine(ud *appsv1beta1.UnitedDeployment, object client.Object) bool {
	return metav1.IsControlledBy(object, ud)
}

// mayBeMine: it was made for a subset of such an object, which was deleted and left it behind.
func mayBeMine(object client.Object, selector labels.Selector) bool {
	return metav1.GetControllerOfNoCopy(object) == nil && object.GetDeletionTimestamp() == nil &&
		selector.Matches(labels.Set(object.GetLabels()))
}

// refresh reads from the API server what the cache may show otherwise than it is.
func (r *Reconciler) refresh(
	ctx context.Context, ud *appsv1beta1.UnitedDeployment, f family, m *memory, byName map[string]client.Object,
) error {
	for _, name := range m.behind(byName) {
		live := f.empty()
		err := r.Live.Get(ctx, types.NamespacedName{Namespace: ud.Namespace, Name: name}, live)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read %s %s/%s: %w", f.kind.Kind, ud.Namespace, name, err)
		}
		gone := apierrors.IsNotFound(err) || !mine(ud, live)
		m.certain(name, gone)
		if delete(byName, name); !gone {
			byName[name] = live
		}
	}
	return nil
}

// adopt makes the object the owner of a workload that has none.
func (r *Reconciler) adopt(ctx context.Context, ud *appsv1beta1.UnitedDeployment, f family, object client.Object, m *memory) error {
	var fresh appsv1beta1.UnitedDeployment
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(ud), &fresh); err != nil {
		return fmt.Errorf("read UnitedDeployment %s/%s before it adopts: %w", ud.Namespace, ud.Name, err)
	}
	if fresh.UID != ud.UID || fresh.DeletionTimestamp != nil {
		return fmt.Errorf("UnitedDeployment %s/%s is gone, and adopts nothing", ud.Namespace, ud.Name)
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion(),
		"ownerReferences": []metav1.OwnerReference{*metav1.NewControllerRef(ud, kind())},
	}})
	if err != nil {
		return fmt.Errorf("encode the adoption of %s %s: %w", f.kind.Kind, object.GetName(), err)
	}
	err = r.Client.Patch(ctx, object, client.RawPatch(types.MergePatchType, body))
	m.wrote(object.GetName(), object.GetResourceVersion(), err)
	if err != nil {
		return fmt.Errorf("adopt %s %s/%s: %w", f.kind.Kind, object.GetNamespace(), object.GetName(), err)
	}
	return nil
}

// pods are those that are alive, by the name of their subset.
func (r *Reconciler) pods(
	ctx context.Context, ud *appsv1beta1.UnitedDeployment, selector labels.Selector,
) (map[string][]*corev1.Pod, error) {
	var list corev1.PodList
	err := r.Client.List(ctx, &list, client.InNamespace(ud.Namespace),
		client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the pods of UnitedDeployment %s/%s: %w", ud.Namespace, ud.Name, err)
	}
	all := map[string][]*corev1.Pod{}
	for i := range list.Items {
		p := &list.Items[i]
		if subset, ok := p.Labels[appsv1beta1.SubsetName]; ok {
			all[subset] = append(all[subset], p)
		}
	}
	return all, nil
}
