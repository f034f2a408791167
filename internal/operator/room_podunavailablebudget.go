package operator

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/policy/podunavailablebudget"
)

func podUnavailableBudget() Room {
	const name = "podunavailablebudget"
	return Room{
		Name: name,
		Help: "lets pods go only as far as their PodUnavailableBudgets allow",
		CRDs: []string{"podunavailablebudgets.policy.kruise.io"},
		Start: func(_ context.Context, d Deps) error {
			return register(d, name, budgets(d))
		},
		Hooks: func(d Deps) []admission.Hook { return budgets(d).Hooks(d.Scheme) },
		Guard: func(d Deps) disruption.Guard { return budgets(d).Guard() },
	}
}

// budgets is the process's one keeper of budgets.
func budgets(d Deps) *podunavailablebudget.Keeper {
	if d.guards != nil && d.guards.gate != nil {
		for _, guard := range d.guards.gate.Guards {
			if keeper, ok := guard.(*podunavailablebudget.Keeper); ok {
				return keeper
			}
		}
	}
	deps := podunavailablebudget.Deps{
		Client: d.Client, Live: d.Live, Admission: d.Admission, Position: d.Position, Clock: d.Clock, Log: d.Log,
		Asked: d.asked(), Guarded: d.scope().Guards,
	}
	if d.Frame != nil {
		deps.Recorder = d.Frame("podunavailablebudget").Recorder
	}
	if d.Figures != nil {
		deps.Metrics = podunavailablebudget.NewMetrics(d.Figures)
	}
	return podunavailablebudget.New(deps)
}
