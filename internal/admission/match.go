package admission

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MatchesLabels is CEL that is true for the objects whose labels a selector matches; "" for a selector that cannot be read, or
// that is empty. It never fails: an object may have no labels at all.
func MatchesLabels(selector *metav1.LabelSelector) string {
	if s, err := metav1.LabelSelectorAsSelector(selector); err != nil || s.Empty() {
		return ""
	}
	const labels = "object.metadata.labels"
	all := Requirements(selector)
	some := slices.ContainsFunc(all, func(r metav1.LabelSelectorRequirement) bool {
		return r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpExists
	})
	var parts []string
	guard := "has(" + labels + ")"
	if some {
		parts, guard = append(parts, guard), "" // without labels nothing matches: said once
	}
	for _, r := range all {
		key := strconv.Quote(r.Key)
		parts = append(parts, meets(both(guard, key+" in "+labels), labels+"["+key+"]", r))
	}
	return strings.Join(parts, " && ")
}

// MatchesNamespace is CEL that is true where the request's namespace has a name that the selector matches. Of a namespace's
// labels a webhook's condition knows nothing but the name: other requirements count as met.
func MatchesNamespace(selector *metav1.LabelSelector) string {
	var parts []string
	for _, r := range Requirements(selector) {
		if r.Key == corev1.LabelMetadataName {
			parts = append(parts, meets("", "request.namespace", r))
		}
	}
	return strings.Join(parts, " && ")
}

// Requirements are those of a selector, as expressions, in the order of their keys.
func Requirements(s *metav1.LabelSelector) []metav1.LabelSelectorRequirement {
	if s == nil {
		return nil
	}
	all := slices.Clone(s.MatchExpressions)
	for key, value := range s.MatchLabels {
		all = append(all, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}})
	}
	slices.SortStableFunc(all, func(a, b metav1.LabelSelectorRequirement) int {
		if a.Key != b.Key {
			return strings.Compare(a.Key, b.Key)
		}
		return strings.Compare(string(a.Operator), string(b.Operator))
	})
	return all
}

// meets is CEL for one requirement of a value, which is there when present is true; "": always.
func meets(present, value string, r metav1.LabelSelectorRequirement) string {
	switch r.Operator {
	case metav1.LabelSelectorOpIn:
		return both(present, value+oneOf(r.Values))
	case metav1.LabelSelectorOpNotIn:
		return "!(" + both(present, value+oneOf(r.Values)) + ")"
	case metav1.LabelSelectorOpDoesNotExist:
		return "!(" + orTrue(present) + ")"
	case metav1.LabelSelectorOpExists:
		return orTrue(present)
	}
	return orTrue("") // no selector has another operator
}

// oneOf compares with texts. Go writes them as CEL reads them.
func oneOf(values []string) string {
	quoted := make([]string, 0, len(values))
	for _, v := range values {
		quoted = append(quoted, strconv.Quote(v))
	}
	slices.Sort(quoted)
	if len(quoted) == 1 {
		return " == " + quoted[0]
	}
	return " in [" + strings.Join(slices.Compact(quoted), ", ") + "]"
}

func both(a, b string) string {
	if a == "" {
		return b
	}
	return a + " && " + b
}

func orTrue(text string) string {
	if text == "" {
		return "true"
	}
	return text
}
