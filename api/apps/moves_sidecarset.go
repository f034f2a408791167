package apps

import (
	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/api/move"
)

// namespaceName is the label that every namespace has with its name.
const namespaceName = "kubernetes.io/metadata.name"

func sidecarSet() move.Kind {
	return move.Kind{
		Group: v1beta1.GroupName, Name: "SidecarSet", New: "v1beta1", Old: "v1alpha1",
		Rows: []move.Row{
			{
				Up: unlessEmpty, Old: "spec.namespace", New: "spec.namespaceSelector.matchLabels[" + namespaceName + "]",
				Schema: plain("string", "Namespace is the one namespace whose pods get the containers. Default: all namespaces. In v1beta1 it "+
					"is namespaceSelector.matchLabels["+namespaceName+"]."),
			},
			{Old: move.LabelPath(v1beta1.SidecarSetCustomVersion), New: "spec.customVersion"},
		},
	}
}

// unlessEmpty leaves out an empty text, which stands for no value in the older version.
func unlessEmpty(value any, ok bool) (any, bool) { return value, ok && value != "" }
