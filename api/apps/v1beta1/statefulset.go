package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// StatefulSet keeps pods that have an identity: a number, a name, a DNS name and volumes of their own, which stay with the
// number wherever its pod runs. It promises what the StatefulSet of the group apps does
// (https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/), and changes pods in place where the change
// allows it, several at a time if asked to.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=statefulsets,singular=statefulset,shortName=sts;asts,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.labelSelector
// +kubebuilder:printcolumn:name="DESIRED",type=integer,JSONPath=".spec.replicas",description="Pods asked for"
// +kubebuilder:printcolumn:name="CURRENT",type=integer,JSONPath=".status.replicas",description="Pods that exist"
// +kubebuilder:printcolumn:name="UPDATED",type=integer,JSONPath=".status.updatedReplicas",description="Pods of the newest revision"
// +kubebuilder:printcolumn:name="READY",type=integer,JSONPath=".status.readyReplicas",description="Pods that are ready"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
// +kubebuilder:printcolumn:name="CONTAINERS",type=string,priority=1,JSONPath=".spec.template.spec.containers[*].name",description="Containers of the template"
// +kubebuilder:printcolumn:name="IMAGES",type=string,priority=1,JSONPath=".spec.template.spec.containers[*].image",description="Images of the template"
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || size(self.metadata.name) <= 52",optionalOldSelf=true,message="metadata.name must have at most 52 characters: the revision of a pod is the label value <name>-<hash>, and Kubernetes allows label values of 63 characters; choose a shorter name"
// +kubebuilder:validation:XValidation:rule="self.spec.selector == oldSelf.spec.selector",message="the selector cannot be changed after creation: pods that it no longer matched would be left behind; create a new StatefulSet instead",fieldPath=".spec.selector"
// +kubebuilder:validation:XValidation:rule="has(self.spec.serviceName) == has(oldSelf.spec.serviceName) && (!has(self.spec.serviceName) || self.spec.serviceName == oldSelf.spec.serviceName)",message="serviceName cannot be changed after creation: the DNS names of the pods that exist come from it; delete the set with --cascade=orphan and create it again",fieldPath=".spec.serviceName"
// +kubebuilder:validation:XValidation:rule="(has(self.spec.podManagementPolicy) ? self.spec.podManagementPolicy : 'OrderedReady') == (has(oldSelf.spec.podManagementPolicy) ? oldSelf.spec.podManagementPolicy : 'OrderedReady')",message="podManagementPolicy cannot be changed after creation; delete the set with --cascade=orphan and create it again: it takes its pods over",fieldPath=".spec.podManagementPolicy"
type StatefulSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	//
	// +optional
	Spec StatefulSetSpec `json:"spec,omitempty"`

	// Status is what was seen last. It is written by Holdfast alone.
	//
	// +optional
	Status StatefulSetStatus `json:"status,omitempty"`
}

// StatefulSetList is a list of StatefulSets.
//
// +kubebuilder:object:root=true
type StatefulSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the StatefulSets.
	Items []StatefulSet `json:"items"`
}

// StatefulSetSpec is what is wanted of a StatefulSet.
//
// +kubebuilder:validation:XValidation:rule="has(self.podManagementPolicy) && self.podManagementPolicy == 'Parallel' || !has(self.updateStrategy) || !has(self.updateStrategy.rollingUpdate) || !has(self.updateStrategy.rollingUpdate.maxUnavailable) || self.updateStrategy.rollingUpdate.maxUnavailable == 1",message="with podManagementPolicy OrderedReady pods are updated one at a time, so maxUnavailable must be 1 or left out; create the set with podManagementPolicy Parallel if more may be away",fieldPath=".updateStrategy.rollingUpdate.maxUnavailable"
// +kubebuilder:validation:XValidation:rule="has(self.podManagementPolicy) && self.podManagementPolicy == 'Parallel' || !has(self.updateStrategy) || !has(self.updateStrategy.rollingUpdate) || !has(self.updateStrategy.rollingUpdate.unorderedUpdate)",message="with podManagementPolicy OrderedReady pods are updated in the order of their ordinals; take unorderedUpdate out, or create the set with podManagementPolicy Parallel",fieldPath=".updateStrategy.rollingUpdate.unorderedUpdate"
// +kubebuilder:validation:XValidation:rule="has(self.podManagementPolicy) && self.podManagementPolicy == 'Parallel' || !has(self.scaleStrategy) || !has(self.scaleStrategy.maxUnavailable)",message="with podManagementPolicy OrderedReady pods are created one at a time; take scaleStrategy.maxUnavailable out, or create the set with podManagementPolicy Parallel",fieldPath=".scaleStrategy.maxUnavailable"
type StatefulSetSpec struct {
	// Replicas is how many pods are wanted. Default: 1. At most 150,000, the number of pods that Kubernetes supports in one
	// cluster (https://kubernetes.io/docs/setup/best-practices/cluster-large/).
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:XValidation:rule="self <= 150000",message="must be at most 150000: Kubernetes supports no more pods than that in one cluster; if you want more, split the set over several clusters"
	Replicas *int32 `json:"replicas,omitempty"`

	// Ordinals says which numbers the pods get.
	//
	// +optional
	Ordinals *StatefulSetOrdinals `json:"ordinals,omitempty"`

	// ReserveOrdinals are numbers that no pod gets: 3, or a range of them, "5-7", both ends included. A pod that has one of
	// them goes, and the set goes on with the next number: 4 replicas with 1 reserved are the pods 0, 2, 3 and 4.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10000
	// +kubebuilder:validation:items:XIntOrString
	// +kubebuilder:validation:items:MaxLength=21
	// +kubebuilder:validation:items:XValidation:rule="type(self) == int ? self >= 0 : (type(self) == string ? self.matches('^[0-9]{1,10}(-[0-9]{1,10})?$') : false)",message="must be an ordinal of 0 or more, or a range of them such as \"5-7\""
	// +kubebuilder:validation:items:XValidation:rule="type(self) == string && self.matches('^[0-9]{1,10}-[0-9]{1,10}$') ? int(self.split('-')[0]) <= int(self.split('-')[1]) : true",message="the range is reversed: write the lower ordinal first, such as \"5-7\""
	ReserveOrdinals []intstr.IntOrString `json:"reserveOrdinals,omitempty"`

	// Selector picks the pods that belong to the set. It must match the template's labels, must not be empty, and never
	// changes. No other workload should select the same pods.
	Selector *metav1.LabelSelector `json:"selector"`

	// Template is the pod to be made. Pods are named <set>-<ordinal>. Every distinct template is a revision; labels and
	// annotations, images, and resources can change in place, other fields need new pods.
	//
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	Template corev1.PodTemplateSpec `json:"template"`

	// VolumeClaimTemplates are the claims that every pod gets for itself, named <template>-<set>-<ordinal>. They stay with
	// the ordinal: a pod that is made again, on whatever node, gets the same ones. A template that has the name of one of the
	// pod's volumes takes its place. Templates can be neither added nor removed later; what else of them changes holds for claims
	// made from then on, and their size, when it grows, for those that exist, if volumeClaimUpdateStrategy says so.
	//
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	VolumeClaimTemplates []corev1.PersistentVolumeClaim `json:"volumeClaimTemplates,omitempty"`

	// VolumeClaimUpdateStrategy says what becomes of existing claims when a template grows.
	//
	// +optional
	VolumeClaimUpdateStrategy *VolumeClaimUpdateStrategy `json:"volumeClaimUpdateStrategy,omitempty"`

	// PersistentVolumeClaimRetentionPolicy says whether claims are deleted with their set, or with their pod. Default: they
	// are kept.
	//
	// +optional
	PersistentVolumeClaimRetentionPolicy *StatefulSetPersistentVolumeClaimRetentionPolicy `json:"persistentVolumeClaimRetentionPolicy,omitempty"` //nolint:lll // names of the API

	// ServiceName is the headless Service that gives the pods their DNS names, <pod>.<service>.<namespace>.svc. It is not
	// made by the set, and never changes.
	//
	// +optional
	ServiceName string `json:"serviceName,omitempty"`

	// PodManagementPolicy is OrderedReady: pods are created from the first to the last, each when all before it are available,
	// and updated and deleted from the last to the first, one at a time; or Parallel: all at once, updates within
	// maxUnavailable. Default: OrderedReady. It never changes.
	//
	// +optional
	PodManagementPolicy PodManagementPolicyType `json:"podManagementPolicy,omitempty"`

	// UpdateStrategy says how pods get from one revision to the next.
	//
	// +optional
	UpdateStrategy StatefulSetUpdateStrategy `json:"updateStrategy,omitempty"`

	// ScaleStrategy says how fast pods come when the number grows.
	//
	// +optional
	ScaleStrategy *StatefulSetScaleStrategy `json:"scaleStrategy,omitempty"`

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

// StatefulSetOrdinals says which numbers the pods get.
type StatefulSetOrdinals struct {
	// Start is the number of the first pod. Default: 0. Raising it by one deletes the first pod and makes one behind the last.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Start int32 `json:"start,omitempty"`
}

// PodManagementPolicyType says whether pods come and go in the order of their ordinals.
//
// +kubebuilder:validation:Enum=OrderedReady;Parallel
type PodManagementPolicyType string

// How pods come and go.
const (
	// OrderedReadyPodManagement creates pods in order, each when those before it are available, and deletes them in reverse.
	OrderedReadyPodManagement PodManagementPolicyType = "OrderedReady"
	// ParallelPodManagement creates and deletes pods without waiting for one another.
	ParallelPodManagement PodManagementPolicyType = "Parallel"
)

// StatefulSetUpdateStrategyType says when pods get to a new revision.
//
// +kubebuilder:validation:Enum=RollingUpdate;OnDelete
type StatefulSetUpdateStrategyType string

// When pods get to a new revision.
const (
	// RollingUpdateStatefulSetStrategyType updates pods by itself, within the limits of rollingUpdate.
	RollingUpdateStatefulSetStrategyType StatefulSetUpdateStrategyType = "RollingUpdate"
	// OnDeleteStatefulSetStrategyType leaves pods alone; whoever deletes a pod gets one of the new revision in its place.
	OnDeleteStatefulSetStrategyType StatefulSetUpdateStrategyType = "OnDelete"
)

// StatefulSetUpdateStrategy says how pods get from one revision to the next.
type StatefulSetUpdateStrategy struct {
	// Type is RollingUpdate: pods are updated within the limits of rollingUpdate; or OnDelete: a pod is updated when somebody
	// deletes it. Default: RollingUpdate.
	//
	// +optional
	Type StatefulSetUpdateStrategyType `json:"type,omitempty"`

	// RollingUpdate are the limits of an update. With the type OnDelete nothing is updated, so they wait unused, but for
	// minReadySeconds.
	//
	// +optional
	RollingUpdate *RollingUpdateStatefulSetStrategy `json:"rollingUpdate,omitempty"`
}

// RollingUpdateStatefulSetStrategy are the limits of an update.
type RollingUpdateStatefulSetStrategy struct {
	// Partition is how many pods stay at the old revision: those with the lowest ordinals or, with unorderedUpdate, the last
	// in its order. Default: 0, all are updated.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Partition *int32 `json:"partition,omitempty"`

	// MaxUnavailable is how many of the wanted pods may be unavailable during an update: a whole number of 1 or more, or a
	// percentage of replicas (rounded up). Default: 1. More than 1 needs podManagementPolicy Parallel.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9][0-9]?)%$') : (type(self) == int ? self >= 1 : false)",message="must be a whole number of 1 or more, or a percentage from \"1%\" to \"100%\": with 0 no pod could ever be updated; use paused to stop the update"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// PodUpdatePolicy is ReCreate: an old pod is deleted and a new one created; InPlaceIfPossible: the running pod is changed
	// where the difference allows it, else recreated; InPlaceOnly: as before, and a change of the template that cannot be
	// made in place is refused. Default: ReCreate. The template of the other two must have the readiness gate
	// InPlaceUpdateReady.
	//
	// +optional
	PodUpdatePolicy PodUpdatePolicyType `json:"podUpdatePolicy,omitempty"`

	// Paused stops updates; scaling goes on. Default: false.
	//
	// +optional
	Paused bool `json:"paused,omitempty"`

	// UnorderedUpdate updates pods by priority instead of from the last ordinal to the first. It needs podManagementPolicy
	// Parallel.
	//
	// +optional
	UnorderedUpdate *UnorderedUpdateStrategy `json:"unorderedUpdate,omitempty"`

	// InPlaceUpdateStrategy tunes changes in place.
	//
	// +optional
	InPlaceUpdateStrategy *InPlaceUpdateStrategy `json:"inPlaceUpdateStrategy,omitempty"`

	// MinReadySeconds is how long, in seconds, a pod must have been ready before it counts as available, and the next one is
	// created or updated. Default: 0, available as soon as it is ready.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinReadySeconds *int32 `json:"minReadySeconds,omitempty"`
}

// UnorderedUpdateStrategy is the order of an update that does not follow the ordinals.
type UnorderedUpdateStrategy struct {
	// PriorityStrategy says which pods are updated first. Pods that it does not tell apart follow from the last ordinal to the
	// first.
	//
	// +optional
	PriorityStrategy *UpdatePriorityStrategy `json:"priorityStrategy,omitempty"`
}

// StatefulSetScaleStrategy says how fast pods come when the number grows.
type StatefulSetScaleStrategy struct {
	// MaxUnavailable paces creation: no further pods are created while this many of the set's pods are unavailable. A whole
	// number of 1 or more, or a percentage of replicas (rounded up). Default: unset, no pacing. It needs podManagementPolicy
	// Parallel.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9][0-9]?)%$') : (type(self) == int ? self >= 1 : false)",message="must be a whole number of 1 or more, or a percentage from \"1%\" to \"100%\": with 0 no pod could ever be created"
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// VolumeClaimUpdateStrategyType says what becomes of existing claims when their template grows.
//
// +kubebuilder:validation:Enum=OnPodRollingUpdate;OnDelete
type VolumeClaimUpdateStrategyType string

// What becomes of existing claims when their template grows.
const (
	// OnPodRollingUpdateVolumeClaimUpdateStrategyType grows the claims along with the update of their pods.
	OnPodRollingUpdateVolumeClaimUpdateStrategyType VolumeClaimUpdateStrategyType = "OnPodRollingUpdate"
	// OnDeleteVolumeClaimUpdateStrategyType leaves claims as they are; whoever deletes one gets one of the new size in its place.
	OnDeleteVolumeClaimUpdateStrategyType VolumeClaimUpdateStrategyType = "OnDelete"
)

// VolumeClaimUpdateStrategy says what becomes of existing claims when their template grows.
type VolumeClaimUpdateStrategy struct {
	// Type is OnPodRollingUpdate: claims grow along with the update of their pods, in its order and within its partition, as
	// many at a time as maxUnavailable says; their StorageClass must allow expansion; or OnDelete: a claim that exists stays as
	// it is, one that is made again has the new size. Default: OnDelete.
	//
	// +optional
	Type VolumeClaimUpdateStrategyType `json:"type,omitempty"`
}

// PersistentVolumeClaimRetentionPolicyType says whether a claim is kept.
//
// +kubebuilder:validation:Enum=Retain;Delete
type PersistentVolumeClaimRetentionPolicyType string

// Whether a claim is kept.
const (
	// RetainPersistentVolumeClaimRetentionPolicyType keeps it.
	RetainPersistentVolumeClaimRetentionPolicyType PersistentVolumeClaimRetentionPolicyType = "Retain"
	// DeletePersistentVolumeClaimRetentionPolicyType deletes it, together with its data.
	DeletePersistentVolumeClaimRetentionPolicyType PersistentVolumeClaimRetentionPolicyType = "Delete"
)

// StatefulSetPersistentVolumeClaimRetentionPolicy says whether claims are deleted with their set, or with their pod
// (https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention). A pod that is
// made again keeps its claims either way.
type StatefulSetPersistentVolumeClaimRetentionPolicy struct {
	// WhenDeleted is Retain: claims stay when the set is deleted; or Delete: they go, and their data with them. Default: Retain.
	//
	// +optional
	WhenDeleted PersistentVolumeClaimRetentionPolicyType `json:"whenDeleted,omitempty"`

	// WhenScaled is Retain: the claims of a pod that goes because there are to be fewer, or because its ordinal is reserved,
	// stay; or Delete: they go with it, and their data with them. Default: Retain.
	//
	// +optional
	WhenScaled PersistentVolumeClaimRetentionPolicyType `json:"whenScaled,omitempty"`
}
