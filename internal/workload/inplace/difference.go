package inplace

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// How many fields an answer names; more would not be read.
const maxDifferences = 5

// differences names the fields in which two values differ, in the words of their JSON.
func differences(path string, a, b any) []string {
	left, errLeft := toJSON(a)
	right, errRight := toJSON(b)
	if errLeft != nil || errRight != nil {
		return []string{path}
	}
	found := walk(path, left, right, nil)
	if len(found) == 0 {
		return []string{path} // the values differ in a way that JSON does not show
	}
	if len(found) > maxDifferences {
		found = append(found[:maxDifferences], fmt.Sprintf("and %d more", len(found)-maxDifferences))
	}
	return found
}

func toJSON(value any) (any, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller asks only whether there is one
	}
	var plain any
	err = json.Unmarshal(raw, &plain)
	return plain, err //nolint:wrapcheck // as above
}

func walk(path string, a, b any, found []string) []string {
	switch left := a.(type) {
	case map[string]any:
		if right, same := b.(map[string]any); same {
			return walkObject(path, left, right, found)
		}
	case []any:
		if right, same := b.([]any); same && len(left) == len(right) {
			for i := range left {
				found = walk(fmt.Sprintf("%s[%s]", path, itemName(left[i], i)), left[i], right[i], found)
			}
			return found
		}
	}
	if !reflect.DeepEqual(a, b) {
		found = append(found, path)
	}
	return found
}

func walkObject(path string, left, right map[string]any, found []string) []string {
	keys := slices.Collect(maps.Keys(left))
	for key := range right {
		if _, known := left[key]; !known {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		found = walk(path+"."+key, left[key], right[key], found)
	}
	return found
}

// itemName is how people call an item of a list: by its name where it has one.
func itemName(item any, i int) string {
	if object, ok := item.(map[string]any); ok {
		if name, ok := object["name"].(string); ok && name != "" {
			return name
		}
	}
	return fmt.Sprint(i)
}
