package operator

import (
	"context"
	"errors"

	"github.com/holdfast-io/holdfast/internal/policy/autobudget"
)

func autoBudget() Room {
	const name = "autobudget"
	return Room{
		Name: name,
		Help: "makes budgets for workloads that ask for them",
		Start: func(_ context.Context, d Deps) error {
			config := &autobudget.Config{
				Live: d.Live, Namespace: d.SystemNamespace, Log: d.Log.WithName(name), Recorder: d.Frame(name).Recorder,
			}
			deps := autobudget.Deps{Client: d.Client, Config: config}
			return errors.Join(
				register(d, name+"-deployment", autobudget.New(deps, autobudget.Deployments())),
				register(d, name+"-statefulset", autobudget.New(deps, autobudget.StatefulSets())),
				register(d, name+"-cloneset", autobudget.New(deps, autobudget.CloneSets())),
				register(d, name+"-advancedstatefulset", autobudget.New(deps, autobudget.AdvancedStatefulSets())),
				register(d, name+"-uniteddeployment", autobudget.New(deps, autobudget.UnitedDeployments())),
			)
		},
	}
}
