package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// UpdatePriorityStrategy says which pods are updated first. Use weights, or ordered keys, not both.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.weightPriority) && size(self.weightPriority) > 0 && has(self.orderPriority) && size(self.orderPriority) > 0)",message="set weightPriority or orderPriority, not both"
type UpdatePriorityStrategy struct {
	// OrderPriority sorts pods by the number at the end of the value of these labels, higher numbers first; the first key
	// that tells two pods apart decides. A pod without the label comes after those that have it.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	OrderPriority []UpdatePriorityOrderTerm `json:"orderPriority,omitempty"`

	// WeightPriority sorts pods by the sum of the weights of the terms whose selector matches them, heavier first.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	WeightPriority []UpdatePriorityWeightTerm `json:"weightPriority,omitempty"`
}

// UpdatePriorityOrderTerm is one label key to sort by.
type UpdatePriorityOrderTerm struct {
	// OrderedKey is the key of the label whose value ends in a number.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	OrderedKey string `json:"orderedKey"`
}

// UpdatePriorityWeightTerm gives the pods that match a selector a weight.
type UpdatePriorityWeightTerm struct {
	// Weight is added to the pods that match, from 0 to 100.
	//
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`

	// MatchSelector picks the pods by their labels.
	MatchSelector metav1.LabelSelector `json:"matchSelector"`
}

// UpdateScatterStrategy spreads pods that carry the same label evenly over an update, so that they are not all changed
// together. Terms apply in their order.
//
// +listType=atomic
// +kubebuilder:validation:MaxItems=64
type UpdateScatterStrategy []UpdateScatterTerm

// UpdateScatterTerm is one label, with its value, whose pods are spread over an update.
type UpdateScatterTerm struct {
	// Key of the label.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	Key string `json:"key"`

	// Value of the label.
	//
	// +kubebuilder:validation:MaxLength=63
	Value string `json:"value"`
}
