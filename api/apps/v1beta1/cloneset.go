package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// CloneSet keeps a number of pods that are alike and need no stable name, and moves them to a new revision without taking
// more away at once than was agreed: in place where the change allows it.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=clonesets,singular=cloneset,shortName=clone,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.labelSelector
// +kubebuilder:printcolumn:name="DESIRED",type=integer,JSONPath=".spec.replicas",description="Pods asked for"
// +kubebuilder:printcolumn:name="UPDATED",type=integer,JSONPath=".status.updatedReplicas",description="Pods of the newest revision"
// +kubebuilder:printcolumn:name="UPDATED_READY",type=integer,JSONPath=".status.updatedReadyReplicas",description="Pods of the newest revision that are ready"
// +kubebuilder:printcolumn:name="UPDATED_AVAILABLE",type=integer,JSONPath=".status.updatedAvailableReplicas",description="Pods of the newest revision that are available"
// +kubebuilder:printcolumn:name="READY",type=integer,JSONPath=".status.readyReplicas",description="Pods that are ready"
// +kubebuilder:printcolumn:name="TOTAL",type=integer,JSONPath=".status.replicas",description="Pods that exist"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
// +kubebuilder:printcolumn:name="CONTAINERS",type=string,priority=1,JSONPath=".spec.template.spec.containers[*].name",description="Containers of the template"
// +kubebuilder:printcolumn:name="IMAGES",type=string,priority=1,JSONPath=".spec.template.spec.containers[*].image",description="Images of the template"
// +kubebuilder:printcolumn:name="SELECTOR",type=string,priority=1,JSONPath=".status.labelSelector",description="Labels that pick the pods"
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || size(self.metadata.name) <= 52",optionalOldSelf=true,message="metadata.name must have at most 52 characters: the revision of a pod is the label value <name>-<hash>, and Kubernetes allows label values of 63 characters; choose a shorter name"
type CloneSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	//
	// +optional
	Spec CloneSetSpec `json:"spec,omitempty"`

	// Status is what was seen last. It is written by Holdfast alone.
	//
	// +optional
	Status CloneSetStatus `json:"status,omitempty"`
}

// CloneSetList is a list of CloneSets.
//
// +kubebuilder:object:root=true
type CloneSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the CloneSets.
	Items []CloneSet `json:"items"`
}

// CloneSetSpec is what is wanted of a CloneSet.
//
// +kubebuilder:validation:XValidation:rule="!has(self.progressDeadlineSeconds) || self.progressDeadlineSeconds > (has(self.minReadySeconds) ? self.minReadySeconds : 0)",message="progressDeadlineSeconds must be greater than minReadySeconds, or every rollout would run out of time before its first pod can count as available",fieldPath=".progressDeadlineSeconds"
type CloneSetSpec struct {
	// Replicas is how many pods are wanted. Default: 1. At most 150,000, the number of pods that Kubernetes supports in one
	// cluster (https://kubernetes.io/docs/setup/best-practices/cluster-large/).
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:XValidation:rule="self <= 150000",message="must be at most 150000: Kubernetes supports no more pods than that in one cluster; if you want more, split the set over several clusters"
	Replicas *int32 `json:"replicas,omitempty"`

	// Selector picks the pods that belong to the set. It must match the template's labels, must not be empty, and never
	// changes: pods that it no longer matched would be left behind without an owner. No other workload should select the
	// same pods.
	//
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the selector cannot be changed after creation: pods that it no longer matched would be left behind; create a new CloneSet instead"
	Selector *metav1.LabelSelector `json:"selector"`

	// Template is the pod to be made. Every distinct template is a revision; labels and annotations, images, and resources
	// can change in place, other fields need new pods.
	//
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	Template corev1.PodTemplateSpec `json:"template"`

	// VolumeClaimTemplates are the claims that every pod gets for itself, named <template>-<set>-<instance id>. A pod's
	// volumes may refer to them by the template's name. Changing them affects claims made from then on; a larger request
	// also expands the existing claims, where their StorageClass allows it.
	//
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	VolumeClaimTemplates []corev1.PersistentVolumeClaim `json:"volumeClaimTemplates,omitempty"`

	// ScaleStrategy says which pods go, and how fast pods come, when the number changes.
	//
	// +optional
	ScaleStrategy CloneSetScaleStrategy `json:"scaleStrategy,omitempty"`

	// UpdateStrategy says how pods get from one revision to the next.
	//
	// +optional
	UpdateStrategy CloneSetUpdateStrategy `json:"updateStrategy,omitempty"`

	// RevisionHistoryLimit is how many old revisions, of which no pod is left, are kept to roll back to. Default: 10. 0 keeps
	// none: no rollback.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`

	// MinReadySeconds is how long, in seconds, a pod must have been ready before it counts as available. Default: 0, available
	// as soon as it is ready.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReadySeconds int32 `json:"minReadySeconds,omitempty"`

	// ProgressDeadlineSeconds is how long, in seconds, a rollout may go without progress before its condition Progressing
	// becomes False with the reason ProgressDeadlineExceeded. The rollout is not stopped by it. Default: unset, no deadline;
	// 2147483647 means the same. It must be greater than minReadySeconds. Time while paused does not count.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	ProgressDeadlineSeconds *int32 `json:"progressDeadlineSeconds,omitempty"`

	// Lifecycle holds pods back before they are deleted, changed in place, or counted as normal, until somebody else lets
	// them pass.
	//
	// +optional
	Lifecycle *Lifecycle `json:"lifecycle,omitempty"`
}

// CloneSetScaleStrategy says which pods go, and how fast pods come, when the number changes.
type CloneSetScaleStrategy struct {
	// PodsToDelete are names of pods that are to go: they are deleted first when the number is lowered, and replaced when it
	// is not. A name may be listed once. Names of pods that do not exist, or are on their way out, are taken off the list. The
	// label apps.kruise.io/specified-delete on a pod asks for the same without changing the set.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=10000
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	PodsToDelete []string `json:"podsToDelete,omitempty"`

	// MaxUnavailable paces creation: no further pods are created while this many of the set's pods are unavailable. A whole
	// number, or a percentage of replicas (rounded up). Default: unset, no pacing.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// EnablePVCReuse keeps the claims of a deleted pod, for the pod that is created in its place. Default: false, claims are
	// deleted together with their pod. In v1alpha1 it is the opposite, disablePVCReuse, and there claims are kept by default.
	//
	// +optional
	// +kubebuilder:default=false
	EnablePVCReuse bool `json:"enablePVCReuse,omitempty"`

	// ExcludePreparingDelete leaves pods that wait in the state PreparingDelete out of the count, so that others are created
	// in their place at once. Default: false, they count until they are gone, and lowering and raising the number again takes
	// them back. In v1alpha1 it is the label apps.kruise.io/cloneset-scaling-exclude-preparing-delete: "true".
	//
	// +optional
	ExcludePreparingDelete bool `json:"excludePreparingDelete,omitempty"`
}

// CloneSetUpdateStrategyType says when pods get to a new revision.
//
// +kubebuilder:validation:Enum=RollingUpdate;OnDelete
type CloneSetUpdateStrategyType string

// When pods get to a new revision.
const (
	// RollingUpdateCloneSetStrategyType updates pods by itself, within the limits of rollingUpdate.
	RollingUpdateCloneSetStrategyType CloneSetUpdateStrategyType = "RollingUpdate"
	// OnDeleteCloneSetStrategyType leaves pods alone; whoever deletes a pod gets one of the new revision in its place.
	OnDeleteCloneSetStrategyType CloneSetUpdateStrategyType = "OnDelete"
)

// CloneSetUpdateStrategy says how pods get from one revision to the next.
type CloneSetUpdateStrategy struct {
	// Type is RollingUpdate: pods are updated within the limits of rollingUpdate; or OnDelete: a pod is updated when somebody
	// deletes it. Default: RollingUpdate.
	//
	// +optional
	Type CloneSetUpdateStrategyType `json:"type,omitempty"`

	// RollingUpdate are the limits of an update. With the type OnDelete nothing is updated, so they wait unused.
	//
	// +optional
	RollingUpdate *RollingUpdateCloneSetStrategy `json:"rollingUpdate,omitempty"`
}

// RollingUpdateCloneSetStrategy are the limits of an update.
//
// +kubebuilder:validation:XValidation:rule="!has(self.maxUnavailable) || !(self.maxUnavailable == 0 || self.maxUnavailable == '0%') || (has(self.maxSurge) && !(self.maxSurge == 0 || self.maxSurge == '0%'))",message="maxUnavailable and maxSurge must not both be 0: no pod could ever be updated; raise one of them, or use paused to stop the update",fieldPath=".maxUnavailable"
type RollingUpdateCloneSetStrategy struct {
	// PodUpdatePolicy is ReCreate: an old pod is deleted and a new one created; InPlaceIfPossible: the running pod is changed
	// where the difference allows it, else recreated; InPlaceOnly: as before, and a change of the template that cannot be
	// made in place is refused. Default: ReCreate. In v1alpha1 it is updateStrategy.type.
	//
	// +optional
	PodUpdatePolicy PodUpdatePolicyType `json:"podUpdatePolicy,omitempty"`

	// Partition is how many pods stay at the old revision: a whole number, or a percentage of replicas (rounded up, but below
	// 100% at least one pod is updated where replicas > 1). Default: 0, all are updated.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	Partition *intstr.IntOrString `json:"partition,omitempty"`

	// MaxUnavailable is how many of the wanted pods may be unavailable during an update: a whole number, or a percentage of
	// replicas (rounded up if maxSurge is 0, else down). Default: 20%. It must not be 0 if maxSurge is 0.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// MaxSurge is how many pods may exist beyond the wanted number during an update, and to replace pods whose deletion was
	// asked for: a whole number, or a percentage of replicas (rounded up). Default: 0. While paused it is taken as 0.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`

	// Paused stops updates; scaling goes on. Default: false.
	//
	// +optional
	Paused bool `json:"paused,omitempty"`

	// PriorityStrategy says which pods are updated first.
	//
	// +optional
	PriorityStrategy *UpdatePriorityStrategy `json:"priorityStrategy,omitempty"`

	// ScatterStrategy spreads pods with the same label evenly over the update.
	//
	// +optional
	ScatterStrategy UpdateScatterStrategy `json:"scatterStrategy,omitempty"`

	// InPlaceUpdateStrategy tunes changes in place.
	//
	// +optional
	InPlaceUpdateStrategy *InPlaceUpdateStrategy `json:"inPlaceUpdateStrategy,omitempty"`
}
