package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CloseBreaker is an annotation of a PodDeletionFlowControl: the number of the trip (status.breaker.trips) that a person has
// looked at and declares over. It closes that trip alone: the next one opens the breaker again.
const CloseBreaker = "policy.kruise.io/close-breaker"

// PodDeletionFlowControl limits how many pods may be deleted or evicted in a time, across the whole cluster, whoever asks:
// people, scripts, other controllers and ours. It is exact across all replicas of the operator: no window ever sees more
// deletions than its limit.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=poddeletionflowcontrols,singular=poddeletionflowcontrol,scope=Cluster,shortName=pdfc,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="MODE",type=string,JSONPath=".spec.mode",description="Enforce denies what is above a limit, Observe only reports it"
// +kubebuilder:printcolumn:name="USED",type=string,JSONPath=".status.used",description="Deletions in each window, and its limit"
// +kubebuilder:printcolumn:name="LEFT",type=integer,JSONPath=".status.left",description="Deletions that would be allowed now"
// +kubebuilder:printcolumn:name="DENIED",type=integer,JSONPath=".status.denied",description="Deletions denied so far"
// +kubebuilder:printcolumn:name="BREAKER",type=string,JSONPath=".status.breaker.state",description="Open: nothing is allowed until the cool-down ends or a person closes it"
// +kubebuilder:printcolumn:name="ENFORCED",type=string,JSONPath=".status.conditions[?(@.type=='Enforced')].status",description="Whether deletions really are held to the limits"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
type PodDeletionFlowControl struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	Spec PodDeletionFlowControlSpec `json:"spec"`

	// Status is what was seen last. It is written by Holdfast alone.
	//
	// +optional
	Status PodDeletionFlowControlStatus `json:"status,omitempty"`
}

// PodDeletionFlowControlList is a list of PodDeletionFlowControls.
//
// +kubebuilder:object:root=true
type PodDeletionFlowControlList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the PodDeletionFlowControls.
	Items []PodDeletionFlowControl `json:"items"`
}

// FlowControlMode says what happens to a deletion above a limit.
//
// +kubebuilder:validation:Enum=Enforce;Observe
type FlowControlMode string

// The modes.
const (
	// Enforce denies it.
	Enforce FlowControlMode = "Enforce"
	// Observe lets it pass, counts it and reports that it would have been denied.
	Observe FlowControlMode = "Observe"
)

// SystemDeletion is a deletion by Kubernetes itself that is counted, but denied only on request: denying it can keep a pod
// of higher priority from running, or leave pods on a node that is lost.
//
// +kubebuilder:validation:Enum=Preemption;TaintEviction
type SystemDeletion string

// The deletions by Kubernetes itself.
const (
	// Preemption is the scheduler's, to make room for a pod of higher priority.
	Preemption SystemDeletion = "Preemption"
	// TaintEviction is the taint manager's, from a node with a NoExecute taint.
	TaintEviction SystemDeletion = "TaintEviction"
)

// PodDeletionFlowControlSpec is what is wanted of a PodDeletionFlowControl.
type PodDeletionFlowControlSpec struct {
	// LimitRules are the limits; a deletion must be within all of them. Intervals must differ, and a longer interval must
	// not have a lower limit than a shorter one: the shorter one's limit could never be reached. At most 8.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, duration(a.interval) == duration(b.interval)))",message="two rules have the same interval: keep the one with the lower limit, which is the one that counts"
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.all(b, duration(a.interval) <= duration(b.interval) || a.limit >= b.limit))",message="the limits contradict each other: a longer interval has a lower limit than a shorter one, so that the shorter one's limit can never be reached; raise the longer interval's limit, or lower the shorter one's"
	LimitRules []DeletionLimitRule `json:"limitRules"`

	// WhiteListSelector picks pods that are neither counted nor limited, by their labels. It must not match every pod.
	// Default: none.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="(has(self.matchLabels) && size(self.matchLabels) > 0) || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",message="an empty white list matches every pod, so that nothing would be limited: name at least one label, or leave the white list out"
	WhiteListSelector *metav1.LabelSelector `json:"whiteListSelector,omitempty"`

	// Selector picks the pods that are limited, by their labels. Default: all pods.
	//
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`

	// NamespaceSelector picks the namespaces whose pods are limited, by their labels. Default: all but kube-system and the
	// operator's own, which never are.
	//
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// Mode says what happens to a deletion above a limit: Enforce denies it; Observe lets it pass and reports it, to find
	// the right limits first. Default: Enforce.
	//
	// +optional
	// +kubebuilder:default=Enforce
	Mode FlowControlMode `json:"mode,omitempty"`

	// Exempt are users and groups whose deletions are neither counted nor limited. The kubelet and the garbage collector of
	// pods always are exempt: they remove what is gone already.
	//
	// +optional
	Exempt *DeletionExemptions `json:"exempt,omitempty"`

	// EnforceFor lists deletions by Kubernetes itself that are denied above a limit, too. Without it they pass, are counted,
	// and are reported when they are above a limit. Default: none.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=2
	// +listType=set
	EnforceFor []SystemDeletion `json:"enforceFor,omitempty"`

	// CircuitBreaker stops all deletions that are counted once too many were denied: something is deleting pods in a loop,
	// and would go on as soon as a window has room. Default: none.
	//
	// +optional
	CircuitBreaker *DeletionCircuitBreaker `json:"circuitBreaker,omitempty"`
}

// DeletionLimitRule is a limit for one interval.
type DeletionLimitRule struct {
	// Interval is the length of the window, such as 10m or 24h: the limit holds for every stretch of time of that length, not
	// only for those that begin on the hour. From 1s to 168h.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^-?([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s')",message="must be at least 1s: nothing can be limited in no time; give a positive duration such as 10m"
	// +kubebuilder:validation:XValidation:rule="duration(self) <= duration('168h')",message="must be at most 168h (a week): longer windows are not remembered"
	Interval metav1.Duration `json:"interval"`

	// Limit is how many pods may be deleted in any such window. From 1 to 1000000.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1",message="must be at least 1: a limit of 0 or less could never allow anything"
	// +kubebuilder:validation:XValidation:rule="self <= 1000000",message="must be at most 1000000"
	Limit int32 `json:"limit"`
}

// DeletionExemptions are users and groups as the API server knows them.
type DeletionExemptions struct {
	// Users are user names, such as jane or system:serviceaccount:ci:cleaner.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +listType=set
	Users []string `json:"users,omitempty"`

	// Groups are names of groups, such as sre. system:authenticated and system:unauthenticated are refused: together they
	// are everybody.
	//
	// +optional
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="!self.exists(g, g == 'system:authenticated' || g == 'system:unauthenticated')",message="would exempt everybody, so that nothing would be limited: name the groups that are meant"
	// +listType=set
	Groups []string `json:"groups,omitempty"`
}

// DeletionCircuitBreaker says when deletions stop altogether, and for how long.
type DeletionCircuitBreaker struct {
	// Denials is how many pods whose deletion a limit denied within interval open the breaker. A pod that is tried again
	// and again counts once, and what our own controllers ask does not count: they wait. 1 opens it as soon as a deletion is
	// denied. Default: 10.
	//
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Denials int32 `json:"denials,omitempty"`

	// Interval is the time within which the denials count. From 1s to 24h. Default: 1m.
	//
	// +optional
	// +kubebuilder:default="1m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^-?([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('24h')",message="must be from 1s to 24h"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// CoolDown is how long the breaker stays open, unless a person closes it before by the annotation
	// policy.kruise.io/close-breaker. From 1s to 168h. Default: 10m.
	//
	// +optional
	// +kubebuilder:default="10m"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^-?([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('168h')",message="must be from 1s to 168h (a week)"
	CoolDown *metav1.Duration `json:"coolDown,omitempty"`
}
