package operator

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/daemonset"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

func daemonSet() Room {
	return Room{
		Name: "daemonset",
		Help: "keeps the pods of DaemonSets",
		CRDs: []string{"daemonsets.apps.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			room := daemonset.New(d.workload())
			return reconcile.Register(d.Manager, reconcile.New(d.Client, room, d.Frame("daemonset")), room.Watches()...)
		},
		Hooks: func(d Deps) []admission.Hook { return daemonset.Hooks(d.Scheme, d.Admission, d.Admission) },
	}
}
