package apps

import (
	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/api/move"
)

func daemonSet() move.Kind {
	return move.Kind{
		Group: v1beta1.GroupName, Name: "DaemonSet", New: "v1beta1", Old: "v1alpha1",
		Rows: []move.Row{
			{New: "spec.scaleStrategy"},
			{
				Old: move.AnnotationPath(v1beta1.ProgressiveCreatePod), New: "spec.scaleStrategy.partitionedScaling",
				Up: trueFromText, Down: trueToText,
			},
			{Old: "status.daemonSetHash", New: "status.updateRevision", Schema: describe(
				"DaemonSetHash is the revision of the template now in the spec. In v1beta1 it is updateRevision.")},
		},
	}
}
