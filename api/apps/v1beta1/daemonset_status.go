package v1beta1

// DaemonSetStatus is what was seen of a DaemonSet last. Its numbers count nodes, as those of a Kubernetes DaemonSet do;
// where an old and a new pod run beside each other, the older one counts.
type DaemonSetStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of. While it is lower than
	// metadata.generation, the status is about an older spec.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// DesiredNumberScheduled is how many nodes should have a pod.
	DesiredNumberScheduled int32 `json:"desiredNumberScheduled"`

	// CurrentNumberScheduled is how many nodes should have a pod and have one.
	CurrentNumberScheduled int32 `json:"currentNumberScheduled"`

	// NumberMisscheduled is how many nodes have a pod and should not get one.
	NumberMisscheduled int32 `json:"numberMisscheduled"`

	// NumberReady is how many nodes should have a pod and have a ready one.
	NumberReady int32 `json:"numberReady"`

	// UpdatedNumberScheduled is how many nodes should have a pod and have one of the update revision.
	UpdatedNumberScheduled int32 `json:"updatedNumberScheduled"`

	// NumberAvailable is how many nodes should have a pod and have one that has been ready for minReadySeconds.
	//
	// +optional
	NumberAvailable int32 `json:"numberAvailable"`

	// NumberUnavailable is how many nodes should have an available pod and have none.
	//
	// +optional
	NumberUnavailable int32 `json:"numberUnavailable,omitempty"`

	// ExpectedUpdatedNumber is how many nodes are to have a pod of the update revision: all but those that selector and
	// partition keep.
	//
	// +optional
	ExpectedUpdatedNumber int32 `json:"expectedUpdatedNumber,omitempty"`

	// UpdateRevision is the revision of the template now in the spec. In v1alpha1 it is daemonSetHash.
	//
	// +optional
	UpdateRevision string `json:"updateRevision,omitempty"`

	// CurrentRevision is the revision that pods were at before this update; it becomes the update revision once all are
	// updated. Nodes that selector or partition keep get their pods back at this one.
	//
	// +optional
	CurrentRevision string `json:"currentRevision,omitempty"`

	// CollisionCount counts revision names that were already taken; it is part of the next name.
	//
	// +optional
	CollisionCount *int32 `json:"collisionCount,omitempty"`

	// Conditions say how the set is doing. Ready, Reconciling and Stalled follow kstatus
	// (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus); FailedScale and FailedUpdate say more about
	// failures, NoMatchingNodes that the template fits no node.
	//
	// +optional
	// +listType=atomic
	Conditions []WorkloadCondition `json:"conditions,omitempty"`

	// Held says why changes wait, one entry per reason: first what is wrong, then what waits for its turn. Empty: nothing waits.
	//
	// +optional
	// +listType=atomic
	Held []HeldChange `json:"held,omitempty"`
}

// The conditions of a DaemonSet beside Ready, Reconciling and Stalled.
const (
	// DaemonSetConditionFailedScale is True when pods could not be created or deleted.
	DaemonSetConditionFailedScale = "FailedScale"
	// DaemonSetConditionFailedUpdate is True when pods could not be updated.
	DaemonSetConditionFailedUpdate = "FailedUpdate"
	// DaemonSetConditionNoMatchingNodes is True while no node of the cluster should have a pod; the message says what the
	// nodes lack.
	DaemonSetConditionNoMatchingNodes = "NoMatchingNodes"
)
