package operator

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/uniteddeployment"
)

func unitedDeployment() Room {
	return Room{
		Name: "uniteddeployment",
		Help: "spreads the pods of UnitedDeployments over subsets",
		CRDs: []string{"uniteddeployments.apps.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			return register(d, "uniteddeployment", uniteddeployment.New(uniteddeployment.Deps{Client: d.Client, Live: d.Live, Clock: d.Clock}))
		},
		Hooks: func(d Deps) []admission.Hook { return uniteddeployment.Hooks(d.Scheme, d.Admission, d.Admission) },
	}
}
