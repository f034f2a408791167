package api_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConvertPodUnavailableBudget(t *testing.T) {
	for _, c := range []struct {
		reason, v1alpha1, v1beta1 string
	}{
		{
			reason: "annotations become fields",
			v1alpha1: `"metadata":{"name":"a","annotations":{"kruise.io/pub-protect-operations":"DELETE,EVICT",
				"pub.kruise.io/protect-total-replicas":"20"}},"spec":{"maxUnavailable":"25%","targetRef":{"kind":"Deployment"}}`,
			v1beta1: `"metadata":{"name":"a"},"spec":{"maxUnavailable":"25%","targetRef":{"kind":"Deployment"},
				"protectOperations":["DELETE","EVICT"],"protectTotalReplicas":20}`,
		},
		{
			reason:   "what is no operation is not left out, but refused later",
			v1alpha1: `"metadata":{"name":"a","annotations":{"kruise.io/pub-protect-operations":"PATCH"}},"spec":{"minAvailable":2}`,
			v1beta1:  `"metadata":{"name":"a"},"spec":{"minAvailable":2,"protectOperations":["PATCH"]}`,
		},
		{
			reason:   "the same status",
			v1alpha1: `"metadata":{"name":"a"},"status":{"totalReplicas":3,"disruptedPods":{"p":"2030-01-01T00:00:00Z"}}`,
			v1beta1:  `"metadata":{"name":"a"},"status":{"totalReplicas":3,"disruptedPods":{"p":"2030-01-01T00:00:00Z"}}`,
		},
	} {
		t.Run(c.reason, func(t *testing.T) {
			old := budget("v1alpha1", c.v1alpha1)
			up := convert(t, old, "policy.kruise.io/v1beta1")
			if diff := cmp.Diff(decode(t, budget("v1beta1", c.v1beta1)), bare(decode(t, up))); diff != "" {
				t.Errorf("up (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(decode(t, old), decode(t, convert(t, up, "policy.kruise.io/v1alpha1"))); diff != "" {
				t.Errorf("and back (-want +got):\n%s", diff)
			}
		})
	}
}

func budget(version, rest string) []byte {
	return []byte(`{"apiVersion":"policy.kruise.io/` + version + `","kind":"PodUnavailableBudget",` + rest + `}`)
}

// bare leaves out what conversion notes down for the way back, and the annotations when that was all of them.
func bare(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	delete(annotations, "holdfast.io/conversion-data")
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	return object
}
