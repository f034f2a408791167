package breakglass

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/admission"
)

// Hooks write down who makes a BreakGlass. What else is to be said of one, its definition says.
func Hooks() []admission.Hook {
	return []admission.Hook{{
		Name:     "creator.breakglasses.policy.kruise.io",
		Path:     "/default/policy.kruise.io/breakglasses",
		Mutating: true,
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{v1alpha1.GroupName}, APIVersions: []string{v1alpha1.SchemeGroupVersion.Version},
				Resources: []string{"breakglasses"}, Scope: ptr.To(admissionregistrationv1.ClusterScope),
			},
		}},
		Handler: ctrl.HandlerFunc(creator),
	}}
}

// creator sets the annotation to the user who creates, and keeps it afterwards.
func creator(_ context.Context, req ctrl.Request) ctrl.Response {
	name := req.UserInfo.Username
	if req.Operation == admissionv1.Update {
		old, err := head(req.OldObject.Raw)
		if err != nil {
			return ctrl.Errored(http.StatusBadRequest, err)
		}
		name = old.Annotations[v1alpha1.BreakGlassCreator]
	}
	object, err := head(req.Object.Raw)
	if err != nil {
		return ctrl.Errored(http.StatusBadRequest, err)
	}
	if object.Annotations[v1alpha1.BreakGlassCreator] == name {
		return ctrl.Allowed("")
	}
	if len(object.Annotations) == 0 {
		return ctrl.Patched("", jsonpatch.NewOperation("add", "/metadata/annotations", map[string]string{v1alpha1.BreakGlassCreator: name}))
	}
	return ctrl.Patched("", jsonpatch.NewOperation("add", "/metadata/annotations/policy.kruise.io~1created-by", name))
}

func head(raw []byte) (*metav1.PartialObjectMetadata, error) {
	object := &metav1.PartialObjectMetadata{}
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, fmt.Errorf("decode the BreakGlass: %w", err)
	}
	return object, nil
}
