package operator

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/broadcastjob"
)

func broadcastJob() Room {
	return Room{
		Name: "broadcastjob",
		Help: "runs a pod to its end on every node, for BroadcastJobs",
		CRDs: []string{"broadcastjobs.apps.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			return register(d, "broadcastjob", broadcastjob.New(d.workload()))
		},
		Hooks: func(d Deps) []admission.Hook { return broadcastjob.Hooks(d.Scheme, d.Admission, d.Admission) },
	}
}
