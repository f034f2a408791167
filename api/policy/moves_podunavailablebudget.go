package policy

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/holdfast-io/holdfast/api/move"
	"github.com/holdfast-io/holdfast/api/policy/v1beta1"
)

func podUnavailableBudget() move.Kind {
	return move.Kind{
		Group: v1beta1.GroupName, Name: "PodUnavailableBudget", New: "v1beta1", Old: "v1alpha1",
		Rows: []move.Row{
			{Old: move.AnnotationPath(v1beta1.ProtectOperationsAnnotation), New: "spec.protectOperations", Up: split, Down: join},
			{
				Old: move.AnnotationPath(v1beta1.ProtectTotalReplicasAnnotation), New: "spec.protectTotalReplicas",
				Up: number, Down: move.ToText,
			},
			{New: "spec.ignoredPodSelector"},
		},
	}
}

// split keeps what is no operation: the newest version's rules then refuse it, where leaving it out would guard less than
// the user believes.
func split(value any, _ bool) (any, bool) {
	list, isText := value.(string)
	if !isText || strings.TrimSpace(list) == "" {
		return nil, false
	}
	var operations []any
	for operation := range strings.SplitSeq(list, ",") {
		if operation = strings.TrimSpace(operation); operation != "" {
			operations = append(operations, operation)
		}
	}
	return operations, len(operations) > 0
}

func join(value any, _ bool) (any, bool) {
	list, _ := value.([]any)
	operations := make([]string, 0, len(list))
	for _, operation := range list {
		name, isText := operation.(string)
		if !isText {
			return nil, false
		}
		operations = append(operations, name)
	}
	return strings.Join(operations, ","), len(operations) > 0
}

// number keeps what is none, to be refused by the newest version's rules.
func number(value any, ok bool) (any, bool) {
	written, _ := value.(string)
	n, err := strconv.ParseInt(strings.TrimSpace(written), 10, 32)
	if err != nil {
		return value, ok
	}
	return json.Number(strconv.FormatInt(n, 10)), true
}
