package move

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Annotation carries what an object's other version holds and the rows alone would not bring back.
const Annotation = "holdfast.io/conversion-data"

func annotation() path { return path{"metadata", "annotations", Annotation} }

// residue is what the rows alone would not bring back: how an object differs from itself converted there and back.
type residue []difference

// difference is one field that would not come back.
type difference struct {
	Path path `json:"path"`
	// Was is a digest of the value that the rows alone bring back; empty: none. The field is restored only while they
	// still bring back that: if it was changed in the meantime, the change wins.
	Was string `json:"was,omitempty"`
	// Is holds the one value to be restored; empty: the field is to be taken out again.
	Is []any `json:"is,omitempty"`
	// With is the same number for fields that are spellings of one thing, and so are restored together or not at all.
	With int `json:"with,omitempty"`
}

// residue compares an object with itself converted there and back.
func (t *Table) residue(object, home map[string]any) residue {
	r := compare(nil, field{value: object, ok: true}, field{value: home, ok: true})
	for i := range r {
		r[i].With = t.spelling(r[i].Path)
	}
	return r
}

// spelling is the number of the row for which a field is one of two spellings, else 0.
func (t *Table) spelling(p path) int {
	for i, r := range t.root.rows {
		if len(r.also) > 0 && (slices.Equal(p, r.old) || slices.Equal(p, r.also)) {
			return i + 1
		}
	}
	return 0
}

// compare lists the differences between a field and the same field of the object that came home.
func compare(p path, here, home field) residue {
	hereFields, isHere := here.value.(map[string]any)
	homeFields, isHome := home.value.(map[string]any)
	hereOpen, homeOpen := len(hereFields) > 0, len(homeFields) > 0
	switch {
	case hereOpen && (isHome || !home.ok), homeOpen && !here.ok, isHere && isHome && hereOpen == homeOpen:
		return compareFields(p, hereFields, homeFields)
	case here.ok == home.ok && equal(here.value, home.value):
		return nil
	case here.ok:
		return residue{{Path: p, Was: digest(home.value, home.ok), Is: []any{here.value}}}
	default:
		return residue{{Path: p, Was: digest(home.value, home.ok)}}
	}
}

func compareFields(p path, here, home map[string]any) residue {
	names := slices.Collect(maps.Keys(here))
	for name := range home {
		if _, both := here[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var all residue
	for _, name := range names {
		a, inHere := here[name]
		b, inHome := home[name]
		all = append(all, compare(append(slices.Clone(p), name), field{value: a, ok: inHere}, field{value: b, ok: inHome})...)
	}
	return all
}

// restore brings back the fields that the rows alone did not, where they have not been changed since.
func (r residue) restore(object map[string]any) map[string]any {
	changed := map[int]bool{}
	matches := make([]bool, len(r))
	for i, d := range r {
		matches[i] = digest(get(object, d.Path)) == d.Was
		if d.With != 0 && !matches[i] {
			changed[d.With] = true
		}
	}
	for i, d := range r {
		switch {
		case !matches[i] || changed[d.With]:
		case len(d.Is) == 0:
			object, _, _ = cut(object, d.Path)
		default:
			object = put(object, d.Path, d.Is[0])
		}
	}
	return object
}

func (r residue) annotate(object map[string]any) (map[string]any, error) {
	if len(r) == 0 {
		return object, nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write the annotation %s: %w", Annotation, err)
	}
	return put(object, annotation(), string(data)), nil
}

// takeResidue takes the annotation off an object. One that cannot be read is dropped,
// and so are fields that no row names: only conversion writes it, and nobody shall write anything else by way of it.
func (t *Table) takeResidue(object map[string]any) (map[string]any, residue) {
	object, value, ok := cut(object, annotation())
	text, isText := value.(string)
	if !ok || !isText {
		return object, nil
	}
	var r residue
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&r) != nil {
		return object, nil
	}
	return object, slices.DeleteFunc(r, func(d difference) bool { return !t.root.names(d) })
}

// names tells whether the rows can be the cause of a difference.
func (l *level) names(d difference) bool {
	if len(d.Path) == 0 || len(d.Is) > 1 {
		return false
	}
	shell := len(d.Is) == 0 // only an empty shell can differ above the field that a row names
	if len(d.Is) == 1 {
		fields, isObject := d.Is[0].(map[string]any)
		shell = d.Is[0] == nil || (isObject && len(fields) == 0)
	}
	named := func(p path) bool {
		return len(p) > 0 && (d.Path.within(p) || (shell && p.within(d.Path)))
	}
	return slices.ContainsFunc(l.rows, func(r row) bool {
		return named(r.old) || (named(r.new) && !r.Shown) || named(r.also)
	}) || slices.ContainsFunc(l.lists, func(list list) bool {
		return named(list.path)
	})
}

func digest(value any, ok bool) string {
	if !ok {
		return ""
	}
	data, err := json.Marshal(value) // sorts the keys
	if err != nil {
		return "?"
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// equal compares decoded JSON, numbers by their text.
func equal(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case nil, bool, string, json.Number, float64, int64:
		return a == b
	default:
		return false
	}
}
