package operator

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/statefulset"
)

func statefulSet() Room {
	return Room{
		Name: "statefulset",
		Help: "keeps the pods of StatefulSets, each with a name and volumes of its own",
		CRDs: []string{"statefulsets.apps.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			return register(d, "statefulset", statefulset.New(d.workload()))
		},
		Hooks: func(d Deps) []admission.Hook { return statefulset.Hooks(d.Scheme, d.Admission, d.Admission) },
	}
}
