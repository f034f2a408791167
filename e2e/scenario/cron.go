package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func cronScenario() scenario {
	return scenario{
		name: "cron", group: workloads, title: "jobs that are due every minute",
		about: `
Two AdvancedCronJobs are due every minute: one makes Jobs, the other BroadcastJobs, on real nodes. They must fire on the minute, once.
Paused, they fire no more. (Daylight saving and a controller that was away are played with a stepped clock, in the room's own tests.)`,
		play: playCron,
	}
}

const cronManifest = `
apiVersion: apps.kruise.io/v1beta1
kind: AdvancedCronJob
metadata: {name: native}
spec:
  schedule: "* * * * *"
  timeZone: Europe/Berlin
  template:
    jobTemplate:
      spec:
        template:
          spec: {restartPolicy: Never, containers: [{name: main, image: "registry.local/busybox:1", command: [date]}]}
---
apiVersion: apps.kruise.io/v1beta1
kind: AdvancedCronJob
metadata: {name: everywhere}
spec:
  schedule: "* * * * *"
  template:
    broadcastJobTemplate:
      spec:
        template:
          spec: {restartPolicy: Never, containers: [{name: main, image: "registry.local/busybox:1", command: [date]}]}
        completionPolicy: {type: Always}
`

func playCron(ctx context.Context, p *play) error {
	if err := p.apply(ctx, cronManifest); err != nil {
		return err
	}
	return together(
		func() error { return p.fires(ctx, "native", "batch/v1", "Job") },
		func() error { return p.fires(ctx, "everywhere", "apps.kruise.io/v1beta1", "BroadcastJob") },
	)
}

// fires claims that a job is made on the minute and succeeds, and none after the pause.
func (p *play) fires(ctx context.Context, cron, apiVersion, kind string) error {
	var first unstructured.Unstructured
	err := p.until(ctx, 90*time.Second, cron+" fires", func(ctx context.Context) (bool, error) {
		jobs, err := p.jobsOf(ctx, cron, apiVersion, kind)
		if len(jobs) > 0 {
			first = jobs[0]
		}
		return len(jobs) > 0, err
	})
	if err != nil {
		return err
	}
	due, err := time.Parse(time.RFC3339, first.GetAnnotations()["apps.kruise.io/scheduled-at"])
	late := first.GetCreationTimestamp().Sub(due)
	p.claim(err == nil && due.Second() == 0 && late >= 0 && late < 10*time.Second,
		"%s makes a %s that was due on the minute (%s, made %s later)", cron, kind, due.Format(time.TimeOnly), late)
	err = p.until(ctx, time.Minute, "the job succeeds", func(ctx context.Context) (bool, error) {
		err := p.refresh(ctx, &first)
		return condition(&first, "Complete") == "True", err
	})
	p.claim(err == nil, "it succeeds%s", unless(err))
	u := p.ref("apps.kruise.io/v1beta1", "AdvancedCronJob", cron)
	if err := p.merge(ctx, u, `{"spec":{"paused":true}}`); err != nil {
		return err
	}
	jobs, err := p.jobsOf(ctx, cron, apiVersion, kind)
	if err != nil {
		return err
	}
	minutes := map[string]int{}
	for i := range jobs {
		minutes[jobs[i].GetAnnotations()["apps.kruise.io/scheduled-at"]]++
	}
	p.claim(len(minutes) == len(jobs), "no minute has two of them (%d in %d minutes)", len(jobs), len(minutes))
	next := time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + 5*time.Second))
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for the next minute: %w", ctx.Err())
	case <-time.After(next):
	}
	after, err := p.jobsOf(ctx, cron, apiVersion, kind)
	p.claim(err == nil && len(after) == len(jobs), "paused, it makes no more%s", unless(err))
	return err
}

// jobsOf lists what a cron job has made.
func (p *play) jobsOf(ctx context.Context, cron, apiVersion, kind string) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(apiVersion)
	list.SetKind(kind + "List")
	if err := p.client.List(ctx, list, client.InNamespace(p.namespace)); err != nil {
		return nil, fmt.Errorf("list the jobs of %s: %w", cron, err)
	}
	var made []unstructured.Unstructured
	for _, u := range list.Items {
		for _, owner := range u.GetOwnerReferences() {
			if owner.Kind == "AdvancedCronJob" && owner.Name == cron {
				made = append(made, u)
			}
		}
	}
	return made, nil
}
