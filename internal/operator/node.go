package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/holdfast-io/holdfast/internal/node/cri"
	"github.com/holdfast-io/holdfast/internal/node/restart"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

const (
	// runtimeInterval is how often the node daemon asks the container runtime whether it is there.
	runtimeInterval = 10 * time.Second
	// nodeConcurrency is how many pods of a node are worked on at a time: each may have a grace to wait for.
	nodeConcurrency = 32
)

// NodeOptions are the flags of the node daemon.
type NodeOptions struct {
	Kubeconfig      string
	NodeName        string
	RuntimeEndpoint string
	HostRoot        string
	MetricsBind     string
	HealthBind      string
	LogLevel        string
	LogFormat       string
}

// NodeDefaults are the flags' values when none is given. Nothing listens until it is told to.
func NodeDefaults() NodeOptions {
	return NodeOptions{NodeName: os.Getenv("NODE_NAME"), MetricsBind: Off, HealthBind: Off, LogLevel: "info", LogFormat: "json"}
}

// AddFlags binds the options to fs.
func (o *NodeOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig,
		"kubeconfig of the cluster; default: the Pod's service account, else $KUBECONFIG, else ~/.kube/config")
	fs.StringVar(&o.NodeName, "node-name", o.NodeName, "name of the Node that it runs on; default: $NODE_NAME")
	fs.StringVar(&o.RuntimeEndpoint, "runtime-endpoint", o.RuntimeEndpoint,
		"socket of the container runtime, such as unix:///run/containerd/containerd.sock; default: the first of the usual ones")
	fs.StringVar(&o.HostRoot, "host-root", o.HostRoot,
		"folder below which the usual sockets are looked for, where the node's /run is mounted elsewhere")
	fs.StringVar(&o.MetricsBind, "metrics-bind", o.MetricsBind, `address of /metrics, or "off"`)
	fs.StringVar(&o.HealthBind, "health-bind", o.HealthBind, `address of /healthz and /readyz, or "off"`)
	fs.StringVar(&o.LogLevel, "log-level", o.LogLevel, "info, debug or trace")
	fs.StringVar(&o.LogFormat, "log-format", o.LogFormat, "json or text")
}

// Validate names the first flag that cannot be obeyed, and what to write instead.
func (o *NodeOptions) Validate() error {
	if o.NodeName == "" {
		return misuse("--node-name is empty: name the Node that this runs on; in a Pod, set NODE_NAME from spec.nodeName")
	}
	if err := checkAddress("--metrics-bind", o.MetricsBind); err != nil {
		return err
	}
	if err := checkAddress("--health-bind", o.HealthBind); err != nil {
		return err
	}
	return checkLog(o.LogLevel, o.LogFormat)
}

// RunNode is the node daemon until ctx ends. Logs go to w.
func RunNode(ctx context.Context, opts NodeOptions, w io.Writer) error {
	if err := opts.Validate(); err != nil {
		return err
	}
	p, err := begin(Options{
		Kubeconfig: opts.Kubeconfig, MetricsBind: opts.MetricsBind, HealthBind: opts.HealthBind, WebhookBind: Off,
		LogLevel: opts.LogLevel, LogFormat: opts.LogFormat,
	}, w)
	if err != nil {
		return err
	}
	if opts.RuntimeEndpoint == "" {
		if opts.RuntimeEndpoint, err = cri.Find(opts.HostRoot); err != nil {
			return misuse("%w", err)
		}
	}
	runtime, err := cri.Dial(opts.RuntimeEndpoint)
	if err != nil {
		return misuse("--runtime-endpoint: %w", err)
	}
	if err := p.open(ctx); err != nil {
		return errors.Join(err, runtime.Close())
	}
	return errors.Join(p.runNode(ctx, opts, runtime), runtime.Close())
}

func (p *process) runNode(ctx context.Context, opts NodeOptions, runtime *cri.Client) error {
	mgr, err := p.nodeManager(opts.NodeName)
	if err != nil {
		return err
	}
	if err := p.restarts(mgr, runtime); err != nil {
		return err
	}
	if err := p.metrics.Register(buildInfo()); err != nil {
		return fmt.Errorf("register the build's metric: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	g := newGroup(ctx, stop)
	there := &presence{log: p.log.WithName("runtime")}
	p.health.ready = append(p.health.ready, there.err)
	g.run(func(ctx context.Context) error { there.watch(ctx, runtime, p.clock); return nil })
	if p.probes != nil {
		g.run(func(ctx context.Context) error { return serve(ctx, p.probes, p.health.handler()) })
	}
	if p.figures != nil {
		figures := metricsHandler(prometheus.Gatherers{p.metrics, ctrlmetrics.Registry})
		g.run(func(ctx context.Context) error { return serve(ctx, p.figures, figures) })
	}
	p.log.Info("node daemon started", "version", Version(), "cluster", p.conn.config.Host, "node", opts.NodeName,
		"runtime", opts.RuntimeEndpoint, "metrics", address(p.figures), "health", address(p.probes))
	if err = mgr.Start(ctx); err != nil {
		err = fmt.Errorf("run the node daemon: %w", err)
	}
	stop()
	if other := g.wait(); err == nil {
		err = other
	}
	p.log.Info("node daemon stopped")
	return err
}

// nodeManager reads the pods of one node, and nothing else.
func (p *process) nodeManager(node string) (manager.Manager, error) {
	mgr, err := manager.New(p.conn.client("node", 20, 40), manager.Options{
		Scheme: p.scheme,
		Logger: p.log,
		Cache: ctrlcache.Options{ByObject: map[client.Object]ctrlcache.ByObject{
			&corev1.Pod{}: {Field: fields.OneTermEqualSelector("spec.nodeName", node), Transform: restart.Slim},
		}},
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  "0",
		GracefulShutdownTimeout: ptr.To(stopLimit),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the node daemon: %w", err)
	}
	return mgr, nil
}

func (p *process) restarts(mgr manager.Manager, runtime restart.Runtime) error {
	recorder, err := p.recorder(mgr)
	if err != nil {
		return err
	}
	passes, err := reconcile.NewMetrics(p.metrics)
	if err != nil {
		return err
	}
	counted, err := restart.NewMetrics(p.metrics)
	if err != nil {
		return err
	}
	room := restart.New(mgr.GetClient(), runtime, p.clock, counted)
	return reconcile.Register(mgr, reconcile.New[*corev1.Pod](mgr.GetClient(), room, reconcile.Options{
		Name: "node-restart", Clock: p.clock, Recorder: recorder, Metrics: passes, Concurrency: nodeConcurrency,
	}))
}

// presence is whether the container runtime answers.
type presence struct {
	log logr.Logger

	mu   sync.Mutex
	last error
	seen bool
}

func (p *presence) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.seen {
		return errors.New("the container runtime was not asked yet")
	}
	return p.last
}

// watch asks the runtime until ctx ends, and tells when it comes and goes.
func (p *presence) watch(ctx context.Context, runtime *cri.Client, clock clock.WithTicker) {
	ticker := clock.NewTicker(runtimeInterval)
	defer ticker.Stop()
	for {
		version, err := runtime.Version(ctx)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		changed := !p.seen || (err == nil) != (p.last == nil)
		p.last, p.seen = err, true
		p.mu.Unlock()
		switch {
		case changed && err != nil:
			p.log.Error(err, "the container runtime is away: nothing is restarted until it is back")
		case changed:
			p.log.Info("the container runtime answers", "runtime", version)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}
