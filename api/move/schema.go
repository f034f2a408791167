package move

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Schema derives the older version's OpenAPI schema from the newest one's. Both are decoded JSON; the schema given is
// left as it is.
func (t *Table) Schema(newest map[string]any) (map[string]any, error) {
	schema := clone(newest)
	if err := t.root.schema(schema); err != nil {
		return nil, fmt.Errorf("derive the schema of %s at %s: %w", t.kind.Name, t.kind.Old, err)
	}
	t.withoutLost(schema, "")
	return schema, nil
}

// Columns derives the older version's printed columns from the newest one's.
func (t *Table) Columns(newest []any) []any {
	columns, _ := cloneValue(newest).([]any)
	for _, column := range columns {
		if column, ok := column.(map[string]any); ok {
			at, _ := column["jsonPath"].(string)
			column["jsonPath"] = t.jsonPath(at)
		}
	}
	return columns
}

// jsonPath is where a printed column of the newest version reads in the older one: the longest path that leads there
// decides.
func (t *Table) jsonPath(newest string) string {
	older, length := newest, 0
	for _, r := range t.root.rows {
		rest, ok := strings.CutPrefix(newest, "."+r.New)
		if ok && r.Old != "" && !r.Shown && len(r.New) > length && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			older, length = "."+r.Old+rest, len(r.New)
		}
	}
	return older
}

func (l *level) schema(schema map[string]any) error {
	for _, list := range l.lists {
		node, err := find(schema, list.path)
		if err != nil {
			return err
		}
		items, ok := node["items"].(map[string]any)
		if !ok {
			return fmt.Errorf("%s is not a list", strings.Join(list.path, "."))
		}
		if err := list.item.schema(items); err != nil {
			return err
		}
	}
	type moved struct {
		node     map[string]any
		required bool
	}
	nodes := make([]moved, len(l.rows))
	for _, c := range l.down.cuts {
		if c.use == dropped || len(l.rows[c.row].also) > 0 || c.path[0] == "metadata" {
			continue // a field with a second old place stays there, inside an object that another row moves
		}
		node, required, err := cutSchema(schema, c.path)
		if err != nil {
			return err
		}
		nodes[c.row] = moved{node, required}
	}
	for _, i := range l.down.puts {
		r, m := l.rows[i], nodes[i]
		if m.node == nil {
			m.node = map[string]any{}
		}
		if err := r.putSchema(schema, m.node, m.required); err != nil {
			return err
		}
	}
	return nil
}

var (
	errNoField  = errors.New("the newest schema has no such field")
	errNoSchema = errors.New("a field of the older version alone needs a schema")
)

func (r row) putSchema(schema, node map[string]any, required bool) error {
	if len(r.also) > 0 || r.old[0] == "metadata" {
		return nil
	}
	if r.Container {
		target, err := find(schema, r.old)
		if err != nil {
			return err
		}
		return mergeRules(target, node)
	}
	if r.Schema != nil {
		node = r.Schema(node)
	}
	if len(node) == 0 {
		return fmt.Errorf("%s: %w", r.Old, errNoSchema)
	}
	parent := schema
	if len(r.old) > 1 {
		var err error
		if parent, err = find(schema, r.old[:len(r.old)-1]); err != nil {
			return err
		}
	}
	name := r.old[len(r.old)-1]
	properties, ok := parent["properties"].(map[string]any)
	if !ok {
		properties = map[string]any{}
		parent["properties"] = properties
	}
	properties[name] = node
	if required {
		names, _ := parent["required"].([]any)
		names = append(slices.Clone(names), name)
		slices.SortFunc(names, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		parent["required"] = names
	}
	return nil
}

const rules = "x-kubernetes-validations"

func mergeRules(target, from map[string]any) error {
	more, _ := from[rules].([]any)
	if len(more) == 0 {
		return nil
	}
	have, _ := target[rules].([]any)
	target[rules] = append(slices.Clone(have), more...)
	return nil
}

// cutSchema takes the schema of a field out, and tells whether the field was required.
func cutSchema(schema map[string]any, p path) (map[string]any, bool, error) {
	parent := schema
	if len(p) > 1 {
		var err error
		if parent, err = find(schema, p[:len(p)-1]); err != nil {
			return nil, false, err
		}
	}
	name := p[len(p)-1]
	properties, _ := parent["properties"].(map[string]any)
	node, ok := properties[name].(map[string]any)
	if values, isMap := parent["additionalProperties"].(map[string]any); !ok && isMap {
		return clone(values), false, nil // a key like all others of the map, which stays
	}
	if !ok {
		return nil, false, fmt.Errorf("%s: %w", strings.Join(p, "."), errNoField)
	}
	delete(properties, name)
	names, _ := parent["required"].([]any)
	at := slices.Index(names, any(name))
	if at < 0 {
		return node, false, nil
	}
	if names = slices.Delete(slices.Clone(names), at, at+1); len(names) == 0 {
		delete(parent, "required")
	} else {
		parent["required"] = names
	}
	return node, true, nil
}

// find goes to the schema of a field.
func find(schema map[string]any, p path) (map[string]any, error) {
	for i, step := range p {
		properties, _ := schema["properties"].(map[string]any)
		next, ok := properties[step].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: %w", strings.Join(p[:i+1], "."), errNoField)
		}
		schema = next
	}
	return schema, nil
}

func clone(schema map[string]any) map[string]any {
	copied := maps.Clone(schema)
	for name, value := range copied {
		copied[name] = cloneValue(value)
	}
	return copied
}

func cloneValue(value any) any {
	switch value := value.(type) {
	case map[string]any:
		return clone(value)
	case []any:
		copied := slices.Clone(value)
		for i := range copied {
			copied[i] = cloneValue(copied[i])
		}
		return copied
	default:
		return value
	}
}
