package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// How many pods of one object are read, and how many of them the guards are asked about.
	mostPods  = 1000
	mostAsked = 50
	// How many owners stand between a pod and what is deleted: a pod, its ReplicaSet, a Deployment, what made that.
	mostOwners = 5
)

// Preview is what a deletion would do.
type Preview struct {
	metav1.TypeMeta `json:",inline"`
	Objects         []PreviewObject `json:"objects"`
	Guards          []GuardView     `json:"guards,omitempty"` // of all pods that would go
}

// PreviewObject is what the deletion of one object would do.
type PreviewObject struct {
	Object    string       `json:"object"`
	Namespace string       `json:"namespace,omitempty"`
	Allowed   bool         `json:"allowed"`
	Why       string       `json:"why,omitempty"`  // what stops it
	With      []string     `json:"with,omitempty"` // what goes with it, in words
	Pods      []PreviewPod `json:"pods,omitempty"` // the pods that go, as many as were asked about
}

// PreviewPod is a pod that would go.
type PreviewPod struct {
	Name    string `json:"name"`
	Allowed bool   `json:"allowed"`
	Why     string `json:"why,omitempty"`
}

// show says what deletions would do, and does none.
func (o *deleteOptions) show(ctx context.Context, targets []target) error {
	preview := Preview{TypeMeta: typeMeta("Preview")}
	books := map[string]guardBook{}
	for _, t := range targets {
		object, pods, err := o.previewOf(ctx, t)
		if err != nil {
			return err
		}
		preview.Objects = append(preview.Objects, object)
		for i := range pods {
			p := &pods[i]
			book, known := books[p.Namespace]
			if !known {
				if book, err = o.guardsOf(ctx, p.Namespace); err != nil {
					return err
				}
				books[p.Namespace] = book
			}
			for _, view := range book.of(p, o.ownerOf(ctx, p), o.now()) {
				if !slices.Contains(preview.Guards, view) {
					preview.Guards = append(preview.Guards, view)
				}
			}
		}
	}
	if o.output != "" {
		return printObject(o.Out, o.output, preview)
	}
	printLines(o.Out, preview.text())
	return nil
}

// previewOf asks about one object and the pods that go with it.
func (o *deleteOptions) previewOf(ctx context.Context, t target) (PreviewObject, []corev1.Pod, error) {
	view := PreviewObject{Object: t.ref, Namespace: t.object.GetNamespace(), Allowed: true}
	err := o.remove(ctx, t, client.DryRunAll)
	if err != nil && !isGuarded(err) {
		return view, nil, fmt.Errorf("ask about the deletion of %s by a dry run: %w", t.ref, err)
	}
	if err != nil {
		view.Allowed, view.Why = false, stableReason(err)
	}
	pods, more, err := o.goes(ctx, t, &view)
	if err != nil {
		return view, nil, err
	}
	if t.isPod() {
		return view, pods, nil
	}
	if len(pods) > 0 {
		view.With = append([]string{atLeast(plural(int64(len(pods)), "pod"), more)}, view.With...)
	}
	for i := range pods[:min(len(pods), mostAsked)] {
		p := &pods[i]
		one := PreviewPod{Name: p.Name, Allowed: true}
		head := target{gvk: corev1.SchemeGroupVersion.WithKind("Pod"), object: &metav1.PartialObjectMetadata{ObjectMeta: p.ObjectMeta}}
		head.object.SetGroupVersionKind(head.gvk)
		if err := o.remove(ctx, head, client.DryRunAll); isGuarded(err) {
			one.Allowed, one.Why = false, stableReason(err)
		}
		view.Pods = append(view.Pods, one)
	}
	return view, pods, nil
}

// goes finds the pods that go with an object, and says what else does.
func (o *deleteOptions) goes(ctx context.Context, t target, view *PreviewObject) ([]corev1.Pod, bool, error) {
	switch t.gvk.GroupKind() {
	case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		objects, err := o.objectsOf(ctx, t.object.Name)
		view.With = append(view.With, objects)
		return nil, false, err
	case schema.GroupKind{Kind: "Namespace"}:
		pods, more, err := o.podsIn(ctx, t.object.Name, func(*corev1.Pod) bool { return true })
		if err != nil {
			return nil, false, err
		}
		claims, err := o.claimsIn(ctx, t.object.Name, func(*corev1.PersistentVolumeClaim) bool { return true })
		view.With = append(view.With, claims...)
		view.With = append(view.With, "everything else in the namespace")
		return pods, more, err
	}
	known := map[types.UID]bool{t.object.UID: true}
	pods, more, err := o.podsIn(ctx, t.object.Namespace, func(p *corev1.Pod) bool {
		return p.UID == t.object.UID || o.belongs(ctx, p.OwnerReferences, p.Namespace, known, mostOwners)
	})
	if err != nil || t.isPod() || t.object.Namespace == "" {
		return pods, more, err
	}
	claims, err := o.claimsIn(ctx, t.object.Namespace, func(c *corev1.PersistentVolumeClaim) bool {
		return o.belongs(ctx, c.OwnerReferences, c.Namespace, known, mostOwners)
	})
	view.With = append(view.With, claims...)
	return pods, more, err
}

// belongs tells whether one of the owners is, in the end, what is deleted. It remembers what it has found.
func (o *deleteOptions) belongs(ctx context.Context, owners []metav1.OwnerReference, namespace string, known map[types.UID]bool,
	depth int,
) bool {
	for _, owner := range owners {
		mine, seen := known[owner.UID]
		if !seen && depth > 0 {
			head := &metav1.PartialObjectMetadata{}
			head.SetGroupVersionKind(schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind))
			err := o.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: owner.Name}, head)
			mine = err == nil && head.UID == owner.UID && o.belongs(ctx, head.OwnerReferences, namespace, known, depth-1)
			known[owner.UID] = mine
		}
		if mine {
			return true
		}
	}
	return false
}

func (o *deleteOptions) podsIn(ctx context.Context, namespace string, which func(*corev1.Pod) bool) ([]corev1.Pod, bool, error) {
	if namespace == "" {
		return nil, false, nil
	}
	var list corev1.PodList
	if err := o.client.List(ctx, &list, client.InNamespace(namespace), client.Limit(mostPods)); err != nil {
		return nil, false, fmt.Errorf("list the pods of namespace %s: %w", namespace, err)
	}
	list.Items = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return !which(&p) })
	return list.Items, list.Continue != "", nil
}

func (o *deleteOptions) claimsIn(ctx context.Context, namespace string, which func(*corev1.PersistentVolumeClaim) bool) ([]string, error) {
	var list corev1.PersistentVolumeClaimList
	if err := o.client.List(ctx, &list, client.InNamespace(namespace), client.Limit(mostPods)); err != nil {
		return nil, fmt.Errorf("list the claims of namespace %s: %w", namespace, err)
	}
	var names []string
	for i := range list.Items {
		if which(&list.Items[i]) {
			names = append(names, list.Items[i].Name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return []string{atLeast(fmt.Sprintf("%s (%s)", plural(int64(len(names)), "claim"), podNamesShort(names)), list.Continue != "")}, nil
}

// objectsOf counts the objects of a definition by asking for one.
func (o *deleteOptions) objectsOf(ctx context.Context, name string) (string, error) {
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	if err := o.client.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
		return "", fmt.Errorf("get the definition %s: %w", name, err)
	}
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	mapping, err := o.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
	if err != nil {
		return "", fmt.Errorf("look up %s: %w", name, err)
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(kind + "List"))
	if err := o.client.List(ctx, list, client.Limit(1)); err != nil {
		return "", fmt.Errorf("look for objects of %s: %w", name, err)
	}
	n := int64(len(list.Items))
	if left := list.GetRemainingItemCount(); left != nil {
		n += *left
	}
	return plural(n, "object") + " of kind " + kind + ", of all namespaces, without being asked about", nil
}

// ownerOf names the controller of a pod, the workload rather than its ReplicaSet.
func (s *session) ownerOf(ctx context.Context, p *corev1.Pod) string {
	owner := controllerOf(p)
	if owner == nil {
		return ""
	}
	if owner.Kind == "ReplicaSet" {
		head := &metav1.PartialObjectMetadata{}
		head.SetGroupVersionKind(schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind))
		if err := s.client.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: owner.Name}, head); err == nil {
			if above := metav1.GetControllerOfNoCopy(head); above != nil {
				owner = above
			}
		}
	}
	return owner.Kind + "/" + owner.Name
}

func atLeast(text string, more bool) string {
	if more {
		return "at least " + text
	}
	return text
}

// text tells the preview to a person.
func (p Preview) text() []string {
	var lines []string
	for _, object := range p.Objects {
		what := object.Object
		if object.Namespace != "" {
			what += " in namespace " + object.Namespace
		}
		if object.Allowed {
			lines = append(lines, what+": would be deleted")
		} else {
			lines = append(lines, what+": would NOT be deleted: "+object.Why)
		}
		if len(object.With) > 0 {
			lines = append(lines, "  with it would go: "+strings.Join(object.With, ", "))
		}
		lines = append(lines, object.podLines()...)
	}
	if len(p.Guards) > 0 {
		lines = append(lines, "guards of these pods:")
		lines = append(lines, align(guardRows(p.Guards))...)
	}
	return append(lines, "nothing was deleted: this is a preview")
}

// podLines tell of the pods that guards would keep, by reason.
func (o PreviewObject) podLines() []string {
	var order []string
	kept := map[string][]string{}
	for _, p := range o.Pods {
		if p.Allowed {
			continue
		}
		if kept[p.Why] == nil {
			order = append(order, p.Why)
		}
		kept[p.Why] = append(kept[p.Why], p.Name)
	}
	var lines []string
	for _, why := range order {
		lines = append(lines, fmt.Sprintf("  a guard would keep %s: %s", podList(kept[why]), why))
	}
	if len(order) == 0 && len(o.Pods) > 0 {
		lines = append(lines, fmt.Sprintf("  no guard would keep any of the %d pods that were asked about, each by itself", len(o.Pods)))
	}
	return lines
}
