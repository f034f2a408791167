package main

import (
	"bufio"
	"context"
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
)

const (
	// loadRate is how many requests a second ask for an admission, and loadTime for how long.
	loadRate = 200
	loadTime = 10 * time.Second
	// deleteRate is for deletions that are carried out: with all that follows from one, the cluster that shares the machine
	// manages hardly more.
	deleteRate = 50
)

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
	// Mean of the hook as the API server sees it; P50 and P99 of it in the operator, in milliseconds.
	Mean, P50, P99 float64
	CPU            time.Duration // the operator's
}

func (r *results) loadTable() *table {
	t := &table{head: []string{
		"", "request p50 ms", "request p99 ms", "hook mean ms", "hook p50 ms", "hook p99 ms", "operator's CPU ms per request",
	}}
	for _, l := range r.loads {
		cell := func(x float64) string {
			if math.IsNaN(x) {
				return missing
			}
			return fmt.Sprintf("%.2f", x)
		}
		cpu := l.CPU.Seconds() * 1000 / float64(len(l.Request))
		t.add(l.What, cell(l.request(.5)), cell(l.request(.99)), cell(l.Mean), cell(l.P50), cell(l.P99), cell(cpu))
	}
	t.add("aim, injection", missing, missing, "< 1", missing, "< 5", missing)
	t.add("aim, deletion that is denied or exempt", missing, missing, missing, missing, "<= 2", missing)
	t.add("aim, deletion that is written down", missing, missing, missing, missing, "<= 25", missing)
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
	cpu, err := b.operator.cpu()
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
		return fmt.Errorf("%s: %w", what, firstLine(err))
	}
	slices.Sort(l.Request)
	after, err := b.hookFigures(ctx, hook)
	if err != nil {
		return err
	}
	cpuAfter, err := b.operator.cpu()
	if err != nil {
		return err
	}
	l.CPU = cpuAfter - cpu
	server, own := after.server.since(&before.server), after.own.since(&before.own)
	l.Mean = server.mean()
	l.P50, l.P99 = own.quantile(.5), own.quantile(.99)
	b.results.loads = append(b.results.loads, l)
	progressf("%s: request p50 %.1f ms, p99 %.1f ms; hook mean %.2f ms", what, l.request(.5), l.request(.99), l.Mean)
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

// mean in milliseconds.
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
	own, err := scrape(ctx, http.DefaultClient, "http://"+b.metrics+"/metrics", "holdfast_admission_duration_seconds", `hook="`+hook+`"`)
	return hookFigures{server: server, own: own}, err
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

// guards measures what a PodDeletionFlowControl costs a pod's deletion.
func (b *bench) guards(ctx context.Context) error {
	remove := func(ctx context.Context, i int) error {
		return b.client.Delete(ctx, idlePod(i, nil))
	}
	if err := b.deletions(ctx, "delete a pod, no policy", nil, 0, deleteRate, remove); err != nil {
		return err
	}
	if err := b.deletions(ctx, "delete a pod, white list", map[string]string{"exempt": "yes"}, 1, deleteRate, remove); err != nil {
		return err
	}
	if err := b.deletions(ctx, "delete a pod, allowed and written down", nil, 1000000, deleteRate, remove); err != nil {
		return err
	}
	return b.deletions(ctx, "delete a pod, denied", nil, 1, loadRate, func(ctx context.Context, i int) error {
		if err := remove(ctx, i); err != nil && !apierrors.IsForbidden(err) && !apierrors.IsTooManyRequests(err) {
			return err
		}
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
	if limit == 0 {
		return b.steady(ctx, what, deletionHook, rate, remove)
	}
	policy := &policyv1alpha1.PodDeletionFlowControl{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1alpha1.PodDeletionFlowControlSpec{
			LimitRules:        []policyv1alpha1.DeletionLimitRule{{Interval: metav1.Duration{Duration: time.Hour}, Limit: limit}},
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
	return b.steady(ctx, what, deletionHook, rate, remove)
}
