// Package controlplane runs the API server, the controller-manager and the scheduler of Kubernetes
// inside this process, each with the settings of one small cluster.
package controlplane

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	manageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/holdfast-io/holdfast/kube/internal/pki"
)

// Addresses inside a cluster.
const (
	ServiceCIDR = "10.96.0.0/16"
	DNSService  = "10.96.0.10"
)

//go:embed audit-policy.yaml
var auditPolicy []byte

// Config is what the three components share.
type Config struct {
	Dir       string // for logs and written settings
	PKI       *pki.Cluster
	Etcd      string // endpoint
	Listener  net.Listener
	Advertise string // the API server's address for pods; empty: only loopback serves
	// Alone says that no controller-manager will run, so that nothing makes the service
	// accounts which pods would otherwise need.
	Alone bool
	// Profiling serves /debug/pprof of this process to those who may read it, which are the cluster's administrators.
	Profiling bool
}

// RunAPIServer runs kube-apiserver until ctx ends.
func RunAPIServer(ctx context.Context, c Config) error {
	policy := filepath.Join(c.Dir, "audit-policy.yaml")
	if err := pki.WriteFile(policy, auditPolicy); err != nil {
		return err
	}
	options := apiserveroptions.NewServerRunOptions()
	if err := parse("kube-apiserver", options.Flags(), c.apiServerFlags(policy)); err != nil {
		return err
	}
	options.SecureServing.Listener = c.Listener
	if err := options.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("set the feature gates: %w", err)
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	completed, err := options.Complete(ctx)
	if err != nil {
		return fmt.Errorf("complete the settings: %w", err)
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return fmt.Errorf("check the settings: %w", utilerrors.NewAggregate(errs))
	}
	if err := apiserver.Run(ctx, completed); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

func (c Config) apiServerFlags(policy string) []string {
	host, port, _ := net.SplitHostPort(c.Listener.Addr().String()) // an address of ours: always host:port
	flags := []string{
		"--etcd-servers=" + c.Etcd,
		"--bind-address=" + host, "--secure-port=" + port,
		"--tls-cert-file=" + c.PKI.APIServer.Cert, "--tls-private-key-file=" + c.PKI.APIServer.Key,
		"--client-ca-file=" + c.PKI.CA.Cert,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", // CNI, CSI and node agents need it; RBAC and pod security decide who may
		"--encryption-provider-config=" + c.PKI.EncryptionConfig,
		"--service-account-key-file=" + c.PKI.ServiceAccountKey,
		"--service-account-signing-key-file=" + c.PKI.ServiceAccountKey,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-cluster-ip-range=" + ServiceCIDR,
		"--requestheader-client-ca-file=" + c.PKI.FrontProxyCA.Cert,
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + c.PKI.FrontProxy.Cert, "--proxy-client-key-file=" + c.PKI.FrontProxy.Key,
		"--kubelet-client-certificate=" + c.PKI.KubeletClient.Cert, "--kubelet-client-key=" + c.PKI.KubeletClient.Key,
		"--kubelet-certificate-authority=" + c.PKI.CA.Cert,
		"--kubelet-preferred-address-types=InternalIP",
		"--audit-policy-file=" + policy, "--audit-log-path=" + filepath.Join(c.Dir, "log", "audit.log"),
		"--audit-log-maxsize=20", "--audit-log-maxbackup=3", "--audit-log-mode=batch",
		// A controller at 1,000 requests a second is a normal guest here; the defaults would slow it.
		"--max-requests-inflight=1200", "--max-mutating-requests-inflight=600",
		// No kube-proxy serves this process: it finds the pods of webhooks and aggregated APIs itself.
		"--enable-aggregator-routing=true",
		"--profiling=" + strconv.FormatBool(c.Profiling),
		// At the end watches are told so at once, and connections that stay open all the same get 2 s instead of a minute.
		"--shutdown-watch-termination-grace-period=1s", "--shutdown-send-retry-after=true",
	}
	if c.Advertise != "" {
		flags = append(flags, "--advertise-address="+c.Advertise)
	} else {
		// Loopback may not be advertised, and no pod could reach it.
		flags = append(flags, "--endpoint-reconciler-type=none")
	}
	if c.Alone {
		// Without the watch cache a list is answered by etcd at once; with it a list that must be exact waits until the cache has
		// come as far as etcd, up to 100 ms, and tests list after every step.
		flags = append(flags, "--disable-admission-plugins=ServiceAccount", "--watch-cache=false")
	}
	return flags
}

// RunControllerManager runs kube-controller-manager until ctx ends.
func RunControllerManager(ctx context.Context, c Config) error {
	options, err := manageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return fmt.Errorf("make the settings: %w", err)
	}
	known, disabled, aliases := manager.KnownControllers(), manager.ControllersDisabledByDefault(), manager.ControllerAliases()
	sets := options.Flags(known, disabled, aliases)
	options.ParsedFlags = &sets
	err = parse("kube-controller-manager", sets, append(c.clientFlags(c.PKI.ControllerManager),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+c.PKI.ServiceAccountKey, "--root-ca-file="+c.PKI.CA.Cert,
		"--cluster-signing-cert-file="+c.PKI.CA.Cert, "--cluster-signing-key-file="+c.PKI.CA.Key,
		"--allocate-node-cidrs=false", // the network of the nodes gives them their ranges
		"--service-cluster-ip-range="+ServiceCIDR,
	))
	if err != nil {
		return err
	}
	options.SecureServing.Listener = c.Listener
	if err := options.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("set the feature gates: %w", err)
	}
	config, err := options.Config(ctx, known, disabled, aliases)
	if err != nil {
		return fmt.Errorf("check the settings: %w", err)
	}
	if err := manager.Run(ctx, config.Complete()); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// RunScheduler runs kube-scheduler until ctx ends.
func RunScheduler(ctx context.Context, c Config) error {
	options := scheduleroptions.NewOptions()
	if err := parse("kube-scheduler", *options.Flags, c.clientFlags(c.PKI.Scheduler)); err != nil {
		return err
	}
	options.SecureServing.Listener = c.Listener
	if err := options.ComponentGlobalsRegistry.Set(); err != nil {
		return fmt.Errorf("set the feature gates: %w", err)
	}
	config, sched, err := scheduler.Setup(ctx, options)
	if err != nil {
		return fmt.Errorf("check the settings: %w", err)
	}
	if err := scheduler.Run(ctx, config, sched); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

// clientFlags are those of a component that is itself a client of the API server.
func (c Config) clientFlags(kubeconfig string) []string {
	_, port, _ := net.SplitHostPort(c.Listener.Addr().String()) // an address of ours: always host:port
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--leader-elect=false", // there is one
		"--bind-address=127.0.0.1", "--secure-port=" + port,
		"--tls-cert-file=" + c.PKI.APIServer.Cert, "--tls-private-key-file=" + c.PKI.APIServer.Key,
		"--kube-api-qps=1000", "--kube-api-burst=2000", // at the defaults a new namespace's first pod waits 5 s
		"--profiling=false",
	}
}

func parse(name string, sets cliflag.NamedFlagSets, flags []string) error {
	all := pflag.NewFlagSet(name, pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		all.AddFlagSet(set)
	}
	if err := all.Parse(flags); err != nil {
		return fmt.Errorf("settings of %s: %w", name, err)
	}
	return nil
}
