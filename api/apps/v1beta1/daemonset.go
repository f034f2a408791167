package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// DaemonSet keeps one pod on every node that its template fits, and moves them to a new revision without taking more away
// at once than was agreed: a part of the nodes first, in place where the change allows it, or with the new pod beside the
// old one.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=daemonsets,singular=daemonset,shortName=daemon;ads,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="DESIRED",type=integer,JSONPath=".status.desiredNumberScheduled",description="Nodes that should have a pod"
// +kubebuilder:printcolumn:name="CURRENT",type=integer,JSONPath=".status.currentNumberScheduled",description="Nodes that should have a pod and have one"
// +kubebuilder:printcolumn:name="READY",type=integer,JSONPath=".status.numberReady",description="Nodes whose pod is ready"
// +kubebuilder:printcolumn:name="UP-TO-DATE",type=integer,JSONPath=".status.updatedNumberScheduled",description="Nodes whose pod is of the newest revision"
// +kubebuilder:printcolumn:name="AVAILABLE",type=integer,JSONPath=".status.numberAvailable",description="Nodes whose pod is available"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
// +kubebuilder:printcolumn:name="CONTAINERS",type=string,priority=1,JSONPath=".spec.template.spec.containers[*].name",description="Containers of the template"
// +kubebuilder:printcolumn:name="IMAGES",type=string,priority=1,JSONPath=".spec.template.spec.containers[*].image",description="Images of the template"
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || size(self.metadata.name) <= 52",optionalOldSelf=true,message="metadata.name must have at most 52 characters: the revision of a pod is the label value <name>-<hash>, and Kubernetes allows label values of 63 characters; choose a shorter name"
type DaemonSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	//
	// +optional
	Spec DaemonSetSpec `json:"spec,omitempty"`

	// Status is what was seen last. It is written by Holdfast alone.
	//
	// +optional
	Status DaemonSetStatus `json:"status,omitempty"`
}

// ProgressiveCreatePod is an annotation of a v1alpha1 DaemonSet: "true" makes the partition hold for the first pods, too. At
// v1beta1 it is spec.scaleStrategy.partitionedScaling.
const ProgressiveCreatePod = "daemonset.kruise.io/progressive-create-pod"

// DaemonSetList is a list of DaemonSets.
//
// +kubebuilder:object:root=true
type DaemonSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the DaemonSets.
	Items []DaemonSet `json:"items"`
}

// DaemonSetSpec is what is wanted of a DaemonSet.
type DaemonSetSpec struct {
	// Selector picks the pods that belong to the set. It must match the template's labels, must not be empty, and never
	// changes: pods that it no longer matched would be left behind without an owner. No other workload should select the
	// same pods.
	//
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the selector cannot be changed after creation: pods that it no longer matched would be left behind; create a new DaemonSet instead"
	Selector *metav1.LabelSelector `json:"selector"`

	// Template is the pod to be made. Its nodeSelector, required node affinity and nodeName say which nodes get one; its
	// tolerations, beside those that every daemon has
	// (https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#taints-and-tolerations), which taints it bears.
	// restartPolicy must be Always. Every distinct template is a revision.
	//
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	Template corev1.PodTemplateSpec `json:"template"`

	// UpdateStrategy says how pods get from one revision to the next.
	//
	// +optional
	UpdateStrategy DaemonSetUpdateStrategy `json:"updateStrategy,omitempty"`

	// ScaleStrategy says how pods come to nodes that have none.
	//
	// +optional
	ScaleStrategy *DaemonSetScaleStrategy `json:"scaleStrategy,omitempty"`

	// MinReadySeconds is how long, in seconds, a pod must have been ready before it counts as available. Default: 0, available
	// as soon as it is ready.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReadySeconds int32 `json:"minReadySeconds,omitempty"`

	// BurstReplicas is how many pods are created, and how many deleted, in one go; the next go follows when the API server has
	// taken those. A whole number of 1 or more, or a percentage of the nodes (rounded up, at least 1). Default: 250.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9][0-9]?)%$') : (type(self) == int ? self >= 1 : false)",message="must be a whole number of 1 or more, or a percentage from \"1%\" to \"100%\""
	BurstReplicas *intstr.IntOrString `json:"burstReplicas,omitempty"`

	// RevisionHistoryLimit is how many old revisions, of which no pod is left, are kept to roll back to. Default: 10. 0 keeps
	// none: no rollback.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`

	// Lifecycle holds pods back before they are deleted, changed in place, or counted as normal, until somebody else lets
	// them pass.
	//
	// +optional
	Lifecycle *Lifecycle `json:"lifecycle,omitempty"`
}

// DaemonSetScaleStrategy says how pods come to nodes that have none.
type DaemonSetScaleStrategy struct {
	// PartitionedScaling makes rollingUpdate.partition hold for the first pods, too: a node that it keeps, and that has no pod,
	// stays without one until the partition is lowered. Default: false, every node gets its first pod at once. In v1alpha1 it
	// is the annotation daemonset.kruise.io/progressive-create-pod: "true".
	//
	// +optional
	PartitionedScaling bool `json:"partitionedScaling,omitempty"`
}

// DaemonSetUpdateStrategyType says when pods get to a new revision.
//
// +kubebuilder:validation:Enum=RollingUpdate;OnDelete
type DaemonSetUpdateStrategyType string

// When pods get to a new revision.
const (
	// RollingUpdateDaemonSetStrategyType updates pods by itself, within the limits of rollingUpdate.
	RollingUpdateDaemonSetStrategyType DaemonSetUpdateStrategyType = "RollingUpdate"
	// OnDeleteDaemonSetStrategyType leaves pods alone; whoever deletes a pod gets one of the new revision in its place.
	OnDeleteDaemonSetStrategyType DaemonSetUpdateStrategyType = "OnDelete"
)

// DaemonSetUpdateStrategy says how pods get from one revision to the next.
type DaemonSetUpdateStrategy struct {
	// Type is RollingUpdate: pods are updated within the limits of rollingUpdate; or OnDelete: a pod is updated when somebody
	// deletes it. Default: RollingUpdate.
	//
	// +optional
	Type DaemonSetUpdateStrategyType `json:"type,omitempty"`

	// RollingUpdate are the limits of an update. With the type OnDelete nothing is updated, so they wait unused, but for
	// partition where partitionedScaling asks for it.
	//
	// +optional
	RollingUpdate *RollingUpdateDaemonSet `json:"rollingUpdate,omitempty"`
}

// RollingUpdateType says how a daemon pod gets to a new revision.
//
// +kubebuilder:validation:Enum=Standard;InPlaceIfPossible
type RollingUpdateType string

// The ways a daemon pod gets to a new revision.
const (
	// StandardRollingUpdateType deletes the old pod and creates a new one, or with maxSurge the other way round.
	StandardRollingUpdateType RollingUpdateType = "Standard"
	// InplaceRollingUpdateType changes the running pod where the difference allows it, else recreates it.
	InplaceRollingUpdateType RollingUpdateType = "InPlaceIfPossible"
)

// RollingUpdateDaemonSet are the limits of an update.
type RollingUpdateDaemonSet struct {
	// Type is Standard: the old pod is deleted and a new one created, or with maxSurge the other way round; or
	// InPlaceIfPossible: the running pod is changed where the difference allows it, else recreated. Default: Standard.
	// InPlaceIfPossible takes maxUnavailable only, no maxSurge.
	//
	// +optional
	Type RollingUpdateType `json:"rollingUpdateType,omitempty"`

	// MaxUnavailable is on how many of the nodes that should have a pod none may be available during an update: a whole
	// number, or a percentage of the nodes (rounded up). Default: 1, and 0 where maxSurge is set. It must not be 0 if maxSurge is
	// 0, and must be 0 if maxSurge is not.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// MaxSurge is on how many nodes a pod of the new revision may run beside the old one during an update; the old one is
	// deleted when the new one is available. A whole number, or a percentage of the nodes (rounded up). Default: 0. While paused
	// it is taken as 0. Pods with host ports cannot run beside each other.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`

	// Selector picks, by the labels of nodes, on which nodes pods are updated; pods on other nodes keep their revision.
	// Default: all nodes.
	//
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// Partition is on how many nodes pods stay at the old revision: a whole number, or a percentage of the nodes (rounded up,
	// but below 100% at least one pod is updated where there is more than one). Nodes that the selector leaves out count.
	// Default: 0, all are updated. A pod that is at the new revision is never taken
	// back; a node that is kept gets a lost pod back at the old revision.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	Partition *intstr.IntOrString `json:"partition,omitempty"`

	// Paused stops updates; pods come to new nodes and leave old ones all the same. Default: false.
	//
	// +optional
	Paused bool `json:"paused,omitempty"`
}
