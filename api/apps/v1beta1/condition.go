package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WorkloadCondition is one thing that is true, false or unknown about a workload.
type WorkloadCondition struct {
	// Type names the condition: Ready, Reconciling and Stalled follow kstatus
	// (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus); others are the kind's own.
	Type string `json:"type"`

	// Status is True, False or Unknown.
	Status corev1.ConditionStatus `json:"status"`

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
