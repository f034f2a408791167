package operator

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/holdfast-io/holdfast/api"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/policy/cascade"
)

const (
	// ServiceName is the Service of admission.
	ServiceName = "holdfast-operator"
	// ServicePort is its port.
	ServicePort = 443
	// SecretName is the Secret that the replicas share their certificates in.
	SecretName = "holdfast-admission"
	// ConfigurationName is that of our webhook configurations.
	ConfigurationName = "holdfast"
)

func convert(raw []byte, toAPIVersion string) ([]byte, error) { return api.Convert(raw, toAPIVersion) }

func newLease(config *rest.Config, namespace, identity string) (resourcelock.Interface, error) {
	config.Timeout = 5 * time.Second // half of the renew deadline: one lost request must not cost the lease
	leases, err := coordinationv1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make the client of the lease: %w", err)
	}
	return &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: LeaseName},
		Client:     leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}, nil
}

// uncached are kinds that are read straight from the API server: a cache of them would need the right to list them all.
func uncached() []client.Object {
	return []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}}
}

// recorder writes events with a client of its own. For each object and reason it lets a burst through, then one in five
// minutes: what repeats says nothing new.
func (p *process) recorder(mgr manager.Manager) (record.EventRecorder, error) {
	events, err := corev1client.NewForConfig(p.conn.client("events", 20, 50))
	if err != nil {
		return nil, fmt.Errorf("make the client of the events: %w", err)
	}
	broadcaster := record.NewBroadcaster(record.WithCorrelatorOptions(record.CorrelatorOptions{
		BurstSize:   10,
		SpamKeyFunc: func(e *corev1.Event) string { return string(e.InvolvedObject.UID) + "/" + e.Reason },
	}))
	broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: events.Events("")})
	err = mgr.Add(&untilStop{func(ctx context.Context) { <-ctx.Done(); broadcaster.Shutdown() }})
	if err != nil {
		return nil, fmt.Errorf("run the events: %w", err)
	}
	return broadcaster.NewRecorder(p.scheme, corev1.EventSource{Component: "holdfast"}), nil
}

// untilStop runs in every replica until the manager stops.
type untilStop struct{ run func(context.Context) }

func (u *untilStop) Start(ctx context.Context) error { u.run(ctx); return nil }
func (u *untilStop) NeedLeaderElection() bool        { return false }

// keeper keeps the certificate. In a Pod it is put into the configurations that the manifests made; beside the cluster
// the leader makes them itself, with its own address.
func (p *process) keeper(deps Deps, elected <-chan struct{}) (*admission.Keeper, error) {
	c := deps.Admission
	host := p.opts.WebhookURLHost
	if host == "" && !p.conn.inside {
		host = "127.0.0.1"
	}
	endpoint := admission.Endpoint{
		Service: types.NamespacedName{Namespace: p.opts.SystemNamespace, Name: ServiceName}, Port: ServicePort,
	}
	targets := admission.Configured(c, ConfigurationName)
	beside := host != ""
	if beside {
		_, port, err := net.SplitHostPort(p.admission.Addr().String())
		if err != nil {
			return nil, fmt.Errorf("read the address of admission: %w", err)
		}
		endpoint.Host = net.JoinHostPort(host, port)
		targets = slices.Concat(admission.Registered(c, ConfigurationName, hooksOf(p.on, deps), endpoint),
			admission.Ensured(c, policiesOf(p.on), cascade.KeepOpen))
	}
	for _, room := range p.on {
		for _, crd := range room.CRDs {
			targets = append(targets, admission.Converted(c, endpoint, crd))
		}
	}
	k := &admission.Keeper{
		Client: c, Secret: types.NamespacedName{Namespace: p.opts.SystemNamespace, Name: SecretName}, Names: endpoint.Names(),
		Targets: targets, Clock: p.clock, Log: p.log.WithName("certificate"),
	}
	if beside && p.opts.LeaderElect {
		// A URL names one replica, which must be the one that leads: the others would take turns in naming themselves.
		k.Elected = elected
	}
	return k, nil
}

// ensureNamespace makes the system namespace where no manifest does: beside the cluster.
func (p *process) ensureNamespace(ctx context.Context) error {
	if p.conn.inside {
		return nil
	}
	c, err := client.New(p.conn.client("start", 20, 40), client.Options{Scheme: p.scheme})
	if err != nil {
		return fmt.Errorf("make the client of the system namespace: %w", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.opts.SystemNamespace}}
	err = c.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
	if apierrors.IsForbidden(err) {
		return nil // with the operator's own rights, and so after an installation
	}
	if apierrors.IsNotFound(err) {
		err = c.Create(ctx, namespace)
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("find or create the system namespace %s: %w: run `holdfast install`, or name another with --system-namespace",
			namespace.Name, err)
	}
	return nil
}

// frugal trades a little processor time for memory, unless the user has set the garbage collector himself.
func frugal() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(60)
	}
}

// Version is that of the build.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "dev"
	}
	return info.Main.Version
}

func buildInfo() prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "holdfast_build_info", Help: "1, with the version of the build.", ConstLabels: prometheus.Labels{"version": Version()},
	})
	g.Set(1)
	return g
}

func leading(elected <-chan struct{}) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "holdfast_leader", Help: "1 when this replica runs the controllers, else 0.",
	}, func() float64 {
		select {
		case <-elected:
			return 1
		default:
			return 0
		}
	})
}
