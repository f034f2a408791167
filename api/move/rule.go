package move

import (
	"regexp"
	"slices"
	"strings"
)

// reference finds the fields that a rule of CEL reads.
var reference = regexp.MustCompile(`\b(?:self|oldSelf)((?:\.[A-Za-z_][A-Za-z0-9_]*)+)`)

// withoutLost drops the rules about fields that the older version has no place for: they cannot be compiled there, and what
// they forbid cannot be written there. at is the path of the node in the newest version.
func (t *Table) withoutLost(node map[string]any, at string) {
	if list, ok := node[rules].([]any); ok {
		kept := slices.DeleteFunc(slices.Clone(list), func(rule any) bool { return t.readsLost(rule, at) })
		if node[rules] = kept; len(kept) == 0 {
			delete(node, rules)
		}
	}
	properties, _ := node["properties"].(map[string]any)
	for name, child := range properties {
		if child, ok := child.(map[string]any); ok {
			t.withoutLost(child, strings.TrimPrefix(at+"."+name, "."))
		}
	}
}

func (t *Table) readsLost(rule any, at string) bool {
	object, _ := rule.(map[string]any)
	text, _ := object["rule"].(string)
	for _, found := range reference.FindAllStringSubmatch(text, -1) {
		if t.lost(strings.TrimPrefix(at+found[1], ".")) {
			return true
		}
	}
	return false
}

// lost reports whether the older version has no place for the field, or for what it lies in.
func (t *Table) lost(field string) bool {
	return slices.ContainsFunc(t.root.rows, func(r row) bool {
		return r.Old == "" && !r.Container && (field == r.New || strings.HasPrefix(field, r.New+"."))
	})
}
