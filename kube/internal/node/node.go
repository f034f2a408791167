// Package node keeps real nodes on this machine: each node is one tree of processes (containerd, kubelet,
// kube-proxy and the pods' containers) in namespaces of its own, which comes up, survives the death of any of its
// parts, and goes without a trace.
package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config says what one node is made of.
type Config struct {
	Name    string // name of the Node object and the node's hostname
	Index   int    // place of the node in the network, from 0
	DataDir string // the node's own folder, DIR/nodes/NAME; kept between runs
	Exe     string // path of the holdfast-kube binary, which has the hidden commands node-init, kubelet and kube-proxy

	Kubeconfig      string // the kubelet's kubeconfig; its server is Network.Server()
	ProxyKubeconfig string // kube-proxy's kubeconfig; its server is Network.Server()
	CACert          string // CA that signs clients of the kubelet's API
	ServingCert     string // the kubelet's serving certificate, valid for Network.NodeIP(Index) and Name
	ServingKey      string

	PodCIDR string   // Network.PodCIDR(Index)
	Images  []string // OCI archives that every node has without a registry
	DNS     string   // the cluster's DNS address

	Log func(format string, args ...any) `json:"-"`
}

// Node is one running node.
type Node struct {
	cfg  Config
	spec spec
	pid  int // of the node's init, in the machine's pid namespace
	done chan struct{}

	adopted bool
}

// Start brings the node up, or adopts it when it is still running from a control plane that died. It does not need
// the API server: the kubelet keeps trying to register until the server answers.
func Start(ctx context.Context, cfg Config, net *Network) (*Node, error) {
	s, err := specify(ctx, cfg, net)
	if err != nil {
		return nil, fmt.Errorf("start node %s: %w", cfg.Name, err)
	}
	n := &Node{cfg: cfg, spec: s, done: make(chan struct{})}
	if n.adopted, err = n.adopt(ctx); err == nil && !n.adopted {
		err = n.launch(ctx, net.nodeNS(cfg.Index))
	}
	if err != nil {
		return nil, fmt.Errorf("start node %s: %w", cfg.Name, err)
	}
	return n, nil
}

// specify gathers what init must know.
func specify(ctx context.Context, cfg Config, net *Network) (spec, error) {
	var err error
	if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
		return spec{}, fmt.Errorf("find the absolute path of %s: %w", cfg.DataDir, err)
	}
	for _, hidden := range []string{"/run/", "/var/run/", "/var/log/", "/var/lib/kubelet/", "/var/lib/cni/", "/proc/"} {
		if strings.HasPrefix(cfg.DataDir+"/", hidden) || strings.HasPrefix(cfg.Exe, hidden) {
			return spec{}, fmt.Errorf("data directory %s or program %s lies in %s, which a node replaces by its own; "+
				"choose another --data-dir", cfg.DataDir, cfg.Exe, hidden)
		}
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return spec{}, fmt.Errorf("make the node's folder: %w", err)
	}
	s, err := inspect(ctx, cfg.DataDir)
	if err != nil {
		return spec{}, err
	}
	s.Config = cfg
	s.NodeIP, s.Server, s.Clusters = net.NodeIP(cfg.Index), net.Server(), net.ClusterCIDR()
	s.CgroupDir = cgroupBase(net.id) + "/" + cfg.Name
	return s, nil
}

// adopt takes over a node that runs with just this configuration; one with another configuration is stopped.
func (n *Node) adopt(ctx context.Context) (bool, error) {
	p, ok := readProcess(n.file("pid.json"))
	if !ok || !p.alive() {
		return false, nil
	}
	n.pid = p.Pid
	go watch(p, n.done)
	old, err := os.ReadFile(n.file("init.json"))
	if err != nil {
		return false, fmt.Errorf("read what the running node was told: %w", err)
	}
	now, err := marshal(n.spec)
	if err != nil {
		return false, err
	}
	if bytes.Equal(old, now) {
		n.log("node %s: still running, adopted", n.cfg.Name)
		return true, nil
	}
	n.log("node %s: still running with another configuration, starting it again", n.cfg.Name)
	err = n.Stop(ctx)
	n.done = make(chan struct{})
	return false, err
}

// launch starts init in new namespaces, on a thread inside the node's network namespace.
func (n *Node) launch(ctx context.Context, netns string) error {
	c, err := machineCgroups()
	if err != nil {
		return err
	}
	if err := n.clear(ctx, c); err != nil {
		return err
	}
	if err := c.make(n.spec.CgroupDir + "/system"); err != nil {
		return err
	}
	if err := writeJSON(n.file("init.json"), n.spec); err != nil {
		return err
	}
	out, err := openLog(n.file("node.log"))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()                               // init has it, too
	cmd := exec.Command(n.cfg.Exe, "node-init", n.file("init.json")) //nolint:noctx // it outlives ctx: Stop ends it
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true, // Ctrl-C in a terminal reaches the control plane alone, which then stops its nodes in order
	}
	if err := inNetns(netns, cmd.Start); err != nil {
		return fmt.Errorf("start init: %w", err)
	}
	n.pid = cmd.Process.Pid
	go func() {
		_ = cmd.Wait()
		close(n.done)
	}()
	p, err := describe(n.pid)
	if err != nil {
		return fmt.Errorf("init ended at once: %w; see %s", err, n.file("node.log"))
	}
	return writeJSON(n.file("pid.json"), p)
}

// clear removes what a node that was lost left behind, so that nothing of it is taken for the new one's.
func (n *Node) clear(ctx context.Context, c cgroups) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, name := range []string{"status.json", "pid.json"} {
		if err := os.Remove(n.file(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forget the last run: %w", err)
		}
	}
	if err := c.empty(ctx, n.spec.CgroupDir, unix.SIGKILL); err != nil {
		return err
	}
	return c.remove(ctx, n.spec.CgroupDir)
}

// Ready waits until containerd, the kubelet and kube-proxy serve and all images are there.
func (n *Node) Ready(ctx context.Context) error {
	for {
		s := readStatus(n.file("status.json"))
		if s.Ready() {
			return nil
		}
		if s.Failed != "" {
			return fmt.Errorf("node %s: %s; see %s", n.cfg.Name, s.Failed, n.file("node.log"))
		}
		select {
		case <-n.done:
			return fmt.Errorf("node %s ended: see %s", n.cfg.Name, n.file("node.log"))
		case <-ctx.Done():
			return fmt.Errorf("node %s is not ready, it waits for %s: %w; see %s/*.log", n.cfg.Name, s.waitsFor(), ctx.Err(), n.cfg.DataDir)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stopTime is what a node gets to end by itself: the kubelet, then the containers, then containerd.
const stopTime = 8 * time.Second

// Stop ends the node's containers and processes, and removes its mounts and cgroups; its data stays. Its place in
// the network stays too, until Network.Close.
func (n *Node) Stop(ctx context.Context) error {
	_ = unix.Kill(n.pid, unix.SIGTERM)
	select {
	case <-n.done:
	case <-ctx.Done():
	case <-time.After(stopTime):
	}
	_ = unix.Kill(n.pid, unix.SIGKILL) // the kernel then ends all that is in its pid namespace
	// The rest must happen even when ctx has ended: it is what leaves no trace.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	select {
	case <-n.done:
	case <-late.Done():
		return fmt.Errorf("stop node %s: process %d does not end", n.cfg.Name, n.pid)
	}
	c, err := machineCgroups()
	if err == nil {
		err = n.clear(late, c)
	}
	if err != nil {
		return fmt.Errorf("stop node %s: %w", n.cfg.Name, err)
	}
	return nil
}

// Name is the name of the Node object.
func (n *Node) Name() string { return n.cfg.Name }

// Adopted says that the node, with its containers, was running before Start.
func (n *Node) Adopted() bool { return n.adopted }

// Pid is the process id of the node's init; killing it loses the whole node at once.
func (n *Node) Pid() int { return n.pid }

// Done is closed when the node's init has ended, whoever ended it.
func (n *Node) Done() <-chan struct{} { return n.done }

func (n *Node) file(name string) string { return filepath.Join(n.spec.DataDir, name) }

func (n *Node) log(format string, args ...any) {
	if n.cfg.Log != nil {
		n.cfg.Log(format, args...)
	}
}

func marshal(v any) ([]byte, error) {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return append(raw, '\n'), nil
}

// writeJSON replaces the file at once, so that no reader sees half of it.
func writeJSON(file string, v any) error {
	raw, err := marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.WriteFile(file+".new", raw, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
