package operator

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/statefulset"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

func statefulSet() Room {
	return Room{
		Name: "statefulset",
		Help: "keeps the pods of StatefulSets, each with a name and volumes of its own",
		CRDs: []string{"statefulsets.apps.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			room := statefulset.New(statefulset.Deps{
				Client: d.Client, Live: d.Live, Position: d.Position, Clock: d.Clock, Guard: d.Guard, Turns: d.Turns,
			})
			return reconcile.Register(d.Manager, reconcile.New(d.Client, room, d.Frame("statefulset")), room.Watches()...)
		},
		Hooks: func(d Deps) []admission.Hook { return statefulset.Hooks(d.Scheme, d.Admission, d.Admission) },
	}
}
