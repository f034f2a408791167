package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// environmentApps are a CloneSet and, beside it, a Deployment of Kubernetes: a container main of each takes a label as env.
const environmentApps = `
apiVersion: apps.kruise.io/v1beta1
kind: CloneSet
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  updateStrategy: {rollingUpdate: {podUpdatePolicy: InPlaceOnly, maxUnavailable: 1}}
  template:
    metadata: {labels: {app: app, tier: silver}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: main
        image: registry.local/busybox:1
        command: [sh, -c, "echo tier is $TIER; trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done"]
        env: [{name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}]
        lifecycle: {preStop: {exec: {command: [sh, -c, "echo the hook ran > /proc/1/fd/1"]}}}
      - {name: side, image: "registry.local/busybox:1", command: [sh, -c, "trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done"]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: foreign}
spec:
  selector: {matchLabels: {app: foreign}}
  template:
    metadata: {labels: {app: foreign, tier: silver}}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
      - name: main
        image: registry.local/busybox:1
        command: [sh, -c, "echo tier is $TIER; trap 'exit 0' TERM; while true; do sleep 1 & wait $!; done"]
        env: [{name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}]
`

func environmentScenario() scenario {
	return scenario{
		name: "environment", group: workloads, title: "a label that a container takes as env, changed in place",
		about: `
A CloneSet of 2 pods on real nodes may be changed in place only. One of its two containers takes a label as env. The label changes
in the template: the node daemon restarts that container, one pod after the other. A Deployment's pod gets its label changed by hand
meanwhile, which nobody asked the daemon about.`,
		play: playEnvironment,
	}
}

func playEnvironment(ctx context.Context, p *play) error {
	if err := p.daemonsReady(ctx); err != nil {
		return err
	}
	if err := p.apply(ctx, environmentApps); err != nil {
		return err
	}
	set := p.ref("apps.kruise.io/v1beta1", "CloneSet", "app")
	if err := p.ready(ctx, time.Minute, set); err != nil {
		return err
	}
	before, err := p.reported(ctx)
	if err != nil {
		return err
	}
	foreign, err := p.onePod(ctx, "foreign")
	if err != nil {
		return err
	}
	if err := p.merge(ctx, foreign, `{"metadata":{"labels":{"tier":"gold"}}}`); err != nil {
		return err
	}
	cluster.Say("Changing the label from silver to gold.")
	there, err := p.follow(ctx, 2, map[string]string{"app": "app"})
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := p.merge(ctx, set, `{"spec":{"template":{"metadata":{"labels":{"tier":"gold"}}}}}`); err != nil {
		return err
	}
	err = p.ready(ctx, time.Minute, set)
	mostAway, judged, _ := there.stop()
	if err != nil {
		return err
	}
	p.figure("2 pods, one after the other, had the new label and env after", "%.1f s", time.Since(begun).Seconds())
	p.claim(mostAway <= 1, "never more than 1 pod was away (at most %d, at each of %d events)", mostAway, judged)
	if err := p.restartedOnce(ctx, before); err != nil {
		return err
	}
	if foreign, err = p.onePod(ctx, "foreign"); err != nil {
		return err
	}
	main := pod.Container(foreign, "main")
	p.claim(foreign.Labels["tier"] == "gold" && main != nil && main.RestartCount == 0,
		"the Deployment's pod, relabelled by hand, was not restarted")
	return nil
}

// daemonsReady waits for the node daemon on every real node.
func (p *play) daemonsReady(ctx context.Context) error {
	return p.until(ctx, time.Minute, "the node daemon runs on every node", func(ctx context.Context) (bool, error) {
		var daemons appsv1.DaemonSet
		err := p.client.Get(ctx, client.ObjectKey{Namespace: systemNamespace + "-node", Name: "holdfast-node"}, &daemons)
		if err != nil {
			return false, fmt.Errorf("read the DaemonSet of the node daemon: %w", err)
		}
		return int(daemons.Status.NumberReady) >= p.Nodes, nil
	})
}

// reported waits until the daemon has told what the containers run with, and returns the pods.
func (p *play) reported(ctx context.Context) (pods []*corev1.Pod, err error) {
	err = p.until(ctx, 20*time.Second, "the daemon has looked at the pods", func(ctx context.Context) (bool, error) {
		if pods, err = p.pods(ctx, map[string]string{"app": "app"}); err != nil {
			return false, err
		}
		for _, one := range pods {
			if one.Annotations["apps.kruise.io/runtime-containers-meta"] == "" {
				return false, nil
			}
		}
		return len(pods) == 2, nil
	})
	return pods, err
}

// restartedOnce claims that the pods are those from before, and that only the container with the label as env has restarted.
func (p *play) restartedOnce(ctx context.Context, before []*corev1.Pod) error {
	after, err := p.pods(ctx, map[string]string{"app": "app"})
	if err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfig(p.config)
	if err != nil {
		return fmt.Errorf("make a client for logs: %w", err)
	}
	logs := func(one *corev1.Pod, former bool) string {
		raw, err := clientset.CoreV1().Pods(p.namespace).
			GetLogs(one.Name, &corev1.PodLogOptions{Container: "main", Previous: former}).DoRaw(ctx)
		if err != nil {
			return err.Error()
		}
		return string(raw)
	}
	same, values, hooks := 0, 0, 0
	for i, now := range after {
		main, side, was := pod.Container(now, "main"), pod.Container(now, "side"), before[i]
		if now.UID == was.UID && now.Status.PodIP == was.Status.PodIP && main.RestartCount == 1 && side.RestartCount == 0 &&
			side.ContainerID == pod.Container(was, "side").ContainerID {
			same++
		}
		former := logs(now, true)
		if strings.Contains(logs(now, false), "tier is gold") && strings.Contains(former, "tier is silver") {
			values++
		}
		if strings.Contains(former, "the hook ran") {
			hooks++
		}
	}
	p.claim(same == 2, "the pods stayed, with their addresses; main restarted once, side not at all (%d of 2)", same)
	p.claim(values == 2, "main runs with the new value, and ran with the former one before (%d of 2)", values)
	p.claim(hooks == 2, "the preStop hook ran before main was stopped (%d of 2)", hooks)
	return nil
}
