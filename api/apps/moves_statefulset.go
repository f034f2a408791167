package apps

import (
	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/api/move"
)

// statefulSet has the same fields at the same places in both versions; the older one lacks the newer ones, which ride along.
func statefulSet() move.Kind {
	rows := inPlaceRows(rollingUpdate+inPlace, rollingUpdate+inPlace)
	for _, field := range []string{
		"spec.lifecycle", "spec.ordinals", "spec.persistentVolumeClaimRetentionPolicy", "spec.reserveOrdinals",
		"spec.scaleStrategy", "spec.volumeClaimUpdateStrategy",
		"status.updatedReadyReplicas", "status.updatedAvailableReplicas", "status.volumeClaims",
	} {
		rows = append(rows, move.Row{New: field})
	}
	return move.Kind{Group: v1beta1.GroupName, Name: "StatefulSet", New: "v1beta1", Old: "v1alpha1", Rows: rows}
}
