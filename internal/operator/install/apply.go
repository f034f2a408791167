package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/operator"
)

// fieldOwner is who applied the manifests. The operator's own writes, such as the certificates, have another owner, and
// stay when the manifests are applied again.
const fieldOwner = "holdfast-install"

// Apply installs or upgrades the operator, telling on w what it does.
func Apply(ctx context.Context, c client.Client, o Options, w io.Writer) error {
	if err := o.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	manifests, err := Manifests(o)
	if err != nil {
		return err
	}
	if err := checkDefinitions(ctx, c, manifests, o.TakeOver); err != nil {
		return err
	}
	if !o.DryRun {
		for _, namespace := range []string{o.SystemNamespace, nodeNamespace(o)} {
			if err := waitNamespaceGone(ctx, c, namespace, w); err != nil {
				return err
			}
		}
		if err := freeAddresses(ctx, c, manifests); err != nil {
			return err
		}
	}
	webhooks := slices.IndexFunc(manifests, func(m Manifest) bool { return m.Step == stepWebhooks })
	if webhooks < 0 {
		webhooks = len(manifests)
	}
	if err := applyAll(ctx, c, manifests[:webhooks], o.DryRun, w); err != nil {
		return err
	}
	if err := waitRollout(ctx, c, o, w); err != nil {
		return err
	}
	if err := applyAll(ctx, c, manifests[webhooks:], o.DryRun, w); err != nil {
		return err
	}
	if err := removePolicies(ctx, c, o, w); err != nil {
		return err
	}
	if err := removeNode(ctx, c, o, w); err != nil {
		return err
	}
	return waitInjected(ctx, c, o, w, manifests)
}

// removePolicies takes away the admission policies of parts that are not wanted any more: nothing else would.
func removePolicies(ctx context.Context, c client.Client, o Options, w io.Writer) error {
	if !o.does(stepPolicies) {
		return nil
	}
	wanted := map[string]bool{}
	for _, object := range operator.Policies(o.Parts...) {
		wanted[object.GetName()] = true
	}
	r := &remover{client: c, dryRun: o.DryRun, out: w}
	for _, object := range operator.Policies() {
		if wanted[object.GetName()] {
			continue
		}
		if err := r.remove(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

func applyAll(ctx context.Context, c client.Client, manifests []Manifest, dryRun bool, w io.Writer) error {
	for _, m := range manifests {
		if err := apply(ctx, c, m.Object, dryRun, w); err != nil {
			return err
		}
	}
	return nil
}

func apply(ctx context.Context, c client.Client, object client.Object, dryRun bool, w io.Writer) error {
	want, err := plain(object)
	if err != nil {
		return err
	}
	label := strings.ToLower(want.GetKind()) + " " + client.ObjectKeyFromObject(want).String()
	if want.GetNamespace() == "" {
		label = strings.ToLower(want.GetKind()) + " " + want.GetName()
	}
	body, err := want.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encode %s: %w", label, err)
	}
	opts := []client.PatchOption{client.FieldOwner(fieldOwner), client.ForceOwnership}
	if dryRun {
		opts = append(opts, client.DryRunAll)
	}
	err = c.Patch(ctx, want, client.RawPatch(types.ApplyPatchType, body), opts...)
	switch {
	case dryRun && apierrors.IsNotFound(err):
		// Its namespace is only pretended to exist.
	case apierrors.IsForbidden(err):
		return fmt.Errorf("apply %s: %w: installing needs the rights of a cluster administrator", label, err)
	case err != nil:
		return fmt.Errorf("apply %s: %w", label, err)
	}
	suffix := ""
	if dryRun {
		suffix = " (dry run)"
	}
	if _, err := fmt.Fprintf(w, "applied %s%s\n", label, suffix); err != nil {
		return fmt.Errorf("tell the progress: %w", err)
	}
	return nil
}

// checkDefinitions looks at the CRDs of the cluster before anything is written.
func checkDefinitions(ctx context.Context, c client.Client, manifests []Manifest, takeOver bool) error {
	var errs []error
	for _, m := range manifests {
		want, ok := m.Object.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			continue
		}
		have := &apiextensionsv1.CustomResourceDefinition{}
		err := c.Get(ctx, client.ObjectKeyFromObject(want), have)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at the definition %s: %w", want.Name, err)
		}
		if err := mayReplace(have, want, takeOver); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mayReplace tells why the definition of the cluster must not be replaced with ours, or nil.
func mayReplace(have, want *apiextensionsv1.CustomResourceDefinition, takeOver bool) error {
	served := map[string]bool{}
	for _, version := range want.Spec.Versions {
		served[version.Name] = true
	}
	for _, stored := range have.Status.StoredVersions {
		if !served[stored] {
			return fmt.Errorf("definition %s: the cluster stores objects in version %s, which this release does not know (it knows %s): "+
				"install a release that knows it, or write every object again in another version and remove %s from status.storedVersions",
				have.Name, stored, strings.Join(names(want), ", "), stored)
		}
	}
	if have.Spec.Scope != want.Spec.Scope {
		return fmt.Errorf("definition %s: it is %s on the cluster and %s in this release, and a scope cannot be changed: "+
			"save its objects, delete the definition, and install again", have.Name, have.Spec.Scope, want.Spec.Scope)
	}
	if owner := foreignOwner(have); owner != "" && !takeOver {
		return fmt.Errorf("definition %s: it belongs to %s: two controllers must not work on the same objects; stop the other one, "+
			"then install with --take-over, which keeps every object", have.Name, owner)
	}
	return nil
}

func names(crd *apiextensionsv1.CustomResourceDefinition) []string {
	var out []string
	for _, version := range crd.Spec.Versions {
		out = append(out, version.Name)
	}
	return out
}

// foreignOwner is who manages a definition, when it is not us; "" also when nobody says so.
func foreignOwner(crd *apiextensionsv1.CustomResourceDefinition) string {
	if crd.Labels[labelManagedBy] == managedBy {
		return ""
	}
	if release := crd.Annotations["meta.helm.sh/release-name"]; release != "" {
		return fmt.Sprintf("the Helm release %s/%s", crd.Annotations["meta.helm.sh/release-namespace"], release)
	}
	if by := crd.Labels[labelManagedBy]; by != "" {
		return by
	}
	if conversion := crd.Spec.Conversion; conversion != nil && conversion.Webhook != nil && conversion.Webhook.ClientConfig != nil {
		if service := conversion.Webhook.ClientConfig.Service; service != nil && service.Name != name {
			return fmt.Sprintf("the service %s/%s, which converts its versions", service.Namespace, service.Name)
		}
	}
	return ""
}
