package api_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConvertUnitedDeployment(t *testing.T) {
	const old = `{"apiVersion":"apps.kruise.io/v1alpha1","kind":"UnitedDeployment","metadata":{"name":"a"},"spec":{"replicas":3},"status":{
		"currentRevision":"a-1","subsetReplicas":{"x":2,"y":0},"updateStatus":{"updatedRevision":"a-2","currentPartitions":{"x":1,"y":0}},
		"subsetStatuses":[{"name":"x","replicas":2,"partition":1},{"name":"y"}]}}`
	const newest = `{"apiVersion":"apps.kruise.io/v1beta1","kind":"UnitedDeployment","metadata":{"name":"a"},"spec":{"replicas":3},"status":{
		"currentRevision":"a-1","updatedRevision":"a-2","subsetStatuses":[{"name":"x","replicas":2,"partition":1},{"name":"y"}]}}`
	if diff := cmp.Diff(decode(t, []byte(newest)), decode(t, convert(t, []byte(old), "apps.kruise.io/v1beta1"))); diff != "" {
		t.Errorf("up, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(decode(t, []byte(old)), decode(t, convert(t, []byte(newest), "apps.kruise.io/v1alpha1"))); diff != "" {
		t.Errorf("down, -want +got:\n%s", diff)
	}
}

// The template that v1alpha1 has no place for survives the way there and back.
func TestConvertAdvancedCronJob(t *testing.T) {
	const newest = `{"apiVersion":"apps.kruise.io/v1beta1","kind":"AdvancedCronJob","metadata":{"name":"a"},"spec":{"schedule":"@daily",
		"template":{"imageListPullJobTemplate":{"spec":{"images":["nginx"]}}}}}`
	old := convert(t, []byte(newest), "apps.kruise.io/v1alpha1")
	if spec, _ := decode(t, old)["spec"].(map[string]any); spec["template"] != nil {
		t.Errorf("v1alpha1 has a template that it does not know: %s", old)
	}
	if diff := cmp.Diff(decode(t, []byte(newest)), decode(t, convert(t, old, "apps.kruise.io/v1beta1"))); diff != "" {
		t.Errorf("there and back, -want +got:\n%s", diff)
	}
}
