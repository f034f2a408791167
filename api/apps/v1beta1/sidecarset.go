package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// SidecarSet puts containers into pods as they are created, and later changes those containers where they run, without
// their pods being made anew.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=sidecarsets,singular=sidecarset,scope=Cluster
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="MATCHED",type=integer,JSONPath=".status.matchedPods",description="Pods that carry the containers"
// +kubebuilder:printcolumn:name="UPDATED",type=integer,JSONPath=".status.updatedPods",description="Pods whose containers are those of the newest revision"
// +kubebuilder:printcolumn:name="READY",type=integer,JSONPath=".status.readyPods",description="Pods that are ready"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || size(self.metadata.name) <= 63",optionalOldSelf=true,message="metadata.name must have at most 63 characters: it is a label value of the set's revisions; choose a shorter name"
type SidecarSet struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	//
	// +optional
	Spec SidecarSetSpec `json:"spec,omitempty"`

	// Status is what was seen last. It is written by Holdfast alone.
	//
	// +optional
	Status SidecarSetStatus `json:"status,omitempty"`
}

// SidecarSetList is a list of SidecarSets.
//
// +kubebuilder:object:root=true
type SidecarSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the SidecarSets.
	Items []SidecarSet `json:"items"`
}

// SidecarSetSpec is what is wanted of a SidecarSet.
type SidecarSetSpec struct {
	// Selector picks the pods, by their labels, that get the containers. It must not be empty: that would be every pod of the
	// cluster. Pods that are there already are never given containers; those that have them are changed while it matches them.
	//
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// NamespaceSelector picks the namespaces, by their labels; every namespace has kubernetes.io/metadata.name. Default: all.
	// Pods in kube-system, kube-public, kube-node-lease and Holdfast's own namespace are left alone in any case. In v1alpha1
	// there is also namespace, which names one.
	//
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// InitContainers are added to the pod's init containers, sorted by name. One with restartPolicy: Always is a sidecar of
	// Kubernetes's own kind: it starts before the pod's containers, runs as long as they do, and is changed in place like
	// those of containers. The others run once, when the pod starts, and are never changed in a pod that is there.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	InitContainers []SidecarContainer `json:"initContainers,omitempty"`

	// Containers are added to the pod's containers. They can use the pod's volumes, and those of volumes.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Containers []SidecarContainer `json:"containers,omitempty"`

	// Volumes are added to the pod's volumes. A volume of the pod itself with the same name stays as it is, and is the one
	// that the containers mount.
	//
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	Volumes []corev1.Volume `json:"volumes,omitempty"`

	// UpdateStrategy says how pods that have the containers get to a new revision of them.
	//
	// +optional
	UpdateStrategy SidecarSetUpdateStrategy `json:"updateStrategy,omitempty"`

	// InjectionStrategy says what new pods get.
	//
	// +optional
	InjectionStrategy SidecarSetInjectionStrategy `json:"injectionStrategy,omitempty"`

	// ImagePullSecrets are added to those of the pod, for the images of the containers. The Secrets must be there in the
	// pod's namespace.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// RevisionHistoryLimit is how many old revisions, that no pod has and no injectionStrategy names, are kept. Default: 10.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	RevisionHistoryLimit *int32 `json:"revisionHistoryLimit,omitempty"`

	// PatchPodMetadata puts annotations on the pods that get the containers. The keys must be allowed by
	// SidecarSet_PatchPodMetadata_WhiteList in the ConfigMap kruise-configuration of Holdfast's namespace.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	PatchPodMetadata []SidecarSetPatchPodMetadata `json:"patchPodMetadata,omitempty"`

	// CustomVersion is a name of your own for the revision that the set is at, by which injectionStrategy can ask for it
	// later. It is a label value: at most 63 characters. In v1alpha1 it is the label apps.kruise.io/sidecarset-custom-version.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self == '' || self.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')",message="must be a label value: letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"
	CustomVersion string `json:"customVersion,omitempty"`
}

// SidecarContainer is a container of a SidecarSet: all that a container of a pod has, and how it gets there.
//
// +kubebuilder:pruning:PreserveUnknownFields
type SidecarContainer struct {
	// Container is the container as in a pod.
	//
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	corev1.Container `json:",inline"`

	// PodInjectPolicy is BeforeAppContainer: it comes before the containers of the pod, and so starts first; or
	// AfterAppContainer. Default: BeforeAppContainer for containers, AfterAppContainer for initContainers.
	//
	// +optional
	PodInjectPolicy PodInjectPolicyType `json:"podInjectPolicy,omitempty"`

	// UpgradeStrategy says how a running container gets to a new image.
	//
	// +optional
	UpgradeStrategy SidecarContainerUpgradeStrategy `json:"upgradeStrategy,omitempty"`

	// ShareVolumePolicy enabled gives the container all volume mounts of the pod's own containers, at the same paths. A path
	// that it mounts itself keeps its own.
	//
	// +optional
	ShareVolumePolicy ShareVolumePolicy `json:"shareVolumePolicy,omitempty"`

	// ShareVolumeDevicePolicy enabled does the same with the block devices of the pod's own containers.
	//
	// +optional
	ShareVolumeDevicePolicy *ShareVolumePolicy `json:"shareVolumeDevicePolicy,omitempty"`

	// TransferEnv gives the container environment variables of the pod's own containers. A variable that it sets itself keeps
	// its own value.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	TransferEnv []TransferEnvVar `json:"transferEnv,omitempty"`

	// ResourcesPolicy computes the container's resources from those of the pod's own containers when the pod is created. It
	// cannot be set together with resources. Pods that are there keep what they got.
	//
	// +optional
	ResourcesPolicy *ResourcesPolicy `json:"resourcesPolicy,omitempty"`
}

// PodInjectPolicyType says where a container goes.
//
// +kubebuilder:validation:Enum=BeforeAppContainer;AfterAppContainer
type PodInjectPolicyType string

// Where a container goes.
const (
	// BeforeAppContainerType puts it before the pod's own.
	BeforeAppContainerType PodInjectPolicyType = "BeforeAppContainer"
	// AfterAppContainerType puts it after the pod's own.
	AfterAppContainerType PodInjectPolicyType = "AfterAppContainer"
)

// SidecarContainerUpgradeStrategy says how a running container gets to a new image.
type SidecarContainerUpgradeStrategy struct {
	// UpgradeType is ColdUpgrade: the container stops, and starts with the new image; or HotUpgrade: the pod holds the
	// container twice, as <name>-1 and <name>-2, of which one works and the other runs hotUpgradeEmptyImage. The idle one gets
	// the new image, takes over in its lifecycle.postStart, and then the former gets the empty image. Default: ColdUpgrade.
	// An init container can only be changed cold.
	//
	// +optional
	UpgradeType SidecarContainerUpgradeType `json:"upgradeType,omitempty"`

	// HotUpgradeEmptyImage is what the idle container of a HotUpgrade runs: it is started as the container is, with its
	// command and probes, and must do nothing but stay ready. Required for HotUpgrade.
	//
	// +optional
	HotUpgradeEmptyImage string `json:"hotUpgradeEmptyImage,omitempty"`
}

// SidecarContainerUpgradeType is how a running container gets to a new image.
//
// +kubebuilder:validation:Enum=ColdUpgrade;HotUpgrade
type SidecarContainerUpgradeType string

// How a running container gets to a new image.
const (
	// SidecarContainerColdUpgrade stops it and starts it with the new image.
	SidecarContainerColdUpgrade SidecarContainerUpgradeType = "ColdUpgrade"
	// SidecarContainerHotUpgrade lets a second one take over first.
	SidecarContainerHotUpgrade SidecarContainerUpgradeType = "HotUpgrade"
)

// ShareVolumePolicy says whether volumes of the pod's own containers are shared.
type ShareVolumePolicy struct {
	// Type is enabled or disabled. Default: disabled.
	//
	// +optional
	Type ShareVolumePolicyType `json:"type,omitempty"`
}

// ShareVolumePolicyType says whether volumes are shared.
//
// +kubebuilder:validation:Enum=enabled;disabled
type ShareVolumePolicyType string

// Whether volumes are shared.
const (
	// ShareVolumePolicyEnabled shares them.
	ShareVolumePolicyEnabled ShareVolumePolicyType = "enabled"
	// ShareVolumePolicyDisabled does not.
	ShareVolumePolicyDisabled ShareVolumePolicyType = "disabled"
)

// TransferEnvVar takes environment variables from one of the pod's own containers. A container, or a variable, that the pod
// does not have gives nothing.
//
// +kubebuilder:validation:XValidation:rule="has(self.sourceContainerName) != has(self.sourceContainerNameFrom)",message="set sourceContainerName, or sourceContainerNameFrom, and not both: it says whose variables are taken"
// +kubebuilder:validation:XValidation:rule="has(self.envName) || (has(self.envNames) && size(self.envNames) > 0)",message="set envName or envNames: they say which variables are taken"
type TransferEnvVar struct {
	// SourceContainerName is the name of the pod's container that has the variables.
	//
	// +optional
	SourceContainerName string `json:"sourceContainerName,omitempty"`

	// SourceContainerNameFrom reads that name from the pod.
	//
	// +optional
	SourceContainerNameFrom *SourceContainerNameSource `json:"sourceContainerNameFrom,omitempty"`

	// EnvName is the name of one variable.
	//
	// +optional
	EnvName string `json:"envName,omitempty"`

	// EnvNames are the names of several variables. Each may be a regular expression (https://github.com/google/re2/wiki/Syntax)
	// that the whole name must match: PROXY_.* takes all that begin with PROXY_.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	EnvNames []string `json:"envNames,omitempty"`
}

// SourceContainerNameSource is where in the pod the name of a container is written.
type SourceContainerNameSource struct {
	// FieldRef is metadata.labels['<key>'] or metadata.annotations['<key>'].
	//
	// +optional
	FieldRef *SourceContainerFieldSelector `json:"fieldRef,omitempty"`
}

// SourceContainerFieldSelector names a field of the pod.
type SourceContainerFieldSelector struct {
	// APIVersion of the pod that fieldPath is written for. Default: v1; there is no other.
	//
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// FieldPath is metadata.labels['<key>'] or metadata.annotations['<key>'].
	FieldPath string `json:"fieldPath"`
}

// ResourcesPolicy computes resources from those of other containers.
type ResourcesPolicy struct {
	// TargetContainersMode is sum: the variables of the expressions are the sums over all target containers; or max: the
	// largest of them.
	TargetContainersMode TargetContainersModeType `json:"targetContainersMode"`

	// TargetContainersNameRegex picks the target containers: a regular expression that some part of the name matches. Only the
	// pod's own containers and its restartable init containers count, never those of a SidecarSet. Default: .*, all. A pod in
	// which it matches none is refused.
	//
	// +optional
	// +kubebuilder:default=".*"
	TargetContainersNameRegex string `json:"targetContainersNameRegex,omitempty"`

	// ResourcesExpr are the expressions.
	ResourcesExpr ResourcesExpr `json:"resourcesExpr"`
}

// TargetContainersModeType says how several containers become one number.
//
// +kubebuilder:validation:Enum=sum;max
type TargetContainersModeType string

// How several containers become one number.
const (
	// TargetContainersModeSum adds.
	TargetContainersModeSum TargetContainersModeType = "sum"
	// TargetContainersModeMax takes the largest.
	TargetContainersModeMax TargetContainersModeType = "max"
)

// ResourcesExpr are the expressions for limits and requests.
type ResourcesExpr struct {
	// Limits: cpu and memory in these expressions are the limits of the target containers. When one of them has no limit, a
	// limit that depends on it is left out.
	//
	// +optional
	Limits *ResourceExprLimits `json:"limits,omitempty"`

	// Requests: cpu and memory in these expressions are the requests of the target containers; one that has none counts as 0.
	//
	// +optional
	Requests *ResourceExprRequests `json:"requests,omitempty"`
}

// ResourceExprLimits are expressions for limits.
type ResourceExprLimits struct {
	// CPU is an expression such as max(cpu*50%, 200m): numbers, percentages, quantities, the variables cpu and memory, + - * /,
	// parentheses, min() and max(). A result below 0 refuses the pod.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	CPU string `json:"cpu,omitempty"`

	// Memory is an expression such as min(memory*10%, 200Mi).
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Memory string `json:"memory,omitempty"`
}

// ResourceExprRequests are expressions for requests.
type ResourceExprRequests struct {
	// CPU is an expression such as max(cpu*50%, 50m).
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	CPU string `json:"cpu,omitempty"`

	// Memory is an expression such as 100Mi.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Memory string `json:"memory,omitempty"`
}

// SidecarSetUpdateStrategyType says whether pods that have the containers are changed.
//
// +kubebuilder:validation:Enum=NotUpdate;RollingUpdate
type SidecarSetUpdateStrategyType string

// Whether pods that have the containers are changed.
const (
	// NotUpdateSidecarSetStrategyType leaves them alone.
	NotUpdateSidecarSetStrategyType SidecarSetUpdateStrategyType = "NotUpdate"
	// RollingUpdateSidecarSetStrategyType changes them in place, within the limits.
	RollingUpdateSidecarSetStrategyType SidecarSetUpdateStrategyType = "RollingUpdate"
)

// SidecarSetUpdateStrategy says how pods that have the containers get to a new revision of them.
type SidecarSetUpdateStrategy struct {
	// Type is RollingUpdate: pods are changed in place, within the limits below; or NotUpdate: only new pods get the new
	// revision. Default: RollingUpdate. What cannot be changed in place, which is all but images, stays as it is in a pod until
	// the pod is made anew; its condition SidecarSetUpgradable is False, and status.held says why.
	//
	// +optional
	Type SidecarSetUpdateStrategyType `json:"type,omitempty"`

	// Paused stops updates; new pods still get the containers. Default: false.
	//
	// +optional
	Paused bool `json:"paused,omitempty"`

	// Selector picks, of the set's pods, those that are updated. Default: all.
	//
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// Partition is how many pods stay at the old revision: a whole number, or a percentage of the pods that selector picks
	// (rounded up, but below 100% at least one pod is updated where there are several). Default: 0, all are updated.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	Partition *intstr.IntOrString `json:"partition,omitempty"`

	// MaxUnavailable is how many of the set's pods may be unavailable during an update: a whole number, or a percentage of
	// them (rounded up). Default: 1. It is shared with the workloads of the pods: of no workload more pods are away than its
	// own maxUnavailable says, whoever took them. 0 stops updates.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`

	// PriorityStrategy says which pods are updated first.
	//
	// +optional
	PriorityStrategy *UpdatePriorityStrategy `json:"priorityStrategy,omitempty"`

	// ScatterStrategy spreads pods with the same label evenly over the update.
	//
	// +optional
	ScatterStrategy UpdateScatterStrategy `json:"scatterStrategy,omitempty"`
}

// SidecarSetInjectionStrategy says what new pods get.
type SidecarSetInjectionStrategy struct {
	// Paused gives new pods nothing; pods that have the containers keep them. Default: false.
	//
	// +optional
	Paused bool `json:"paused,omitempty"`

	// Revision gives new pods an older revision. Default: unset, they get the newest.
	//
	// +optional
	Revision *SidecarSetInjectRevision `json:"revision,omitempty"`
}

// SidecarSetInjectRevision names the revision that new pods get. Without a name, which the policy Partial allows, it is the
// older one that most of the set's pods have, or else the one before the newest.
//
// +kubebuilder:validation:XValidation:rule="!has(self.revisionName) || !has(self.customVersion)",message="set revisionName or customVersion, and not both: they are two ways to name one revision"
type SidecarSetInjectRevision struct {
	// CustomVersion is the spec.customVersion that the set had at the revision.
	//
	// +optional
	CustomVersion string `json:"customVersion,omitempty"`

	// RevisionName is the name of a ControllerRevision of the set in Holdfast's namespace, as in status.latestRevision. The
	// part behind the set's name is enough.
	//
	// +optional
	RevisionName string `json:"revisionName,omitempty"`

	// Policy is Always: every new pod gets the revision; or Partial: those that updateStrategy.selector does not match get it,
	// and of the others the share that updateStrategy.partition says, where it is a percentage; the rest gets the newest.
	//
	// +optional
	// +kubebuilder:default=Always
	Policy SidecarSetInjectRevisionPolicy `json:"policy,omitempty"`
}

// SidecarSetInjectRevisionPolicy says which new pods get the revision.
//
// +kubebuilder:validation:Enum=Always;Partial
type SidecarSetInjectRevisionPolicy string

// Which new pods get the revision.
const (
	// AlwaysSidecarSetInjectRevisionPolicy gives it to all.
	AlwaysSidecarSetInjectRevisionPolicy SidecarSetInjectRevisionPolicy = "Always"
	// PartialSidecarSetInjectRevisionPolicy gives it to those that the update does not reach.
	PartialSidecarSetInjectRevisionPolicy SidecarSetInjectRevisionPolicy = "Partial"
)

// SidecarSetPatchPodMetadata is a group of annotations, and what happens where a pod has them already.
type SidecarSetPatchPodMetadata struct {
	// Annotations to put on the pod.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`

	// PatchPolicy is Retain: what the pod has stays; Overwrite: it is replaced; or MergePatchJson: both values are JSON
	// objects, and this one is merged into that of the pod (RFC 7386). Default: Retain. Overwrite and MergePatchJson also
	// follow a new revision in pods that are there.
	//
	// +optional
	PatchPolicy SidecarSetPatchPolicyType `json:"patchPolicy,omitempty"`
}

// SidecarSetPatchPolicyType says what happens where a pod has an annotation already.
//
// +kubebuilder:validation:Enum=Retain;Overwrite;MergePatchJson
type SidecarSetPatchPolicyType string

// What happens where a pod has an annotation already.
const (
	// SidecarSetRetainPatchPolicy keeps it.
	SidecarSetRetainPatchPolicy SidecarSetPatchPolicyType = "Retain"
	// SidecarSetOverwritePatchPolicy replaces it.
	SidecarSetOverwritePatchPolicy SidecarSetPatchPolicyType = "Overwrite"
	// SidecarSetMergePatchJSONPatchPolicy merges into it.
	SidecarSetMergePatchJSONPatchPolicy SidecarSetPatchPolicyType = "MergePatchJson"
)
