// Package apps holds, for every kind of apps.kruise.io, the table of what its older version has elsewhere.
package apps

import (
	"encoding/json"
	"strconv"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/api/move"
)

const (
	updateStrategy = "spec.updateStrategy"
	rollingUpdate  = "spec.updateStrategy.rollingUpdate"
	inPlace        = ".inPlaceUpdateStrategy"
)

// Kinds lists the kinds of the group with their moves.
func Kinds() []move.Kind {
	return []move.Kind{cloneSet(), daemonSet(), broadcastJob(), sidecarSet(), statefulSet(), advancedCronJob(), unitedDeployment()}
}

func cloneSet() move.Kind {
	rows := []move.Row{
		{Old: updateStrategy, New: rollingUpdate, Container: true},
		{New: "spec.updateStrategy.type", Up: absentAs(string(v1beta1.RollingUpdateCloneSetStrategyType))},
		{Old: "spec.updateStrategy.type", New: rollingUpdate + ".podUpdatePolicy", Schema: describe(
			"Type is ReCreate: an old pod is deleted and a new one created; InPlaceIfPossible: the running pod is changed " +
				"where the difference allows it, else recreated; InPlaceOnly: as before, and a change of the template that " +
				"cannot be made in place is refused. Default: ReCreate. In v1beta1 it is rollingUpdate.podUpdatePolicy.")},
		{
			Old: "spec.scaleStrategy.disablePVCReuse", New: "spec.scaleStrategy.enablePVCReuse",
			Up: negate, Down: negateOrLeaveOut, Schema: plain("boolean",
				"DisablePVCReuse deletes the claims of a deleted pod together with it. Default: false, claims are kept for the "+
					"pod that is created in its place. In v1beta1 it is the opposite, enablePVCReuse, and there claims are not "+
					"kept by default."),
		},
		{
			Old: move.LabelPath(v1beta1.CloneSetScalingExcludePreparingDelete), New: "spec.scaleStrategy.excludePreparingDelete",
			Up: trueFromText, Down: trueToText,
		},
	}
	for _, field := range []string{"partition", "maxUnavailable", "maxSurge", "paused", "priorityStrategy", "scatterStrategy"} {
		rows = append(rows, move.Row{Old: updateStrategy + "." + field, New: rollingUpdate + "." + field})
	}
	return move.Kind{
		Group: v1beta1.GroupName, Name: "CloneSet", New: "v1beta1", Old: "v1alpha1",
		Rows: append(rows, inPlaceRows(updateStrategy+inPlace, rollingUpdate+inPlace)...),
	}
}

// inPlaceRows move the strategy for changes in place. Image pre-download is asked for by annotations in older versions,
// which have the fields, too.
func inPlaceRows(oldPath, newPath string) []move.Row {
	return []move.Row{
		{Old: oldPath, New: newPath},
		{
			Old: move.AnnotationPath(v1beta1.ImagePreDownloadParallelism), New: newPath + ".imagePreDownloadParallelism",
			Also: oldPath + ".imagePreDownloadParallelism", Up: numberOrPercentFromText, Down: move.ToText,
		},
		{
			Old: move.AnnotationPath(v1beta1.ImagePreDownloadTimeoutSeconds), New: newPath + ".imagePreDownloadTimeoutSeconds",
			Also: oldPath + ".imagePreDownloadTimeoutSeconds", Up: numberFromText, Down: move.ToText,
		},
		{
			Old: move.AnnotationPath(v1beta1.ImagePreDownloadMinUpdatedReadyPods), New: newPath + ".imagePreDownloadMinUpdatedReadyPods",
			Also: oldPath + ".imagePreDownloadMinUpdatedReadyPods", Up: numberFromText, Down: move.ToText,
		},
	}
}

// absentAs gives a field that the older version has no place for the value that it stands for there.
func absentAs(value string) move.Func {
	return func(any, bool) (any, bool) { return value, true }
}

// negate turns a boolean around; one that is not there is false.
func negate(value any, ok bool) (any, bool) {
	if !ok {
		return true, true
	}
	is, isBool := value.(bool)
	return !is, isBool
}

// negateOrLeaveOut turns a boolean around, and leaves out false, which is the default of the older version.
func negateOrLeaveOut(value any, ok bool) (any, bool) {
	result, there := negate(value, ok)
	return result, there && result == true
}

func trueFromText(value any, _ bool) (any, bool) { return true, value == "true" }
func trueToText(value any, _ bool) (any, bool)   { return "true", value == true }

func numberFromText(value any, _ bool) (any, bool) {
	text, _ := value.(string)
	number, err := strconv.ParseInt(text, 10, 32)
	return json.Number(strconv.FormatInt(number, 10)), err == nil
}

func numberOrPercentFromText(value any, ok bool) (any, bool) {
	if number, isNumber := numberFromText(value, ok); isNumber {
		return number, true
	}
	text, isText := value.(string)
	return text, isText && len(text) > 1 && text[len(text)-1] == '%'
}

// describe keeps a field's schema under a description of its own.
func describe(text string) func(map[string]any) map[string]any {
	return func(newest map[string]any) map[string]any {
		newest["description"] = text
		return newest
	}
}

// plain is a field's whole schema.
func plain(kind, text string) func(map[string]any) map[string]any {
	return func(map[string]any) map[string]any {
		return map[string]any{"type": kind, "description": text}
	}
}
