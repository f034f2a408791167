package move_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/api/move"
)

// table is a kind made up to have every sort of row.
func table(t *testing.T) *move.Table {
	t.Helper()
	table, err := move.NewTable(move.Kind{
		Group: "example.io", Name: "Thing", New: "v2", Old: "v1",
		Rows: []move.Row{
			{Old: "spec.strategy", New: "spec.strategy.rolling", Container: true},
			{Old: "spec.strategy.step", New: "spec.strategy.rolling.step"},
			{Old: "spec.strategy.deep.name", New: "spec.name"},
			{Old: "", New: "spec.newest"},
			{Old: "spec.items[].old", New: "spec.items[].inner.new"},
			{Old: "spec.strategy.deep", New: "spec.strategy.rolling.deep"},
			{
				Old: "metadata.annotations[example.io/size]", New: "spec.strategy.rolling.deep.size",
				Also: "spec.strategy.deep.size",
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func decode(t testing.TB, text string) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		t.Fatalf("test data %s: %v", text, err)
	}
	return object
}

func thing(t testing.TB, version, rest string) map[string]any {
	t.Helper()
	return decode(t, `{"apiVersion":"example.io/`+version+`","kind":"Thing",`+rest+`}`)
}

func convert(t testing.TB, table *move.Table, object map[string]any, version string) map[string]any {
	t.Helper()
	converted, err := table.Convert(object, version)
	if err != nil {
		t.Fatalf("convert to %s: %v", version, err)
	}
	return converted
}

// withoutData takes the conversion's own annotation off, to look at what the rows made.
func withoutData(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	annotations, ok := metadata["annotations"].(map[string]any)
	if !ok {
		return object
	}
	object, metadata, annotations = maps.Clone(object), maps.Clone(metadata), maps.Clone(annotations)
	object["metadata"], metadata["annotations"] = metadata, annotations
	delete(annotations, move.Annotation)
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
	return object
}

func TestMoves(t *testing.T) {
	for _, c := range []struct {
		reason, v1, v2 string
	}{
		{"a field that no row names stays", `"metadata":{},"spec":{"a":1}`, `"metadata":{},"spec":{"a":1}`},
		{
			"a field moves into an object that is made for it",
			`"metadata":{},"spec":{"strategy":{"step":3}}`, `"metadata":{},"spec":{"strategy":{"rolling":{"step":3}}}`,
		},
		{
			"a field moves out of an object that moves too",
			`"metadata":{},"spec":{"strategy":{"deep":{"name":"x","y":1}}}`,
			`"metadata":{},"spec":{"strategy":{"rolling":{"deep":{"y":1}}},"name":"x"}`,
		},
		{
			"a field of every item of a list",
			`"metadata":{},"spec":{"items":[{"old":1},{},{"old":null,"k":2}]}`,
			`"metadata":{},"spec":{"items":[{"inner":{"new":1}},{},{"inner":{"new":null},"k":2}]}`,
		},
		{
			"an annotation becomes a field",
			`"metadata":{"annotations":{"example.io/size":"3"}},"spec":{"a":1}`,
			`"metadata":{},"spec":{"a":1,"strategy":{"rolling":{"deep":{"size":"3"}}}}`,
		},
		{"null moves like any value", `"metadata":{},"spec":{"strategy":{"step":null}}`, `"metadata":{},"spec":{"strategy":{"rolling":{"step":null}}}`},
		{"large numbers keep their digits", `"metadata":{},"spec":{"strategy":{"step":9007199254740993}}`, `"metadata":{},"spec":{"strategy":{"rolling":{"step":9007199254740993}}}`},
	} {
		t.Run(c.reason, func(t *testing.T) {
			v1, v2 := thing(t, "v1", c.v1), thing(t, "v2", c.v2)
			if diff := cmp.Diff(v2, withoutData(convert(t, table(t), v1, "v2"))); diff != "" {
				t.Errorf("up, -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(v1, withoutData(convert(t, table(t), v2, "v1"))); diff != "" {
				t.Errorf("down, -want +got:\n%s", diff)
			}
		})
	}
}

func TestNothingIsLost(t *testing.T) {
	for _, c := range []struct{ reason, version, object string }{
		{"a field that the older version has no place for", "v2", `"metadata":{},"spec":{"newest":{"a":[1,2]}}`},
		{"an empty shell", "v2", `"metadata":{},"spec":{"strategy":{"rolling":{}}}`},
		{"an empty shell that is not there in the other version", "v1", `"metadata":{},"spec":{"strategy":{"deep":{}}}`},
		{"null where an object belongs", "v2", `"metadata":{},"spec":{"strategy":null}`},
		{"text where an object belongs", "v1", `"metadata":{},"spec":{"strategy":"x"}`},
		{"text where a list belongs", "v1", `"metadata":{},"spec":{"items":"x"}`},
		{"numbers among a list's items", "v1", `"metadata":{},"spec":{"items":[1,{"old":2}]}`},
		{"no spec", "v1", `"metadata":{}`},
		{"the second old place", "v1", `"metadata":{},"spec":{"strategy":{"deep":{"size":4}}}`},
		{"both old places", "v1", `"metadata":{"annotations":{"example.io/size":"3"}},"spec":{"strategy":{"deep":{"size":4}}}`},
		{"both old places, the second null", "v1", `"metadata":{"annotations":{"example.io/size":"3"}},"spec":{"strategy":{"deep":{"size":null}}}`},
		{"a field of that name in the other version", "v1", `"metadata":{},"spec":{"strategy":{"rolling":{"step":1,"z":2},"step":2}}`},
	} {
		t.Run(c.reason, func(t *testing.T) {
			other := map[string]string{"v1": "v2", "v2": "v1"}[c.version]
			object := thing(t, c.version, c.object)
			there := convert(t, table(t), object, other)
			if diff := cmp.Diff(thing(t, c.version, c.object), object); diff != "" {
				t.Fatalf("the object given was changed:\n%s", diff)
			}
			if diff := cmp.Diff(object, convert(t, table(t), there, c.version)); diff != "" {
				t.Errorf("there and back, -want +got:\n%s\nthere: %v", diff, there)
			}
		})
	}
}

func TestAChangeInBetweenWins(t *testing.T) {
	v1 := thing(t, "v1", `"metadata":{"annotations":{"example.io/size":"3"}},"spec":{"strategy":{"deep":{"size":4}}}`)
	v2 := convert(t, table(t), v1, "v2")
	spec, _ := v2["spec"].(map[string]any)
	spec["strategy"] = map[string]any{"rolling": map[string]any{"deep": map[string]any{"size": "5"}}}

	got := convert(t, table(t), v2, "v1")
	want := thing(t, "v1", `"metadata":{"annotations":{"example.io/size":"5"}}`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after a change at v2, -want +got:\n%s", diff)
	}
}

func TestTheAnnotationCannotChangeAnythingElse(t *testing.T) {
	for _, data := range []string{
		`[{"path":["status"],"is":[{"ready":true}]}]`,
		`[{"path":["spec","other"],"is":[1]}]`,
		`[{"path":["spec"],"was":"","is":[{"other":1}]}]`,
		`[{"path":["apiVersion"],"is":["x"]}]`,
		`[{"path":["metadata","name"],"is":["x"]}]`,
		`[{"path":[],"is":["x"]}]`,
		`[{"path":["spec","newest"],"is":[1,2]}]`,
		`{}`, `[`, `null`, ``,
	} {
		quoted, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		object := thing(t, "v1", `"metadata":{"annotations":{"`+move.Annotation+`":`+string(quoted)+`}}`)
		if diff := cmp.Diff(thing(t, "v2", `"metadata":{}`), convert(t, table(t), object, "v2")); diff != "" {
			t.Errorf("with the annotation %s, -want +got:\n%s", data, diff)
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	for _, c := range []struct {
		reason string
		object map[string]any
		to     string
		want   string
	}{
		{"a version that is not served", thing(t, "v1", `"metadata":{}`), "v3", "served at example.io/v2 and example.io/v1 only"},
		{"an object of such a version", thing(t, "v0", `"metadata":{}`), "v1", "served at example.io/v2 and example.io/v1 only"},
		{"an object without metadata", thing(t, "v1", `"spec":{}`), "v2", "metadata is not an object"},
		{"annotations of the wrong shape", thing(t, "v1", `"metadata":{"annotations":[]}`), "v2", "metadata.annotations is not an object"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			_, err := table(t).Convert(c.object, c.to)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestNewTableRefuses(t *testing.T) {
	for _, c := range []struct {
		reason string
		row    move.Row
		want   string
	}{
		{"a row without paths", move.Row{}, "a path in one version"},
		{"an empty step", move.Row{Old: "a..b", New: "c"}, "a step is empty"},
		{"an open bracket", move.Row{Old: "a[b", New: "c"}, "not closed"},
		{"a list as a whole", move.Row{Old: "a[]", New: "b"}, "name a field of the items"},
		{"different lists", move.Row{Old: "a[].x", New: "b[].x"}, "the same list"},
		{"out of a list", move.Row{Old: "a[].x", New: "x"}, "the same list"},
		{"a second place without a first", move.Row{New: "a", Also: "b"}, "a second old place"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			_, err := move.NewTable(move.Kind{Name: "Thing", Rows: []move.Row{c.row}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}
