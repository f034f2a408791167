package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/holdfast-io/holdfast/kube/internal/addon"
	"github.com/holdfast-io/holdfast/kube/internal/controlplane"
	"github.com/holdfast-io/holdfast/kube/internal/image"
	"github.com/holdfast-io/holdfast/kube/internal/node"
	"github.com/holdfast-io/holdfast/kube/internal/simnode"
	"github.com/holdfast-io/holdfast/kube/internal/volume"
)

const (
	nodesTimeout     = 2 * time.Minute
	nodesStopTimeout = 15 * time.Second
)

// makeNetwork makes what joins real nodes to this machine, and removes what a killed run left when
// there are none now.
func (c *Cluster) makeNetwork(ctx context.Context) error {
	if c.Nodes == 0 {
		if err := node.Clean(ctx, c.Dir); err != nil {
			return fmt.Errorf("remove what an earlier run left: %w", err)
		}
		return nil
	}
	if err := node.Preflight(); err != nil {
		return err
	}
	network, err := node.NewNetwork(ctx, c.Dir, c.Nodes)
	if err != nil {
		return err
	}
	c.network = network
	c.parts.hold("network", func() { c.parts.note(network.Close(context.WithoutCancel(ctx))) })
	return nil
}

// bridgeHosts are the names of the API server for nodes and pods.
func (c *Cluster) bridgeHosts() []string {
	if c.network == nil {
		return nil
	}
	return []string{c.network.ControlPlaneIP()}
}

// startNodes starts the real nodes first of all: their runtimes come up while the control plane does.
func (c *Cluster) startNodes(ctx context.Context) error {
	if c.network == nil {
		return nil
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	images, err := c.images(exe)
	if err != nil {
		return err
	}
	c.parts.hold("nodes", c.stopNodes(ctx)) // when the start fails before serveNodes
	for i := range c.Nodes {
		name := "node-" + strconv.Itoa(i)
		creds, err := c.certs.Node(name, c.network.NodeIP(i), c.network.Server())
		if err != nil {
			return err
		}
		started, err := node.Start(ctx, node.Config{
			Name: name, Index: i, DataDir: filepath.Join(c.Dir, "nodes", name), Exe: exe,
			Kubeconfig: creds.Kubeconfig, ProxyKubeconfig: creds.ProxyKubeconfig,
			CACert: c.certs.CA.Cert, ServingCert: creds.Serving.Cert, ServingKey: creds.Serving.Key,
			PodCIDR: c.network.PodCIDR(i), Images: images, DNS: controlplane.DNSService, Log: c.say,
		}, c.network)
		if err != nil {
			return err
		}
		c.nodes = append(c.nodes, started)
	}
	return nil
}

func (c *Cluster) images(exe string) ([]string, error) {
	dir := c.Images
	if dir == "" {
		dir = filepath.Join(filepath.Dir(exe), "images")
	}
	archives, err := image.Archives(dir)
	if err != nil {
		return nil, err
	}
	if len(archives) == 0 {
		return nil, fmt.Errorf("no image archives in %s: real nodes have no registry and start with those; "+
			"make them with `make images` (holdfast-kube image), or name their folder with --images", dir)
	}
	return archives, nil
}

// stopNodes ends all nodes at once, even when ctx has ended, which is why they stop. It may be called twice.
func (c *Cluster) stopNodes(ctx context.Context) func() {
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), nodesStopTimeout)
		defer cancel()
		var group sync.WaitGroup
		for _, running := range c.nodes {
			group.Go(func() { c.parts.note(running.Stop(ctx)) })
		}
		group.Wait()
		c.nodes = nil
	}
}

// serveNodes lets nodes reach the API server.
func (c *Cluster) serveNodes(ctx context.Context) error {
	if c.network == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if err := c.network.Forward(ctx, c.port()); err != nil {
		cancel()
		return err
	}
	c.parts.hold("the nodes' way to the API server", cancel)
	c.parts.hold("nodes", c.stopNodes(ctx)) // before what they stand on
	return nil
}

// runVolumes serves the default storage class.
func (c *Cluster) runVolumes(ctx context.Context) error {
	config, err := c.addonConfig()
	if err != nil {
		return err
	}
	if err := addon.StorageClass(ctx, config); err != nil {
		return err
	}
	volumes, err := volume.New(config, filepath.Join(c.Dir, "volumes"), func(n *corev1.Node) bool { return n.Labels[simnode.Label] == "true" })
	if err != nil {
		return err
	}
	c.parts.run(ctx, "volumes", volumes.Run)
	if c.network == nil {
		return nil
	}
	return addon.CoreDNS(ctx, config)
}

func (c *Cluster) addonConfig() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.certs.Addons)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	config.QPS, config.Burst = 200, 400
	return config, nil
}

// runSimulated keeps simulated nodes, also when none were asked for: the user may make some.
func (c *Cluster) runSimulated(ctx context.Context) error {
	pods := simnode.DefaultPods()
	if c.network != nil {
		pods.First, pods.Last = c.network.SimulatedPods()
	}
	simulator, err := simnode.New(simnode.Config{
		Kubeconfig: c.certs.Simulator, Count: c.Simulated, Taint: c.Nodes > 0, Pods: pods, Now: time.Now,
		Rules: simnode.Rules{RestartDelay: c.RestartDelay},
	})
	if err != nil {
		return err
	}
	c.parts.run(ctx, "simulated nodes", simulator.Run)
	if c.Simulated == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
	defer cancel()
	if err := c.parts.await(ctx, simulator.Ready); err != nil {
		return err
	}
	c.say("%d simulated nodes", c.Simulated)
	return nil
}

// awaitNodes waits for the real nodes and for the name server on them.
func (c *Cluster) awaitNodes(ctx context.Context) error {
	if c.network == nil {
		return nil
	}
	config, err := c.addonConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
	defer cancel()
	for i, running := range c.nodes {
		if err := c.parts.await(ctx, running.Ready); err != nil {
			return err
		}
		name := "node-" + strconv.Itoa(i)
		ready := func(ctx context.Context) error { return nodeReady(ctx, client, name, c.network.PodCIDR(i)) }
		if err := c.parts.await(ctx, ready); err != nil {
			return err
		}
		c.say("node %s %s", name, c.network.NodeIP(i))
	}
	if err := c.parts.await(ctx, func(ctx context.Context) error { return addon.CoreDNSReady(ctx, client, c.since) }); err != nil {
		return err
	}
	c.say("coredns")
	return nil
}

// since is when the containers of a node may have begun at the earliest: those that are told of from before are gone.
func (c *Cluster) since(nodeName string) time.Time {
	for _, running := range c.nodes {
		if running.Name() == nodeName && running.Adopted() {
			return time.Time{}
		}
	}
	return c.Start
}

// lost tells the names of nodes that end while the cluster runs.
func (c *Cluster) lost(ctx context.Context) <-chan string {
	names := make(chan string, len(c.nodes))
	for _, running := range c.nodes {
		go func() { // ends with ctx or the node
			select {
			case <-running.Done():
				names <- running.Name()
			case <-ctx.Done():
			}
		}()
	}
	return names
}

// nodeReady returns once the node takes pods, and has it tell the range of their addresses.
func nodeReady(ctx context.Context, client kubernetes.Interface, name, cidr string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil && found.Spec.PodCIDR == "" {
			err = setPodCIDR(ctx, client, name, cidr)
		}
		if err == nil && simnode.TakesPods(found) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s is not ready (see `kubectl describe node %s`): %w", name, name, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func setPodCIDR(ctx context.Context, client kubernetes.Interface, name, cidr string) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"podCIDR": cidr, "podCIDRs": []string{cidr}}})
	if err != nil {
		return fmt.Errorf("encode the pod range of node %s: %w", name, err)
	}
	if _, err = client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("set the pod range of node %s: %w", name, err)
	}
	return nil
}
