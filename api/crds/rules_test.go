package crds_test

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

// template is a pod template, and selector matches it.
const (
	template = `"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	selector = `"selector":{"matchLabels":{"a":"b"}}`
)

func object(t *testing.T, namespace, version, name, spec string) *unstructured.Unstructured {
	t.Helper()
	if spec != "" {
		spec = "," + spec
	}
	text := `{"apiVersion":"apps.kruise.io/` + version + `","kind":"CloneSet","metadata":{"name":"` + name + `"},"spec":{` + selector + `,` + template + spec + `}}`
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatalf("test data %s: %v", text, err)
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetNamespace(namespace)
	return u
}

// TestRules creates CloneSets at a real API server: what is refused, and in which words. That the CRD could be installed
// at all shows that its rules stay within the API server's budget.
func TestRules(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	long := strings.Repeat("n", 53)
	rolling := func(fields string) string { return `"updateStrategy":{"rollingUpdate":{` + fields + `}}` }
	flat := func(fields string) string { return `"updateStrategy":{` + fields + `}` }
	for _, c := range []struct{ name, version, spec, want string }{ // want: part of the refusal; empty: it is taken
		{"minimal", "v1beta1", ``, ""},
		{"minimal-v1alpha1", "v1alpha1", ``, ""},
		{strings.Repeat("m", 52), "v1beta1", ``, ""},
		{long, "v1beta1", ``, "metadata.name must have at most 52 characters"},
		{"no-replicas", "v1beta1", `"replicas":0`, ""},
		{"negative-replicas", "v1beta1", `"replicas":-1`, "spec.replicas: Invalid value: -1"},
		{"most-replicas", "v1beta1", `"replicas":150000`, ""},
		{"too-many-replicas", "v1beta1", `"replicas":1000000`, "must be at most 150000: Kubernetes supports no more pods than that"},
		{"too-many-replicas", "v1alpha1", `"replicas":1000000`, "must be at most 150000: Kubernetes supports no more pods than that"},
		{"negative-ready", "v1beta1", `"minReadySeconds":-1`, "spec.minReadySeconds: Invalid value: -1"},
		{"negative-history", "v1beta1", `"revisionHistoryLimit":-1`, "spec.revisionHistoryLimit: Invalid value: -1"},
		{"deadline", "v1beta1", `"minReadySeconds":10,"progressDeadlineSeconds":11`, ""},
		{"deadline-too-short", "v1beta1", `"minReadySeconds":10,"progressDeadlineSeconds":10`, "spec.progressDeadlineSeconds: Invalid value: progressDeadlineSeconds must be greater than minReadySeconds"},

		{"limits", "v1beta1", rolling(`"partition":"100%","maxUnavailable":"0%","maxSurge":"5%"`), ""},
		{"limits-in-numbers", "v1beta1", rolling(`"partition":500,"maxUnavailable":1,"maxSurge":0`), ""},
		{"no-limit-at-all", "v1beta1", rolling(`"maxUnavailable":0`), "maxUnavailable and maxSurge must not both be 0"},
		{"both-zero", "v1beta1", rolling(`"maxUnavailable":"0%","maxSurge":0`), "maxUnavailable and maxSurge must not both be 0"},
		{"both-zero", "v1alpha1", flat(`"maxUnavailable":0,"maxSurge":0`), "spec.updateStrategy.maxUnavailable: Invalid value: maxUnavailable and maxSurge must not both be 0"},
		{"only-surge", "v1alpha1", flat(`"maxUnavailable":0,"maxSurge":1`), ""},
		{"over-100", "v1beta1", rolling(`"partition":"101%"`), "spec.updateStrategy.rollingUpdate.partition: "},
		{"over-100", "v1alpha1", flat(`"maxSurge":"101%"`), "must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""},
		{"negative-unavailable", "v1beta1", rolling(`"maxUnavailable":-1`), "must be a whole number of 0 or more"},
		{"text-limit", "v1beta1", rolling(`"maxUnavailable":"1"`), "must be a whole number of 0 or more"},
		{"scale-limit", "v1beta1", `"scaleStrategy":{"maxUnavailable":"-1%"}`, "spec.scaleStrategy.maxUnavailable"},

		{"policy", "v1beta1", rolling(`"podUpdatePolicy":"InPlaceOnly"`), ""},
		{"bad-policy", "v1beta1", rolling(`"podUpdatePolicy":"Sometimes"`), "supported values: \"ReCreate\", \"InPlaceIfPossible\", \"InPlaceOnly\""},
		{"bad-policy", "v1alpha1", flat(`"type":"Sometimes"`), "spec.updateStrategy.type: Unsupported value: \"Sometimes\""},
		{"bad-type", "v1beta1", `"updateStrategy":{"type":"Never"}`, "supported values: \"RollingUpdate\", \"OnDelete\""},
		{"negative-grace", "v1beta1", rolling(`"inPlaceUpdateStrategy":{"gracePeriodSeconds":-1}`), "gracePeriodSeconds"},
		{"no-parallelism", "v1beta1", rolling(`"inPlaceUpdateStrategy":{"imagePreDownloadParallelism":0}`), "must be a whole number of 1 or more"},

		{"weights", "v1beta1", rolling(`"priorityStrategy":{"weightPriority":[{"weight":100,"matchSelector":{}}],"orderPriority":[]}`), ""},
		{"too-heavy", "v1beta1", rolling(`"priorityStrategy":{"weightPriority":[{"weight":101,"matchSelector":{}}]}`), "weightPriority[0].weight: Invalid value: 101"},
		{"weights-and-order", "v1beta1", rolling(`"priorityStrategy":{"weightPriority":[{"weight":1,"matchSelector":{}}],"orderPriority":[{"orderedKey":"a"}]}`), "set weightPriority or orderPriority, not both"},

		{"pods-to-delete", "v1beta1", `"scaleStrategy":{"podsToDelete":["a","b"]}`, ""},
		{"pods-to-delete-twice", "v1beta1", `"scaleStrategy":{"podsToDelete":["a","b","a"]}`, "spec.scaleStrategy.podsToDelete[2]: Duplicate value: \"a\""},
	} {
		t.Run(c.version+"/"+c.name, func(t *testing.T) {
			err := env.Client.Create(t.Context(), object(t, namespace, c.version, c.name, c.spec))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && err == nil:
				t.Errorf("taken, want a refusal with %q", c.want)
			case c.want != "" && !strings.Contains(err.Error(), c.want):
				t.Errorf("refused with %q, want %q", err, c.want)
			}
		})
	}
}

func TestTheSelectorNeverChanges(t *testing.T) {
	env := testkit.APIServer(t)
	u := object(t, env.Namespace(t), "v1beta1", "selected", "")
	if err := env.Client.Create(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(u.Object, "c", "spec", "selector", "matchLabels", "a"); err != nil {
		t.Fatal(err)
	}
	err := env.Client.Update(t.Context(), u)
	const want = "spec.selector: Invalid value: the selector cannot be changed after creation"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want a refusal with %q", err, want)
	}
}
