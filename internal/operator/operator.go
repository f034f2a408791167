// Package operator runs every room in one process: admission in each replica, controllers in the one that leads, with
// their own connections, so that no part can starve another.
package operator

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
)

const (
	// LeaseName is the lease that the replicas elect their leader with.
	LeaseName = "holdfast-operator"
	// How long the passes and requests under way may take after a stop was asked for.
	stopLimit = 25 * time.Second
)

// process is one running operator.
type process struct {
	opts   Options
	log    logr.Logger
	clock  clock.WithTicker
	conn   connection
	scheme *runtime.Scheme
	on     []Room
	off    []Room

	metrics   *prometheus.Registry
	admission net.Listener
	figures   net.Listener
	probes    net.Listener
	health    *health
}

// Run is the operator until ctx ends: then it stops gracefully. Logs go to w.
func Run(ctx context.Context, opts Options, w io.Writer) error {
	if err := opts.Validate(); err != nil {
		return err
	}
	p, err := begin(opts, w)
	if err != nil {
		return err
	}
	if p.on, p.off, err = opts.parts(Rooms()); err != nil {
		return err
	}
	if err := p.open(ctx); err != nil {
		return err
	}
	if err := p.ensureNamespace(ctx); err != nil {
		return err
	}
	return p.run(ctx)
}

// begin sets up what each of our processes has, before it touches anything outside.
func begin(opts Options, w io.Writer) (*process, error) {
	log := newLog(w, opts.LogFormat, opts.LogLevel)
	klog.SetLogger(log.WithName("client"))
	ctrllog.SetLogger(log)
	frugal()
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	return &process{
		opts: opts, log: log, clock: clock.RealClock{}, scheme: scheme, metrics: prometheus.NewRegistry(), health: &health{},
	}, nil
}

// open takes the addresses that were asked for, and waits for the API server.
func (p *process) open(ctx context.Context) error {
	var err error
	if p.conn, err = connect(p.opts.Kubeconfig); err != nil {
		return err
	}
	if err := p.listen(ctx); err != nil {
		return err
	}
	return p.conn.reach(ctx)
}

func (p *process) listen(ctx context.Context) error {
	for _, l := range []struct {
		flag, address string
		into          *net.Listener
	}{
		{"--webhook-bind", p.opts.WebhookBind, &p.admission},
		{"--metrics-bind", p.opts.MetricsBind, &p.figures},
		{"--health-bind", p.opts.HealthBind, &p.probes},
	} {
		listener, err := listen(ctx, l.flag, l.address)
		if err != nil {
			return err
		}
		*l.into = listener
	}
	return nil
}

// run starts the servers before the manager and stops them after it: a conversion may be needed to fill the caches, and
// admission is still asked for a while after a stop.
func (p *process) run(ctx context.Context) error {
	registries := prometheus.Gatherers{p.metrics, ctrlmetrics.Registry}
	if err := p.metrics.Register(buildInfo()); err != nil {
		return fmt.Errorf("register the build's metric: %w", err)
	}
	mgr, err := p.manager()
	if err != nil {
		return err
	}
	deps, err := p.deps(mgr)
	if err != nil {
		return err
	}
	// Everything that outlives the manager ends with this context.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	g := newGroup(serving, stopServing)
	if p.admission != nil {
		if err := p.serveAdmission(g, deps, mgr.Elected()); err != nil {
			return err
		}
	}
	if p.probes != nil {
		g.run(func(ctx context.Context) error { return serve(ctx, p.probes, p.health.handler()) })
	}
	if p.figures != nil {
		g.run(func(ctx context.Context) error { return serve(ctx, p.figures, metricsHandler(registries)) })
	}
	// It outlives the manager: what admission decides last is written down, too.
	g.run(func(ctx context.Context) error { deps.guards.gate.Journal.Run(ctx); return nil })
	if err := workload.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	for _, room := range p.on {
		if room.Start == nil {
			continue
		}
		if err := room.Start(ctx, deps); err != nil {
			return fmt.Errorf("start part %s: %w", room.Name, err)
		}
	}
	p.log.Info("operator started", "version", Version(), "cluster", p.conn.config.Host, "parts", partNames(p.on),
		"webhooks", address(p.admission), "metrics", address(p.figures), "health", address(p.probes))
	err = p.runManager(ctx, g, mgr)
	stopServing()
	if other := g.wait(); err == nil {
		err = other
	}
	p.log.Info("operator stopped")
	return err
}

// runManager runs the controllers until ctx ends or a server fails. A stop releases the lease at once, so that another
// replica takes over while this one still answers the requests that are on their way to it.
func (p *process) runManager(ctx context.Context, g *group, mgr manager.Manager) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A server that failed ends the controllers too.
	stop := context.AfterFunc(g.ctx, cancel) //nolint:contextcheck // the context of the servers
	defer stop()
	drained := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(drained)
		p.health.stopping.Store(true)
		p.log.Info("stopping: finishing the passes under way, releasing the lease", "serving admission for", p.opts.ShutdownDelay.String())
		if g.ctx.Err() == nil && p.opts.ShutdownDelay > 0 {
			timer := p.clock.NewTimer(p.opts.ShutdownDelay)
			defer timer.Stop()
			select {
			case <-timer.C():
			case <-g.ctx.Done():
			}
		}
	})
	err := mgr.Start(ctx)
	cancel()
	<-drained
	if err != nil {
		return fmt.Errorf("run the controllers: %w", err)
	}
	return nil
}

func (p *process) manager() (manager.Manager, error) {
	election := p.conn.client("election", 20, 40)
	identity := p.opts.Identity
	if identity == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "operator"
		}
		identity = host + "_" + uuid.NewString()[:8]
	}
	lock, err := newLease(election, p.opts.SystemNamespace, identity)
	if err != nil {
		return nil, err
	}
	mgr, err := manager.New(p.conn.client("operator", p.opts.QPS, p.opts.Burst), manager.Options{
		Scheme: p.scheme,
		Logger: p.log,
		Cache:  cacheOptions(),
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: uncached()}},
		// We serve these ourselves, since they start before the manager and end after it.
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",

		LeaderElection:                      p.opts.LeaderElect,
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       ptr.To(15 * time.Second),
		RenewDeadline:                       ptr.To(10 * time.Second),
		// The time in which a replica that waits sees a released lease.
		RetryPeriod:             ptr.To(time.Second),
		GracefulShutdownTimeout: ptr.To(stopLimit),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the controllers: %w", err)
	}
	return mgr, nil
}

// deps are what the rooms get.
func (p *process) deps(mgr manager.Manager) (Deps, error) {
	reconcileMetrics, err := reconcile.NewMetrics(p.metrics)
	if err != nil {
		return Deps{}, err
	}
	if err := p.metrics.Register(leading(mgr.Elected())); err != nil {
		return Deps{}, fmt.Errorf("register the leader's metric: %w", err)
	}
	recorder, err := p.recorder(mgr)
	if err != nil {
		return Deps{}, err
	}
	// The guards read the pod of each eviction: a drain of many nodes must not wait for its own guard.
	guard, err := client.New(p.conn.client("admission", 500, 1000), client.Options{Scheme: p.scheme})
	if err != nil {
		return Deps{}, fmt.Errorf("make the client of admission: %w", err)
	}
	d := Deps{
		Manager: mgr, Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Admission: guard, Scheme: p.scheme, Clock: p.clock, Log: p.log,
		Position: &workload.CachePosition{Cache: mgr.GetCache()}, QPS: p.opts.QPS, Burst: p.opts.Burst,
		SystemNamespace: p.opts.SystemNamespace, Turns: disruption.NewTurns(), Figures: p.metrics,
		Identity: p.replica(), Peers: admission.NewPeers(), PeerAddress: p.peerAddress,
		Frame: func(name string) reconcile.Options {
			return reconcile.Options{
				Name: name, Clock: p.clock, Recorder: recorder, Metrics: reconcileMetrics, Concurrency: p.opts.Concurrency,
			}
		},
	}
	return d, p.guards(&d, recorder)
}

// serveAdmission starts the certificate's keeper and the server of the hooks.
func (p *process) serveAdmission(g *group, deps Deps, elected <-chan struct{}) error {
	metrics, err := admission.NewMetrics(p.metrics)
	if err != nil {
		return err
	}
	keeper, err := p.keeper(deps, elected)
	if err != nil {
		return err
	}
	server := &admission.Server{
		Hooks: hooksOf(p.on, deps), Disabled: hooksOf(p.off, deps), Convert: convert, Metrics: metrics,
		Clock: p.clock, Log: p.log.WithName("admission"), GetCertificate: keeper.GetCertificate, Peers: deps.Peers,
	}
	deps.Peers.Bind(keeper)
	if _, err := server.Handler(); err != nil {
		return err
	}
	p.health.ready = append(p.health.ready, keeper.Ready)
	// A guard that has not read its policies yet would refuse what another replica could decide.
	for _, guard := range deps.guards.gate.Guards {
		if g, ok := guard.(interface{ Ready() error }); ok {
			p.health.ready = append(p.health.ready, g.Ready)
		}
	}
	g.run(func(ctx context.Context) error { keeper.Run(ctx); return nil })
	g.run(func(ctx context.Context) error { return server.Serve(ctx, p.admission, stopLimit) })
	return nil
}

func hooksOf(rooms []Room, deps Deps) []admission.Hook {
	var hooks []admission.Hook
	for _, room := range rooms {
		if room.Hooks != nil {
			hooks = append(hooks, room.Hooks(deps)...)
		}
	}
	return hooks
}

func address(l net.Listener) string {
	if l == nil {
		return Off
	}
	return l.Addr().String()
}

// group owns goroutines: the first that fails stops the others.
type group struct {
	ctx  context.Context //nolint:containedctx // the life of the group itself
	stop context.CancelFunc
	wg   sync.WaitGroup
	once sync.Once
	err  error
}

func newGroup(ctx context.Context, stop context.CancelFunc) *group {
	return &group{ctx: ctx, stop: stop}
}

func (g *group) run(f func(context.Context) error) {
	g.wg.Go(func() {
		if err := f(g.ctx); err != nil {
			g.once.Do(func() { g.err = err })
			g.stop()
		}
	})
}

func (g *group) wait() error {
	g.wg.Wait()
	return g.err
}
