package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

const (
	floodPods    = 5000
	floodLimit   = 100
	floodClients = 200
	// floodKillAt is how many deletions are admitted when the two replicas die.
	floodKillAt = 40
	// floodShortfall is how many fewer may be admitted: for each replica that dies, as many as it may have set aside, which is
	// a twentieth of the limit.
	floodShortfall = 2 * floodLimit / 20
)

func floodScenario() scenario {
	return scenario{
		name: "flood", group: guards, title: "5,000 deletions at once against 100 in 10 minutes, and two of three replicas are killed",
		about: `
A PodDeletionFlowControl allows 100 deletions in 10 minutes. 200 clients delete 5,000 pods on simulated nodes, each pod until
there is an answer. When 40 are admitted, two of the three replicas of the operator are killed (SIGKILL, the one that hands out
the permits among them). Later the pods that are left are tried again. What counts is what is really gone.`,
		play: playFlood,
	}
}

func playFlood(ctx context.Context, p *play) error {
	begun := time.Now()
	if err := p.makePods(ctx, floodPods); err != nil {
		return err
	}
	p.figure(fmt.Sprintf("%d pods were made in", floodPods), "%.1f s", time.Since(begun).Seconds())
	if err := p.limitDeletions(ctx); err != nil {
		return err
	}
	victims, err := p.operatorProcesses(ctx)
	if err != nil {
		return err
	}
	if len(victims) < replicas {
		return fmt.Errorf("%d replicas of the operator run, want %d", len(victims), replicas)
	}
	if victims, err = p.ownerFirst(ctx, victims); err != nil {
		return err
	}
	f := &flood{play: p, victims: victims[:2]}
	if err := f.run(ctx); err != nil {
		return err
	}
	f.report()
	return f.sweep(ctx)
}

// makePods makes pods of no workload on the simulated nodes, past the scheduler: it is not what is looked at.
func (p *play) makePods(ctx context.Context, n int) error {
	err := inParallel(ctx, 32, n, func(ctx context.Context, i int) error {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: fmt.Sprintf("p-%04d", i), Labels: map[string]string{"app": "flood"}},
			Spec: corev1.PodSpec{
				NodeName:    fmt.Sprintf("sim-%d", i%p.Simulated),
				Containers:  []corev1.Container{{Name: "main", Image: "registry.local/app:v1"}},
				Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			},
		}
		return p.client.Create(ctx, pod)
	})
	if err != nil {
		return fmt.Errorf("make the pods: %w", err)
	}
	return p.until(ctx, 8*time.Minute, "the pods run", func(ctx context.Context) (bool, error) {
		var pending corev1.PodList
		err := p.client.List(ctx, &pending, client.InNamespace(p.namespace), client.MatchingFields{"status.phase": "Pending"}, client.Limit(1))
		return err == nil && len(pending.Items) == 0, err //nolint:wrapcheck // until says what for
	})
}

// limitDeletions applies the policy and waits until it is enforced.
func (p *play) limitDeletions(ctx context.Context) error {
	err := p.apply(ctx, fmt.Sprintf(`
apiVersion: policy.kruise.io/v1alpha1
kind: PodDeletionFlowControl
metadata: {name: e2e-flood}
spec:
  limitRules: [{interval: 10m, limit: %d}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %s}}
`, floodLimit, p.namespace))
	if err != nil {
		return err
	}
	policy := p.ref("policy.kruise.io/v1alpha1", "PodDeletionFlowControl", "e2e-flood")
	policy.SetNamespace("")
	p.atEnd(func(ctx context.Context) error { return p.remove(ctx, policy) })
	return p.until(ctx, 30*time.Second, "the policy is enforced", func(ctx context.Context) (bool, error) {
		err := p.refresh(ctx, policy)
		return condition(policy, "Enforced") == "True", err
	})
}

// flood is many deletions at once.
type flood struct {
	play    *play
	victims []process

	admitted, denied, retried atomic.Int64
	killed                    sync.Once
	killedAt                  int64
	took                      time.Duration

	mu        sync.Mutex
	answers   []time.Duration // of answers with a decision
	deniedOne error
	errors    map[string]int // what was answered without a decision
}

// run deletes every pod, each until there is a decision.
func (f *flood) run(ctx context.Context) error {
	f.errors = map[string]int{}
	begun := time.Now()
	err := inParallel(ctx, floodClients, floodPods, func(ctx context.Context, i int) error {
		return f.delete(ctx, fmt.Sprintf("p-%04d", i))
	})
	f.took = time.Since(begun)
	return err
}

// delete asks for one pod until there is a decision: while replicas die, the API server may get no answer of them.
func (f *flood) delete(ctx context.Context, name string) error {
	const pause = 100 * time.Millisecond
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: f.play.namespace, Name: name}}
	for {
		asked := time.Now()
		err := f.play.client.Delete(ctx, pod)
		took := time.Since(asked)
		switch {
		case err == nil:
			f.decided(took, nil)
			f.admit()
			return nil
		case apierrors.IsNotFound(err):
			f.admit() // an earlier request was admitted, and its answer was lost
			return nil
		case apierrors.IsForbidden(err), apierrors.IsTooManyRequests(err):
			f.decided(took, err)
			f.denied.Add(1)
			return nil
		}
		f.retried.Add(1)
		f.mu.Lock()
		f.errors[strings.ReplaceAll(oneLine(err.Error()), name, "NAME")]++
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return fmt.Errorf("delete pod %s: %w; the last answer was: %w", name, ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

func (f *flood) decided(took time.Duration, denial error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, took)
	if denial != nil {
		f.deniedOne = denial
	}
}

// admit counts an admitted deletion, and kills the replicas when it is time.
func (f *flood) admit() {
	if n := f.admitted.Add(1); n >= floodKillAt {
		f.killed.Do(func() {
			f.killedAt = n
			for _, v := range f.victims {
				v.kill()
			}
		})
	}
}

// report notes the figures of the run.
func (f *flood) report() {
	p := f.play
	for _, v := range f.victims {
		cluster.Saw("killed: %s", v.name)
	}
	slices.Sort(f.answers)
	p.figure("admitted when the two replicas were killed", "%d", f.killedAt)
	p.figure("answers", "%d admitted, %d denied; %d requests were made again, because no replica answered, or one had just started",
		f.admitted.Load(), f.denied.Load(), f.retried.Load())
	for text, n := range f.errors {
		cluster.Saw("%d times: %.300s", n, text)
	}
	if f.deniedOne != nil {
		p.figure("a denial", "%s", oneLine(f.deniedOne.Error()))
	}
	p.figure("time of an answer, with 200 clients at once", "p50 %s, p99 %s", quantile(f.answers, 50), quantile(f.answers, 99))
	p.figure("all 5,000 were decided in", "%.1f s", f.took.Seconds())
}

// sweep tries the pods that are left once more, and claims what the limit promises.
func (f *flood) sweep(ctx context.Context) error {
	p := f.play
	lease := 10 * time.Second // permits that a killed replica had set aside have lapsed by then
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // playOne says which scenario
	case <-time.After(lease):
	}
	pods, err := p.pods(ctx, nil)
	if err != nil {
		return err
	}
	inRun := floodPods - len(pods)
	err = inParallel(ctx, 8, min(len(pods), 2*floodLimit), func(ctx context.Context, i int) error { return f.delete(ctx, pods[i].Name) })
	if err != nil {
		return err
	}
	if pods, err = p.pods(ctx, nil); err != nil {
		return err
	}
	gone := floodPods - len(pods)
	p.claim(f.killedAt > 0 && f.killedAt < floodLimit, "two of the three replicas were killed in the middle (after %d admitted)", f.killedAt)
	p.claim(gone <= floodLimit, "never more than %d pods went in the window (%d did)", floodLimit, gone)
	p.claim(gone >= floodLimit-floodShortfall, "at most %d fewer went than were allowed (%d went, %d of them in the flood)",
		floodShortfall, gone, inRun)
	return nil
}

// quantile of durations that are in order.
func quantile(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return all[min(len(all)-1, len(all)*percent/100)].Round(100 * time.Microsecond)
}

// inParallel does work for each of n, so many at a time; the first error ends it.
func inParallel(ctx context.Context, workers, n int, work func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := work(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}
