package api_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sidecarSet(version, rest string) []byte {
	return []byte(`{"apiVersion":"apps.kruise.io/` + version + `","kind":"SidecarSet",` + rest + `}`)
}

func TestConvertSidecarSet(t *testing.T) {
	for _, c := range []struct{ reason, v1alpha1, v1beta1 string }{
		{
			reason:   "the namespace is a label of namespaces at v1beta1",
			v1alpha1: `"metadata":{"name":"a"},"spec":{"namespace":"shop","selector":{"matchLabels":{"app":"web"}}}`,
			v1beta1: `"metadata":{"name":"a"},"spec":{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"shop"}},
				"selector":{"matchLabels":{"app":"web"}}}`,
		},
		{
			reason: "other labels of namespaces stay",
			v1alpha1: `"metadata":{"name":"a"},"spec":{"namespace":"shop","namespaceSelector":{"matchLabels":{"tier":"front"},
				"matchExpressions":[{"key":"x","operator":"Exists"}]}}`,
			v1beta1: `"metadata":{"name":"a"},"spec":{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"shop","tier":"front"},
				"matchExpressions":[{"key":"x","operator":"Exists"}]}}`,
		},
		{
			reason:   "the name of the revision is a label at v1alpha1",
			v1alpha1: `"metadata":{"name":"a","labels":{"x":"y","apps.kruise.io/sidecarset-custom-version":"v2"}},"spec":{"selector":{}}`,
			v1beta1:  `"metadata":{"name":"a","labels":{"x":"y"}},"spec":{"customVersion":"v2","selector":{}}`,
		},
		{
			reason:   "all else is the same",
			v1alpha1: `"metadata":{"name":"a"},"spec":{"containers":[{"name":"log","image":"log:1","podInjectPolicy":"AfterAppContainer"}],"updateStrategy":{"partition":"10%"}}`,
			v1beta1:  `"metadata":{"name":"a"},"spec":{"containers":[{"name":"log","image":"log:1","podInjectPolicy":"AfterAppContainer"}],"updateStrategy":{"partition":"10%"}}`,
		},
	} {
		t.Run(c.reason, func(t *testing.T) {
			old, newest := sidecarSet("v1alpha1", c.v1alpha1), sidecarSet("v1beta1", c.v1beta1)
			if diff := cmp.Diff(decode(t, newest), withoutData(decode(t, convert(t, old, "apps.kruise.io/v1beta1")))); diff != "" {
				t.Errorf("up, -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(decode(t, old), withoutData(decode(t, convert(t, newest, "apps.kruise.io/v1alpha1")))); diff != "" {
				t.Errorf("down, -want +got:\n%s", diff)
			}
		})
	}
}
