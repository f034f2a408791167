package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

// The parts of the benchmark.
const (
	partDeployment     = "deployment"
	partCloneSet       = "cloneset"
	partGated          = "cloneset-gate"
	partNativeStateful = "native-statefulset"
	partStateful       = "statefulset"
	partNativeDaemon   = "native-daemonset"
	partDaemon         = "daemonset"
	partJob            = "broadcastjob"
	partRestart        = "restart"
	partFleet          = "fleet"
	partSidecar        = "sidecarset"
	partGuards         = "guards"
	partDecisions      = "decisions"
)

// part is something that is measured by itself.
type part struct {
	name string
	// nodes the part needs; 0: those of --nodes.
	nodes func(options) int
	// title of its row, and the part that it is compared with.
	title, beside string
	phases        []string
	measure       func(b *bench, ctx context.Context) error
}

// parts are what can be measured, in their order.
func parts() []part {
	all := []string{phaseUp, phaseRecreate, phaseInPlace, phaseDown}
	native := []string{phaseUp, phaseRecreate, phaseDown}
	many := func(o options) int { return o.daemonNodes }
	return []part{
		{name: partDeployment, title: "native Deployment", phases: native},
		{name: partCloneSet, title: "CloneSet", beside: partDeployment, phases: all},
		{name: partGated, title: "CloneSet with readiness gate", beside: partDeployment, phases: []string{phaseUp, phaseInPlace, phaseDown}},
		{name: partNativeStateful, title: "native StatefulSet", phases: native},
		{name: partStateful, title: "Advanced StatefulSet", beside: partNativeStateful, phases: all},
		{name: partRestart, measure: (*bench).restart},
		{name: partSidecar, measure: (*bench).sidecars},
		{name: partGuards, measure: (*bench).guards},
		{name: partDecisions, measure: (*bench).decisions},
		{name: partFleet, measure: (*bench).fleet},
		{name: partNativeDaemon, title: "native DaemonSet", nodes: many, phases: native},
		{name: partDaemon, title: "Advanced DaemonSet", beside: partNativeDaemon, nodes: many, phases: all},
		{name: partJob, nodes: many, measure: (*bench).job},
	}
}

func partNames() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// pods is how many pods a part has.
func (p part) pods(o options) int {
	if workloads()[p.name].daemon {
		return p.nodes(o)
	}
	return o.pods
}

// The phases of a part.
const (
	phaseUp       = "up"
	phaseRecreate = "recreate"
	phaseInPlace  = "in place"
	phaseDown     = "down"
)

// figure is what one phase of one workload cost.
type figure struct {
	Wall        time.Duration
	Writes      tally         // by the workload's own controllers
	OperatorCPU time.Duration // 0 for native workloads
	ClusterCPU  time.Duration // the whole control plane with its simulated nodes
	LeastReady  int           // during an update
	Stolen      float64       // share of the machine's processor time that its hypervisor gave to others meanwhile
	NodeLosses  int           // pods that the node controller called unready meanwhile, since their node was late
}

// stolenNoted is the share of stolen processor time from which on a figure is not the machine's own.
const stolenNoted = 0.02

// measurePart measures one part once.
func (b *bench) measurePart(ctx context.Context, p part) error {
	if p.measure != nil {
		return p.measure(b, ctx)
	}
	return b.cycle(ctx, p)
}

// cycle takes a workload through the part's phases, from nothing to nothing.
func (b *bench) cycle(ctx context.Context, p part) error {
	w := workloads()[p.name]
	if err := b.create(ctx, w); err != nil {
		return err
	}
	defer b.remove(ctx, w)
	if !w.native {
		if err := b.operator.resetPeak(); err != nil {
			return err
		}
	}
	at := 1 // the number of the image
	for i, phase := range p.phases {
		if i > 0 { // the part has rested itself
			if err := pause(ctx, b.options.rest); err != nil {
				return err
			}
		}
		if phase == phaseRecreate || phase == phaseInPlace {
			at++
		}
		stop := b.profiles(ctx, p.name+"-"+phase)
		f, err := b.phase(ctx, w, phase, p.pods(b.options), image(at))
		stop()
		if err != nil {
			return fmt.Errorf("%s: %w", phase, err)
		}
		b.results.add(p.name, phase, f)
		progressf("%s, %s: %.2f s; %s", p.name, phase, f.Wall.Seconds(), f.Writes)
		if f.Stolen > stolenNoted {
			progressf("meanwhile the hypervisor gave %.0f%% of the processor time to others", 100*f.Stolen)
		}
	}
	if w.native {
		return nil
	}
	peak, err := b.operator.peakMemory()
	if err != nil {
		return err
	}
	b.results.addPeak(p.name, peak)
	return nil
}

// phase makes one change, and measures until the pods are as it asks.
func (b *bench) phase(ctx context.Context, w workload, phase string, n int, image string) (figure, error) {
	before, err := b.costs(w)
	if err != nil {
		return figure{}, err
	}
	b.pods.resetLeastReady()
	replicas := n
	if phase == phaseDown {
		replicas = 0
	}
	start := time.Now()
	if err := b.change(ctx, w, replicas, image, phase == phaseInPlace); err != nil {
		return figure{}, err
	}
	if err := b.awaitPods(ctx, replicas, image); err != nil {
		return figure{}, err
	}
	wall := time.Since(start)
	least := b.pods.leastReadyPods()
	// What the controllers still write belongs to the phase, though nobody waits for it.
	if err := b.awaitStatus(ctx, w, replicas); err != nil {
		progressf("%s: %v", phase, err)
	}
	b.ledger.awaitQuiet(ctx, 700*time.Millisecond, 15*time.Second)
	after, err := b.costs(w)
	if err != nil {
		return figure{}, err
	}
	return figure{
		Wall: wall, Writes: after.writes.since(before.writes), LeastReady: least,
		NodeLosses:  after.nodeLosses - before.nodeLosses,
		Stolen:      after.machine.stolenSince(before.machine),
		OperatorCPU: after.operator - before.operator, ClusterCPU: after.cluster - before.cluster,
	}, nil
}

// costs are the counters that a phase is the difference of.
type costs struct {
	writes            tally
	operator, cluster time.Duration
	nodeLosses        int
	machine           ticks
}

// costs reads the counters.
func (b *bench) costs(w workload) (costs, error) {
	c := costs{nodeLosses: b.ledger.tally(actorNodes).Made["update pods/status"], machine: readTicks()}
	var errs [2]error
	c.cluster, errs[0] = b.kube.cpu()
	if w.native {
		c.writes = b.ledger.tally(actorNative)
	} else {
		c.writes = b.ledger.tally(actorOperator)
		c.operator, errs[1] = b.operator.cpu()
	}
	return c, errors.Join(errs[:]...)
}

// awaitPods waits until there are n pods, all ready at the image, and no others.
func (b *bench) awaitPods(ctx context.Context, n int, image string) error {
	why := fmt.Sprintf("%d pods are ready at %s, and no other is left", n, image)
	return b.poll(ctx, b.options.limit, why, func(context.Context) error {
		if c := b.pods.count(image); c.total != n || c.updated != n {
			return fmt.Errorf("%d pods, %d terminating, %d ready, %d of them at the image", c.total, c.terminating, c.ready, c.updated)
		}
		if b.operator != nil {
			return b.operator.failed()
		}
		return nil
	})
}

// awaitStatus waits until the workload's status says what its pods have come to.
func (b *bench) awaitStatus(ctx context.Context, w workload, n int) error {
	return b.poll(ctx, 20*time.Second, "the status has caught up", func(ctx context.Context) error {
		object := w.empty()
		if err := b.client.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return fmt.Errorf("read the workload: %w", err)
		}
		if !w.settled(object, n) {
			return errors.New("the status lags behind the pods")
		}
		return nil
	})
}

// create makes the workload without pods, and waits until its controller has seen it.
func (b *bench) create(ctx context.Context, w workload) error {
	err := b.poll(ctx, startLimit, "the workload is accepted", func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(b.client.Create(ctx, w.build()))
	})
	if err != nil {
		return err
	}
	if err := b.awaitStatus(ctx, w, 0); err != nil {
		return fmt.Errorf("its controller does not see it: %w", err)
	}
	return nil
}

// remove deletes the workload and waits until its pods are gone, so that the next one has the cluster to itself.
func (b *bench) remove(ctx context.Context, w workload) {
	if err := client.IgnoreNotFound(b.client.Delete(ctx, w.empty(), client.PropagationPolicy("Background"))); err != nil {
		progressf("remove the workload: %v", err)
		return
	}
	if err := b.awaitPods(ctx, 0, ""); err != nil {
		progressf("remove the workload: %v", err)
		return
	}
	gone := func(ctx context.Context) error {
		object := w.empty()
		err := b.client.Get(ctx, client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	}
	if err := b.poll(ctx, startLimit, "the workload is gone", gone); err != nil {
		progressf("remove the workload: %v", err)
	}
}

// restart measures how soon an operator that was away does something useful: work is asked for while it is stopped.
func (b *bench) restart(ctx context.Context) error {
	n := b.options.restartPods
	w := workloads()[partCloneSet]
	if err := b.create(ctx, w); err != nil {
		return err
	}
	defer b.remove(ctx, w)
	if err := b.operator.resetPeak(); err != nil {
		return err
	}
	start := time.Now()
	if err := b.change(ctx, w, n, image(1), true); err != nil {
		return err
	}
	if err := b.awaitPods(ctx, n, image(1)); err != nil {
		return err
	}
	up := time.Since(start)
	progressf("%s: %d pods were ready after %.1f s", partRestart, n, up.Seconds())
	b.ledger.awaitQuiet(ctx, 700*time.Millisecond, 15*time.Second)
	peakUp, err := b.operator.peakMemory()
	if err != nil {
		return err
	}
	b.stopOperator()
	asked, err := b.askWhileAway(ctx, w, n)
	if err != nil {
		return err
	}
	first := make(chan time.Time, 1)
	b.ledger.onFirstPodWrite(func(at time.Time) { first <- at })
	if err := b.launchOperator(); err != nil {
		return err
	}
	return b.awaitFirstWrite(ctx, first, restartFigure{Pods: n, Up: up, Asked: asked, Peak: peakUp})
}

// awaitFirstWrite waits for the restarted operator's first write to a pod, and then until it is ready.
func (b *bench) awaitFirstWrite(ctx context.Context, first <-chan time.Time, f restartFigure) error {
	began := b.operator.started
	select {
	case at := <-first:
		f.First = at.Sub(began)
	case <-ctx.Done():
		return fmt.Errorf("wait for the operator's first write: %w", ctx.Err())
	case <-b.operator.ended:
		return b.operator.failed()
	case <-time.After(b.options.limit):
		return fmt.Errorf("the restarted operator wrote to no pod within %s; the end of its log:\n%s",
			b.options.limit, testkit.Tail(b.operator.log))
	}
	peak, err := b.operator.peakMemory()
	if err != nil {
		return err
	}
	f.Peak = max(f.Peak, peak)
	b.results.addRestart(f)
	progressf("%s: first useful write %.2f s after the start (%s)", partRestart, f.First.Seconds(), f.Asked)
	return b.poll(ctx, startLimit, "the operator is ready", b.operatorReady)
}

// askWhileAway gives the stopped operator something to do: more pods. Their number can be changed while nobody answers; a new
// image needs our admission, and so does the deletion of a pod.
func (b *bench) askWhileAway(ctx context.Context, w workload, n int) (string, error) {
	const some = 100
	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: int32(n + some)}} //nolint:gosec // a number of pods
	if err := b.client.SubResource("scale").Update(ctx, w.empty(), client.WithSubResourceBody(scale)); err != nil {
		return "", fmt.Errorf("ask for more pods: %w", err)
	}
	return fmt.Sprintf("%d more pods", some), nil
}
