package cascade

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// How many objects one request asks for, where it must look at each.
	pageSize = 500
	// How many such requests one answer takes at most: a user waits for it.
	maxPages = 20
	// How many names a message holds.
	maxNames = 3

	activePods = "status.phase!=Succeeded,status.phase!=Failed"
)

// Counter looks at the API server itself: a cache would not know what was made just now.
type Counter struct {
	// Metadata lists any kind, without its contents.
	Metadata metadata.Interface
	Live     client.Reader
}

// tally counts, and keeps the first names.
type tally struct {
	count int
	more  bool
	names []string
}

func (t *tally) add(name string) {
	t.count++
	if len(t.names) < maxNames {
		t.names = append(t.names, name)
	}
}

// text is "3 pods (a, b, c)", or nothing for none.
func (t *tally) text(one, many string) string {
	if t.count == 0 {
		return ""
	}
	what, atLeast, dots := many, "", ""
	if t.count == 1 && !t.more {
		what = one
	}
	if t.more {
		atLeast = "at least "
	}
	if t.count > len(t.names) || t.more {
		dots = ", ..."
	}
	return fmt.Sprintf("%s%d %s (%s%s)", atLeast, t.count, what, strings.Join(t.names, ", "), dots)
}

// replicas is how many pods a workload is asked to have; one that does not say has one, or what its status tells.
func replicas(_ context.Context, _ *Counter, obj *unstructured.Unstructured) (string, error) {
	n, said, err := unstructured.NestedInt64(obj.Object, "spec", "replicas")
	if err != nil {
		return "", fmt.Errorf("read its spec.replicas: %w", err)
	}
	if !said {
		n = 1
		if total, known, err := unstructured.NestedInt64(obj.Object, "status", "replicas"); err == nil && known {
			n = total
		}
	}
	switch {
	case n <= 0:
		return "", nil
	case n == 1:
		return "1 replica", nil
	}
	return fmt.Sprintf("%d replicas", n), nil
}

// RoleLabel is the label of ClusterRoles, with the value "true", whose rights the operator gets: each lets it list the objects
// of a definition, so that it can tell whether any is left.
const RoleLabel = "policy.holdfast.io/deletion-protection"

// objects asks for one object of a CustomResourceDefinition: however many there are, the answer costs the same.
func objects(ctx context.Context, c *Counter, obj *unstructured.Unstructured) (string, error) {
	group, _, err := unstructured.NestedString(obj.Object, "spec", "group")
	if err != nil {
		return "", fmt.Errorf("read its spec.group: %w", err)
	}
	plural, _, err := unstructured.NestedString(obj.Object, "spec", "names", "plural")
	if err != nil {
		return "", fmt.Errorf("read its spec.names.plural: %w", err)
	}
	version, err := served(obj)
	if err != nil {
		return "", err
	}
	resource := schema.GroupVersionResource{Group: group, Version: version, Resource: plural}
	list, err := c.Metadata.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
	if apierrors.IsForbidden(err) {
		return "", fmt.Errorf("the operator may not list %[1]s; allow it: kubectl create clusterrole holdfast-list-%[1]s --verb=list "+
			"--resource=%[1]s && kubectl label clusterrole holdfast-list-%[1]s %[2]s=true: %[3]w", resource.GroupResource(), RoleLabel, err)
	}
	if err != nil {
		return "", fmt.Errorf("look for objects of it: %w", err)
	}
	t := tally{}
	for i := range list.Items {
		t.add(path(&list.Items[i]))
	}
	if left := list.RemainingItemCount; left != nil {
		t.count += int(*left)
	} else {
		t.more = list.Continue != ""
	}
	return t.text("object", "objects"), nil
}

// served is a version in which the objects can be listed, the stored one if possible: it needs no conversion.
func served(crd *unstructured.Unstructured) (string, error) {
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	if err != nil {
		return "", fmt.Errorf("read its spec.versions: %w", err)
	}
	best := ""
	for _, item := range versions {
		version, ok := item.(map[string]any)
		if !ok || version["served"] != true {
			continue
		}
		name, ok := version["name"].(string)
		if ok && (best == "" || version["storage"] == true) {
			best = name
		}
	}
	if best == "" {
		return "", errors.New("it serves no version in which its objects could be looked for")
	}
	return best, nil
}

// contents are what would be lost with a namespace: pods that run, claims that hold data.
func contents(ctx context.Context, c *Counter, obj *unstructured.Unstructured) (string, error) {
	running, err := c.pods(ctx, obj.GetName(), labels.Everything(), func(metav1.Object) bool { return true })
	if err != nil {
		return "", err
	}
	bound := tally{}
	err = c.claims(ctx, obj.GetName(), &bound, func(claim *corev1.PersistentVolumeClaim) bool {
		return claim.Status.Phase == corev1.ClaimBound && claim.DeletionTimestamp == nil
	})
	if err != nil {
		return "", err
	}
	var parts []string
	for _, part := range []string{
		running.text("active pod", "active pods"), bound.text("bound PersistentVolumeClaim", "bound PersistentVolumeClaims"),
	} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, " and "), nil
}

// pods are those that a workload controls and that run.
func pods(ctx context.Context, c *Counter, obj *unstructured.Unstructured) (string, error) {
	selector := labels.Everything()
	if raw, found, err := unstructured.NestedMap(obj.Object, "spec", "selector"); err == nil && found {
		selector = selectorOf(raw)
	}
	mine, err := c.pods(ctx, obj.GetNamespace(), selector, func(p metav1.Object) bool {
		owner := metav1.GetControllerOfNoCopy(p)
		return owner != nil && owner.UID == obj.GetUID()
	})
	if err != nil {
		return "", err
	}
	return mine.text("pod", "pods"), nil
}

// selectorOf reads a label selector; one that cannot be read selects all: the owner decides anyway.
func selectorOf(raw map[string]any) labels.Selector {
	selector := &metav1.LabelSelector{}
	content, ok := raw["matchLabels"].(map[string]any)
	if !ok || len(raw) > 1 {
		return labels.Everything()
	}
	selector.MatchLabels = map[string]string{}
	for key, value := range content {
		text, ok := value.(string)
		if !ok {
			return labels.Everything()
		}
		selector.MatchLabels[key] = text
	}
	return labels.SelectorFromSet(selector.MatchLabels)
}

// jobs are those that a schedule has running.
func jobs(_ context.Context, _ *Counter, obj *unstructured.Unstructured) (string, error) {
	running, _, err := unstructured.NestedSlice(obj.Object, "status", "active")
	if err != nil {
		return "", fmt.Errorf("read its status.active: %w", err)
	}
	t := tally{}
	for _, item := range running {
		name := "?"
		if ref, ok := item.(map[string]any); ok {
			name = fmt.Sprint(ref["name"])
		}
		t.add(name)
	}
	return t.text("job under way", "jobs under way"), nil
}

// matched are the pods that a SidecarSet has its containers in.
func matched(_ context.Context, _ *Counter, obj *unstructured.Unstructured) (string, error) {
	n, _, err := unstructured.NestedInt64(obj.Object, "status", "matchedPods")
	if err != nil {
		return "", fmt.Errorf("read its status.matchedPods: %w", err)
	}
	if n <= 0 {
		return "", nil
	}
	return fmt.Sprintf("%d pods with its sidecars", n), nil
}

// users are the pods that mount a claim.
func users(ctx context.Context, c *Counter, obj *unstructured.Unstructured) (string, error) {
	t := tally{}
	list := &corev1.PodList{}
	err := c.each(ctx, list, &t, obj.GetNamespace(), func() {
		for i := range list.Items {
			p := &list.Items[i]
			finished := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
			if !finished && mounts(p, obj.GetName()) {
				t.add(p.Name)
			}
		}
	})
	if err != nil {
		return "", fmt.Errorf("list the pods of namespace %s: %w", obj.GetNamespace(), err)
	}
	return t.text("pod that uses it", "pods that use it"), nil
}

func mounts(p *corev1.Pod, claim string) bool {
	for i := range p.Spec.Volumes {
		volume := &p.Spec.Volumes[i]
		if volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ClaimName == claim ||
			volume.Ephemeral != nil && p.Name+"-"+volume.Name == claim {
			return true
		}
	}
	return false
}

// restores are the claims that are being made from a snapshot.
func restores(ctx context.Context, c *Counter, obj *unstructured.Unstructured) (string, error) {
	t := tally{}
	err := c.claims(ctx, obj.GetNamespace(), &t, func(claim *corev1.PersistentVolumeClaim) bool {
		if claim.Status.Phase == corev1.ClaimBound {
			return false
		}
		if from := claim.Spec.DataSourceRef; from != nil && from.Kind == "VolumeSnapshot" && from.Name == obj.GetName() {
			return from.Namespace == nil || *from.Namespace == obj.GetNamespace()
		}
		from := claim.Spec.DataSource
		return from != nil && from.Kind == "VolumeSnapshot" && from.Name == obj.GetName()
	})
	if err != nil {
		return "", err
	}
	return t.text("claim that is being made from it", "claims that are being made from it"), nil
}

// pods counts active pods without reading more than their metadata.
func (c *Counter) pods(ctx context.Context, namespace string, selector labels.Selector, which func(metav1.Object) bool) (*tally, error) {
	t := &tally{}
	from := c.Metadata.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(namespace)
	opts := metav1.ListOptions{Limit: pageSize, FieldSelector: activePods, LabelSelector: selector.String()}
	for range maxPages {
		list, err := from.List(ctx, opts)
		if err != nil {
			return nil, fmt.Errorf("list the pods of namespace %s: %w", namespace, err)
		}
		for i := range list.Items {
			if p := &list.Items[i]; p.DeletionTimestamp == nil && which(p) {
				t.add(p.Name)
			}
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			return t, nil
		}
	}
	t.more = true
	return t, nil
}

// claims counts the claims of a namespace that are of a kind.
func (c *Counter) claims(ctx context.Context, namespace string, t *tally, which func(*corev1.PersistentVolumeClaim) bool) error {
	list := &corev1.PersistentVolumeClaimList{}
	err := c.each(ctx, list, t, namespace, func() {
		for i := range list.Items {
			if which(&list.Items[i]) {
				t.add(list.Items[i].Name)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("list the claims of namespace %s: %w", namespace, err)
	}
	return nil
}

// each reads a list page by page.
func (c *Counter) each(ctx context.Context, list client.ObjectList, t *tally, namespace string, look func()) error {
	opts := []client.ListOption{client.InNamespace(namespace), client.Limit(pageSize)}
	for range maxPages {
		if err := c.Live.List(ctx, list, opts...); err != nil {
			return err //nolint:wrapcheck // the caller says what for
		}
		look()
		if list.GetContinue() == "" {
			return nil
		}
		opts = []client.ListOption{client.InNamespace(namespace), client.Limit(pageSize), client.Continue(list.GetContinue())}
	}
	t.more = true
	return nil
}

func path(obj metav1.Object) string {
	if obj.GetNamespace() == "" {
		return obj.GetName()
	}
	return obj.GetNamespace() + "/" + obj.GetName()
}
