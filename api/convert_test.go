package api_test

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/holdfast-io/holdfast/api"
	"github.com/holdfast-io/holdfast/api/crds"
	"github.com/holdfast-io/holdfast/api/move"
)

func decode(t testing.TB, raw []byte) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		t.Fatalf("decode %s: %v", raw, err)
	}
	return object
}

func convert(t testing.TB, raw []byte, to string) []byte {
	t.Helper()
	converted, err := api.Convert(raw, to)
	if err != nil {
		t.Fatalf("convert to %s: %v\n%s", to, err, raw)
	}
	return converted
}

func cloneSet(version, rest string) []byte {
	return []byte(`{"apiVersion":"apps.kruise.io/` + version + `","kind":"CloneSet",` + rest + `}`)
}

func TestConvertCloneSet(t *testing.T) {
	for _, c := range []struct {
		reason, v1alpha1, v1beta1 string
		oneWay                    bool // the way up only: v1beta1 can be spelled in several ways at v1alpha1
	}{
		{
			reason:   "claims are kept by default at v1alpha1, and not at v1beta1",
			v1alpha1: `"metadata":{"name":"a"},"spec":{"replicas":3}`,
			v1beta1:  `"metadata":{"name":"a"},"spec":{"replicas":3,"scaleStrategy":{"enablePVCReuse":true},"updateStrategy":{"type":"RollingUpdate"}}`,
		},
		{
			reason:   "disablePVCReuse negates enablePVCReuse",
			v1alpha1: `"metadata":{"name":"a"},"spec":{"scaleStrategy":{"disablePVCReuse":true}}`,
			v1beta1:  `"metadata":{"name":"a"},"spec":{"scaleStrategy":{"enablePVCReuse":false},"updateStrategy":{"type":"RollingUpdate"}}`,
		},
		{
			reason: "the update strategy is flat at v1alpha1",
			v1alpha1: `"metadata":{"name":"a"},"spec":{"updateStrategy":{"type":"InPlaceIfPossible","partition":"20%","maxUnavailable":2,
				"maxSurge":"10%","paused":true,"priorityStrategy":{"weightPriority":[{"weight":1,"matchSelector":{}}]},
				"scatterStrategy":[{"key":"a","value":"b"}],"inPlaceUpdateStrategy":{"gracePeriodSeconds":10}}}`,
			v1beta1: `"metadata":{"name":"a"},"spec":{"scaleStrategy":{"enablePVCReuse":true},"updateStrategy":{"type":"RollingUpdate",
				"rollingUpdate":{"podUpdatePolicy":"InPlaceIfPossible","partition":"20%","maxUnavailable":2,"maxSurge":"10%","paused":true,
				"priorityStrategy":{"weightPriority":[{"weight":1,"matchSelector":{}}]},"scatterStrategy":[{"key":"a","value":"b"}],
				"inPlaceUpdateStrategy":{"gracePeriodSeconds":10}}}}`,
		},
		{
			reason: "a label and annotations become fields",
			v1alpha1: `"metadata":{"name":"a","labels":{"x":"y","apps.kruise.io/cloneset-scaling-exclude-preparing-delete":"true"},"annotations":{
				"apps.kruise.io/image-predownload-parallelism":"20%","apps.kruise.io/image-predownload-timeout-seconds":"30",
				"apps.kruise.io/image-predownload-min-updated-ready-pods":"2"}},"spec":{"updateStrategy":{}}`,
			v1beta1: `"metadata":{"name":"a","labels":{"x":"y"}},"spec":{"scaleStrategy":{"enablePVCReuse":true,"excludePreparingDelete":true},
				"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"inPlaceUpdateStrategy":{"imagePreDownloadParallelism":"20%",
				"imagePreDownloadTimeoutSeconds":30,"imagePreDownloadMinUpdatedReadyPods":2}}}}`,
			oneWay: true,
		},
		{
			reason: "a field of v1alpha1 wins over the annotation",
			v1alpha1: `"metadata":{"name":"a","annotations":{"apps.kruise.io/image-predownload-parallelism":"3"}},
				"spec":{"updateStrategy":{"inPlaceUpdateStrategy":{"imagePreDownloadParallelism":5}}}`,
			v1beta1: `"metadata":{"name":"a"},"spec":{"scaleStrategy":{"enablePVCReuse":true},
				"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"inPlaceUpdateStrategy":{"imagePreDownloadParallelism":5}}}}`,
			oneWay: true,
		},
		{
			reason:   "an annotation that makes no sense is not taken for a field",
			v1alpha1: `"metadata":{"name":"a","annotations":{"apps.kruise.io/image-predownload-parallelism":"many"}},"spec":{}`,
			v1beta1:  `"metadata":{"name":"a"},"spec":{"scaleStrategy":{"enablePVCReuse":true},"updateStrategy":{"type":"RollingUpdate"}}`,
			oneWay:   true,
		},
	} {
		t.Run(c.reason, func(t *testing.T) {
			old, newest := cloneSet("v1alpha1", c.v1alpha1), cloneSet("v1beta1", c.v1beta1)
			up := convert(t, old, "apps.kruise.io/v1beta1")
			if diff := cmp.Diff(decode(t, newest), withoutData(decode(t, up))); diff != "" {
				t.Errorf("up, -want +got:\n%s", diff)
			}
			if c.oneWay {
				return
			}
			if strings.Contains(string(up), move.Annotation) {
				t.Errorf("nothing is left over here, so nothing should ride in an annotation:\n%s", up)
			}
			if diff := cmp.Diff(decode(t, old), decode(t, convert(t, newest, "apps.kruise.io/v1alpha1"))); diff != "" {
				t.Errorf("down, -want +got:\n%s", diff)
			}
		})
	}
}

func withoutData(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	delete(annotations, move.Annotation)
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	return object
}

func TestConvertALimitChangedAtTheOtherVersion(t *testing.T) {
	old := cloneSet("v1alpha1", `"metadata":{"name":"a"},"spec":{"updateStrategy":{"inPlaceUpdateStrategy":{"imagePreDownloadParallelism":5}}}`)
	newest := convert(t, old, "apps.kruise.io/v1beta1")
	changed := strings.Replace(string(newest), `"imagePreDownloadParallelism":5`, `"imagePreDownloadParallelism":9`, 1)
	back := convert(t, []byte(changed), "apps.kruise.io/v1alpha1")
	got := decode(t, convert(t, back, "apps.kruise.io/v1beta1"))
	if diff := cmp.Diff(withoutData(decode(t, []byte(changed))), withoutData(got)); diff != "" {
		t.Errorf("the change is lost, -want +got:\n%s\nat v1alpha1: %s", diff, back)
	}
}

func TestConvertList(t *testing.T) {
	list := []byte(`{"apiVersion":"apps.kruise.io/v1alpha1","kind":"CloneSetList","metadata":{},"items":[` +
		string(cloneSet("v1alpha1", `"metadata":{"name":"a"},"spec":{"updateStrategy":{"paused":true}}`)) + `]}`)
	there := convert(t, list, "apps.kruise.io/v1beta1")
	if !strings.Contains(string(there), `"rollingUpdate":{"paused":true}`) {
		t.Errorf("the items are not converted: %s", there)
	}
	if diff := cmp.Diff(decode(t, list), decode(t, convert(t, there, "apps.kruise.io/v1alpha1"))); diff != "" {
		t.Errorf("there and back, -want +got:\n%s", diff)
	}
}

func TestConvertRefuses(t *testing.T) {
	for _, c := range []struct{ reason, raw, to, want string }{
		{"an unknown kind", `{"apiVersion":"apps.kruise.io/v1alpha1","kind":"Foo","metadata":{}}`, "apps.kruise.io/v1beta1", "kind Foo of group \"apps.kruise.io\" is not converted here; known are AdvancedCronJob.apps.kruise.io, "},
		{"another group", string(cloneSet("v1alpha1", `"metadata":{}`)), "apps/v1", "the group must stay the same"},
		{"an unknown version", string(cloneSet("v1alpha1", `"metadata":{"namespace":"n","name":"a"}`)), "apps.kruise.io/v2", "CloneSet n/a: convert CloneSet"},
		{"no JSON", `foo`, "apps.kruise.io/v1beta1", "decode the object"},
		{"null", `null`, "apps.kruise.io/v1beta1", "not a JSON object"},
		{"two objects", `{}{}`, "apps.kruise.io/v1beta1", "more than one JSON value"},
		{"a list of numbers", `{"apiVersion":"apps.kruise.io/v1alpha1","kind":"CloneSetList","items":[1]}`, "apps.kruise.io/v1beta1", "item 0 of the list is not an object"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			_, err := api.Convert([]byte(c.raw), c.to)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestRoundTrip converts random objects of every kind there and back. Run it longer with -fuzz FuzzRoundTrip.
func TestRoundTrip(t *testing.T) {
	all := definitions(t)
	for seed := range uint64(500) {
		roundTrip(t, all, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func BenchmarkConvert(b *testing.B) {
	raw := cloneSet("v1alpha1", `"metadata":{"name":"a"},"spec":{"replicas":3,"updateStrategy":{"type":"InPlaceIfPossible","maxUnavailable":"20%"},
		"template":{"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"A","value":"b"}]}]}}}`)
	for b.Loop() {
		convert(b, raw, "apps.kruise.io/v1beta1")
	}
}

func FuzzRoundTrip(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed)
	}
	all := definitions(f)
	f.Fuzz(func(t *testing.T, seed uint64) { roundTrip(t, all, seed) })
}

// FuzzConvert gives Convert any bytes: it must not panic, and what it converts must come back.
func FuzzConvert(f *testing.F) {
	f.Add(cloneSet("v1alpha1", `"metadata":{"annotations":{"`+move.Annotation+`":"[]"}},"spec":{"updateStrategy":{"type":"x"}}`))
	f.Add(cloneSet("v1beta1", `"metadata":{},"spec":{"updateStrategy":{"rollingUpdate":null}},"items":[{}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		there, err := api.Convert(raw, "apps.kruise.io/v1beta1")
		if err != nil {
			return
		}
		home := convert(t, there, "apps.kruise.io/v1alpha1")
		again := convert(t, convert(t, home, "apps.kruise.io/v1beta1"), "apps.kruise.io/v1alpha1")
		if diff := cmp.Diff(decode(t, home), decode(t, again)); diff != "" {
			t.Errorf("there and back, -want +got:\n%s", diff)
		}
	})
}

func definitions(t testing.TB) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	all, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func roundTrip(t *testing.T, all []*apiextensionsv1.CustomResourceDefinition, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a seed that can be given again is the point
	for _, crd := range all {
		for i, version := range crd.Spec.Versions {
			other := crd.Spec.Versions[(i+1)%len(crd.Spec.Versions)].Name
			object := randomObject(random, crd, version)
			raw, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			there := convert(t, raw, crd.Spec.Group+"/"+other)
			home := convert(t, there, crd.Spec.Group+"/"+version.Name)
			if diff := cmp.Diff(decode(t, raw), decode(t, home)); diff != "" {
				t.Errorf("%s %s -> %s and back, -want +got:\n%s\nthere: %s", crd.Name, version.Name, other, diff, there)
			}
		}
	}
}

// randomObject makes an object that has some of the fields of its schema, most of them of the right type.
func randomObject(random *rand.Rand, crd *apiextensionsv1.CustomResourceDefinition, version apiextensionsv1.CustomResourceDefinitionVersion) map[string]any {
	object, _ := randomFields(random, version.Schema.OpenAPIV3Schema.Properties).(map[string]any)
	object["apiVersion"], object["kind"] = crd.Spec.Group+"/"+version.Name, crd.Spec.Names.Kind
	metadata := map[string]any{"name": "a", "uid": strconv.FormatUint(random.Uint64(), 10)}
	for _, keys := range []string{"labels", "annotations"} {
		if values := randomKeys(random, crd.Spec.Group, crd.Spec.Names.Kind); len(values) > 0 {
			metadata[keys] = values
		}
	}
	object["metadata"] = metadata
	return object
}

// randomKeys takes some of the labels and annotations that the moves of a kind name.
func randomKeys(random *rand.Rand, group, kind string) map[string]any {
	keys := map[string]any{}
	for _, k := range api.Kinds() {
		if k.Group != group || k.Name != kind {
			continue
		}
		for _, row := range k.Rows {
			_, key, ok := strings.Cut(strings.TrimSuffix(row.Old, "]"), "[")
			if ok && strings.HasPrefix(row.Old, "metadata.") && random.IntN(2) == 0 {
				keys[key] = []string{"true", "false", "3", "007", "+1", "20%", "%", "", "x"}[random.IntN(9)]
			}
		}
	}
	if random.IntN(2) == 0 {
		keys["example.io/other"] = "x"
	}
	return keys
}

func randomFields(random *rand.Rand, properties map[string]apiextensionsv1.JSONSchemaProps) any {
	fields := map[string]any{}
	for name, schema := range properties {
		if random.IntN(3) != 0 {
			fields[name] = randomValue(random, schema)
		}
	}
	if random.IntN(10) == 0 {
		fields["unknown"] = random.IntN(3)
	}
	return fields
}

func randomValue(random *rand.Rand, schema apiextensionsv1.JSONSchemaProps) any {
	if random.IntN(25) == 0 {
		return []any{nil, "x", 1.5, true, []any{}, map[string]any{}, map[string]any{"x": 1}}[random.IntN(7)]
	}
	switch schema.Type {
	case "object":
		return randomFields(random, schema.Properties)
	case "array":
		items := make([]any, random.IntN(3))
		for i := range items {
			items[i] = randomValue(random, *schema.Items.Schema)
		}
		return items
	case "boolean":
		return random.IntN(2) == 0
	case "integer":
		return random.IntN(10)
	case "string":
		return []string{"", "a", "RollingUpdate", "ReCreate", "3"}[random.IntN(5)]
	default:
		return []any{3, "30%", "4", map[string]any{"spec": map[string]any{"a": 1}}}[random.IntN(4)]
	}
}
