package v1beta1

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// UnitedDeployment spreads the pods of one application over subsets of the cluster, such as zones or kinds of nodes. Each
// subset is a workload of its own: a StatefulSet, an Advanced StatefulSet, a CloneSet or a Deployment.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=uniteddeployments,singular=uniteddeployment,shortName=ud,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:subresource:scale:specpath=.spec.replicas,statuspath=.status.replicas,selectorpath=.status.labelSelector
// +kubebuilder:printcolumn:name="DESIRED",type=integer,JSONPath=".spec.replicas",description="Pods asked for"
// +kubebuilder:printcolumn:name="CURRENT",type=integer,JSONPath=".status.replicas",description="Pods that exist"
// +kubebuilder:printcolumn:name="UPDATED",type=integer,JSONPath=".status.updatedReplicas",description="Pods of the newest revision"
// +kubebuilder:printcolumn:name="READY",type=integer,JSONPath=".status.readyReplicas",description="Pods that are ready"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || !has(self.spec) || !has(self.spec.topology) || !has(self.spec.topology.subsets) || self.spec.topology.subsets.all(s, size(self.metadata.name) + size(s.name) <= 51)",optionalOldSelf=true,message="metadata.name and the name of each subset must have at most 51 characters together: a subset's workload is named <name>-<subset>, which may have 52; choose shorter names"
type UnitedDeployment struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	//
	// +optional
	Spec UnitedDeploymentSpec `json:"spec,omitempty"`

	// Status is what was seen last. It is written by Holdfast alone.
	//
	// +optional
	Status UnitedDeploymentStatus `json:"status,omitempty"`
}

// UnitedDeploymentList is a list of UnitedDeployments.
//
// +kubebuilder:object:root=true
type UnitedDeploymentList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the UnitedDeployments.
	Items []UnitedDeployment `json:"items"`
}

// UnitedDeploymentSpec is what is wanted of a UnitedDeployment.
type UnitedDeploymentSpec struct {
	// Replicas is how many pods are wanted over all subsets. Default: the sum of what the subsets ask for, if each names a
	// number; else 1.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:XValidation:rule="self <= 150000",message="must be at most 150000: Kubernetes supports no more pods than that in one cluster"
	Replicas *int32 `json:"replicas,omitempty"`

	// Selector picks the pods of all subsets. It must match the labels of the template's pods, must not be empty, and never
	// changes. Each subset's workload selects by it, and by the label apps.kruise.io/subset-name beside.
	//
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the selector cannot be changed after creation: pods that it no longer matched would be left behind; create a new UnitedDeployment instead"
	Selector *metav1.LabelSelector `json:"selector"`

	// Template is the workload of every subset: exactly one of its fields is set, and the kind never changes.
	//
	// +optional
	Template SubsetTemplate `json:"template,omitempty"`

	// Topology says which subsets there are, and how many pods each gets.
	//
	// +optional
	Topology Topology `json:"topology,omitempty"`

	// UpdateStrategy says how far the subsets go to a new revision.
	//
	// +optional
	UpdateStrategy UnitedDeploymentUpdateStrategy `json:"updateStrategy,omitempty"`

	// RevisionHistoryLimit is how many old revisions, which no subset has any more, are kept to roll back to. Default: 10.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`
}

// SubsetTemplate is the workload of every subset: exactly one of its fields is set. What a subset's workload says of replicas
// is decided by the topology, so replicas in the template mean nothing.
//
// +kubebuilder:validation:XValidation:rule="[has(self.statefulSetTemplate), has(self.advancedStatefulSetTemplate), has(self.cloneSetTemplate), has(self.deploymentTemplate)].filter(t, t).size() == 1",message="set exactly one of statefulSetTemplate, advancedStatefulSetTemplate, cloneSetTemplate and deploymentTemplate"
// +kubebuilder:validation:XValidation:rule="has(self.statefulSetTemplate) == has(oldSelf.statefulSetTemplate) && has(self.advancedStatefulSetTemplate) == has(oldSelf.advancedStatefulSetTemplate) && has(self.cloneSetTemplate) == has(oldSelf.cloneSetTemplate) && has(self.deploymentTemplate) == has(oldSelf.deploymentTemplate)",message="the kind of the subsets' workloads cannot be changed after creation; create a new UnitedDeployment instead, and delete this one"
type SubsetTemplate struct {
	// StatefulSetTemplate makes each subset a StatefulSet of Kubernetes.
	//
	// +optional
	StatefulSetTemplate *StatefulSetTemplateSpec `json:"statefulSetTemplate,omitempty"`

	// AdvancedStatefulSetTemplate makes each subset an Advanced StatefulSet.
	//
	// +optional
	AdvancedStatefulSetTemplate *AdvancedStatefulSetTemplateSpec `json:"advancedStatefulSetTemplate,omitempty"`

	// CloneSetTemplate makes each subset a CloneSet.
	//
	// +optional
	CloneSetTemplate *CloneSetTemplateSpec `json:"cloneSetTemplate,omitempty"`

	// DeploymentTemplate makes each subset a Deployment of Kubernetes.
	//
	// +optional
	DeploymentTemplate *DeploymentTemplateSpec `json:"deploymentTemplate,omitempty"`
}

// StatefulSetTemplateSpec is a StatefulSet of Kubernetes to be made.
type StatefulSetTemplateSpec struct {
	// ObjectMeta are the labels and annotations of the StatefulSets.
	//
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec of the StatefulSets. Its selector may be left out; replicas mean nothing here.
	//
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	Spec appsv1.StatefulSetSpec `json:"spec"`
}

// AdvancedStatefulSetTemplateSpec is an Advanced StatefulSet to be made.
type AdvancedStatefulSetTemplateSpec struct {
	// ObjectMeta are the labels and annotations of the StatefulSets.
	//
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec of the StatefulSets; replicas mean nothing here.
	Spec StatefulSetSpec `json:"spec"`
}

// CloneSetTemplateSpec is a CloneSet to be made.
type CloneSetTemplateSpec struct {
	// ObjectMeta are the labels and annotations of the CloneSets.
	//
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec of the CloneSets; replicas mean nothing here.
	Spec CloneSetSpec `json:"spec"`
}

// DeploymentTemplateSpec is a Deployment of Kubernetes to be made.
type DeploymentTemplateSpec struct {
	// ObjectMeta are the labels and annotations of the Deployments.
	//
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec of the Deployments. Its selector may be left out; replicas mean nothing here.
	//
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	Spec appsv1.DeploymentSpec `json:"spec"`
}

// Topology says which subsets there are, and how many pods each gets.
//
// +kubebuilder:validation:XValidation:rule="!has(self.subsets) || !self.subsets.exists(s, has(s.replicas)) || !self.subsets.exists(s, has(s.minReplicas) || has(s.maxReplicas))",message="give subsets replicas, or minReplicas and maxReplicas: not some of them the one and some the other",fieldPath=".subsets"
type Topology struct {
	// Subsets are the parts of the cluster, each with its own workload, in the order in which they are filled. A subset that
	// is taken out loses its workload, once its pods have found a place in the others. Default: none, no pods.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Subsets []Subset `json:"subsets,omitempty"`

	// ScheduleStrategy says what becomes of pods for which a subset has no room.
	//
	// +optional
	ScheduleStrategy UnitedDeploymentScheduleStrategy `json:"scheduleStrategy,omitempty"`
}

// Subset is one part of the cluster.
//
// +kubebuilder:validation:XValidation:rule="!has(self.minReplicas) || !has(self.maxReplicas) || type(self.minReplicas) != int || type(self.maxReplicas) != int || self.minReplicas <= self.maxReplicas",message="minReplicas must not be more than maxReplicas",fieldPath=".minReplicas"
type Subset struct {
	// Name of the subset: lower-case letters, digits and dashes. Its workload is named <name of the UnitedDeployment>-<subset>.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=50
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name"`

	// NodeSelectorTerm are the nodes of the subset: it is added to the required node affinity of the pods.
	//
	// +optional
	NodeSelectorTerm corev1.NodeSelectorTerm `json:"nodeSelectorTerm,omitzero"`

	// Tolerations are added to those of the pods.
	//
	// +optional
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Replicas is how many of the pods the subset gets: a whole number, or a percentage of spec.replicas. Subsets that say
	// nothing share what is left evenly, the first of them one more where it does not come out even. If all subsets say
	// something, it must add up to spec.replicas, or to 100%.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	Replicas *intstr.IntOrString `json:"replicas,omitempty"`

	// MinReplicas is how many pods the subset gets before later subsets get more than their minimum: a whole number, or a
	// percentage of spec.replicas (rounded up). Default: 0.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MinReplicas *intstr.IntOrString `json:"minReplicas,omitempty"`

	// MaxReplicas is how many pods the subset gets at most: a whole number, or a percentage of spec.replicas (rounded up).
	// Default: unset, no limit. One subset at least needs to have no limit, or the limits must add up to spec.replicas.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MaxReplicas *intstr.IntOrString `json:"maxReplicas,omitempty"`

	// Patch is a strategic merge patch of the pod template
	// (https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/), for this subset alone. It
	// must leave the labels that spec.selector names as they are.
	//
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	Patch runtime.RawExtension `json:"patch,omitzero"`
}

// UnitedDeploymentScheduleStrategyType says what becomes of pods for which a subset has no room.
//
// +kubebuilder:validation:Enum=Adaptive;Fixed;""
type UnitedDeploymentScheduleStrategyType string

// What becomes of pods for which a subset has no room.
const (
	// AdaptiveUnitedDeploymentScheduleStrategyType moves them to other subsets.
	AdaptiveUnitedDeploymentScheduleStrategyType UnitedDeploymentScheduleStrategyType = "Adaptive"
	// FixedUnitedDeploymentScheduleStrategyType leaves them where they are.
	FixedUnitedDeploymentScheduleStrategyType UnitedDeploymentScheduleStrategyType = "Fixed"
)

// UnitedDeploymentScheduleStrategy says what becomes of pods for which a subset has no room.
type UnitedDeploymentScheduleStrategy struct {
	// Type is Fixed: pods that find no node in their subset wait there; or Adaptive: they are moved to subsets that have room, and
	// the subset gets no more pods for a while. Default: Fixed.
	//
	// +optional
	Type UnitedDeploymentScheduleStrategyType `json:"type,omitempty"`

	// Adaptive tunes the type Adaptive; with Fixed it waits unused.
	//
	// +optional
	Adaptive *AdaptiveUnitedDeploymentStrategy `json:"adaptive,omitempty"`
}

// AdaptiveUnitedDeploymentStrategy tunes how pods move to subsets that have room.
type AdaptiveUnitedDeploymentStrategy struct {
	// RescheduleCriticalSeconds is how long, in seconds, a pod may find no node before it is moved. Default: 30.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	RescheduleCriticalSeconds *int32 `json:"rescheduleCriticalSeconds,omitempty"`

	// UnschedulableDuration is how long, in seconds, a subset from which a pod was moved gets no more pods. Default: 300.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	UnschedulableDuration *int32 `json:"unschedulableDuration,omitempty"`

	// ReserveUnschedulablePods keeps the pods that find no node where they are, with the label
	// apps.kruise.io/united-deployment-reserved-pod, and makes others in their stead in other subsets. When one of them becomes ready
	// after all, one that stands in for it goes. They count in status.reservedPods, not in status.replicas. Default: false.
	//
	// +optional
	ReserveUnschedulablePods bool `json:"reserveUnschedulablePods,omitempty"`
}

// UnitedDeploymentUpdateStrategyType says how subsets go to a new revision.
//
// +kubebuilder:validation:Enum=Manual;""
type UnitedDeploymentUpdateStrategyType string

// ManualUpdateStrategyType keeps as many pods of each subset at the old revision as its partition says.
const ManualUpdateStrategyType UnitedDeploymentUpdateStrategyType = "Manual"

// UnitedDeploymentUpdateStrategy says how far the subsets go to a new revision.
type UnitedDeploymentUpdateStrategy struct {
	// Type is Manual, the only one there is.
	//
	// +optional
	Type UnitedDeploymentUpdateStrategyType `json:"type,omitempty"`

	// ManualUpdate are the partitions.
	//
	// +optional
	ManualUpdate *ManualUpdate `json:"manualUpdate,omitempty"`
}

// ManualUpdate says how many pods of each subset stay at the old revision.
type ManualUpdate struct {
	// Partitions are, by the name of a subset, how many of its pods stay at the old revision. It stands above a partition in the
	// template. A subset that is not named here updates all its pods, or as many as the template says. A Deployment cannot keep some of
	// its pods at the old revision: a partition above 0 pauses the Deployment, which keeps them all.
	//
	// +optional
	Partitions map[string]int32 `json:"partitions,omitempty"`
}
