package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

func examplesScenario() scenario {
	return scenario{
		name: "examples", group: workloads, title: "the examples of every kind, in every version",
		about: `
Every file of docs/examples is applied strictly (an unknown field is an error), must bring no warning, and must come to what it asks
for: first all of v1alpha1, then all of v1beta1.`,
		play: playExamples,
	}
}

// reached says by which condition a kind shows that it is as asked; a kind that is not here shows it by its observedGeneration.
func reached() map[string]string {
	return map[string]string{
		"CloneSet": "Ready", "StatefulSet": "Ready", "DaemonSet": "Ready", "UnitedDeployment": "Ready", "BroadcastJob": "Complete",
		"PodUnavailableBudget": "Enforced", "PodDeletionFlowControl": "Enforced", "BreakGlass": "Active",
	}
}

func playExamples(ctx context.Context, p *play) error {
	for _, version := range []string{"v1alpha1", "v1beta1"} {
		files, err := filepath.Glob(filepath.Join("docs", "examples", "*-"+version+".yaml"))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("there are no examples of %s below docs/examples: run it at the root of the repository (%w)", version, err)
		}
		// The budget of an example guards the CloneSet of another one.
		slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
		cluster.Say("Applying %d examples of %s.", len(files), version)
		var applied []client.Object
		for _, file := range files {
			objects, err := p.applyExample(ctx, file)
			applied = append(applied, objects...)
			p.claim(err == nil, "%s is accepted without a warning, and comes to what it asks for%s", filepath.Base(file), unless(err))
		}
		slices.Reverse(applied)
		if err := p.remove(ctx, applied...); err != nil {
			return err
		}
	}
	return nil
}

// applyExample applies one file, and waits until its object is as asked.
func (p *play) applyExample(ctx context.Context, file string) ([]client.Object, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read an example: %w", err)
	}
	objects, err := p.parseManifest(string(content))
	if err != nil {
		return nil, err
	}
	var applied []client.Object
	for _, u := range objects {
		applied = append(applied, u)
	}
	p.heard.take()
	if err := p.apply(ctx, string(content)); err != nil {
		return applied, err
	}
	if warned := p.heard.take(); len(warned) > 0 {
		return applied, fmt.Errorf("the server warns: %s", strings.Join(warned, "; "))
	}
	return applied, p.comesTo(ctx, objects[len(objects)-1])
}

// comesTo waits until an object is as it asks.
func (p *play) comesTo(ctx context.Context, u *unstructured.Unstructured) error {
	kind := reached()[u.GetKind()]
	name := u.GetKind() + " " + u.GetName()
	err := p.until(ctx, 90*time.Second, name+" is as asked", func(ctx context.Context) (bool, error) {
		if err := p.refresh(ctx, u); err != nil {
			return false, err
		}
		return kind != "" && condition(u, kind) == "True" ||
			kind == "" && number(u, "status", "observedGeneration") == u.GetGeneration(), nil
	})
	if err != nil {
		return fmt.Errorf("%w; its status: %v", err, u.Object["status"])
	}
	return nil
}
