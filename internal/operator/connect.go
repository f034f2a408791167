package operator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// How long the start waits for an API server before it says that there is none.
const connectLimit = 15 * time.Second

// connection is how the cluster is reached, and whether we run in it.
type connection struct {
	config *rest.Config
	inside bool
}

func connect(kubeconfig string) (connection, error) {
	if kubeconfig == "" && os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return connection{}, fmt.Errorf("read the Pod's service account: %w: mount it, or give --kubeconfig", err)
		}
		return connection{config: config, inside: true}, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return connection{}, misuse("no cluster is named: give --kubeconfig, or set KUBECONFIG")
	}
	if err != nil {
		name := kubeconfig
		if name == "" {
			name = rules.GetDefaultFilename()
		}
		return connection{}, misuse("read kubeconfig %s: %w: name a file that kubectl can use", name, err)
	}
	return connection{config: config}, nil
}

// client is a configuration with its own connections and its own rate: a flood of one kind of request must not keep
// another kind waiting.
func (c connection) client(name string, qps float32, burst int) *rest.Config {
	config := rest.CopyConfig(c.config)
	config.UserAgent = "holdfast-" + name
	config.QPS, config.Burst = qps, burst
	// Clients with the same dialer share their connections.
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	config.Dial = dialer.DialContext
	return config
}

// reach makes sure that there is an API server that knows us, to say in one line when there is not.
func (c connection) reach(ctx context.Context) error {
	config := c.client("start", -1, 0)
	config.Timeout = connectLimit
	served, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return misuse("use the kubeconfig: %w", err)
	}
	// The API server of a cluster that is only starting may need a moment.
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	for {
		if _, err = served.RESTClient().Get().AbsPath("/version").Do(ctx).Raw(); err == nil { // as ServerVersion, but it hears of ctx
			return nil
		}
		var network *url.Error
		if !errors.As(err, &network) {
			return fmt.Errorf("ask the API server at %s for its version: %w: are the credentials valid?", c.config.Host, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no API server answers at %s: %w: is the cluster up, and the kubeconfig the right one?", c.config.Host, network.Err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
