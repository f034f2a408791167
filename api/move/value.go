package move

import "encoding/json"

// AnnotationPath is where an annotation lies, for a row.
func AnnotationPath(key string) string { return "metadata.annotations[" + key + "]" }

// LabelPath is where a label lies, for a row.
func LabelPath(key string) string { return "metadata.labels[" + key + "]" }

// ToText writes a number as a text, as labels and annotations need it; a text stays as it is.
func ToText(value any, _ bool) (any, bool) {
	switch value := value.(type) {
	case json.Number:
		return value.String(), true
	case string:
		return value, true
	default:
		return nil, false
	}
}
