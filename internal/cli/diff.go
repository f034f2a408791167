package cli

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// diff lists in paths what changes from one template to another, one line each:
//
//	~ spec.containers[web].image: nginx:1.26 -> nginx:1.27
//
// Items of a list are matched by their name where all have one, so that an
// item added in front is one line and not a change of every item.
func diff(from, to any) []string {
	var lines []string
	walk("", from, to, &lines)
	return lines
}

func walk(path string, from, to any, lines *[]string) {
	switch {
	case from == nil && empty(path, to), to == nil && empty(path, from):
	case from == nil:
		*lines = append(*lines, fmt.Sprintf("+ %s: %s", path, compact(to)))
	case to == nil:
		*lines = append(*lines, fmt.Sprintf("- %s: %s", path, compact(from)))
	default:
		walkBoth(path, from, to, lines)
	}
}

// empty tells whether a value says no more than its absence: the API server
// writes some empty objects, and others drop them.
func empty(path string, v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0 && !strings.HasSuffix(path, ".emptyDir") // which is what a volume is
	case []any:
		return len(v) == 0
	}
	return false
}

func walkBoth(path string, from, to any, lines *[]string) {
	oldMap, isOldMap := from.(map[string]any)
	newMap, isNewMap := to.(map[string]any)
	oldList, isOldList := from.([]any)
	newList, isNewList := to.([]any)
	switch {
	case isOldMap && isNewMap:
		walkKeys(path, oldMap, newMap, field, lines)
	case isOldList && isNewList:
		walkKeys(path, keyed(oldList), keyed(newList), item, lines)
	case compact(from) != compact(to):
		*lines = append(*lines, fmt.Sprintf("~ %s: %s -> %s", path, compact(from), compact(to)))
	}
}

func walkKeys(path string, from, to map[string]any, join func(path, key string) string, lines *[]string) {
	keys := make([]string, 0, len(from)+len(to))
	for key := range from {
		keys = append(keys, key)
	}
	for key := range to {
		if _, both := from[key]; !both {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	for _, key := range keys {
		walk(join(path, key), from[key], to[key], lines)
	}
}

// field names a field below path; a key that holds dots is put in brackets.
func field(path, key string) string {
	if strings.ContainsAny(key, "./") {
		return item(path, key)
	}
	return strings.TrimPrefix(path+"."+key, ".")
}

func item(path, key string) string { return path + "[" + key + "]" }

// keyed turns a list into a map by the items' names, or by their places.
func keyed(list []any) map[string]any {
	for _, by := range []string{"name", "mountPath", "containerPort"} {
		if named := keyedBy(list, by); named != nil {
			return named
		}
	}
	placed := make(map[string]any, len(list))
	for i, v := range list {
		placed[fmt.Sprintf("%d", i)] = v
	}
	return placed
}

// keyedBy is nil unless every item has a key of its own.
func keyedBy(list []any, by string) map[string]any {
	named := make(map[string]any, len(list))
	for _, v := range list {
		m, _ := v.(map[string]any)
		key, found := m[by]
		if _, twice := named[fmt.Sprint(key)]; !found || twice {
			return nil
		}
		named[fmt.Sprint(key)] = v
	}
	return named
}

// compact prints a value on one line.
func compact(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// summary says in a few words what a diff changes.
func summary(lines []string, most int) string {
	if len(lines) == 0 {
		return "nothing"
	}
	short := make([]string, 0, most)
	for _, line := range lines[:min(most, len(lines))] {
		if len(line) > 100 {
			line = line[:97] + "..."
		}
		short = append(short, strings.TrimPrefix(strings.TrimPrefix(line, "~ "), "spec.containers"))
	}
	text := strings.Join(short, "; ")
	if rest := len(lines) - len(short); rest > 0 {
		text += fmt.Sprintf("; +%d more", rest)
	}
	return text
}
