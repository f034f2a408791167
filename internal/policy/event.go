package policy

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
)

// How many events one batch of decisions makes at most; the recorder has limits of its own for each object.
const maxEvents = 20

// Denials tells of denials where a label guards: at the object that has it. A guard that is an object of its own tells by
// itself what it denied.
func Denials(recorder record.EventRecorder) func(context.Context, []Decision) {
	return func(_ context.Context, decisions []Decision) {
		told := 0
		for _, d := range decisions {
			if d.Outcome != Denied || d.Guard == "" || strings.Contains(d.Guard, " ") || told == maxEvents {
				continue
			}
			told++
			kind, _, _ := strings.Cut(d.Kind, ".")
			object := &corev1.ObjectReference{Kind: kind, Namespace: d.Namespace, Name: d.Name, UID: types.UID(d.UID)}
			recorder.Eventf(object, corev1.EventTypeWarning, "DeletionDenied", "%s by %s, %d times: %s (decision %s)",
				d.Operation, d.User, max(d.Times, 1), d.Message, d.ID)
		}
	}
}
