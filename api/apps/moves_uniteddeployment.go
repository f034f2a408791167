package apps

import (
	"encoding/json"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/api/move"
)

func unitedDeployment() move.Kind {
	const subsets, updates = "status.subsetStatuses", "status.updateStatus"
	return move.Kind{
		Group: v1beta1.GroupName, Name: "UnitedDeployment", New: "v1beta1", Old: "v1alpha1",
		Rows: []move.Row{
			{
				Old: "status.subsetReplicas", New: subsets, Shown: true, Down: bySubset("replicas"),
				Schema: numbers("SubsetReplicas are, by the name of a subset, how many pods its workload is asked for. In v1beta1 it is " +
					"subsetStatuses[].replicas."),
			},
			{Old: updates, Schema: plain("object",
				"UpdateStatus is how far the update is. In v1beta1 it is updatedRevision, and partition in subsetStatuses.")},
			{Old: updates + ".updatedRevision", New: "status.updatedRevision"},
			{
				Old: updates + ".currentPartitions", New: subsets, Shown: true, Down: bySubset("partition"),
				Schema: numbers("CurrentPartitions are, by the name of a subset, how many of its pods stay at the old revision. In v1beta1 " +
					"it is subsetStatuses[].partition."),
			},
		},
	}
}

// bySubset makes a map of one number of every subset.
func bySubset(field string) move.Func {
	return func(value any, _ bool) (any, bool) {
		subsets, _ := value.([]any)
		numbers := map[string]any{}
		for _, subset := range subsets {
			fields, _ := subset.(map[string]any)
			name, named := fields["name"].(string)
			if !named {
				continue
			}
			if numbers[name] = fields[field]; numbers[name] == nil {
				numbers[name] = json.Number("0")
			}
		}
		return numbers, len(numbers) > 0
	}
}

// numbers is the schema of a map of whole numbers.
func numbers(text string) func(map[string]any) map[string]any {
	return func(map[string]any) map[string]any {
		return map[string]any{
			"type": "object", "description": text,
			"additionalProperties": map[string]any{"type": "integer", "format": "int32"},
		}
	}
}
