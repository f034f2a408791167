package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PodDeletionFlowControlStatus is what was seen of a PodDeletionFlowControl last.
type PodDeletionFlowControlStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Rules are the windows as they are, in the order of the spec.
	//
	// +optional
	// +listType=atomic
	Rules []DeletionRuleStatus `json:"rules,omitempty"`

	// Used is the windows in one line: "12/100 per 10m, 40/500 per 1h".
	//
	// +optional
	Used string `json:"used,omitempty"`

	// Left is how many deletions would be allowed now, by the rule that has the least left.
	Left int32 `json:"left"`

	// Admitted is how many deletions were counted since the policy was made.
	Admitted int64 `json:"admitted"`

	// Denied is how many deletions were denied since the policy was made.
	Denied int64 `json:"denied"`

	// WouldDeny is how many deletions passed since the policy was made although they were above a limit: in mode Observe,
	// and those by Kubernetes itself that enforceFor does not name.
	WouldDeny int64 `json:"wouldDeny"`

	// Breaker is the circuit breaker.
	//
	// +optional
	Breaker DeletionBreakerStatus `json:"breaker,omitempty"`

	// RecentDecisions are the last 20 deletions that were denied, or passed above a limit, the newest first. Replicas report
	// them within a few seconds, and only the last one of each user and workload.
	//
	// +optional
	// +listType=atomic
	RecentDecisions []DeletionDecision `json:"recentDecisions,omitempty"`

	// Conditions say how the policy is doing: Ready, Reconciling and Stalled follow kstatus; Enforced says whether deletions
	// really are held to the limits; LimitReached and BreakerOpen say why none is allowed now.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The conditions of a PodDeletionFlowControl, beside Ready, Reconciling and Stalled.
const (
	// FlowControlEnforced is True while deletions are held to the limits.
	FlowControlEnforced = "Enforced"
	// FlowControlLimitReached is True while a window is full.
	FlowControlLimitReached = "LimitReached"
	// FlowControlBreakerOpen is True while the circuit breaker is open.
	FlowControlBreakerOpen = "BreakerOpen"
)

// DeletionRuleStatus is one window.
type DeletionRuleStatus struct {
	// Interval of the rule.
	Interval metav1.Duration `json:"interval"`

	// Limit of the rule.
	Limit int32 `json:"limit"`

	// Count is how many deletions the window that ends now holds, with the few that the operator has set aside to answer
	// faster.
	Count int32 `json:"count"`

	// Left is how many more are allowed by this rule now.
	Left int32 `json:"left"`

	// NextFree is when a full window has room again.
	//
	// +optional
	NextFree *metav1.Time `json:"nextFree,omitempty"`
}

// BreakerState is Open or Closed.
//
// +kubebuilder:validation:Enum=Open;Closed
type BreakerState string

// The states of a circuit breaker.
const (
	// BreakerOpen denies every deletion that is counted.
	BreakerOpen BreakerState = "Open"
	// BreakerClosed leaves it to the limits.
	BreakerClosed BreakerState = "Closed"
)

// DeletionBreakerStatus is a circuit breaker as it is.
type DeletionBreakerStatus struct {
	// State is Open or Closed.
	//
	// +optional
	State BreakerState `json:"state,omitempty"`

	// Trips is how often it has opened. The annotation policy.kruise.io/close-breaker with this number closes it.
	//
	// +optional
	Trips int64 `json:"trips,omitempty"`

	// OpenedAt is when it last opened.
	//
	// +optional
	OpenedAt *metav1.Time `json:"openedAt,omitempty"`

	// Until is when an open one closes by itself.
	//
	// +optional
	Until *metav1.Time `json:"until,omitempty"`

	// Message says what opened it, and how to close it.
	//
	// +optional
	Message string `json:"message,omitempty"`
}

// DeletionDecision is one decision about a deletion.
type DeletionDecision struct {
	// Time of the decision.
	Time metav1.Time `json:"time"`

	// Outcome is Denied, or WouldDeny for a deletion that passed above a limit.
	Outcome string `json:"outcome"`

	// Reason is one word for programs.
	Reason string `json:"reason"`

	// Pod as namespace/name.
	Pod string `json:"pod"`

	// Workload that the pod belongs to, as Kind/name; empty: none.
	//
	// +optional
	Workload string `json:"workload,omitempty"`

	// User who asked.
	User string `json:"user"`

	// Groups of the user; at most 5.
	//
	// +optional
	// +listType=atomic
	Groups []string `json:"groups,omitempty"`

	// Operation is DELETE or EVICT.
	Operation string `json:"operation"`

	// Rule is the interval of the rule that decided.
	//
	// +optional
	Rule string `json:"rule,omitempty"`

	// Count of the window and its limit: "100/100".
	//
	// +optional
	Count string `json:"count,omitempty"`

	// NextFree is when the window has room again.
	//
	// +optional
	NextFree *metav1.Time `json:"nextFree,omitempty"`
}
