package operator

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/advancedcronjob"
)

func advancedCronJob() Room {
	return Room{
		Name: "advancedcronjob",
		Help: "starts the jobs of AdvancedCronJobs",
		CRDs: []string{"advancedcronjobs.apps.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			return register(d, "advancedcronjob", advancedcronjob.New(advancedcronjob.Deps{Client: d.Client, Live: d.Live, Clock: d.Clock}))
		},
		Hooks: func(d Deps) []admission.Hook { return advancedcronjob.Hooks(d.Scheme, d.Admission) },
	}
}
