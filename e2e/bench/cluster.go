package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/api/crds"
	"github.com/holdfast-io/holdfast/internal/operator"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

const (
	namespace  = "bench"
	qps, burst = 1000, 2000
	startLimit = 3 * time.Minute
	stopLimit  = 30 * time.Second
	tick       = 20 * time.Millisecond
)

// bench is a cluster under measurement.
type bench struct {
	options options
	dir     string
	ledger  *ledger
	results *results

	kube       *process
	operator   *process
	kubeconfig string
	webhook    string // where the operator serves admission
	health     string // and its probes
	client     client.Client
	pods       *podTracker
	stops      []func()
}

// stop ends what was started, the newest first.
func (b *bench) stop() {
	b.stopOperator()
	for _, stop := range slices.Backward(b.stops) {
		stop()
	}
}

// startCluster starts the control plane with its simulated nodes, follows its audit log and watches the pods.
func (b *bench) startCluster(ctx context.Context) error {
	ready := make(chan struct{})
	var once sync.Once
	line := func(text string) {
		if path, found := strings.CutPrefix(text, "ready: "); found {
			b.kubeconfig = path
			once.Do(func() { close(ready) })
		}
	}
	data := filepath.Join(b.dir, "kube")
	kube, err := startProcess("holdfast-kube", filepath.Join(b.dir, "kube.log"), line, filepath.Join(b.options.bin, "holdfast-kube"),
		"up", "--simulated", strconv.Itoa(b.options.nodes), "--data-dir", data, "--port", "0")
	if err != nil {
		return fmt.Errorf("%w; build it with `make kube`", err)
	}
	b.kube = kube
	b.stops = append(b.stops, func() { kube.stop(stopLimit) })
	if err := kube.await(ctx, ready, startLimit); err != nil {
		return err
	}
	progressf("the cluster with %d simulated nodes was ready after %.1f s", b.options.nodes, time.Since(kube.started).Seconds())
	config, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	if err != nil {
		return fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	config.UserAgent, config.QPS, config.Burst = userAgent, qps, burst
	if err := b.connect(ctx, config); err != nil {
		return err
	}
	return b.followAudit(ctx, filepath.Join(data, "log", "audit.log"))
}

// connect makes the clients, the namespace and the watch of its pods.
func (b *bench) connect(ctx context.Context, config *rest.Config) error {
	scheme, err := operator.NewScheme()
	if err != nil {
		return err
	}
	if b.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if err := b.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		return fmt.Errorf("make the namespace: %w", err)
	}
	binary := rest.CopyConfig(config)
	binary.ContentType = "application/vnd.kubernetes.protobuf" // cheaper: the watch should not slow what it watches
	clientset, err := kubernetes.NewForConfig(binary)
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	watching, cancel := context.WithCancel(ctx)
	b.pods = newPodTracker()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.pods.watch(watching, clientset, namespace)
	}()
	b.stops = append(b.stops, func() { cancel(); <-done })
	return nil
}

// followAudit counts the writes of the audit log from now on.
func (b *bench) followAudit(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("the cluster writes no audit log, which the figures come from: %w", err)
	}
	following, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.ledger.follow(following, path); err != nil {
			progressf("the counts of writes are incomplete: %v", err)
		}
	}()
	b.stops = append(b.stops, func() { cancel(); <-done })
	return nil
}

// installKinds applies our CustomResourceDefinitions, if they are not there.
func (b *bench) installKinds(ctx context.Context) error {
	definitions, err := crds.All()
	if err != nil {
		return err
	}
	for _, definition := range definitions {
		if err := client.IgnoreAlreadyExists(b.client.Create(ctx, definition)); err != nil {
			return fmt.Errorf("install %s: %w", definition.Name, err)
		}
	}
	return b.poll(ctx, startLimit, "CloneSets are served", func(ctx context.Context) error {
		return b.client.List(ctx, &appsv1beta1.CloneSetList{}, client.InNamespace(namespace))
	})
}

// startOperator installs our kinds, and starts the operator beside the cluster until it is ready.
func (b *bench) startOperator(ctx context.Context) error {
	if err := b.installKinds(ctx); err != nil {
		return err
	}
	if err := b.launchOperator(); err != nil {
		return err
	}
	err := b.poll(ctx, startLimit, "the operator is ready", func(ctx context.Context) error {
		if err := b.operator.failed(); err != nil {
			return err
		}
		return b.operatorReady(ctx)
	})
	if err != nil {
		return fmt.Errorf("%w; the end of its log:\n%s", err, testkit.Tail(b.operator.log))
	}
	progressf("the operator was ready after %.2f s", time.Since(b.operator.started).Seconds())
	return nil
}

// launchOperator starts the operator's process. Its addresses stay the same over a restart, since the API server calls its
// webhooks there.
func (b *bench) launchOperator() error {
	for _, address := range []*string{&b.webhook, &b.health} {
		if *address != "" {
			continue
		}
		free, err := freeAddress()
		if err != nil {
			return err
		}
		*address = free
	}
	operator, err := startProcess("operator", filepath.Join(b.dir, "operator.log"), func(string) {},
		filepath.Join(b.options.bin, "holdfast"), "operator", "--kubeconfig", b.kubeconfig,
		"--kube-api-qps", strconv.Itoa(qps), "--kube-api-burst", strconv.Itoa(burst),
		"--webhook-bind", b.webhook, "--health-bind", b.health, "--metrics-bind", "off")
	if err != nil {
		return fmt.Errorf("%w; build it with `make build`", err)
	}
	b.operator = operator
	return nil
}

// stopOperator stops the operator, if it runs.
func (b *bench) stopOperator() {
	if b.operator != nil {
		b.operator.stop(stopLimit)
		b.operator = nil
	}
}

// operatorReady asks the operator's readiness probe.
func (b *bench) operatorReady(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.health+"/readyz", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the operator: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask the operator: %w", err)
	}
	if err := response.Body.Close(); err != nil {
		return fmt.Errorf("ask the operator: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return errors.New("the operator says " + response.Status)
	}
	return nil
}

// poll looks until look returns nil; it fails with the last error when the limit has passed or a process has ended.
func (b *bench) poll(ctx context.Context, limit time.Duration, why string, look func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, tick, true, func(ctx context.Context) (bool, error) {
		if err := b.kube.failed(); err != nil {
			return false, err
		}
		seen := look(ctx)
		if seen != nil && ctx.Err() == nil {
			last = seen
		}
		return seen == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s: %w; last seen: %w", why, err, last)
	}
	return nil
}

// freeAddress finds a loopback address that nobody listens on at the moment.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it opens at once
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}
