// Package v1beta1 holds the kinds of policy.kruise.io that have a version of this name; the older version of each is derived
// from it by the rows of ../moves.go.
//
// Its comments are the manual: what kubectl explain prints comes from here.
//
// +kubebuilder:object:generate=true
// +groupName=policy.kruise.io
package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of the guards.
const GroupName = "policy.kruise.io"

// SchemeGroupVersion is the group and version of this package's kinds.
var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1beta1"}

// AddToScheme registers every kind of this package with a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion,
		&PodUnavailableBudget{}, &PodUnavailableBudgetList{},
	)
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}
