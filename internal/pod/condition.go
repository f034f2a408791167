package pod

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Patched are conditions as a merge patch has to say them: what is empty is said, too, as the former text would stay otherwise.
type Patched []corev1.PodCondition

// MarshalJSON says every field that a controller sets.
func (p Patched) MarshalJSON() ([]byte, error) {
	type condition struct {
		Type               corev1.PodConditionType `json:"type"`
		Status             corev1.ConditionStatus  `json:"status"`
		LastTransitionTime metav1.Time             `json:"lastTransitionTime"`
		Reason             string                  `json:"reason"`
		Message            string                  `json:"message"`
	}
	said := make([]condition, 0, len(p))
	for i := range p {
		said = append(said, condition{p[i].Type, p[i].Status, p[i].LastTransitionTime, p[i].Reason, p[i].Message})
	}
	raw, err := json.Marshal(said)
	if err != nil {
		return nil, fmt.Errorf("encode conditions: %w", err)
	}
	return raw, nil
}
