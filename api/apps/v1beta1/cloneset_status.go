package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CloneSetStatus is what was seen of a CloneSet last.
type CloneSetStatus struct {
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

	// UpdatedReplicas is how many pods are of the update revision.
	UpdatedReplicas int32 `json:"updatedReplicas"`

	// UpdatedReadyReplicas is how many pods of the update revision are ready.
	UpdatedReadyReplicas int32 `json:"updatedReadyReplicas"`

	// UpdatedAvailableReplicas is how many pods of the update revision are available.
	//
	// +optional
	UpdatedAvailableReplicas int32 `json:"updatedAvailableReplicas"`

	// ExpectedUpdatedReplicas is how many pods are to be of the update revision: replicas less partition.
	//
	// +optional
	ExpectedUpdatedReplicas int32 `json:"expectedUpdatedReplicas,omitempty"`

	// UpdateRevision is the revision of the template now in the spec.
	//
	// +optional
	UpdateRevision string `json:"updateRevision,omitempty"`

	// CurrentRevision is the revision that pods were at before this update; it becomes the update revision once all are
	// updated.
	//
	// +optional
	CurrentRevision string `json:"currentRevision,omitempty"`

	// CollisionCount counts revision names that were already taken; it is part of the next name.
	//
	// +optional
	CollisionCount *int32 `json:"collisionCount,omitempty"`

	// Conditions say how the set is doing. Ready, Reconciling and Stalled follow kstatus
	// (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus); Progressing, FailedScale and FailedUpdate say
	// more about rollouts and failures.
	//
	// +optional
	// +listType=atomic
	Conditions []CloneSetCondition `json:"conditions,omitempty"`

	// LabelSelector is the selector as text, as the scale subresource and its clients (HPA) want it.
	//
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`

	// Held says why changes wait, one entry per reason: first what is wrong, then what waits for its turn. Empty: nothing waits.
	//
	// +optional
	// +listType=atomic
	Held []HeldChange `json:"held,omitempty"`
}

// CloneSetConditionType names a condition of a CloneSet.
type CloneSetConditionType string

// The conditions of a CloneSet.
const (
	// CloneSetConditionReady is True when every wanted pod is available and of its revision.
	CloneSetConditionReady CloneSetConditionType = "Ready"
	// CloneSetConditionReconciling is True while pods are being created, updated or deleted, or wait for that.
	CloneSetConditionReconciling CloneSetConditionType = "Reconciling"
	// CloneSetConditionStalled is True when nothing goes on until the user acts; the message says what to do.
	CloneSetConditionStalled CloneSetConditionType = "Stalled"
	// CloneSetConditionProgressing follows a rollout, with the reasons CloneSetProgressUpdated and its neighbours.
	CloneSetConditionProgressing CloneSetConditionType = "Progressing"
	// CloneSetConditionFailedScale is True when pods could not be created or deleted.
	CloneSetConditionFailedScale CloneSetConditionType = "FailedScale"
	// CloneSetConditionFailedUpdate is True when pods could not be updated.
	CloneSetConditionFailedUpdate CloneSetConditionType = "FailedUpdate"
)

// The reasons of the condition Progressing.
const (
	// CloneSetProgressUpdated: pods were updated, or got ready, since the last look.
	CloneSetProgressUpdated = "CloneSetUpdated"
	// CloneSetProgressAvailable: all pods that were to be updated are available.
	CloneSetProgressAvailable = "CloneSetAvailable"
	// CloneSetProgressPartitionAvailable: all pods up to the partition are updated and available; the others stay.
	CloneSetProgressPartitionAvailable = "ProgressPartitionAvailable"
	// CloneSetProgressPaused: the update is paused.
	CloneSetProgressPaused = "CloneSetPaused"
	// CloneSetProgressDeadlineExceeded: there was no progress for progressDeadlineSeconds.
	CloneSetProgressDeadlineExceeded = "ProgressDeadlineExceeded"
)

// CloneSetCondition is one thing that is true, false or unknown about a CloneSet.
type CloneSetCondition struct {
	// Type names the condition.
	Type CloneSetConditionType `json:"type"`

	// Status is True, False or Unknown.
	Status corev1.ConditionStatus `json:"status"`

	// LastUpdateTime is when the condition was last written with a new status, reason or message.
	//
	// +optional
	LastUpdateTime metav1.Time `json:"lastUpdateTime,omitzero"`

	// LastTransitionTime is when the status last changed.
	//
	// +optional
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitzero"`

	// Reason is one word for programs.
	//
	// +optional
	Reason string `json:"reason,omitempty"`

	// Message is one sentence for people: what is the matter, and what they can do.
	//
	// +optional
	Message string `json:"message,omitempty"`
}
