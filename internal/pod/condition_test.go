package pod_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/holdfast-io/holdfast/internal/pod"
)

// A condition that no longer has anything to say loses its former text.
func TestPatchedConditionsLoseTheirText(t *testing.T) {
	before := corev1.PodStatus{Conditions: []corev1.PodCondition{
		{Type: "Held", Status: corev1.ConditionFalse, Reason: "Hook", Message: "by somebody"}, {Type: "Other", Status: corev1.ConditionTrue},
	}}
	original, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"conditions": pod.Patched{{Type: "Held", Status: corev1.ConditionTrue}}})
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(original, patch, corev1.PodStatus{})
	if err != nil {
		t.Fatal(err)
	}
	var after corev1.PodStatus
	if err := json.Unmarshal(merged, &after); err != nil {
		t.Fatal(err)
	}
	if len(after.Conditions) != 2 {
		t.Fatalf("got %+v", after.Conditions)
	}
	for _, c := range after.Conditions {
		if c.Type == "Held" && (c.Status != corev1.ConditionTrue || c.Reason != "" || c.Message != "") {
			t.Errorf("got %+v, want True without a text", c)
		}
	}
}
