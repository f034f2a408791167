package cli

import (
	"context"
	"fmt"
	"sort"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Snapshot is what was read of one workload: everything the views need.
type Snapshot struct {
	Workload  Workload
	Revisions []Revision   // by number, the oldest first
	Pods      []corev1.Pod // those the workload controls, by name
	Strangers []corev1.Pod // those its selector matches and another owner, or none, controls
}

// found is a workload that was asked for: its row, its served version, its name.
type found struct {
	Kind Kind
	GVK  schema.GroupVersionKind
	Key  types.NamespacedName
}

// read reads a workload with its revisions and pods, from a client or from a cache.
func read(ctx context.Context, from client.Reader, f found) (Snapshot, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(f.GVK)
	if err := from.Get(ctx, f.Key, object); err != nil {
		return Snapshot{}, fmt.Errorf("get %s/%s: %w", f.Kind.short(), f.Key.Name, err)
	}
	s := Snapshot{Workload: newWorkload(f.Kind, object)}
	owners, err := s.readRevisions(ctx, from)
	if err != nil || f.Kind.Podless {
		return s, err
	}
	if f.Kind.History == ofSubsets {
		return s, s.readSubsets(ctx, from)
	}
	if f.Kind.Injects {
		return s, s.readGiven(ctx, from)
	}
	return s, s.readPods(ctx, from, owners)
}

// readRevisions fills Revisions, and returns the objects that may control the workload's pods.
func (s *Snapshot) readRevisions(ctx context.Context, from client.Reader) (map[types.UID]bool, error) {
	owners := map[types.UID]bool{s.Workload.uid(): true}
	add := func(r Revision, err error) error {
		s.Revisions = append(s.Revisions, r)
		return err
	}
	namespace := client.InNamespace(s.Workload.Object.GetNamespace())
	switch s.Workload.Kind.History {
	case replicaSets:
		var list appsv1.ReplicaSetList
		if err := from.List(ctx, &list, namespace); err != nil {
			return nil, fmt.Errorf("list the replicasets of %s: %w", s.Workload.ref(), err)
		}
		for i := range list.Items {
			if rs := &list.Items[i]; controlledBy(rs, owners) {
				if err := add(fromReplicaSet(s.Workload, rs)); err != nil {
					return nil, err
				}
				owners[rs.UID] = true // a Deployment's pods belong to its ReplicaSets
			}
		}
	case controllerRevisions, ofSubsets, ofGiven:
		var list appsv1.ControllerRevisionList
		if err := from.List(ctx, &list, namespace, client.MatchingLabelsSelector{Selector: s.Workload.revisionSelector()}); err != nil {
			return nil, fmt.Errorf("list the controllerrevisions of %s: %w", s.Workload.ref(), err)
		}
		for i := range list.Items {
			if controlledBy(&list.Items[i], owners) {
				if err := add(fromControllerRevision(s.Workload, &list.Items[i])); err != nil {
					return nil, err
				}
			}
		}
	}
	s.Revisions = mark(s.Workload, s.Revisions)
	return owners, nil
}

// readPods fills Pods and Strangers.
func (s *Snapshot) readPods(ctx context.Context, from client.Reader, owners map[types.UID]bool) error {
	selector, err := s.Workload.selector()
	if err != nil {
		return err
	}
	var list corev1.PodList
	err = from.List(ctx, &list, client.InNamespace(s.Workload.Object.GetNamespace()), client.MatchingLabelsSelector{Selector: selector})
	if err != nil {
		return fmt.Errorf("list the pods of %s: %w", s.Workload.ref(), err)
	}
	for _, pod := range list.Items {
		if controlledBy(&pod, owners) {
			s.Pods = append(s.Pods, pod)
		} else {
			s.Strangers = append(s.Strangers, pod)
		}
	}
	sort.Slice(s.Pods, func(i, j int) bool { return s.Pods[i].Name < s.Pods[j].Name })
	return nil
}

func controlledBy(object metav1.Object, owners map[types.UID]bool) bool {
	ref := metav1.GetControllerOfNoCopy(object)
	return ref != nil && owners[ref.UID]
}
