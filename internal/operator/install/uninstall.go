package install

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/crds"
	"github.com/holdfast-io/holdfast/internal/operator"
)

// RemoveOptions of an uninstallation.
type RemoveOptions struct {
	SystemNamespace string
	DeleteCRDs      bool
	DeleteObjects   bool
	DryRun          bool
	Timeout         time.Duration
}

// RemoveDefaults are the options when none is given.
func RemoveDefaults() RemoveOptions {
	return RemoveOptions{SystemNamespace: operator.Defaults().SystemNamespace, Timeout: 5 * time.Minute}
}

// Remove takes the operator out of the cluster. The webhooks go first, so that nobody is locked out by a guard that no
// longer answers. A user's objects stay, unless their deletion is asked for: then they go while the operator still runs,
// which has to finish what it has begun with them.
func Remove(ctx context.Context, c client.Client, o RemoveOptions, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	present, err := count(ctx, c)
	if err != nil {
		return err
	}
	if left := present.text(); left != "" && o.DeleteCRDs && !o.DeleteObjects {
		return misuse("not uninstalled: deleting the definitions would delete the objects of their kinds, and the pods of these: %s. "+
			"Leave --delete-crds out to keep them, or give --delete-objects as well", left)
	}
	r := &remover{client: c, dryRun: o.DryRun, out: w}
	if err := r.removeHooks(ctx); err != nil {
		return err
	}
	if o.DeleteObjects {
		if err := r.removeObjects(ctx, present); err != nil {
			return err
		}
	}
	if err := r.removeOwn(ctx, o.SystemNamespace); err != nil {
		return err
	}
	if o.DeleteCRDs {
		if err := r.removeDefinitions(ctx, present); err != nil {
			return err
		}
	}
	for _, namespace := range []string{o.SystemNamespace, nodeNamespace(Options{SystemNamespace: o.SystemNamespace})} {
		if err := r.removeNamespace(ctx, namespace); err != nil {
			return err
		}
	}
	if left := present.text(); left != "" && !o.DeleteObjects {
		return r.say("what remains: %s, with their pods; nothing keeps them now, until Holdfast is installed again", left)
	}
	return nil
}

// kindCount is how many objects of one of our kinds there are.
type kindCount struct {
	crd   string
	gvk   schema.GroupVersionKind
	count int
}

type kindCounts []kindCount

func (k kindCounts) text() string {
	var out []string
	for _, kind := range k {
		if kind.count > 0 {
			out = append(out, fmt.Sprintf("%d %s", kind.count, kind.crd))
		}
	}
	return strings.Join(out, ", ")
}

// count lists the objects of our kinds that the cluster knows.
func count(ctx context.Context, c client.Client) (kindCounts, error) {
	all, err := crds.All()
	if err != nil {
		return nil, fmt.Errorf("read the definitions: %w", err)
	}
	var counts kindCounts
	for _, crd := range all {
		have := &metav1.PartialObjectMetadata{}
		have.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
		err := c.Get(ctx, types.NamespacedName{Name: crd.Name}, have)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at the definition %s: %w", crd.Name, err)
		}
		kind := kindCount{crd: crd.Name, gvk: storage(crd)}
		list, err := kind.list(ctx, c)
		if err != nil {
			return nil, err
		}
		kind.count = len(list)
		counts = append(counts, kind)
	}
	return counts, nil
}

// storage is the version that needs no conversion, and so no running operator.
func storage(crd *apiextensionsv1.CustomResourceDefinition) schema.GroupVersionKind {
	gvk := schema.GroupVersionKind{Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind}
	for _, version := range crd.Spec.Versions {
		if version.Storage {
			gvk.Version = version.Name
		}
	}
	return gvk
}

func (k kindCount) list(ctx context.Context, c client.Client) ([]metav1.PartialObjectMetadata, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(k.gvk.GroupVersion().WithKind(k.gvk.Kind + "List"))
	if err := c.List(ctx, list); err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("list the objects of %s: %w", k.crd, err)
	}
	return list.Items, nil
}

type remover struct {
	client client.Client
	dryRun bool
	out    io.Writer
}

func (r *remover) say(format string, args ...any) error {
	if r.dryRun {
		format += " (dry run)"
	}
	if _, err := fmt.Fprintf(r.out, format+"\n", args...); err != nil {
		return fmt.Errorf("tell the progress: %w", err)
	}
	return nil
}

// remove deletes one object; one that is gone already is fine.
func (r *remover) remove(ctx context.Context, object client.Object) error {
	gvk, err := r.client.GroupVersionKindFor(object)
	if err != nil {
		return fmt.Errorf("name the kind of %s: %w", object.GetName(), err)
	}
	label := strings.ToLower(gvk.Kind) + " " + strings.TrimPrefix(client.ObjectKeyFromObject(object).String(), "/")
	opts := []client.DeleteOption{client.PropagationPolicy(metav1.DeletePropagationBackground)}
	if r.dryRun {
		opts = append(opts, client.DryRunAll)
	}
	err = r.client.Delete(ctx, object, opts...)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", label, err)
	}
	return r.say("deleted %s", label)
}

// removeHooks takes away what stands between users and the API server.
func (r *remover) removeHooks(ctx context.Context) error {
	for _, object := range operator.Policies() {
		if err := r.remove(ctx, object); err != nil {
			return err
		}
	}
	for _, object := range []client.Object{
		&admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{},
	} {
		object.SetName(operator.ConfigurationName)
		if err := r.remove(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

func (r *remover) removeDefinitions(ctx context.Context, kinds kindCounts) error {
	for _, kind := range kinds {
		if err := r.remove(ctx, &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: kind.crd}}); err != nil {
			return err
		}
	}
	return nil
}

// removeObjects deletes the objects of our kinds and waits until they are gone.
func (r *remover) removeObjects(ctx context.Context, counts kindCounts) error {
	for _, kind := range counts {
		list, err := kind.list(ctx, r.client)
		if err != nil {
			return err
		}
		for i := range list {
			list[i].SetGroupVersionKind(kind.gvk)
			if err := r.remove(ctx, &list[i]); err != nil {
				return err
			}
		}
		if r.dryRun || len(list) == 0 {
			continue
		}
		err = poll(ctx, r.out, kind.crd, func(ctx context.Context) (bool, string, error) {
			left, err := kind.list(ctx, r.client)
			return len(left) == 0, fmt.Sprintf("%d left", len(left)), err
		})
		if err != nil {
			return fmt.Errorf("%w: something holds them by a finalizer; see metadata.finalizers", err)
		}
	}
	return nil
}

// removeOwn deletes what the installation made beside the definitions and the namespace, the Deployment first.
func (r *remover) removeOwn(ctx context.Context, systemNamespace string) error {
	if err := r.removeNodeObjects(ctx, systemNamespace); err != nil {
		return err
	}
	o := Defaults()
	o.SystemNamespace = systemNamespace
	o.Only = []string{stepRBAC, stepOperator, stepPolicies}
	manifests, err := Manifests(o)
	if err != nil {
		return err
	}
	slices.Reverse(manifests)
	for _, m := range manifests {
		if err := r.remove(ctx, m.Object); err != nil {
			return err
		}
	}
	return nil
}

// removeNamespace deletes the system namespace when we made it and nothing of anybody else is in it.
func (r *remover) removeNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{}
	if err := r.client.Get(ctx, types.NamespacedName{Name: name}, namespace); err != nil {
		return client.IgnoreNotFound(err)
	}
	if namespace.Labels[labelManagedBy] != managedBy {
		return r.say("kept namespace %s, which the installation did not make", name)
	}
	for _, list := range []client.ObjectList{
		&corev1.PodList{}, &corev1.PersistentVolumeClaimList{}, &corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.ServiceList{},
	} {
		others, err := r.others(ctx, list, name)
		if err != nil {
			return err
		}
		if len(others) > 0 {
			return r.say("kept namespace %s, which holds other objects, such as %s", name, others[0])
		}
	}
	return r.remove(ctx, namespace)
}

// others are the objects of a namespace that neither we nor the cluster put there.
func (r *remover) others(ctx context.Context, list client.ObjectList, namespace string) ([]string, error) {
	if err := r.client.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("look what is left in namespace %s: %w", namespace, err)
	}
	var out []string
	err := meta.EachListItem(list, func(item runtime.Object) error {
		object, ok := item.(client.Object)
		if !ok {
			return fmt.Errorf("%T has no metadata", item)
		}
		kind, err := r.client.GroupVersionKindFor(object)
		if err != nil {
			return err //nolint:wrapcheck // said below
		}
		labels := object.GetLabels()
		ours := labels[labelManagedBy] == managedBy || labels[labelName] == "holdfast"
		if !ours && object.GetName() != "kube-root-ca.crt" {
			out = append(out, strings.ToLower(kind.Kind)+" "+object.GetName())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look what is left in namespace %s: %w", namespace, err)
	}
	return out, nil
}
