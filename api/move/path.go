package move

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// eachItem is the step of a path that goes to every item of a list.
const eachItem = "[]"

// path is the way to a field, one step for every object.
type path []string

// parsePath reads spec.a.b, metadata.annotations[key.with/dots] and spec.list[].a.
func parsePath(text string) (path, error) {
	var p path
	for rest := text; rest != ""; {
		var step string
		if inner, ok := strings.CutPrefix(rest, "["); ok {
			key, tail, closed := strings.Cut(inner, "]")
			if !closed {
				return nil, fmt.Errorf("path %q: a bracket is not closed", text)
			}
			if key == "" {
				key = eachItem
			}
			step, rest = key, tail
		} else {
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			step, rest = rest[:end], rest[end:]
		}
		if step == "" {
			return nil, fmt.Errorf("path %q: a step is empty", text)
		}
		p, rest = append(p, step), strings.TrimPrefix(rest, ".")
	}
	if len(p) > 0 && p[len(p)-1] == eachItem {
		return nil, fmt.Errorf("path %q: name a field of the items", text)
	}
	return p, nil
}

// list is the place of the first step into a list, or -1.
func (p path) list() int { return slices.Index(p, eachItem) }

// within tells whether p is the other path, or leads to something inside it.
func (p path) within(other path) bool {
	return len(p) >= len(other) && slices.Equal(p[:len(other)], other)
}

func (p path) after(at int) path {
	if len(p) == 0 {
		return nil
	}
	return p[at+1:]
}

// get reads a field. What is on the way may be anything.
func get(object map[string]any, p path) (any, bool) {
	for _, step := range p[:len(p)-1] {
		next, ok := object[step].(map[string]any)
		if !ok {
			return nil, false
		}
		object = next
	}
	value, ok := object[p[len(p)-1]]
	return value, ok
}

// cut takes a field out of a copy of the object, together with the objects that become empty by it. Only metadata stays:
// no object is without it.
func cut(object map[string]any, p path) (map[string]any, any, bool) {
	value, ok := object[p[0]]
	if !ok {
		return object, nil, false
	}
	if len(p) == 1 {
		object = maps.Clone(object)
		delete(object, p[0])
		return object, value, true
	}
	inner, isObject := value.(map[string]any)
	if !isObject {
		return object, nil, false
	}
	inner, value, ok = cut(inner, p[1:])
	if !ok {
		return object, nil, false
	}
	object = maps.Clone(object)
	object[p[0]] = inner
	if len(inner) == 0 && p[0] != "metadata" {
		delete(object, p[0])
	}
	return object, value, true
}

// put sets a field in a copy of the object, making the objects on the way. Where something else than an object is on the
// way, nothing is set: the API server refuses such an object anyway.
func put(object map[string]any, p path, value any) map[string]any {
	if len(p) > 1 {
		inner, isObject := object[p[0]].(map[string]any)
		if there := object[p[0]]; !isObject && there != nil {
			return object
		}
		value = put(inner, p[1:], value)
	}
	copied := maps.Clone(object)
	if copied == nil {
		copied = map[string]any{}
	}
	copied[p[0]] = value
	return copied
}
