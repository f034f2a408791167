package uniteddeployment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// actError is a subset to whose workload something could not be done.
type actError struct {
	subset, what string
	err          error
}

func (e *actError) Error() string { return fmt.Sprintf("subset %q: %s: %v", e.subset, e.what, e.err) }
func (e *actError) Unwrap() error { return e.err }

var errTaken = errors.New("an object of that name exists and belongs to somebody else; rename it or delete it, or rename the subset")

// act writes: pods are labelled first, then those that shrink go before those that grow. If one that shrinks could not be
// written, none grows: its pods may still come.
func (r *Reconciler) act(ctx context.Context, ud *appsv1beta1.UnitedDeployment, p plan, f family, m *memory) error {
	var errs []error
	for _, one := range p.marks {
		errs = append(errs, r.mark(ctx, one))
	}
	for _, grows := range []bool{false, true} {
		for _, c := range p.changes {
			if c.grows() != grows {
				continue
			}
			if err := r.change(ctx, ud, c, f, m); err != nil {
				errs = append(errs, err)
			}
		}
		if len(slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })) > 0 {
			break
		}
	}
	return errors.Join(errs...)
}

// mark labels a pod, or takes the label off.
func (r *Reconciler) mark(ctx context.Context, one mark) error {
	var value any
	if one.reserved {
		value = "true"
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": one.pod.UID, "labels": map[string]any{appsv1beta1.ReservedPod: value},
	}})
	if err != nil {
		return fmt.Errorf("encode the label of pod %s: %w", one.pod.Name, err)
	}
	fresh := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: one.pod.Namespace, Name: one.pod.Name}}
	if err := r.Client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, body)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("label pod %s/%s as reserved, or not: %w", one.pod.Namespace, one.pod.Name, err)
	}
	return nil
}

func (r *Reconciler) change(ctx context.Context, ud *appsv1beta1.UnitedDeployment, c change, f family, m *memory) error {
	switch {
	case c.child == nil:
		return r.create(ctx, ud, c, f, m)
	case c.remove:
		return r.remove(ctx, c, f, m)
	default:
		return r.patch(ctx, c, f, m)
	}
}

// create makes a workload. A name that is taken by one of ours is that very workload: the answer was lost, or the cache is behind.
func (r *Reconciler) create(ctx context.Context, ud *appsv1beta1.UnitedDeployment, c change, f family, m *memory) error {
	*shapeOf(c.object).replicas = ptr.To(c.replicas)
	label(nil, c.object)
	name := c.object.GetName()
	what := fmt.Sprintf("create %s %s", f.kind.Kind, name)
	err := r.Client.Create(ctx, c.object)
	if apierrors.IsAlreadyExists(err) {
		live := f.empty()
		if err = r.Live.Get(ctx, client.ObjectKeyFromObject(c.object), live); err == nil && !mine(ud, live) {
			return &actError{c.subset, what, errTaken}
		}
		m.wrote(name, live.GetResourceVersion(), err)
		return reconcile.Wait(cacheInterval, "the cache does not show "+what+" yet")
	}
	m.wrote(name, c.object.GetResourceVersion(), err)
	if err != nil {
		return &actError{c.subset, what, err}
	}
	reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulCreate", "created %s %s with %d replicas", f.kind.Kind, name, c.replicas)
	return nil
}

// patch brings a workload to what it is to be, if nobody has changed it meanwhile.
func (r *Reconciler) patch(ctx context.Context, c change, f family, m *memory) error {
	name := c.child.object.GetName()
	what := fmt.Sprintf("update %s %s", f.kind.Kind, name)
	body, err := difference(c)
	if err != nil {
		return &actError{c.subset, what, err}
	}
	fresh := f.empty()
	fresh.SetNamespace(c.child.object.GetNamespace())
	fresh.SetName(name)
	err = r.Client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, body))
	m.wrote(name, fresh.GetResourceVersion(), err)
	if err != nil {
		return &actError{c.subset, what, err}
	}
	if c.object != nil {
		reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulUpdate", "brought %s %s to the newest revision", f.kind.Kind, name)
	}
	if c.child.asked != c.replicas {
		reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulScale", "scaled %s %s from %d to %d",
			f.kind.Kind, name, c.child.asked, c.replicas)
	}
	return nil
}

// difference is the merge patch. The selector of a workload never changes, and a restart that somebody asked for stays asked for.
func difference(c change) ([]byte, error) {
	is := c.child.object
	want, ok := is.DeepCopyObject().(client.Object)
	if c.object != nil {
		want, ok = c.object.DeepCopyObject().(client.Object)
	}
	if !ok {
		return nil, fmt.Errorf("%T is no object", is)
	}
	if c.object != nil {
		label(is, want)
	}
	isShape, wantShape := shapeOf(is), shapeOf(want)
	*wantShape.replicas, *wantShape.selector = &c.replicas, *isShape.selector
	restart := appsv1beta1.RestartedAt
	if at, asked := isShape.template.Annotations[restart]; asked && wantShape.template.Annotations[restart] == "" {
		wantShape.template.Annotations = merged(wantShape.template.Annotations, map[string]string{restart: at})
	}
	type meta struct {
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	type body struct {
		Metadata meta `json:"metadata"`
		Spec     any  `json:"spec"`
	}
	before, err := json.Marshal(body{meta{is.GetLabels(), is.GetAnnotations()}, isShape.spec})
	if err != nil {
		return nil, fmt.Errorf("encode it as it is: %w", err)
	}
	metadata := meta{merged(is.GetLabels(), want.GetLabels()), merged(is.GetAnnotations(), want.GetAnnotations())}
	after, err := json.Marshal(body{metadata, wantShape.spec})
	if err != nil {
		return nil, fmt.Errorf("encode it as it is to be: %w", err)
	}
	diff, err := jsonpatch.CreateMergePatch(before, after)
	if err != nil {
		return nil, fmt.Errorf("compare it: %w", err)
	}
	guard := fmt.Appendf(nil, `{"metadata":{"uid":%q,"resourceVersion":%q}}`, is.GetUID(), is.GetResourceVersion())
	whole, err := jsonpatch.MergeMergePatches(diff, guard)
	if err != nil {
		return nil, fmt.Errorf("make the patch: %w", err)
	}
	return whole, nil
}

func (r *Reconciler) remove(ctx context.Context, c change, f family, m *memory) error {
	object := c.child.object
	what := fmt.Sprintf("delete %s %s", f.kind.Kind, object.GetName())
	// The version: somebody may just have asked it for pods.
	err := r.Client.Delete(ctx, object, client.PropagationPolicy(metav1.DeletePropagationBackground),
		client.Preconditions{UID: ptr.To(object.GetUID()), ResourceVersion: ptr.To(object.GetResourceVersion())})
	m.unsure[object.GetName()] = true // until the cache shows that it is gone
	if client.IgnoreNotFound(err) != nil {
		return &actError{c.subset, what, err}
	}
	reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulDelete", "deleted %s %s: there is no subset %q any more",
		f.kind.Kind, object.GetName(), c.subset)
	return nil
}

// hopeless reports whether what failed will fail again until somebody changes the spec, or the cluster.
func hopeless(err error) bool {
	var failed *actError
	if !errors.As(err, &failed) {
		return false
	}
	return apierrors.IsInvalid(failed.err) || apierrors.IsBadRequest(failed.err) ||
		apierrors.HasStatusCause(failed.err, corev1.NamespaceTerminatingCause)
}
