package judge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/workload/claim"
)

// Server asks the API server itself what it would say to the pods and claims of a workload.
type Server struct {
	Client client.Client
	Live   client.Reader
}

// What judging workloads takes beyond what keeping them does.

// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=get

// Accepts asks, in dry runs, for whatever is new in w. old is nil when all of it is.
func (s Server) Accepts(ctx context.Context, old *Workload, w Workload) (warnings []string, errs field.ErrorList) {
	warnings, errs = s.pod(ctx, old, w)
	warned, found := s.claims(ctx, old, w)
	return append(warnings, warned...), append(errs, found...)
}

// pod asks the API server, in a dry run, whether it would take a pod of the template.
func (s Server) pod(ctx context.Context, old *Workload, w Workload) ([]string, field.ErrorList) {
	if old != nil && apiequality.Semantic.DeepEqual(old.Template, w.Template) && apiequality.Semantic.DeepEqual(old.Claims, w.Claims) {
		return nil, nil
	}
	tmpl := w.Template.DeepCopy()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		GenerateName: w.Name + "-", Namespace: w.Namespace,
		Labels: tmpl.Labels, Annotations: tmpl.Annotations, Finalizers: tmpl.Finalizers,
	}, Spec: tmpl.Spec}
	claim.Mount(&p.Spec, w.Name, w.Claims, "xxxxx") // the containers may mount them
	return Tried(s.Client.Create(ctx, p, client.DryRunAll), field.NewPath("spec", "template"))
}

func (s Server) claims(ctx context.Context, old *Workload, w Workload) (warnings []string, errs field.ErrorList) {
	for i := range w.Claims {
		tmpl := &w.Claims[i]
		before := TemplateNamed(old, tmpl.Name)
		if before != nil && apiequality.Semantic.DeepEqual(before.Spec, tmpl.Spec) {
			continue
		}
		path := field.NewPath("spec", "volumeClaimTemplates").Index(i)
		c := tmpl.DeepCopy()
		c.Name, c.GenerateName, c.Namespace = "", tmpl.Name+"-", w.Namespace
		warned, found := Tried(s.Client.Create(ctx, c, client.DryRunAll), path)
		warnings, errs = append(warnings, warned...), append(errs, found...)
		if warning := s.classExists(ctx, tmpl, path.Child("spec")); warning != "" {
			warnings = append(warnings, warning)
		}
	}
	return warnings, errs
}

// TemplateNamed returns the workload's claim template of that name, or nil.
func TemplateNamed(w *Workload, name string) *corev1.PersistentVolumeClaim {
	if w == nil {
		return nil
	}
	for i := range w.Claims {
		if w.Claims[i].Name == name {
			return &w.Claims[i]
		}
	}
	return nil
}

// classExists warns of a storage class that does not exist.
func (s Server) classExists(ctx context.Context, tmpl *corev1.PersistentVolumeClaim, path *field.Path) string {
	name := ptr.Deref(tmpl.Spec.StorageClassName, "")
	if name == "" || !apierrors.IsNotFound(s.Live.Get(ctx, types.NamespacedName{Name: name}, &storagev1.StorageClass{})) {
		return ""
	}
	return fmt.Sprintf("%s: there is no StorageClass %q, so the claims wait until there is one, "+
		"or until volumes of that class are made by hand", path.Child("storageClassName"), name)
}

// Growth refuses that claims grow whose storage class does not allow it.
func (s Server) Growth(ctx context.Context, old *Workload, w Workload) (errs field.ErrorList) {
	for i := range w.Claims {
		tmpl := &w.Claims[i]
		before := TemplateNamed(old, tmpl.Name)
		name := ptr.Deref(tmpl.Spec.StorageClassName, "")
		if before == nil || name == "" || !claim.Larger(tmpl, before) {
			continue
		}
		var class storagev1.StorageClass
		if err := s.Live.Get(ctx, types.NamespacedName{Name: name}, &class); err != nil || ptr.Deref(class.AllowVolumeExpansion, false) {
			continue // without an answer the API server will say when the claim is changed
		}
		errs = append(errs, field.Forbidden(
			field.NewPath("spec", "volumeClaimTemplates").Index(i).Child("spec", "resources", "requests", "storage"),
			fmt.Sprintf("StorageClass %q does not allow expansion; set its allowVolumeExpansion to true, if the driver can", name)))
	}
	return errs
}

// ClaimsStay warns of claim templates that became smaller: the claims that exist cannot follow.
func ClaimsStay(old *Workload, w Workload) (warnings []string) {
	for i := range w.Claims {
		tmpl := &w.Claims[i]
		if before := TemplateNamed(old, tmpl.Name); before != nil && claim.Larger(before, tmpl) {
			was, is := before.Spec.Resources.Requests[corev1.ResourceStorage], tmpl.Spec.Resources.Requests[corev1.ResourceStorage]
			warnings = append(warnings, fmt.Sprintf("%s: a volume cannot shrink: claims that exist stay as they are (%s), new ones ask for %s",
				field.NewPath("spec", "volumeClaimTemplates").Index(i).Child("spec", "resources", "requests", "storage"), was.String(), is.String()))
		}
	}
	return warnings
}

// Claims refuses claim templates without a name, or with one name twice.
func Claims(w Workload) (errs field.ErrorList) {
	path := field.NewPath("spec", "volumeClaimTemplates")
	seen := map[string]bool{}
	for i := range w.Claims {
		tmpl := &w.Claims[i]
		switch {
		case tmpl.Name == "":
			errs = append(errs, field.Required(path.Index(i).Child("metadata", "name"), "the name ties the claim to a volume mount of the pod"))
		case seen[tmpl.Name]:
			errs = append(errs, field.Duplicate(path.Index(i).Child("metadata", "name"), tmpl.Name))
		}
		seen[tmpl.Name] = true
	}
	return errs
}

// Tried turns the API server's answer to a dry run into errors at the fields of the template.
func Tried(err error, path *field.Path) ([]string, field.ErrorList) {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil, nil
	case apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run"):
		return nil, nil // a webhook in the way answers only when it is meant
	case apierrors.IsForbidden(err) || apierrors.IsBadRequest(err):
		// A quota, the pod security of the namespace, a webhook: it may be different when the pod is made.
		return []string{fmt.Sprintf("%s: as things are, the API server would not take it: %v", path, err)}, nil
	case !apierrors.IsInvalid(err):
		return nil, nil // the API server could not say
	}
	if !errors.As(err, &status) || status.Status().Details == nil || len(status.Status().Details.Causes) == 0 {
		return nil, field.ErrorList{field.Invalid(path, field.OmitValueType{}, err.Error())}
	}
	var errs field.ErrorList
	for _, cause := range status.Status().Details.Causes {
		if slices.Contains([]string{"metadata.name", "metadata.generateName"}, cause.Field) {
			continue
		}
		kind := cmp.Or(field.ErrorType(cause.Type), field.ErrorTypeInvalid) // webhooks often give none
		errs = append(errs, &field.Error{
			Type: kind, Field: path.Child(cause.Field).String(), BadValue: field.OmitValueType{},
			Detail: strings.TrimPrefix(strings.TrimPrefix(cause.Message, kind.String()), ": "),
		})
	}
	return nil, errs
}
