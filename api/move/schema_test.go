package move_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/api/move"
)

// A rule about a field that the older version has no place for is not derived.
const newest = `{"type":"object","properties":{"spec":{"type":"object","required":["name","strategy"],
"x-kubernetes-validations":[{"rule":"!has(self.newest) || oldSelf.newest.size() > 0"},{"rule":"has(self.strategy)"}],"properties":{
	"name":{"type":"string"},
	"newest":{"type":"object"},
	"items":{"type":"array","items":{"type":"object","properties":{"inner":{"type":"object","required":["new"],"properties":{"new":{"type":"integer"}}}}}},
	"strategy":{"type":"object","x-kubernetes-validations":[{"rule":"outer"}],"properties":{
		"rolling":{"type":"object","required":["step"],"x-kubernetes-validations":[{"rule":"inner"}],"properties":{
			"step":{"type":"integer"},
			"deep":{"type":"object","properties":{"size":{"type":"string"}}}
		}}
	}}
}}}}`

const oldest = `{"type":"object","properties":{"spec":{"type":"object","required":["strategy"],
"x-kubernetes-validations":[{"rule":"has(self.strategy)"}],"properties":{
	"items":{"type":"array","items":{"type":"object","required":["old"],"properties":{"inner":{"type":"object","properties":{}},"old":{"type":"integer"}}}},
	"strategy":{"type":"object","required":["step"],"x-kubernetes-validations":[{"rule":"outer"},{"rule":"inner"}],"properties":{
		"step":{"type":"integer"},
		"deep":{"type":"object","required":["name"],"properties":{"size":{"type":"string"},"name":{"type":"string"}}}
	}}
}}}}`

func TestSchema(t *testing.T) {
	given := decode(t, newest)
	got, err := table(t).Schema(given)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decode(t, oldest), got); diff != "" {
		t.Errorf("derived schema, -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(decode(t, newest), given); diff != "" {
		t.Errorf("the schema given was changed:\n%s", diff)
	}
}

func TestSchemaRefuses(t *testing.T) {
	for _, c := range []struct {
		reason string
		row    move.Row
		want   string
	}{
		{"a field that is not there", move.Row{Old: "spec.a", New: "spec.nmae"}, "spec.nmae: the newest schema has no such field"},
		{"an object that is not there", move.Row{Old: "spec.gone.a", New: "spec.name"}, "spec.gone: the newest schema has no such field"},
		{"an older field without a schema", move.Row{Old: "spec.older"}, "spec.older: a field of the older version alone needs a schema"},
		{"a list that is none", move.Row{Old: "spec.name[].a", New: "spec.name[].b"}, "spec.name is not a list"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			table, err := move.NewTable(move.Kind{Name: "Thing", New: "v2", Old: "v1", Rows: []move.Row{c.row}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = table.Schema(decode(t, newest)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestColumns(t *testing.T) {
	columns := []any{map[string]any{"jsonPath": ".spec.strategy.rolling.step"}, map[string]any{"jsonPath": ".spec.names[0]"}}
	want := []any{map[string]any{"jsonPath": ".spec.strategy.step"}, map[string]any{"jsonPath": ".spec.names[0]"}}
	if diff := cmp.Diff(want, table(t).Columns(columns)); diff != "" {
		t.Errorf("columns, -want +got:\n%s", diff)
	}
}
