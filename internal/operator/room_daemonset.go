package operator

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/daemonset"
)

func daemonSet() Room {
	return Room{
		Name: "daemonset",
		Help: "keeps the pods of DaemonSets",
		CRDs: []string{"daemonsets.apps.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			return register(d, "daemonset", daemonset.New(d.workload()))
		},
		Hooks: func(d Deps) []admission.Hook { return daemonset.Hooks(d.Scheme, d.Admission, d.Admission) },
	}
}
