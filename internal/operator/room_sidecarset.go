package operator

import (
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset"
)

func sidecarSet() Room {
	return Room{
		Name: "sidecarset",
		Help: "gives pods the containers of SidecarSets, and changes them where they run",
		CRDs: []string{"sidecarsets.apps.kruise.io"},
		Hooks: func(d Deps) []admission.Hook {
			return sidecarset.Hooks(sidecarset.AdmissionDeps{
				Scheme: d.Scheme, Cache: d.Client, Client: d.Admission, Clock: d.Clock, SystemNamespace: d.SystemNamespace,
			})
		},
	}
}
