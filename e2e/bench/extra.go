package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// note is a figure that has no place in the tables of phases.
type note struct {
	What, Value, Aim string
}

func (r *results) addNote(what, aim, format string, args ...any) {
	n := note{What: what, Value: fmt.Sprintf(format, args...), Aim: aim}
	r.notes = append(r.notes, n)
	progressf("%s: %s", n.What, n.Value)
}

// more writes what the other parts found.
func (r *results) more() string {
	var text strings.Builder
	if len(r.notes) > 0 {
		t := &table{head: []string{"", "measured", "aim"}}
		for _, n := range r.notes {
			t.add(n.What, n.Value, n.Aim)
		}
		text.WriteString("\n## Many workloads, jobs, and memory\n\n" + t.String())
	}
	if len(r.loads) > 0 {
		text.WriteString("\n## Admission under load\n\n" + r.loadTable().String())
		fmt.Fprintf(&text, "\nRequests at a steady rate for %s. Whole request: what the client waits for. Hook: its mean as the API server\n"+
			"measures it, with connection and encoding; p50 and p99 in the operator, from the question's last byte to the answer, read off the\n"+
			"buckets of its histogram. Requests per second and core: what the operator's processor time amounts to, all that it does\n"+
			"besides included. Deletions that are carried out come at the highest of 200, 100 and 50 a second that the control plane, on\n"+
			"the same machine, keeps up with. With %d replicas, each is a process of its own behind a balancer of connections.\n",
			loadTime, manyReplicas)
	}
	return text.String()
}

// fleetSize is how many pods each of many workloads has.
const fleetSize = 20

// fleet measures what many small workloads cost, at work and at rest.
func (b *bench) fleet(ctx context.Context) error {
	n := b.options.fleetPods / fleetSize
	w := workloads()[partCloneSet]
	if err := b.operator.resetPeak(); err != nil {
		return err
	}
	start := time.Now()
	for i := range n {
		o := w.build()
		o.SetName(fmt.Sprintf("%s-%d", name, i))
		set, ok := o.(interface{ UnstructuredContent() map[string]any })
		if !ok {
			return fmt.Errorf("%T is no object", o)
		}
		labels := object{"app": name, "set": o.GetName()}
		spec, _ := set.UnstructuredContent()["spec"].(object)
		spec["replicas"], spec["selector"] = int64(fleetSize), object{"matchLabels": labels}
		spec["template"].(object)["metadata"] = object{"labels": labels} //nolint:forcetypeassert // build made it
		if err := b.client.Create(ctx, o); err != nil {
			return fmt.Errorf("create workload %d: %w", i, err)
		}
	}
	defer b.removeFleet(ctx)
	if err := b.awaitPods(ctx, n*fleetSize, image(1)); err != nil {
		return err
	}
	wall := time.Since(start)
	b.ledger.awaitQuiet(ctx, 2*time.Second, 30*time.Second)
	peak, err := b.operator.peakMemory()
	if err != nil {
		return err
	}
	b.results.addNote(fmt.Sprintf("%d pods of %d CloneSets, seconds until ready", n*fleetSize, n), missing, "%.1f", wall.Seconds())
	b.results.addNote("the operator's peak MB there", "< 250", "%.0f", float64(peak)/1e6)
	return b.idle(ctx)
}

// idleTime is how long the operator is watched at rest.
const idleTime = 30 * time.Second

func (b *bench) idle(ctx context.Context) error {
	before, err := b.operator.cpu()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("watch the operator at rest: %w", ctx.Err())
	case <-time.After(idleTime):
	}
	after, err := b.operator.cpu()
	if err != nil {
		return err
	}
	b.results.addNote("the operator's processor time at rest, of one core", "< 2 %", "%.2f %%",
		100*(after-before).Seconds()/idleTime.Seconds())
	return nil
}

func (b *bench) removeFleet(ctx context.Context) {
	err := b.client.DeleteAllOf(ctx, workloads()[partCloneSet].empty(), client.InNamespace(namespace),
		client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err == nil {
		err = b.awaitPods(ctx, 0, "")
	}
	if err != nil {
		progressf("remove the workloads: %v", err)
	}
}

// job measures a job on every node: simulated pods that ask for it end by themselves.
func (b *bench) job(ctx context.Context) error {
	grace := int64(1)
	job := &appsv1beta1.BroadcastJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: appsv1beta1.BroadcastJobSpec{
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels: map[string]string{"app": name}, Annotations: map[string]string{"simulated.holdfast.io/run-for": "1s"},
				},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: &grace,
					Containers: []corev1.Container{{Name: "main", Image: image(1)}},
				},
			},
			CompletionPolicy: appsv1beta1.CompletionPolicy{Type: "Always"},
		},
	}
	before := b.ledger.tally(actorOperator)
	start := time.Now()
	if err := b.client.Create(ctx, job); err != nil {
		return fmt.Errorf("create the job: %w", err)
	}
	n := b.options.daemonNodes
	err := b.poll(ctx, b.options.limit, "the job has ended on every node", func(ctx context.Context) error {
		if err := b.client.Get(ctx, client.ObjectKeyFromObject(job), job); err != nil {
			return fmt.Errorf("read the job: %w", err)
		}
		if int(job.Status.Succeeded) != n {
			return fmt.Errorf("%d of %d have succeeded, %d are active, %d failed", job.Status.Succeeded, n, job.Status.Active, job.Status.Failed)
		}
		return nil
	})
	if err != nil {
		return err
	}
	wall := time.Since(start)
	b.ledger.awaitQuiet(ctx, 700*time.Millisecond, 15*time.Second)
	writes := b.ledger.tally(actorOperator).since(before)
	b.results.addNote(fmt.Sprintf("BroadcastJob on %d nodes, seconds until all have succeeded", n), missing, "%.1f", wall.Seconds())
	b.results.addNote("writes per pod there", missing, "%.3f", float64(writes.total())/float64(n))
	if err := b.client.Delete(ctx, job, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		return fmt.Errorf("delete the job: %w", err)
	}
	return errors.Join(b.awaitPods(ctx, 0, ""))
}
