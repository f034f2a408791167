// Package v1alpha1 holds the kinds of policy.kruise.io that have no newer version: the limits on what may be taken away, and
// the way around them in an emergency.
//
// Its comments are the manual: what kubectl explain prints comes from here.
//
// +kubebuilder:object:generate=true
// +groupName=policy.kruise.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of the guards.
const GroupName = "policy.kruise.io"

// SchemeGroupVersion is the group and version of this package's kinds.
var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// AddToScheme registers every kind of this package with a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion,
		&PodDeletionFlowControl{}, &PodDeletionFlowControlList{},
		&PodDeletionLedger{}, &PodDeletionLedgerList{},
		&BreakGlass{}, &BreakGlassList{},
	)
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}
