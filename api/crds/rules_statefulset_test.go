package crds_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

func statefulSet(t *testing.T, namespace, version, name, spec string) *unstructured.Unstructured {
	t.Helper()
	u := object(t, namespace, version, name, spec)
	u.SetKind("StatefulSet")
	return u
}

// refused holds an answer of the API server against what is wanted; "" is no refusal.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want a refusal with %q", err, want)
	}
}

// TestStatefulSetRules creates StatefulSets at a real API server: what is refused, and in which words.
func TestStatefulSetRules(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	rolling := func(fields string) string { return `"updateStrategy":{"rollingUpdate":{` + fields + `}}` }
	parallel := func(spec string) string { return `"podManagementPolicy":"Parallel",` + spec }
	for _, c := range []struct{ name, version, spec, want string }{ // want: part of the refusal; empty: it is taken
		{"minimal", "v1beta1", ``, ""},
		{"minimal-v1alpha1", "v1alpha1", ``, ""},
		{strings.Repeat("n", 53), "v1beta1", ``, "metadata.name must have at most 52 characters"},
		{"negative", "v1beta1", `"replicas":-1`, "spec.replicas: Invalid value: -1"},
		{"too-many", "v1alpha1", `"replicas":1000000`, "must be at most 150000"},
		{"native", "v1beta1", rolling(`"partition":1,"maxUnavailable":1`) + `,"serviceName":"s","podManagementPolicy":"OrderedReady"`, ""},

		{"away", "v1beta1", parallel(rolling(`"maxUnavailable":"20%"`)), ""},
		{"away-v1alpha1", "v1alpha1", parallel(rolling(`"maxUnavailable":3`)), ""},
		{"none-away", "v1beta1", parallel(rolling(`"maxUnavailable":0`)), "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: must be a whole number of 1 or more"},
		{"none-away", "v1alpha1", parallel(rolling(`"maxUnavailable":"0%"`)), "must be a whole number of 1 or more"},
		{"over-100", "v1beta1", parallel(rolling(`"maxUnavailable":"101%"`)), "must be a whole number of 1 or more"},
		{"less-than-none", "v1beta1", parallel(rolling(`"maxUnavailable":-1`)), "must be a whole number of 1 or more"},
		{"in-order", "v1beta1", rolling(`"maxUnavailable":2`), "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: with podManagementPolicy OrderedReady pods are updated one at a time"},
		{"in-order", "v1alpha1", rolling(`"maxUnavailable":"20%"`), "with podManagementPolicy OrderedReady pods are updated one at a time"},
		{"unordered", "v1beta1", rolling(`"unorderedUpdate":{}`), "with podManagementPolicy OrderedReady pods are updated in the order of their ordinals"},
		{"unordered-parallel", "v1beta1", parallel(rolling(`"unorderedUpdate":{"priorityStrategy":{"orderPriority":[{"orderedKey":"a"}]}}`)), ""},
		{"pace", "v1beta1", parallel(`"scaleStrategy":{"maxUnavailable":"10%"}`), ""},
		{"no-pace", "v1beta1", parallel(`"scaleStrategy":{"maxUnavailable":0}`), "spec.scaleStrategy.maxUnavailable: Invalid value: 0: must be a whole number of 1 or more"},
		{"pace-in-order", "v1beta1", `"scaleStrategy":{"maxUnavailable":2}`, "with podManagementPolicy OrderedReady pods are created one at a time"},
		{"partition", "v1beta1", rolling(`"partition":-1`), "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1"},
		{"partition-percent", "v1beta1", rolling(`"partition":"50%"`), "must be of type integer"},

		{"reserved", "v1beta1", `"reserveOrdinals":[0,"3","5-7"]`, ""},
		{"reversed", "v1beta1", `"reserveOrdinals":[1,"7-5"]`, `spec.reserveOrdinals[1]: Invalid value: "7-5": the range is reversed: write the lower ordinal first, such as "5-7"`},
		{"words", "v1beta1", `"reserveOrdinals":["a-b"]`, `spec.reserveOrdinals[0]: Invalid value: "a-b": must be an ordinal of 0 or more, or a range of them`},
		{"negative-ordinal", "v1beta1", `"reserveOrdinals":[-1]`, `must be an ordinal of 0 or more`},
		{"start", "v1beta1", `"ordinals":{"start":5}`, ""},
		{"negative-start", "v1beta1", `"ordinals":{"start":-1}`, "spec.ordinals.start: Invalid value: -1"},

		{"bad-management", "v1beta1", `"podManagementPolicy":"Sometimes"`, `supported values: "OrderedReady", "Parallel"`},
		{"bad-type", "v1alpha1", `"updateStrategy":{"type":"Never"}`, `supported values: "RollingUpdate", "OnDelete"`},
		{"bad-policy", "v1beta1", rolling(`"podUpdatePolicy":"Sometimes"`), `supported values: "ReCreate", "InPlaceIfPossible", "InPlaceOnly"`},
		{"bad-retention", "v1beta1", `"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Maybe"}`, `supported values: "Retain", "Delete"`},
		{"bad-growth", "v1beta1", `"volumeClaimUpdateStrategy":{"type":"Always"}`, `supported values: "OnPodRollingUpdate", "OnDelete"`},
		{"negative-ready", "v1beta1", rolling(`"minReadySeconds":-1`), "minReadySeconds: Invalid value: -1"},
		{"negative-history", "v1beta1", `"revisionHistoryLimit":-1`, "spec.revisionHistoryLimit: Invalid value: -1"},
	} {
		t.Run(c.version+"/"+c.name, func(t *testing.T) {
			refused(t, env.Client.Create(t.Context(), statefulSet(t, namespace, c.version, c.name, c.spec)), c.want)
		})
	}
}

// TestWhatOfAStatefulSetNeverChanges changes one field at a time of a set that has it, or has its default.
func TestWhatOfAStatefulSetNeverChanges(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	for _, c := range []struct {
		name, spec, want string
		value            any
		path             []string
	}{
		{"selector", "", "spec.selector: Invalid value: the selector cannot be changed after creation", "c", []string{"selector", "matchLabels", "a"}},
		{"service", `"serviceName":"s"`, "spec.serviceName: Invalid value: serviceName cannot be changed", "t", []string{"serviceName"}},
		{"late-service", "", "spec.serviceName: Invalid value: serviceName cannot be changed", "t", []string{"serviceName"}},
		{"policy", "", "spec.podManagementPolicy: Invalid value: podManagementPolicy cannot be changed", "Parallel", []string{"podManagementPolicy"}},
		{"default-policy", "", "", "OrderedReady", []string{"podManagementPolicy"}},
		{"replicas", "", "", int64(5), []string{"replicas"}},
		{"history", "", "", int64(5), []string{"revisionHistoryLimit"}},
		{"start", "", "", int64(5), []string{"ordinals", "start"}},
		{"retention", "", "", "Delete", []string{"persistentVolumeClaimRetentionPolicy", "whenScaled"}},
		{"pause", "", "", true, []string{"updateStrategy", "rollingUpdate", "paused"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := statefulSet(t, namespace, "v1beta1", c.name, c.spec)
			if err := env.Client.Create(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			if err := unstructured.SetNestedField(u.Object, c.value, append([]string{"spec"}, c.path...)...); err != nil {
				t.Fatal(err)
			}
			refused(t, env.Client.Update(t.Context(), u), c.want)
		})
	}
}
