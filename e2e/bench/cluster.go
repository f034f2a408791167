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

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

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
	others     []*replica // where several operators run
	kubeconfig string
	webhook    string // where the operator serves admission
	health     string // and its probes
	metrics    string // and its figures
	identity   string // the operator's kubeconfig
	client     client.Client
	clientset  kubernetes.Interface
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
func (b *bench) startCluster(ctx context.Context, nodes int) error {
	ready := make(chan struct{})
	var once sync.Once
	line := func(text string) {
		if path, found := strings.CutPrefix(text, "ready: "); found {
			b.kubeconfig = path
			once.Do(func() { close(ready) })
		}
	}
	data := filepath.Join(b.dir, "kube")
	kube, err := startProcess("holdfast-kube", filepath.Join(b.dir, "kube.log"), line, clusterEnv(),
		filepath.Join(b.options.bin, "holdfast-kube"), "up", "--simulated", strconv.Itoa(nodes), "--data-dir", data, "--port", "0",
		"--simulated-restart-delay", restartDelay, "--profiling="+strconv.FormatBool(b.options.profile != ""))
	if err != nil {
		return fmt.Errorf("%w; build it with `make kube`", err)
	}
	b.kube = kube
	b.stops = append(b.stops, func() { kube.stop(stopLimit) })
	if err := kube.await(ctx, ready, startLimit); err != nil {
		return err
	}
	progressf("the cluster with %d simulated nodes was ready after %.1f s", nodes, time.Since(kube.started).Seconds())
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
	if b.clientset, err = kubernetes.NewForConfig(binary); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	watching, cancel := context.WithCancel(ctx)
	b.pods = newPodTracker()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.pods.watch(watching, b.clientset, namespace)
	}()
	b.stops = append(b.stops, func() { cancel(); <-done })
	return nil
}

// restartDelay is how long a container is away when it is changed in place: as long as where the aims come from, whose simulated
// nodes waited as a KWOK stage with durationMilliseconds 1000 and jitterDurationMilliseconds 2000 does, between the two.
// https://kwok.sigs.k8s.io/docs/generated/apis/
const restartDelay = "1s-2s"

// clusterEnv has the control plane collect garbage half as often as by default: a server that has the memory runs it so.
func clusterEnv() []string { return []string{"GOGC=200"} }

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
	return b.poll(ctx, startLimit, "our kinds are served", func(ctx context.Context) error {
		for _, w := range workloads() {
			if err := b.client.Get(ctx, client.ObjectKeyFromObject(w.empty()), w.empty()); !apierrors.IsNotFound(err) {
				return fmt.Errorf("ask for a %s of %s: %w", w.kind, w.group, err)
			}
		}
		return nil
	})
}

// The operator has the account that it has in a Pod: the guards know it by that. Its rights are not what is measured.
const (
	systemNamespace = "holdfast-system"
	account         = "holdfast-operator"
)

// identify makes the operator's account and a kubeconfig of it.
func (b *bench) identify(ctx context.Context) (string, error) {
	of := metav1.ObjectMeta{Namespace: systemNamespace, Name: account}
	sa := &corev1.ServiceAccount{ObjectMeta: of}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}, sa,
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: systemNamespace, Name: account}},
		},
	} {
		if err := b.client.Create(ctx, o); err != nil {
			return "", fmt.Errorf("make the operator's account: %w", err)
		}
	}
	token := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(24 * 3600))}}
	if err := b.client.SubResource("token").Create(ctx, sa, token); err != nil {
		return "", fmt.Errorf("get a token of the operator's account: %w", err)
	}
	config, err := clientcmd.LoadFromFile(b.kubeconfig)
	if err != nil {
		return "", fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	for _, user := range config.AuthInfos {
		*user = clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	path := filepath.Join(b.dir, "operator.kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("write the operator's kubeconfig: %w", err)
	}
	return path, nil
}

// startOperator installs our kinds, and starts the operator beside the cluster until it is ready.
func (b *bench) startOperator(ctx context.Context) error {
	if err := b.installKinds(ctx); err != nil {
		return err
	}
	var err error
	if b.identity, err = b.identify(ctx); err != nil {
		return err
	}
	if err := b.launchOperator(); err != nil {
		return err
	}
	err = b.poll(ctx, startLimit, "the operator is ready", func(ctx context.Context) error {
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
	for _, address := range []*string{&b.webhook, &b.health, &b.metrics} {
		if *address != "" {
			continue
		}
		free, err := freeAddress()
		if err != nil {
			return err
		}
		*address = free
	}
	operator, err := b.launch(b.webhook, b.health, b.metrics)
	if err != nil {
		return err
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

// operatorReady asks the first operator's readiness probe.
func (b *bench) operatorReady(ctx context.Context) error { return ready(ctx, b.health) }

// ready asks a readiness probe.
func ready(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
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
