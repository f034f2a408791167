package operator

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/broadcastjob"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

func broadcastJob() Room {
	return Room{
		Name: "broadcastjob",
		Help: "runs a pod to its end on every node, for BroadcastJobs",
		CRDs: []string{"broadcastjobs.apps.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			room := broadcastjob.New(d.workload())
			return reconcile.Register(d.Manager, reconcile.New(d.Client, room, d.Frame("broadcastjob")), room.Watches()...)
		},
		Hooks: func(d Deps) []admission.Hook { return broadcastjob.Hooks(d.Scheme, d.Admission, d.Admission) },
	}
}
