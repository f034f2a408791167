package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// PodUnavailableBudget bounds how many pods of an application may be away at a time because of what somebody does to them:
// a deletion, an eviction, a change in place, a resize, by a person or by a controller. Pods that fail by themselves count
// as away, too, but nobody can be stopped from failing.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=podunavailablebudgets,singular=podunavailablebudget,shortName=pub
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Allowed",type=integer,JSONPath=".status.unavailableAllowed",description="Pods that may be taken away now"
// +kubebuilder:printcolumn:name="Current",type=integer,JSONPath=".status.currentAvailable",description="Pods that are available and not about to be taken away"
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=".status.desiredAvailable",description="Pods that must stay available"
// +kubebuilder:printcolumn:name="Total",type=integer,JSONPath=".status.totalReplicas",description="Pods that the application wants"
type PodUnavailableBudget struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	//
	// +optional
	Spec PodUnavailableBudgetSpec `json:"spec,omitempty"`

	// Status is what was seen last, and the ledger of what was allowed. It is written by Holdfast alone.
	//
	// +optional
	Status PodUnavailableBudgetStatus `json:"status,omitempty"`
}

// PodUnavailableBudgetList is a list of PodUnavailableBudgets.
//
// +kubebuilder:object:root=true
type PodUnavailableBudgetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the budgets.
	Items []PodUnavailableBudget `json:"items"`
}

// PodUnavailableBudgetSpec is what is wanted of a budget.
//
// +kubebuilder:validation:XValidation:rule="has(self.selector) != has(self.targetRef)",message="exactly one of selector and targetRef must be set: targetRef for the pods of one workload, selector for pods of several"
// +kubebuilder:validation:XValidation:rule="has(self.maxUnavailable) != has(self.minAvailable)",message="exactly one of maxUnavailable and minAvailable must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.selector) || (has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0) || (has(self.selector.matchExpressions) && size(self.selector.matchExpressions) > 0)",message="an empty selector would guard every pod of the namespace as one application; name at least one label",fieldPath=".selector"
type PodUnavailableBudgetSpec struct {
	// Selector picks the pods by their labels, for an application of several workloads. Either it or targetRef must be set.
	//
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// TargetRef names the workload whose pods are guarded: any kind with a scale subresource. Either it or selector must be
	// set. The workload may come later; until then nothing is guarded, and the condition Enforced says so.
	//
	// +optional
	TargetRef *TargetReference `json:"targetRef,omitempty"`

	// MaxUnavailable is how many of the wanted pods may be away: a whole number, or a percentage of totalReplicas (rounded
	// up). Either it or minAvailable must be set. With 0, no available pod may ever be taken away.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// MinAvailable is how many pods must stay available: a whole number, or a percentage of totalReplicas (rounded up). Either
	// it or maxUnavailable must be set. More than the workload wants is taken as all that it wants, so that scaling down is
	// never held up.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MinAvailable *intstr.IntOrString `json:"minAvailable,omitempty"`

	// ProtectOperations are the operations that need the budget's consent: DELETE, EVICT, UPDATE (a change in place that
	// restarts containers) and RESIZE. Default: all of them. Others pass, but what they take away counts as away. In v1alpha1
	// it is the annotation kruise.io/pub-protect-operations, a list with commas.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MaxLength=16
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="self.all(x, x in ['DELETE', 'EVICT', 'UPDATE', 'RESIZE'])",message="each must be DELETE, EVICT, UPDATE or RESIZE"
	ProtectOperations []PodOperation `json:"protectOperations,omitempty"`

	// ProtectTotalReplicas is the number of pods that the application wants, for when it cannot be found out from its
	// workloads: pods of no workload, or of a kind without a scale subresource. Default: what the workloads want. In v1alpha1
	// it is the annotation pub.kruise.io/protect-total-replicas.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	ProtectTotalReplicas *int32 `json:"protectTotalReplicas,omitempty"`

	// IgnoredPodSelector leaves pods out by their labels: they may go at any time, and neither they nor their places in the
	// workload are counted. Default: none is left out.
	//
	// +optional
	IgnoredPodSelector *metav1.LabelSelector `json:"ignoredPodSelector,omitempty"`
}

// TargetReference names a workload in the budget's namespace.
type TargetReference struct {
	// APIVersion of the workload, such as apps/v1. The version may be any that is served.
	//
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the workload, such as Deployment.
	//
	// +optional
	Kind string `json:"kind,omitempty"`

	// Name of the workload.
	//
	// +optional
	Name string `json:"name,omitempty"`
}

// PodOperation is a way of taking a pod away, be it for a moment.
type PodOperation string

// The operations that a budget can guard.
const (
	PodDeleteOperation PodOperation = "DELETE"
	PodEvictOperation  PodOperation = "EVICT"
	PodUpdateOperation PodOperation = "UPDATE"
	PodResizeOperation PodOperation = "RESIZE"
)
