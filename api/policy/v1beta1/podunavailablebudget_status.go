package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodUnavailableBudgetStatus is what was seen of a budget last, and the ledger of what it has allowed: a pod is written down
// here before its deletion, eviction or change is let through, and counts as away from then on.
type PodUnavailableBudgetStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// DisruptedPods are the pods that may be deleted or evicted, with the time since when, until they are seen to go. When
	// nothing happens for 90 seconds, the pod is struck out again.
	//
	// +optional
	DisruptedPods map[string]metav1.Time `json:"disruptedPods,omitempty"`

	// UnavailablePods are the pods that may be changed in place, with the time since when, until their containers have
	// restarted and they are ready again. When nothing happens for 90 seconds, the pod is struck out again.
	//
	// +optional
	UnavailablePods map[string]metav1.Time `json:"unavailablePods,omitempty"`

	// UnavailableAllowed is how many available pods may be taken away now.
	UnavailableAllowed int32 `json:"unavailableAllowed"`

	// CurrentAvailable is how many pods are available and not written down as about to go or to be changed.
	CurrentAvailable int32 `json:"currentAvailable"`

	// DesiredAvailable is how many pods must stay available.
	DesiredAvailable int32 `json:"desiredAvailable"`

	// TotalReplicas is how many pods the application wants: what percentages are taken of.
	TotalReplicas int32 `json:"totalReplicas"`

	// Grants is the ledger: what has been allowed, and is not seen to be over yet. disruptedPods and unavailablePods are
	// taken from it.
	//
	// +optional
	// +listType=atomic
	Grants []PodGrant `json:"grants,omitempty"`

	// PodsVersion is the resourceVersion of pods that this status rests on. Nobody who has seen less than that may decide by
	// it.
	//
	// +optional
	PodsVersion string `json:"podsVersion,omitempty"`

	// Selector is the labels of the guarded pods, as text: those of spec.selector, or what the target's scale subresource says.
	//
	// +optional
	Selector string `json:"selector,omitempty"`

	// Workloads are those that want the guarded pods, and how many each. There are none while protectTotalReplicas is set.
	//
	// +optional
	// +listType=atomic
	Workloads []GuardedWorkload `json:"workloads,omitempty"`

	// Conditions say whether the budget works: Enforced (it is asked before pods go), Overlapping (other budgets guard the
	// same pods, and all must allow), Blocking (it can never allow anything), and Ready, Reconciling and Stalled as kstatus
	// has them.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The conditions of a budget.
const (
	// BudgetEnforced is True when the budget is asked before its pods go, and False, with the fix, when it guards nothing.
	BudgetEnforced = "Enforced"
	// BudgetOverlapping is True while other budgets guard some of the same pods; all of them must allow.
	BudgetOverlapping = "Overlapping"
	// BudgetBlocking is True while the budget can never allow an available pod to go.
	BudgetBlocking = "Blocking"
	// BudgetReady, BudgetReconciling and BudgetStalled follow kstatus.
	BudgetReady = "Ready"
	// BudgetReconciling is True while the budget waits for something that will come, such as its target.
	BudgetReconciling = "Reconciling"
	// BudgetStalled is True when the budget cannot work until the user acts.
	BudgetStalled = "Stalled"
)

// PodGrant is one pod that may be taken away in one way.
type PodGrant struct {
	// Pod is its name.
	Pod string `json:"pod"`

	// UID of the pod: another one under its name has no such grant.
	UID types.UID `json:"uid"`

	// Operation that was allowed.
	Operation PodOperation `json:"operation"`

	// Time is when it was allowed last.
	Time metav1.Time `json:"time"`

	// Generation of the pod when it was allowed.
	//
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// Containers that the change restarts, as they were.
	//
	// +optional
	// +listType=atomic
	Containers []GrantedContainer `json:"containers,omitempty"`

	// Released says that the one who asked was turned down elsewhere: the grant lapses in a few seconds unless somebody asks
	// again.
	//
	// +optional
	Released bool `json:"released,omitempty"`
}

// GrantedContainer is a container before its restart.
type GrantedContainer struct {
	// Name of the container.
	Name string `json:"name"`

	// Image of its spec.
	//
	// +optional
	Image string `json:"image,omitempty"`

	// ContainerID of what ran.
	//
	// +optional
	ContainerID string `json:"containerID,omitempty"`
}

// GuardedWorkload is a workload that wants pods which the budget guards.
type GuardedWorkload struct {
	// APIVersion of the workload.
	APIVersion string `json:"apiVersion"`

	// Kind of the workload.
	Kind string `json:"kind"`

	// Name of the workload.
	Name string `json:"name"`

	// Replicas that it wants.
	Replicas int32 `json:"replicas"`
}
