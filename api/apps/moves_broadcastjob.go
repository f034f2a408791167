package apps

import (
	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/api/move"
)

// broadcastJob is the same in both versions.
func broadcastJob() move.Kind {
	return move.Kind{Group: v1beta1.GroupName, Name: "BroadcastJob", New: "v1beta1", Old: "v1alpha1"}
}
