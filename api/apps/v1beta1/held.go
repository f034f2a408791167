package v1beta1

// HeldReason is why a change waits.
type HeldReason string

// The reasons for which a change waits.
const (
	// HeldByBudget: making it now would take away more pods than maxUnavailable, or a disruption budget, allows.
	HeldByBudget HeldReason = "Budget"
	// HeldByPartition: the partition keeps these pods at the old revision.
	HeldByPartition HeldReason = "Partition"
	// HeldByPaused: the update is paused.
	HeldByPaused HeldReason = "Paused"
	// HeldByHook: a lifecycle hook holds the pods.
	HeldByHook HeldReason = "Hook"
	// HeldByImage: the new image is still being pulled, or cannot be pulled.
	HeldByImage HeldReason = "Image"
	// HeldByPVC: a volume claim is not bound, not expanded, or still being deleted.
	HeldByPVC HeldReason = "PVC"
	// HeldByScheduling: no node takes the pods.
	HeldByScheduling HeldReason = "Scheduling"
	// HeldByContainer: a container does not start, or crashes.
	HeldByContainer HeldReason = "Container"
	// HeldByInPlaceOnly: podUpdatePolicy is InPlaceOnly, and the change needs new pods.
	HeldByInPlaceOnly HeldReason = "InPlaceOnly"
	// HeldByOnDelete: the update strategy is OnDelete; pods change when somebody deletes them.
	HeldByOnDelete HeldReason = "OnDelete"
	// HeldByScaleStrategy: as many pods as scaleStrategy.maxUnavailable allows are starting already.
	HeldByScaleStrategy HeldReason = "ScaleStrategy"
	// HeldByGrace: the pods are out of service, for gracePeriodSeconds, before they are changed.
	HeldByGrace HeldReason = "Grace"
	// HeldBySurge: the pods stand in while others are changed in place.
	HeldBySurge HeldReason = "Surge"
	// HeldByUpdate: the kubelet is still making the change.
	HeldByUpdate HeldReason = "Update"
	// HeldByGuard: a PodUnavailableBudget or a PodDeletionFlowControl keeps the pods for now; the message names it.
	HeldByGuard HeldReason = "Guard"
	// HeldByOrder: the pods before it must be available first.
	HeldByOrder HeldReason = "Order"
	// HeldByTermination: a pod that is still terminating keeps the place, or the volumes, of the next one.
	HeldByTermination HeldReason = "Termination"
	// HeldByConcurrency: an earlier job still runs, and concurrencyPolicy is Forbid or Replace.
	HeldByConcurrency HeldReason = "Concurrency"
	// HeldBySubset: pods of another subset must go first, or its workload must be made first.
	HeldBySubset HeldReason = "Subset"
)

// HeldChange is a group of changes that wait for the same reason.
type HeldChange struct {
	// Reason is one word for programs: Budget, Partition, Paused, Hook, Image, PVC, Scheduling, Container, InPlaceOnly,
	// OnDelete, ScaleStrategy, Grace, Surge, Update, Guard, Order, Termination, Concurrency, Subset, or one that a later
	// release adds.
	Reason HeldReason `json:"reason"`

	// Message is one sentence for people: what the changes wait for, and what would let them go on.
	//
	// +optional
	Message string `json:"message,omitempty"`

	// Count is how many changes wait for this reason.
	Count int32 `json:"count"`

	// Pods are the names of up to five pods that wait, so that one can be looked at.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=5
	Pods []string `json:"pods,omitempty"`
}
