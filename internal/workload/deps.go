package workload

import (
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
)

// Deps are what the room of a workload needs from the operator.
type Deps struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Position of the cache.
	Position Position
	Clock    clock.PassiveClock
	// Guard is asked before a pod is taken away; nil: nobody is.
	Guard disruption.Asker
	// Turns are shared with whoever else changes pods of the workloads; nil: nobody does.
	Turns *disruption.Turns
}

// Engine makes the engine of a room.
func (d Deps) Engine() *Engine {
	return &Engine{Client: d.Client, Live: d.Live, Position: d.Position, Clock: d.Clock, Guard: d.Guard, Turns: d.Turns}
}

// Halt keeps every pod at its revision while the update is paused, or the update strategy is OnDelete.
func (s *Set) Halt(paused, onDelete bool) {
	switch {
	case paused:
		s.Hold = appsv1beta1.HeldByPaused
		s.HoldMessage = "the update is paused; set spec.updateStrategy.rollingUpdate.paused to false to go on"
	case onDelete:
		s.Hold = appsv1beta1.HeldByOnDelete
		s.HoldMessage = "the update strategy is OnDelete: each pod is updated when somebody deletes it"
	}
}
