package v1beta1

// SidecarSetStatus is what was seen of a SidecarSet last.
type SidecarSetStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of. While it is lower than
	// metadata.generation, the status is about an older spec.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// MatchedPods is how many pods carry the containers and match the selector.
	MatchedPods int32 `json:"matchedPods"`

	// UpdatedPods is how many of them carry the newest revision of the containers.
	UpdatedPods int32 `json:"updatedPods"`

	// ReadyPods is how many of them are ready.
	ReadyPods int32 `json:"readyPods"`

	// UpdatedReadyPods is how many of them carry the newest revision, run it, and are ready.
	//
	// +optional
	UpdatedReadyPods int32 `json:"updatedReadyPods,omitempty"`

	// LatestRevision is the name of the newest revision: a ControllerRevision in Holdfast's namespace.
	//
	// +optional
	LatestRevision string `json:"latestRevision,omitempty"`

	// CollisionCount counts revision names that were already taken; it is part of the next name.
	//
	// +optional
	CollisionCount *int32 `json:"collisionCount,omitempty"`

	// Conditions say how the set is doing. Ready, Reconciling and Stalled follow kstatus
	// (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus); FailedUpdate is True when pods could not be
	// changed, NotUpgradable when pods must be made anew to get the newest revision.
	//
	// +optional
	// +listType=atomic
	Conditions []WorkloadCondition `json:"conditions,omitempty"`

	// Held says why updates wait, one entry per reason. Empty: nothing waits.
	//
	// +optional
	// +listType=atomic
	Held []HeldChange `json:"held,omitempty"`
}
