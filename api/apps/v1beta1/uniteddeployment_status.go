package v1beta1

// UnitedDeploymentStatus is what was seen of a UnitedDeployment last.
type UnitedDeploymentStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Replicas is how many pods exist in all subsets, without those that are reserved.
	Replicas int32 `json:"replicas"`

	// ReadyReplicas is how many pods are ready.
	//
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`

	// UpdatedReplicas is how many pods are of the newest revision.
	UpdatedReplicas int32 `json:"updatedReplicas"`

	// UpdatedReadyReplicas is how many pods of the newest revision are ready.
	//
	// +optional
	UpdatedReadyReplicas int32 `json:"updatedReadyReplicas,omitempty"`

	// ReservedPods is how many pods wait for a node in their subset while others stand in for them elsewhere.
	//
	// +optional
	ReservedPods int32 `json:"reservedPods,omitempty"`

	// CollisionCount counts revision names that were already taken; it is part of the next name.
	//
	// +optional
	CollisionCount *int32 `json:"collisionCount,omitempty"`

	// CurrentRevision is the revision that all subsets had before this update; it becomes the updated one once all have that.
	CurrentRevision string `json:"currentRevision"`

	// UpdatedRevision is the revision of the template now in the spec.
	//
	// +optional
	UpdatedRevision string `json:"updatedRevision,omitempty"`

	// SubsetStatuses are the subsets, in the order of the spec, and then those that are on their way out.
	//
	// +optional
	// +listType=atomic
	SubsetStatuses []SubsetStatus `json:"subsetStatuses,omitempty"`

	// Conditions say how the object is doing: Ready, Reconciling and Stalled, which follow kstatus
	// (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus); SubsetProvisioned and SubsetUpdated: the workloads
	// of all subsets were made and brought to the newest revision; SubsetFailure: something could not be done to one.
	//
	// +optional
	// +listType=atomic
	Conditions []WorkloadCondition `json:"conditions,omitempty"`

	// LabelSelector is the selector as text, as the scale subresource and its clients (HPA) want it.
	//
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`

	// Held says why changes wait, one entry per reason. Empty: nothing waits. What waits inside of a subset's workload stands in
	// that workload's own status.
	//
	// +optional
	// +listType=atomic
	Held []HeldChange `json:"held,omitempty"`
}

// SubsetStatus is what was seen of one subset.
type SubsetStatus struct {
	// Name of the subset.
	//
	// +optional
	Name string `json:"name,omitempty"`

	// Replicas is how many pods its workload is asked for.
	//
	// +optional
	Replicas int32 `json:"replicas,omitempty"`

	// ReadyReplicas is how many of its pods are ready.
	//
	// +optional
	ReadyReplicas int32 `json:"readyReplicas"`

	// Partition is how many of its pods stay at the old revision.
	//
	// +optional
	Partition int32 `json:"partition,omitempty"`

	// ReservedPods is how many of its pods wait for a node while others stand in for them in other subsets.
	//
	// +optional
	ReservedPods int32 `json:"reservedPods,omitempty"`

	// Conditions of the subset: Schedulable is False while pods find no node in it, and for unschedulableDuration after that.
	//
	// +optional
	// +listType=atomic
	Conditions []WorkloadCondition `json:"conditions,omitempty"`
}

// SubsetSchedulable is the condition of a subset that says whether it has room for more pods.
const SubsetSchedulable = "Schedulable"

// The conditions of a UnitedDeployment beside those of kstatus.
const (
	// UnitedDeploymentSubsetProvisioned is True when every subset has its workload, and no other does.
	UnitedDeploymentSubsetProvisioned = "SubsetProvisioned"
	// UnitedDeploymentSubsetUpdated is True when the workloads of all subsets have the newest revision and their number of pods.
	UnitedDeploymentSubsetUpdated = "SubsetUpdated"
	// UnitedDeploymentSubsetFailure is True when something could not be done to the workload of a subset.
	UnitedDeploymentSubsetFailure = "SubsetFailure"
)
