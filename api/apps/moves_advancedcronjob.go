package apps

import (
	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/api/move"
)

func advancedCronJob() move.Kind {
	return move.Kind{
		Group: v1beta1.GroupName, Name: "AdvancedCronJob", New: "v1beta1", Old: "v1alpha1",
		Rows: []move.Row{{New: "spec.template.imageListPullJobTemplate"}},
	}
}
