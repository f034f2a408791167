package operator

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset"
)

func sidecarSet() Room {
	return Room{
		Name: "sidecarset",
		Help: "gives pods the containers of SidecarSets, and changes them where they run",
		CRDs: []string{"sidecarsets.apps.kruise.io"},
		Start: func(ctx context.Context, d Deps) error {
			if err := d.Manager.GetFieldIndexer().IndexField(ctx, &corev1.Pod{}, sidecarset.Index, sidecarset.IndexPod); err != nil {
				return fmt.Errorf("index pods by their SidecarSets: %w", err)
			}
			scope := sidecarset.NewRegistration(d.Admission, d.Clock, ConfigurationName)
			if err := register(d, "sidecarset-scope", scope); err != nil {
				return err
			}
			return register(d, "sidecarset", sidecarset.New(d.workload(), d.SystemNamespace))
		},
		Hooks: func(d Deps) []admission.Hook {
			return sidecarset.Hooks(sidecarset.AdmissionDeps{
				Scheme: d.Scheme, Cache: d.Client, Client: d.Admission, Clock: d.Clock, SystemNamespace: d.SystemNamespace,
				Configuration: ConfigurationName,
			})
		},
	}
}
