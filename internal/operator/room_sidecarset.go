package operator

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset"
	"github.com/holdfast-io/holdfast/internal/reconcile"
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
			err := reconcile.Register(d.Manager, reconcile.New(d.Client, scope, d.Frame("sidecarset-scope")), scope.Watches()...)
			if err != nil {
				return err
			}
			room := sidecarset.New(d.workload(), d.SystemNamespace)
			return reconcile.Register(d.Manager, reconcile.New(d.Client, room, d.Frame("sidecarset")), room.Watches()...)
		},
		Hooks: func(d Deps) []admission.Hook {
			return sidecarset.Hooks(sidecarset.AdmissionDeps{
				Scheme: d.Scheme, Cache: d.Client, Client: d.Admission, Clock: d.Clock, SystemNamespace: d.SystemNamespace,
				Configuration: ConfigurationName,
			})
		},
	}
}
