package v1beta1

// StatefulSetStatus is what was seen of a StatefulSet last.
type StatefulSetStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of. While it is lower than
	// metadata.generation, the status is about an older spec.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Replicas is how many pods exist.
	Replicas int32 `json:"replicas"`

	// ReadyReplicas is how many pods are ready.
	ReadyReplicas int32 `json:"readyReplicas"`

	// AvailableReplicas is how many pods have been ready for minReadySeconds.
	AvailableReplicas int32 `json:"availableReplicas"`

	// CurrentReplicas is how many pods are of the current revision.
	CurrentReplicas int32 `json:"currentReplicas"`

	// UpdatedReplicas is how many pods are of the update revision.
	UpdatedReplicas int32 `json:"updatedReplicas"`

	// UpdatedReadyReplicas is how many pods of the update revision are ready.
	//
	// +optional
	UpdatedReadyReplicas int32 `json:"updatedReadyReplicas,omitempty"`

	// UpdatedAvailableReplicas is how many pods of the update revision are available.
	//
	// +optional
	UpdatedAvailableReplicas int32 `json:"updatedAvailableReplicas,omitempty"`

	// CurrentRevision is the revision that pods were at before this update; it becomes the update revision once all are
	// updated.
	//
	// +optional
	CurrentRevision string `json:"currentRevision,omitempty"`

	// UpdateRevision is the revision of the template now in the spec.
	//
	// +optional
	UpdateRevision string `json:"updateRevision,omitempty"`

	// CollisionCount counts revision names that were already taken; it is part of the next name.
	//
	// +optional
	CollisionCount *int32 `json:"collisionCount,omitempty"`

	// Conditions say how the set is doing. Ready, Reconciling and Stalled follow kstatus
	// (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus); FailedCreatePod and FailedUpdatePod are True
	// while pods cannot be created or deleted, or changed; NameConflict is True while a StatefulSet of the group apps has the
	// same name.
	//
	// +optional
	// +listType=atomic
	Conditions []WorkloadCondition `json:"conditions,omitempty"`

	// LabelSelector is the selector as text, as the scale subresource and its clients (HPA) want it.
	//
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`

	// VolumeClaims says, for each template, how many claims are as large as it asks.
	//
	// +optional
	// +listType=atomic
	VolumeClaims []VolumeClaimStatus `json:"volumeClaims,omitempty"`

	// Held says why changes wait, one entry per reason: first what is wrong, then what waits for its turn. Empty: nothing waits.
	//
	// +optional
	// +listType=atomic
	Held []HeldChange `json:"held,omitempty"`
}

// The conditions of a StatefulSet beside those of all workloads.
const (
	// StatefulSetConditionFailedCreatePod is True when pods could not be created or deleted.
	StatefulSetConditionFailedCreatePod = "FailedCreatePod"
	// StatefulSetConditionFailedUpdatePod is True when pods could not be updated.
	StatefulSetConditionFailedUpdatePod = "FailedUpdatePod"
	// StatefulSetConditionNameConflict is True while a StatefulSet of the group apps has the same name in the same namespace.
	StatefulSetConditionNameConflict = "NameConflict"
)

// VolumeClaimStatus is how far the claims of one template are.
type VolumeClaimStatus struct {
	// VolumeClaimName is the name of the template.
	VolumeClaimName string `json:"volumeClaimName"`

	// CompatibleReplicas is how many pods have a claim that asks for at least what the template asks for.
	CompatibleReplicas int32 `json:"compatibleReplicas"`

	// CompatibleReadyReplicas is how many pods have a claim whose volume is at least as large as that.
	CompatibleReadyReplicas int32 `json:"compatibleReadyReplicas"`
}
