package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	kjson "sigs.k8s.io/json"
)

// Kind adapts the pure Default and Validate functions of one API kind.
type Kind[T client.Object] struct {
	// Default fills in what the user left out; nil when the kind has nothing to fill in.
	Default func(obj T)
	// Validate judges a new object (old is the zero T then: nil for pointers) or a changed one. Warnings are shown to the
	// user either way; any error refuses the object.
	Validate func(ctx context.Context, old, obj T) (warnings []string, errs field.ErrorList)
	// Prepare does what must have been done before a valid object is stored; an error refuses the object for now. It is not
	// called in a dry run, nor without Validate.
	Prepare func(ctx context.Context, old, obj T) error
}

// Hook is one webhook: what it wants to hear of, and what it answers.
type Hook struct {
	// Name is a DNS name with at least three parts, unique among the hooks.
	Name string
	// Path is where it is served, such as "/validate/apps.kruise.io/clonesets".
	Path     string
	Mutating bool
	Rules    []admissionregistrationv1.RuleWithOperations
	// FailurePolicy defaults to Fail.
	FailurePolicy     admissionregistrationv1.FailurePolicyType
	MatchConditions   []admissionregistrationv1.MatchCondition
	NamespaceSelector *metav1.LabelSelector
	ObjectSelector    *metav1.LabelSelector
	// TimeoutSeconds defaults to 10.
	TimeoutSeconds int32
	// SideEffects defaults to None.
	SideEffects admissionregistrationv1.SideEffectClass
	// Scoped: one of its match conditions is kept at run time; see Scope.
	Scoped  bool
	Handler admission.Handler
}

// ForKind makes the hooks of one kind: a mutating one when it has defaults, and a validating one. The API server converts
// every served version to gvr's before it asks. A nil newObject makes a zero T.
func ForKind[T client.Object](scheme *runtime.Scheme, gvr schema.GroupVersionResource, newObject func() T, k Kind[T]) []Hook {
	if newObject == nil {
		newObject = func() T { return reflect.New(reflect.TypeFor[T]().Elem()).Interface().(T) } //nolint:forcetypeassert // made from T itself
	}
	kind := gvr.Resource
	if gvk, err := apiutil.GVKForObject(newObject(), scheme); err == nil {
		kind = gvk.Kind
	}
	group := gvr.Group
	if group == "" {
		group = "core"
	}
	hook := func(verb string, mutating bool, handle admission.HandlerFunc) Hook {
		return Hook{
			Name:     fmt.Sprintf("%s.%s.%s", verb, gvr.Resource, group),
			Path:     fmt.Sprintf("/%s/%s/%s", verb, group, gvr.Resource),
			Mutating: mutating,
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule: admissionregistrationv1.Rule{
					APIGroups:   []string{gvr.Group},
					APIVersions: []string{gvr.Version},
					Resources:   []string{gvr.Resource},
					Scope:       ptr.To(admissionregistrationv1.AllScopes),
				},
			}},
			// An object on its way out only loses its finalizers: that must go on while we are away.
			MatchConditions: []admissionregistrationv1.MatchCondition{{
				Name: "is-not-being-deleted", Expression: "!has(object.metadata.deletionTimestamp)",
			}},
			Handler: handle,
		}
	}
	var hooks []Hook
	if k.Default != nil {
		hooks = append(hooks, hook("default", true, func(_ context.Context, req admission.Request) admission.Response {
			return defaulted(req, newObject, k.Default)
		}))
	}
	if k.Validate != nil {
		judge := hook("validate", false, func(ctx context.Context, req admission.Request) admission.Response {
			return validated(ctx, req, schema.GroupKind{Group: gvr.Group, Kind: kind}, newObject, k)
		})
		if k.Prepare != nil {
			judge.SideEffects = admissionregistrationv1.SideEffectClassNoneOnDryRun
		}
		hooks = append(hooks, judge)
	}
	return hooks
}

// defaulted patches only what Default changed: a field that the Go type does not know stays as the user wrote it.
func defaulted[T client.Object](req admission.Request, newObject func() T, fill func(T)) admission.Response {
	obj := newObject()
	if err := decode(req.Object, obj); err != nil {
		return unreadable(req, err)
	}
	if obj.GetDeletionTimestamp() != nil {
		return admission.Allowed("")
	}
	before, err := json.Marshal(obj)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("encode the object as it was: %w", err))
	}
	fill(obj)
	after, err := json.Marshal(obj)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("encode the object with its defaults: %w", err))
	}
	patches, err := fitted(req.Object.Raw, before, after)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("compare the object with its defaults: %w", err))
	}
	return admission.Patched("", patches...)
}

func validated[T client.Object](
	ctx context.Context, req admission.Request, kind schema.GroupKind, newObject func() T, k Kind[T],
) admission.Response {
	obj := newObject()
	if err := decode(req.Object, obj); err != nil {
		return unreadable(req, err)
	}
	var old T
	if req.Operation == admissionv1.Update {
		old = newObject()
		if err := decode(req.OldObject, old); err != nil {
			return unreadable(req, err)
		}
		// An object on its way out must be able to lose its finalizers, whatever a newer rule thinks of its spec.
		if obj.GetDeletionTimestamp() != nil {
			return admission.Allowed("")
		}
	}
	warnings, errs := k.Validate(ctx, old, obj)
	warnings = append(unknownFields(req.Object.Raw, newObject()), warnings...)
	name := req.Name
	if name == "" {
		name = obj.GetName()
	}
	if len(errs) == 0 {
		if k.Prepare != nil && !ptr.Deref(req.DryRun, false) {
			if err := k.Prepare(ctx, old, obj); err != nil {
				return admission.Errored(http.StatusServiceUnavailable, fmt.Errorf("%s %s: %w; try again", kind.Kind, name, err))
			}
		}
		return admission.Allowed("").WithWarnings(warnings...)
	}
	return invalid(kind, name, errs).WithWarnings(warnings...)
}

// unknownFields warns of fields that the kind does not have. The API server does so itself, except in the parts of an object
// that its schema leaves open, such as a pod template.
func unknownFields(raw []byte, into any) []string {
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return nil // it could be decoded before
	}
	warnings := make([]string, 0, len(strict))
	for _, e := range strict {
		warnings = append(warnings, e.Error())
	}
	return warnings
}

// invalid is the answer that the API server itself gives for an invalid object: 422 with a cause for each field. When
// every error is a matter of permission, it is 403.
func invalid(kind schema.GroupKind, name string, errs field.ErrorList) admission.Response {
	status := apierrors.NewInvalid(kind, name, errs).Status()
	forbidden := true
	for _, err := range errs {
		forbidden = forbidden && err.Type == field.ErrorTypeForbidden
	}
	if forbidden {
		status.Code, status.Reason = http.StatusForbidden, metav1.StatusReasonForbidden
	}
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}
}

func decode(raw runtime.RawExtension, into client.Object) error {
	if len(raw.Raw) == 0 {
		return fmt.Errorf("the request holds no object")
	}
	if err := json.Unmarshal(raw.Raw, into); err != nil {
		return fmt.Errorf("decode the object: %w", err)
	}
	return nil
}

func unreadable(req admission.Request, err error) admission.Response {
	return admission.Errored(http.StatusBadRequest,
		fmt.Errorf("%s %s: %w", strings.ToLower(string(req.Operation)), req.Resource.Resource, err))
}

// fitted are the operations that bring raw to after, less those that only come from decoding and encoding it.
func fitted(raw, before, after []byte) ([]jsonpatch.Operation, error) {
	if string(before) == string(after) {
		return nil, nil
	}
	target, err := overlay(raw, before, after)
	if err != nil {
		return nil, err
	}
	operations, err := jsonpatch.CreatePatch(raw, target)
	if err != nil {
		return nil, fmt.Errorf("make the patch: %w", err)
	}
	return operations, nil
}
