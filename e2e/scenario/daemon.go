package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/holdfast-io/holdfast/e2e/cluster"
	"github.com/holdfast-io/holdfast/internal/pod"
)

const daemonNodes = 20

func daemonScenario() scenario {
	return scenario{
		name: "nodes", group: workloads, title: "a daemon on every node, changed in place, and a job on every node",
		about: `
An Advanced DaemonSet runs on the real nodes and on 20 simulated ones; its image is updated in place with maxUnavailable 25%.
A BroadcastJob then runs to its end once on each of the same nodes, 5 at a time.`,
		play: playDaemon,
	}
}

// onDaemonNodes is the affinity of both: the real nodes, and those that are reserved for the scenario.
const onDaemonNodes = `tolerations: [{key: holdfast.io/simulated, operator: Exists}],
      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
        {matchExpressions: [{key: holdfast.io/simulated, operator: DoesNotExist}]},
        {matchExpressions: [{key: e2e, operator: In, values: [nodes]}]}]}}}`

func playDaemon(ctx context.Context, p *play) error {
	if _, err := p.reserve(ctx, daemonNodes); err != nil {
		return err
	}
	if err := p.daemonSet(ctx); err != nil {
		return err
	}
	return p.broadcast(ctx)
}

// daemonSet runs a daemon everywhere and updates it in place.
func (p *play) daemonSet(ctx context.Context) error {
	n := daemonNodes + p.Nodes
	err := p.apply(ctx, fmt.Sprintf(`
apiVersion: apps.kruise.io/v1beta1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {%s, terminationGracePeriodSeconds: 2,
      containers: [{name: main, image: "registry.local/busybox:1", command: [sh, -c, "trap exit TERM; while true; do sleep 1; done"]}]}
  updateStrategy:
    type: RollingUpdate
    rollingUpdate: {rollingUpdateType: InPlaceIfPossible, maxUnavailable: 25%%}
`, onDaemonNodes))
	if err != nil {
		return err
	}
	begun := time.Now()
	agent := p.ref("apps.kruise.io/v1beta1", "DaemonSet", "agent")
	if err := p.ready(ctx, 2*time.Minute, agent); err != nil {
		return err
	}
	p.figure(fmt.Sprintf("the daemon ran on %d nodes after", n), "%.1f s", time.Since(begun).Seconds())
	labels := map[string]string{"app": "agent"}
	before, err := p.pods(ctx, labels)
	if err != nil {
		return err
	}
	p.claim(len(before) == n && nodesOf(before) == n,
		"one pod runs on each of %d nodes (%d pods on %d nodes)", n, len(before), nodesOf(before))
	there, err := p.follow(ctx, n, labels)
	if err != nil {
		return err
	}
	cluster.Say("Updating the daemon in place.")
	begun = time.Now()
	err = p.patchJSON(ctx, agent, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"registry.local/busybox:2"}]`)
	if err == nil {
		err = p.ready(ctx, 3*time.Minute, agent)
	}
	mostAway, judged, _ := there.stop()
	if err != nil {
		return err
	}
	p.figure("the update in place", "%.1f s", time.Since(begun).Seconds())
	allowed := (n + 3) / 4 // a percentage rounds up
	p.claim(mostAway <= allowed, "never more than %d of %d were away (at most %d, at each of %d events)", allowed, n, mostAway, judged)
	after, err := p.pods(ctx, labels)
	if err != nil {
		return err
	}
	same := 0
	for i, now := range after {
		if i < len(before) && now.UID == before[i].UID && pod.Restarts(now) == pod.Restarts(before[i])+1 {
			same++
		}
	}
	p.claim(same == n && len(after) == n, "every pod is the same one, with one restart (%d of %d)", same, n)
	return p.remove(ctx, agent)
}

// nodesOf counts the nodes of the pods.
func nodesOf(pods []*corev1.Pod) int {
	nodes := map[string]bool{}
	for _, one := range pods {
		nodes[one.Spec.NodeName] = true
	}
	return len(nodes)
}

// broadcast runs a job on every node.
func (p *play) broadcast(ctx context.Context) error {
	n := daemonNodes + p.Nodes
	cluster.Say("Running a job on every node.")
	begun := time.Now()
	err := p.apply(ctx, fmt.Sprintf(`
apiVersion: apps.kruise.io/v1beta1
kind: BroadcastJob
metadata: {name: task}
spec:
  parallelism: 5
  template:
    metadata: {labels: {app: task}}
    spec: {%s, restartPolicy: Never,
      containers: [{name: main, image: "registry.local/busybox:1", command: [cat, /etc/version]}]}
  completionPolicy: {type: Always}
`, onDaemonNodes))
	if err != nil {
		return err
	}
	task := p.ref("apps.kruise.io/v1beta1", "BroadcastJob", "task")
	err = p.until(ctx, 3*time.Minute, "the job is complete", func(ctx context.Context) (bool, error) {
		err := p.refresh(ctx, task)
		return condition(task, "Complete") == "True", err
	})
	if err != nil {
		return fmt.Errorf("%w; its status: %v", err, task.Object["status"])
	}
	p.figure(fmt.Sprintf("a job on %d nodes, 5 at a time", n), "%.1f s", time.Since(begun).Seconds())
	pods, err := p.pods(ctx, map[string]string{"app": "task"})
	if err != nil {
		return err
	}
	succeeded := 0
	for _, one := range pods {
		if one.Status.Phase == corev1.PodSucceeded {
			succeeded++
		}
	}
	p.claim(number(task, "status", "succeeded") == int64(n) && succeeded == n && nodesOf(pods) == n,
		"it succeeded once on each of %d nodes (%d pods on %d nodes, %d succeeded)", n, len(pods), nodesOf(pods), succeeded)
	return nil
}
