package claim

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// Retention says with whom the claim of a slot goes; the zero value: with nobody.
type Retention struct {
	// WithSet deletes it together with the workload.
	WithSet bool
	// WithPod deletes it together with a pod that goes because its slot is not wanted any more.
	WithPod bool
}

// Owners returns the owner references that a claim should have; the garbage collector does the rest, even while we are away.
// leaving is the pod of a slot that is not wanted any more; nil: the slot is wanted, or its pod is gone. A claim that
// somebody else controls is left alone. changed says whether the claim has others now.
func (r Retention) Owners(
	c *corev1.PersistentVolumeClaim, set metav1.Object, kind schema.GroupVersionKind, leaving *corev1.Pod,
) (refs []metav1.OwnerReference, changed bool) {
	podKind := corev1.SchemeGroupVersion.WithKind("Pod")
	for _, ref := range c.OwnerReferences {
		ours := is(ref, kind) && ref.Name == set.GetName() || is(ref, podKind)
		if ours {
			continue // written again below, if it is true
		}
		if ptr.Deref(ref.Controller, false) {
			return c.OwnerReferences, false
		}
		refs = append(refs, ref)
	}
	switch {
	case leaving != nil && r.WithPod:
		ref := metav1.NewControllerRef(leaving, podKind)
		ref.BlockOwnerDeletion = nil // it would need the right to finalize pods
		refs = append(refs, *ref)
	case r.WithSet:
		refs = append(refs, *metav1.NewControllerRef(set, kind))
	}
	return refs, !same(refs, c.OwnerReferences)
}

// GoesWithPod reports whether a pod controls the claim.
func GoesWithPod(c *corev1.PersistentVolumeClaim) bool {
	ref := metav1.GetControllerOfNoCopy(c)
	return ref != nil && is(*ref, corev1.SchemeGroupVersion.WithKind("Pod"))
}

func is(ref metav1.OwnerReference, kind schema.GroupVersionKind) bool {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && gv.Group == kind.Group && ref.Kind == kind.Kind
}

// same compares references by whom they mean and how much they mean it.
func same(a, b []metav1.OwnerReference) bool {
	return slices.EqualFunc(a, b, func(x, y metav1.OwnerReference) bool {
		return x.UID == y.UID && ptr.Deref(x.Controller, false) == ptr.Deref(y.Controller, false)
	})
}
