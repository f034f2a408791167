// Package v1beta1 holds the kinds of apps.kruise.io at their newest version, one file per kind; every older version is
// derived from it by the rows of ../moves.go.
//
// Its comments are the manual: what kubectl explain prints comes from here.
//
// +kubebuilder:object:generate=true
// +groupName=apps.kruise.io
package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of the workloads.
const GroupName = "apps.kruise.io"

// SchemeGroupVersion is the group and version of this package's kinds.
var SchemeGroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1beta1"}

// Resource qualifies a resource name with this package's group, as listers and API errors want it.
func Resource(resource string) schema.GroupResource {
	return SchemeGroupVersion.WithResource(resource).GroupResource()
}

// AddToScheme registers every kind of this package with a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion,
		&CloneSet{}, &CloneSetList{},
		&AdvancedCronJob{}, &AdvancedCronJobList{},
		&UnitedDeployment{}, &UnitedDeploymentList{},
		&StatefulSet{}, &StatefulSetList{},
		&SidecarSet{}, &SidecarSetList{},
		&DaemonSet{}, &DaemonSetList{},
		&BroadcastJob{}, &BroadcastJobList{},
	)
	metav1.AddToGroupVersion(scheme, SchemeGroupVersion)
	return nil
}
