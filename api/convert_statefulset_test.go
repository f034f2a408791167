package api_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What v1alpha1 has no place for rides along, and a change of what it has wins.
func TestConvertStatefulSet(t *testing.T) {
	newer := []byte(`{"apiVersion":"apps.kruise.io/v1beta1","kind":"StatefulSet","metadata":{"name":"db"},"spec":{
		"replicas":3,"ordinals":{"start":1},"reserveOrdinals":[2,"5-7"],"scaleStrategy":{"maxUnavailable":"10%"},
		"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Delete"},"volumeClaimUpdateStrategy":{"type":"OnPodRollingUpdate"},
		"lifecycle":{"preDelete":{"markPodNotReady":true}},
		"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":1,"podUpdatePolicy":"InPlaceIfPossible",
			"inPlaceUpdateStrategy":{"gracePeriodSeconds":5,"imagePreDownloadParallelism":"10%"}}}},
		"status":{"replicas":3,"updatedReadyReplicas":2,"volumeClaims":[{"volumeClaimName":"data","compatibleReplicas":1,"compatibleReadyReplicas":0}]}}`)
	raw := convert(t, newer, "apps.kruise.io/v1alpha1")
	older := decode(t, raw)
	spec, _ := older["spec"].(map[string]any)
	for _, field := range []string{
		"ordinals", "reserveOrdinals", "scaleStrategy", "persistentVolumeClaimRetentionPolicy", "volumeClaimUpdateStrategy", "lifecycle",
	} {
		if _, there := spec[field]; there {
			t.Errorf("v1alpha1 has no field %s, but shows it", field)
		}
	}
	want := decode(t, []byte(`{"type":"RollingUpdate","rollingUpdate":{"partition":1,"podUpdatePolicy":"InPlaceIfPossible",
		"inPlaceUpdateStrategy":{"gracePeriodSeconds":5}}}`))
	if diff := cmp.Diff(any(want), spec["updateStrategy"]); diff != "" {
		t.Errorf("down, -want +got:\n%s", diff)
	}
	metadata, _ := older["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	if got := annotations["apps.kruise.io/image-predownload-parallelism"]; got != "10%" {
		t.Errorf("images pulled ahead are asked for by an annotation at v1alpha1, got %v", annotations)
	}
	if diff := cmp.Diff(decode(t, newer), decode(t, convert(t, raw, "apps.kruise.io/v1beta1"))); diff != "" {
		t.Errorf("there and back, -want +got:\n%s", diff)
	}
	annotations["apps.kruise.io/image-predownload-parallelism"] = "20%"
	edited, err := json.Marshal(older)
	if err != nil {
		t.Fatal(err)
	}
	changed := decode(t, convert(t, edited, "apps.kruise.io/v1beta1"))
	back, _ := changed["spec"].(map[string]any)
	strategy, _ := back["updateStrategy"].(map[string]any)
	rolling, _ := strategy["rollingUpdate"].(map[string]any)
	inPlace, _ := rolling["inPlaceUpdateStrategy"].(map[string]any)
	if inPlace["imagePreDownloadParallelism"] != "20%" || back["ordinals"] == nil {
		t.Errorf("a change at v1alpha1 must win, and the rest stay: %v", back)
	}
}
