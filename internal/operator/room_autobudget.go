package operator

import (
	"context"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/policy/autobudget"
	"github.com/holdfast-io/holdfast/internal/reconcile"
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
			for _, start := range []func() error{
				func() error { return startAutoBudget(d, autobudget.New(deps, autobudget.Deployments()), "deployment") },
				func() error {
					return startAutoBudget(d, autobudget.New(deps, autobudget.StatefulSets()), "statefulset")
				},
				func() error { return startAutoBudget(d, autobudget.New(deps, autobudget.CloneSets()), "cloneset") },
				func() error {
					return startAutoBudget(d, autobudget.New(deps, autobudget.AdvancedStatefulSets()), "advancedstatefulset")
				},
				func() error {
					return startAutoBudget(d, autobudget.New(deps, autobudget.UnitedDeployments()), "uniteddeployment")
				},
			} {
				if err := start(); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func startAutoBudget[T client.Object](d Deps, room *autobudget.Reconciler[T], kind string) error {
	frame := reconcile.New(d.Client, room, d.Frame(strings.Join([]string{"autobudget", kind}, "-")))
	return reconcile.Register(d.Manager, frame, room.Watches()...)
}
