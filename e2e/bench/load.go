package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	policyv1alpha1 "github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/internal/disruption/flow"
)

const (
	// loadRate is how many requests a second ask for an admission, and loadTime for how long.
	loadRate = 200
	loadTime = 10 * time.Second
	// slow is a p99 of whole requests at which the control plane does not keep up with the rate.
	slow = 500 * time.Millisecond
)

// deleteRates are for deletions that are carried out: with all that follows from one, a control plane that shares a small
// machine may not manage 200 a second. The highest that it keeps up with is taken.
func deleteRates() []int { return []int{loadRate, 100, 50} }

// The hooks that are asked, as they are registered.
const (
	sidecarHook  = "inject.sidecarsets.apps.kruise.io"
	deletionHook = "delete.pods.policy.holdfast.io"
)

// load is what requests at a steady rate waited for.
type load struct {
	What string
	// Request are the whole requests' times, sorted.
	Request []time.Duration
	// Mean of the hook as the API server sees it; OwnMean, P50 and P99 of it in the operator, in milliseconds.
	Mean, OwnMean, P50, P99 float64
	CPU                     time.Duration // the operator's
}

func (r *results) loadTable() *table {
	t := &table{head: []string{
		"", "request p50 ms", "request p99 ms", "hook mean ms", "mean in the operator ms", "hook p50 ms", "hook p99 ms",
		"operator's CPU ms per request", "requests per second and core",
	}}
	for i := range r.loads {
		l := &r.loads[i]
		cell := func(x float64) string {
			if math.IsNaN(x) {
				return missing
			}
			return fmt.Sprintf("%.2f", x)
		}
		cpu := l.CPU.Seconds() * 1000 / float64(len(l.Request))
		t.add(l.What, cell(l.request(.5)), cell(l.request(.99)), cell(l.Mean), cell(l.OwnMean), cell(l.P50), cell(l.P99), cell(cpu),
			fmt.Sprintf("%.0f", 1000/cpu))
	}
	t.add("aim, injection", missing, missing, "< 1", "< 1", missing, "< 5", missing, missing)
	t.add("aim, deletion that is denied or exempt", missing, missing, missing, missing, missing, "<= 2", missing, ">= 2000")
	t.add("aim, deletion that is written down", missing, missing, missing, missing, missing, "<= 25", missing, ">= 2000")
	return t
}

// request is a quantile of the whole requests, in milliseconds.
func (l *load) request(quantile float64) float64 {
	if len(l.Request) == 0 {
		return math.NaN()
	}
	return l.Request[int(quantile*float64(len(l.Request)-1))].Seconds() * 1000
}

// steady makes requests at the rate, whether or not earlier ones are answered, and times each.
func (b *bench) steady(ctx context.Context, what, hook string, rate int, request func(ctx context.Context, i int) error) error {
	loads := rate * int(loadTime/time.Second)
	before, err := b.hookFigures(ctx, hook)
	if err != nil {
		return err
	}
	cpu, err := b.operatorCPU()
	if err != nil {
		return err
	}
	l := load{What: fmt.Sprintf("%s, %d/s", what, rate), Request: make([]time.Duration, loads)}
	failures := make([]error, loads)
	var wg sync.WaitGroup
	ticks := time.NewTicker(time.Second / time.Duration(rate))
	defer ticks.Stop()
	for i := range loads {
		select {
		case <-ctx.Done():
			return fmt.Errorf("make requests: %w", ctx.Err())
		case <-ticks.C:
		}
		wg.Go(func() {
			start := time.Now()
			failures[i] = request(ctx, i)
			l.Request[i] = time.Since(start)
		})
	}
	wg.Wait()
	if err := errors.Join(failures...); err != nil {
		failed := len(slices.DeleteFunc(failures, func(err error) bool { return err == nil }))
		progressf("%s: %d of %d requests failed: %v", what, failed, loads, firstLine(err))
		if failed*100 > loads {
			return fmt.Errorf("%s: %d of %d requests failed: %w", what, failed, loads, firstLine(err))
		}
		l.What += fmt.Sprintf(", %d of %d failed", failed, loads)
	}
	slices.Sort(l.Request)
	after, err := b.hookFigures(ctx, hook)
	if err != nil {
		return err
	}
	cpuAfter, err := b.operatorCPU()
	if err != nil {
		return err
	}
	l.CPU = cpuAfter - cpu
	server, own := after.server.since(&before.server), after.own.since(&before.own)
	l.Mean = server.mean()
	l.OwnMean, l.P50, l.P99 = own.mean(), own.quantile(.5), own.quantile(.99)
	b.results.loads = append(b.results.loads, l)
	progressf("%s: request p50 %.1f ms, p99 %.1f ms; hook mean %.2f ms, asked %.0f times", what, l.request(.5), l.request(.99),
		l.Mean, server.count)
	return nil
}

func firstLine(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

// histogram is a Prometheus histogram in seconds: counts up to and including each bound.
type histogram struct {
	sum, count float64
	bounds     map[float64]float64
}

func (h *histogram) since(before *histogram) histogram {
	d := histogram{sum: h.sum - before.sum, count: h.count - before.count, bounds: map[float64]float64{}}
	for bound, n := range h.bounds {
		d.bounds[bound] = n - before.bounds[bound]
	}
	return d
}

// mean in milliseconds; not a number where nothing was counted.
func (h *histogram) mean() float64 { return 1000 * h.sum / h.count }

// quantile in milliseconds, as if the values of a bucket were spread evenly.
func (h *histogram) quantile(q float64) float64 {
	bounds := make([]float64, 0, len(h.bounds))
	for bound := range h.bounds {
		bounds = append(bounds, bound)
	}
	slices.Sort(bounds)
	below, low := 0.0, 0.0
	for _, bound := range bounds {
		n := h.bounds[bound]
		if n >= q*h.count && n > below {
			return 1000 * (low + (bound-low)*(q*h.count-below)/(n-below))
		}
		below, low = n, bound
	}
	return math.NaN()
}

// hookFigures are what the API server and the operator have measured of a hook so far.
type hookFigures struct{ server, own histogram }

func (b *bench) hookFigures(ctx context.Context, hook string) (hookFigures, error) {
	if hook == "" {
		return hookFigures{}, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	if err != nil {
		return hookFigures{}, fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	secure, err := rest.HTTPClientFor(config)
	if err != nil {
		return hookFigures{}, fmt.Errorf("make a client: %w", err)
	}
	server, err := scrape(ctx, secure, config.Host+"/metrics", "apiserver_admission_webhook_admission_duration_seconds", `name="`+hook+`"`)
	if err != nil {
		return hookFigures{}, err
	}
	own := histogram{bounds: map[float64]float64{}}
	for _, address := range b.figures() {
		one, err := scrape(ctx, http.DefaultClient, "http://"+address+"/metrics", "holdfast_admission_duration_seconds", `hook="`+hook+`"`)
		if err != nil {
			return hookFigures{}, err
		}
		own.join(&one)
	}
	return hookFigures{server: server, own: own}, nil
}

// join adds what another process has measured.
func (h *histogram) join(other *histogram) {
	h.sum, h.count = h.sum+other.sum, h.count+other.count
	for bound, n := range other.bounds {
		h.bounds[bound] += n
	}
}

// scrape reads the histogram of that name, all series together that have the label.
func scrape(ctx context.Context, c *http.Client, url, name, label string) (histogram, error) {
	h := histogram{bounds: map[float64]float64{}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return h, fmt.Errorf("read the figures of %s: %w", url, err)
	}
	response, err := c.Do(request)
	if err != nil {
		return h, fmt.Errorf("read the figures of %s: %w", url, err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		h.add(lines.Text(), name, label)
	}
	if err := lines.Err(); err != nil {
		return h, fmt.Errorf("read the figures of %s: %w", url, err)
	}
	return h, nil
}

// add reads one line of Prometheus' text format.
func (h *histogram) add(line, name, label string) {
	rest, ours := strings.CutPrefix(line, name)
	if !ours || !strings.Contains(rest, label) {
		return
	}
	text := rest[strings.LastIndex(rest, " ")+1:]
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return
	}
	switch {
	case strings.HasPrefix(rest, "_sum"):
		h.sum += value
	case strings.HasPrefix(rest, "_count"):
		h.count += value
	case strings.HasPrefix(rest, "_bucket"):
		_, after, _ := strings.Cut(rest, `le="`)
		bound, _, _ := strings.Cut(after, `"`)
		if limit, err := strconv.ParseFloat(bound, 64); err == nil && !math.IsInf(limit, 1) {
			h.bounds[limit] += value
		}
	}
}

// idlePod is a pod that no scheduler takes: it is gone as soon as it is deleted.
func idlePod(i int, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("idle-%d", i), Labels: labels},
		Spec: corev1.PodSpec{
			SchedulerName: "nobody", Containers: []corev1.Container{{Name: "main", Image: image(1)}},
		},
	}
}

// sidecars measures what injection costs a pod's creation. The creations are dry runs: the hooks see them like any other.
func (b *bench) sidecars(ctx context.Context) error {
	set := &appsv1beta1.SidecarSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1beta1.SidecarSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"sidecar": "yes"}},
		Containers: []appsv1beta1.SidecarContainer{
			{Container: corev1.Container{Name: "log", Image: image(1)}}, {Container: corev1.Container{Name: "proxy", Image: image(1)}},
		},
	}}
	if err := b.client.Create(ctx, set); err != nil {
		return fmt.Errorf("create a SidecarSet: %w", err)
	}
	defer func() {
		if err := b.client.Delete(ctx, set); err != nil {
			progressf("remove the SidecarSet: %v", err)
		}
	}()
	create := func(labels map[string]string, containers int) func(context.Context, int) error {
		return func(ctx context.Context, i int) error {
			pod := idlePod(i, labels)
			if err := b.client.Create(ctx, pod, client.DryRunAll); err != nil {
				return fmt.Errorf("create a pod: %w", err)
			}
			if len(pod.Spec.Containers) != containers {
				return fmt.Errorf("the pod has %d containers, want %d", len(pod.Spec.Containers), containers)
			}
			return nil
		}
	}
	with := map[string]string{"sidecar": "yes"}
	injected := create(with, 3)
	if err := b.poll(ctx, startLimit, "sidecars are injected", func(ctx context.Context) error { return injected(ctx, 0) }); err != nil {
		return err
	}
	if err := b.steady(ctx, "create a pod without a sidecar", sidecarHook, loadRate, create(nil, 1)); err != nil {
		return err
	}
	return b.steady(ctx, "create a pod, two sidecars injected", sidecarHook, loadRate, injected)
}

// guards measures what a PodDeletionFlowControl costs a pod's deletion, with one operator and with several.
func (b *bench) guards(ctx context.Context) error {
	rate, err := b.sustained(ctx)
	if err != nil {
		return err
	}
	if err := b.limited(ctx, rate, ""); err != nil {
		return err
	}
	if err := b.remembered(ctx); err != nil {
		return err
	}
	return b.withReplicas(ctx, func(ctx context.Context) error {
		// More operators take more of the machine that the control plane is on, too.
		return b.limited(ctx, slices.Min(deleteRates()), fmt.Sprintf(", %d replicas", manyReplicas))
	})
}

// sustained deletes pods without a policy, and finds the highest rate at which the control plane keeps up.
func (b *bench) sustained(ctx context.Context) (rate int, err error) {
	for _, rate = range deleteRates() {
		if err := b.deletions(ctx, "delete a pod, no policy", nil, 0, rate, b.removeIdle); err != nil {
			return 0, err
		}
		last := len(b.results.loads) - 1
		if rate == slices.Min(deleteRates()) || b.results.loads[last].request(.99) < slow.Seconds()*1000 {
			break
		}
		progressf("the control plane does not keep up with %d deletions a second", rate)
		b.results.loads = b.results.loads[:last]
	}
	return rate, nil
}

func (b *bench) removeIdle(ctx context.Context, i int) error {
	return b.client.Delete(ctx, idlePod(i, nil)) //nolint:wrapcheck // steady says what for
}

// limited deletes pods under policies that exempt, allow and deny it.
func (b *bench) limited(ctx context.Context, rate int, where string) error {
	if err := b.deletions(ctx, "delete a pod, white list"+where, map[string]string{"exempt": "yes"}, 1, rate, b.removeIdle); err != nil {
		return err
	}
	if err := b.deletions(ctx, "delete a pod, allowed and written down"+where, nil, 1000000, rate, b.removeIdle); err != nil {
		return err
	}
	return b.deletions(ctx, "delete a pod, denied"+where, nil, 1, loadRate, func(ctx context.Context, i int) error {
		if err := b.removeIdle(ctx, i); err != nil && !apierrors.IsForbidden(err) && !apierrors.IsTooManyRequests(err) {
			return err
		}
		return nil
	})
}

// manyDeletions is how many deletions a ledger remembers where that is measured.
const manyDeletions = 100_000

// remembered measures what the operator holds in memory for a policy with many deletions in its window.
func (b *bench) remembered(ctx context.Context) error {
	before, err := b.operator.memory()
	if err != nil {
		return err
	}
	return b.underPolicy(ctx, 24*time.Hour, 10*manyDeletions, func(ctx context.Context, policy *policyv1alpha1.PodDeletionFlowControl) error {
		rules := []flow.Rule{{Interval: 24 * time.Hour, Limit: 10 * manyDeletions}}
		ledger := &flow.Ledger{PolicyUID: string(policy.UID), Generation: policy.Generation}
		for i := range manyDeletions {
			ledger.Advance(time.Now().Add(time.Duration(i-manyDeletions)*20*time.Hour/manyDeletions), rules[0].Interval)
			ledger.Take(flow.Hash(strconv.Itoa(i)), rules)
		}
		stored := &policyv1alpha1.PodDeletionLedger{ObjectMeta: metav1.ObjectMeta{Name: policy.Name}}
		ledger.Write(stored)
		if err := b.client.Create(ctx, stored); err != nil {
			return fmt.Errorf("create a PodDeletionLedger: %w", err)
		}
		err := b.poll(ctx, startLimit, "the ledger is seen", func(ctx context.Context) error {
			if err := b.client.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil || policy.Status.Admitted == manyDeletions {
				return err //nolint:wrapcheck // poll says what for
			}
			return fmt.Errorf("%d are counted", policy.Status.Admitted)
		})
		if err != nil {
			return err
		}
		for i := range 50 { // decisions read it, write it and read it again
			pod := idlePod(i, nil)
			if err := b.client.Create(ctx, pod); client.IgnoreAlreadyExists(err) != nil {
				return fmt.Errorf("create a pod: %w", err)
			}
			if err := b.client.Delete(ctx, pod); err != nil {
				return fmt.Errorf("delete a pod: %w", err)
			}
		}
		after, err := b.operator.memory()
		if err != nil {
			return err
		}
		text, err := json.Marshal(stored)
		if err != nil {
			return fmt.Errorf("encode the ledger: %w", err)
		}
		b.results.addNote(fmt.Sprintf("the operator's MB with %d deletions remembered (before: %.0f)", manyDeletions, float64(before)/1e6),
			missing, "%.0f", float64(after)/1e6)
		b.results.addNote("kB of the ledger that remembers them, the latest 2,000 by name", missing, "%.0f", float64(len(text))/1e3)
		return nil
	})
}

// deletions deletes pods under a policy with this limit; 0: without one.
func (b *bench) deletions(
	ctx context.Context, what string, labels map[string]string, limit int32, rate int, remove func(context.Context, int) error,
) error {
	for i := range rate * int(loadTime/time.Second) {
		if err := b.client.Create(ctx, idlePod(i, labels)); client.IgnoreAlreadyExists(err) != nil {
			return fmt.Errorf("create a pod: %w", err)
		}
	}
	var err error
	if limit == 0 {
		err = b.steady(ctx, what, deletionHook, rate, remove)
	} else {
		err = b.underPolicy(ctx, time.Hour, limit, func(ctx context.Context, _ *policyv1alpha1.PodDeletionFlowControl) error {
			return b.steady(ctx, what, deletionHook, rate, remove)
		})
	}
	return errors.Join(err, b.removeLeft(ctx))
}

// removeLeft removes the pods that were denied. The operator may take a moment to see that the policy is gone.
func (b *bench) removeLeft(ctx context.Context) error {
	return b.poll(ctx, startLimit, "the pods that were denied are gone", func(ctx context.Context) error {
		err := b.client.DeleteAllOf(ctx, &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0))
		if err != nil {
			return fmt.Errorf("delete the pods that are left: %w", err)
		}
		return nil
	})
}

// underPolicy runs work while there is a policy with this limit.
func (b *bench) underPolicy(
	ctx context.Context, interval time.Duration, limit int32, work func(context.Context, *policyv1alpha1.PodDeletionFlowControl) error,
) error {
	policy := &policyv1alpha1.PodDeletionFlowControl{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1alpha1.PodDeletionFlowControlSpec{
			LimitRules:        []policyv1alpha1.DeletionLimitRule{{Interval: metav1.Duration{Duration: interval}, Limit: limit}},
			WhiteListSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"exempt": "yes"}},
		},
	}
	if err := b.client.Create(ctx, policy); err != nil {
		return fmt.Errorf("create a PodDeletionFlowControl: %w", err)
	}
	defer func() {
		if err := b.client.Delete(ctx, policy); err != nil {
			progressf("remove the PodDeletionFlowControl: %v", err)
		}
	}()
	err := b.poll(ctx, startLimit, "the policy is seen", func(ctx context.Context) error {
		if err := b.client.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
			return fmt.Errorf("read the policy: %w", err)
		}
		if policy.Status.ObservedGeneration == 0 {
			return errors.New("its controller has not seen it")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return work(ctx, policy)
}
