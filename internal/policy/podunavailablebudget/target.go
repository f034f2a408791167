package podunavailablebudget

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// source is where a budget's workloads are read: on the API server itself.
type source struct {
	reader client.Reader
	scales client.SubResourceClientConstructor
	owners *owners
}

// scope is whom a budget guards, and how many of them are wanted.
type scope struct {
	// selector of the guarded pods; nil: those that the target owns.
	selector labels.Selector
	// target as spec.targetRef names it.
	target *workloadRef
	// ignored are left out.
	ignored labels.Selector
	// total that is wanted, and by whom.
	total     int
	workloads []policyv1beta1.GuardedWorkload
	// remarks say what could not be counted as it should be.
	remarks []string
	// problem is why nothing is guarded.
	problem *problem
}

// noSuchPath is how an API server says that it is not the object that is missing, but its scale subresource.
const noSuchPath = "the server could not find the requested resource"

// targetNotFound is the reason of a problem: the kind is served, and there is no such object.
const targetNotFound = "TargetNotFound"

// problem is why a budget guards nothing, and what to do about it.
type problem struct {
	reason, message string
	// comes says that it may go away without anybody's changing the budget.
	comes bool
}

// workloadRef names a workload of the budget's namespace.
type workloadRef struct {
	gvk  schema.GroupVersionKind
	name string
}

func (w workloadRef) String() string { return w.gvk.Kind + " " + w.name }

func (w workloadRef) same(o workloadRef) bool {
	return w.gvk.GroupKind() == o.gvk.GroupKind() && w.name == o.name
}

func refOf(apiVersion, kind, name string) (workloadRef, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	return workloadRef{gvk: gv.WithKind(kind), name: name}, err //nolint:wrapcheck // its message names the version
}

// targetOf is the workload that spec.targetRef names.
func targetOf(t *policyv1beta1.TargetReference) (workloadRef, error) {
	gvk, err := t.GroupVersionKind()
	return workloadRef{gvk: gvk, name: t.Name}, err
}

// wanted is what a workload says of itself.
type wanted struct {
	selector labels.Selector
	replicas int
}

// scope finds out whom the budget guards, and for a targetRef how many are wanted.
func (s source) scope(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget) (scope, error) {
	if why := invalid(pub); why != nil {
		return scope{problem: &problem{reason: "InvalidSpec", message: fmt.Sprintf("nothing is guarded: %v", why)}}, nil
	}
	ignored, err := metav1.LabelSelectorAsSelector(pub.Spec.IgnoredPodSelector) // nil matches nothing
	if err != nil {
		return scope{}, fmt.Errorf("spec.ignoredPodSelector: %w", err)
	}
	sc := scope{ignored: ignored}
	if pub.Spec.TargetRef == nil {
		sc.selector, err = metav1.LabelSelectorAsSelector(pub.Spec.Selector)
		return sc, err //nolint:wrapcheck // invalid() has told of it
	}
	target, err := targetOf(pub.Spec.TargetRef)
	if err != nil {
		return sc, err
	}
	sc.target = &target
	w, err := s.read(ctx, pub.Namespace, target)
	if err != nil {
		return s.withoutScale(pub, sc, err)
	}
	sc.selector, sc.total = w.selector, w.replicas
	sc.workloads = []policyv1beta1.GuardedWorkload{guardedWorkload(target, w.replicas)}
	return sc, nil
}

// withoutScale guards what the target owns when only the number of its replicas is unknown, and the user has given that.
func (s source) withoutScale(pub *policyv1beta1.PodUnavailableBudget, sc scope, err error) (scope, error) {
	p := problemOf(*sc.target, pub.Namespace, err)
	if p == nil {
		return sc, fmt.Errorf("read the target %s of PodUnavailableBudget %s/%s: %w", sc.target, pub.Namespace, pub.Name, err)
	}
	if !p.comes && pub.Spec.ProtectTotalReplicas != nil {
		return sc, nil
	}
	sc.problem = p
	return sc, nil
}

func guardedWorkload(w workloadRef, replicas int) policyv1beta1.GuardedWorkload {
	version, kind := w.gvk.ToAPIVersionAndKind()
	return policyv1beta1.GuardedWorkload{APIVersion: version, Kind: kind, Name: w.name, Replicas: int32(replicas)} //nolint:gosec // it was one
}

// read asks a workload how many pods it wants, and which: by its scale subresource, or, for a DaemonSet, by its status.
func (s source) read(ctx context.Context, namespace string, w workloadRef) (wanted, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(stored(w.gvk))
	object.SetNamespace(namespace)
	object.SetName(w.name)
	if w.gvk.Kind == "DaemonSet" {
		return s.readDaemonSet(ctx, object)
	}
	scale := &unstructured.Unstructured{}
	scale.SetAPIVersion("autoscaling/v1")
	scale.SetKind("Scale")
	if err := s.scales.SubResource("scale").Get(ctx, object, scale); err != nil {
		return wanted{}, err //nolint:wrapcheck // the caller names the workload
	}
	replicas, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas")
	text, _, _ := unstructured.NestedString(scale.Object, "status", "selector")
	if text == "" {
		return wanted{replicas: int(replicas)}, nil
	}
	selector, err := labels.Parse(text)
	return wanted{selector: selector, replicas: int(replicas)}, err //nolint:wrapcheck // as above
}

// stored is the version to ask for: that in which our own workloads are stored, since the API server would have to ask us to
// convert one at an older version, in the midst of a decision.
func stored(gvk schema.GroupVersionKind) schema.GroupVersionKind {
	ours := []string{"CloneSet", "StatefulSet", "DaemonSet", "UnitedDeployment"}
	if gvk.Group == appsv1beta1.SchemeGroupVersion.Group && slices.Contains(ours, gvk.Kind) {
		gvk.Version = appsv1beta1.SchemeGroupVersion.Version
	}
	return gvk
}

func (s source) readDaemonSet(ctx context.Context, object *unstructured.Unstructured) (wanted, error) {
	if err := s.reader.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
		return wanted{}, err //nolint:wrapcheck // the caller names the workload
	}
	replicas, _, _ := unstructured.NestedInt64(object.Object, "status", "desiredNumberScheduled")
	fields, _, _ := unstructured.NestedMap(object.Object, "spec", "selector")
	selector, err := selectorOf(fields)
	return wanted{selector: selector, replicas: int(replicas)}, err
}

// problemOf turns the API server's answer into what the user can do; nil: it may be different the next time.
func problemOf(w workloadRef, namespace string, err error) *problem {
	group := w.gvk.Group
	switch {
	case meta.IsNoMatchError(err):
		return &problem{reason: "TargetKindUnknown", comes: true, message: fmt.Sprintf(
			"nothing is guarded: the cluster serves no kind %s of %s; correct spec.targetRef, or install the definition of that kind",
			w.gvk.Kind, w.gvk.GroupVersion())}
	case apierrors.IsForbidden(err):
		return &problem{reason: "TargetForbidden", message: fmt.Sprintf(
			"nothing is guarded: the operator may not read the scale of %s; allow it by a ClusterRole with apiGroups: [%q], "+
				"resources: [%q], verbs: [\"get\"], or set spec.protectTotalReplicas", w, group, plural(w.gvk)+"/scale")}
	case apierrors.IsNotFound(err) && strings.Contains(err.Error(), noSuchPath):
		return &problem{reason: "TargetHasNoScale", message: fmt.Sprintf(
			"nothing is guarded: %s has no scale subresource that tells how many pods it wants; set spec.protectTotalReplicas", w)}
	case apierrors.IsNotFound(err):
		return &problem{reason: targetNotFound, comes: true, message: fmt.Sprintf(
			"nothing is guarded: there is no %s in namespace %s; create it, or correct spec.targetRef", w, namespace)}
	}
	return nil
}

func plural(gvk schema.GroupVersionKind) string {
	guess, _ := meta.UnsafeGuessKindToResource(gvk)
	return guess.Resource
}

// withoutLeaving is the number that is wanted by workloads which are not on their way out: whoever deleted those was asked
// about that. It is only asked where the answer matters.
func (s source) withoutLeaving(ctx context.Context, namespace string, sc scope) int {
	total := sc.total
	for _, w := range sc.workloads {
		if ref, err := refOf(w.APIVersion, w.Kind, w.Name); err == nil && s.leaving(ctx, namespace, ref) {
			total -= int(w.Replicas)
		}
	}
	return max(0, total)
}

// leaving reports whether a workload is gone or on its way out, so that its pods are not wanted any more.
func (s source) leaving(ctx context.Context, namespace string, w workloadRef) bool {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(stored(w.gvk))
	err := s.reader.Get(ctx, types.NamespacedName{Namespace: namespace, Name: w.name}, object)
	return apierrors.IsNotFound(err) || err == nil && object.DeletionTimestamp != nil
}

// wants adds up how many pods are wanted, once the pods are known: a budget with a selector asks the workloads they belong
// to, and those it knew before, since somebody may just have deleted what stood between.
func (s source) wants(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, sc *scope, g *guarded) error {
	if n := pub.Spec.ProtectTotalReplicas; n != nil {
		sc.total, sc.workloads = int(*n), nil
		return nil
	}
	if sc.target == nil {
		if err := s.addUp(ctx, pub, sc, g); err != nil {
			return err
		}
	}
	sc.total = max(0, sc.total-g.ignored)
	return nil
}

func (s source) addUp(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, sc *scope, g *guarded) error {
	refs := make([]workloadRef, 0, 1)
	for _, w := range pub.Status.Workloads {
		if ref, err := refOf(w.APIVersion, w.Kind, w.Name); err == nil {
			refs = append(refs, ref)
		}
	}
	present := map[int]int{} // active pods by the index of their workload
	for _, p := range g.active {
		if metav1.GetControllerOfNoCopy(p) == nil {
			sc.total++ // nobody else wants it: it wants itself
			continue
		}
		top, err := s.owners.top(ctx, s.reader, p)
		if err != nil {
			return err
		}
		if top == nil {
			continue // what wanted it is gone
		}
		at := slices.IndexFunc(refs, top.same)
		if at < 0 {
			at, refs = len(refs), append(refs, *top)
		}
		present[at]++
	}
	for i, ref := range refs {
		w, err := s.read(ctx, pub.Namespace, ref)
		if err == nil {
			sc.total += w.replicas
			sc.workloads = append(sc.workloads, guardedWorkload(ref, w.replicas))
			continue
		}
		p := problemOf(ref, pub.Namespace, err)
		if apierrors.IsNotFound(err) && p != nil && p.reason == targetNotFound {
			continue
		}
		if p == nil {
			return fmt.Errorf("ask %s how many pods it wants: %w", ref, err)
		}
		sc.total += present[i] // what is there is all that is known to be wanted
		if present[i] > 0 {
			sc.remarks = append(sc.remarks, fmt.Sprintf("the pods of %s are counted as they are: %s", ref,
				strings.TrimPrefix(p.message, "nothing is guarded: ")))
		}
	}
	return nil
}

// owners remembers which workload stands above a ReplicaSet: that never changes.
type owners struct {
	mu    sync.Mutex
	known map[types.UID]*workloadRef
}

// maxOwners bounds what is remembered; beyond it, everything is asked anew.
const maxOwners = 10000

// top returns the workload that wants the pod: its controller, or that of its ReplicaSet; nil: it has none, or the
// ReplicaSet is gone and nobody knows whose it was.
func (o *owners) top(ctx context.Context, reader client.Reader, p *corev1.Pod) (*workloadRef, error) {
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return nil, nil //nolint:nilnil // a pod of its own
	}
	ref, err := refOf(owner.APIVersion, owner.Kind, owner.Name)
	if err != nil {
		return nil, fmt.Errorf("the controller of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	if ref.gvk.GroupKind() != appsv1.SchemeGroupVersion.WithKind("ReplicaSet").GroupKind() {
		return &ref, nil
	}
	o.mu.Lock()
	top, known := o.known[owner.UID]
	o.mu.Unlock()
	if known {
		return top, nil
	}
	set := &metav1.PartialObjectMetadata{}
	set.SetGroupVersionKind(ref.gvk)
	err = reader.Get(ctx, types.NamespacedName{Namespace: p.Namespace, Name: owner.Name}, set)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("ask who owns %s: %w", ref, err)
	}
	if err != nil || set.UID != owner.UID {
		return nil, nil //nolint:nilnil // as said above
	}
	if above := metav1.GetControllerOfNoCopy(set); above != nil {
		if ref, err = refOf(above.APIVersion, above.Kind, above.Name); err != nil {
			return nil, fmt.Errorf("the controller of ReplicaSet %s/%s: %w", set.Namespace, set.Name, err)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil || len(o.known) >= maxOwners {
		o.known = map[types.UID]*workloadRef{}
	}
	o.known[owner.UID] = &ref
	return &ref, nil
}

// owns reports whether the pod belongs to the workload, directly or by a ReplicaSet.
func (s source) owns(ctx context.Context, w workloadRef, p *corev1.Pod) (bool, error) {
	if owner := metav1.GetControllerOfNoCopy(p); owner != nil {
		if direct, err := refOf(owner.APIVersion, owner.Kind, owner.Name); err == nil && direct.same(w) {
			return true, nil
		}
	}
	top, err := s.owners.top(ctx, s.reader, p)
	return top != nil && top.same(w), err
}

// guards reports whether the pod is one that the budget guards. Ignored ones are told apart.
func (s source) guards(ctx context.Context, sc scope, p *corev1.Pod) (yes, ignored bool, err error) {
	if sc.selector != nil {
		yes = sc.selector.Matches(labels.Set(p.Labels))
	} else if sc.target != nil {
		yes, err = s.owns(ctx, *sc.target, p)
	}
	if yes && sc.ignored.Matches(labels.Set(p.Labels)) {
		return false, pod.Active(p), err
	}
	return yes, false, err
}

// mayGuard rules out budgets by what they are known to select. One whose selector is not known yet may guard any pod, and a
// target's own pods may have other labels than it had when it was looked at.
func (s source) mayGuard(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, p *corev1.Pod) (bool, error) {
	if pub.Status.ObservedGeneration != pub.Generation || pub.Status.Selector == "" {
		return true, nil
	}
	selector, err := labels.Parse(pub.Status.Selector)
	if err != nil || selector.Matches(labels.Set(p.Labels)) {
		return true, nil //nolint:nilerr // a selector that cannot be read rules nothing out
	}
	if pub.Spec.TargetRef == nil {
		return false, nil
	}
	target, err := targetOf(pub.Spec.TargetRef)
	if err != nil {
		return true, nil //nolint:nilerr // the decision will tell of it
	}
	return s.owns(ctx, target, p)
}
