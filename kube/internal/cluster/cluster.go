// Package cluster brings up a whole Kubernetes in one process, part by part, and takes it down in
// the reverse order.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/holdfast-io/holdfast/kube/internal/controlplane"
	"github.com/holdfast-io/holdfast/kube/internal/datadir"
	"github.com/holdfast-io/holdfast/kube/internal/etcd"
	"github.com/holdfast-io/holdfast/kube/internal/node"
	"github.com/holdfast-io/holdfast/kube/internal/pki"
	"github.com/holdfast-io/holdfast/kube/internal/simnode"
)

const loopback = "127.0.0.1"

// Options are what the user asked for.
type Options struct {
	Dir           string
	Port          int // 0: any free one
	APIServerOnly bool
	NoSync        bool
	Profiling     bool // the API server serves /debug/pprof
	Nodes         int  // real ones, on this machine
	Simulated     int
	RestartDelay  simnode.Delay // of containers on simulated nodes
	Images        string        // folder of image archives that real nodes get
	Version       string
	Out           io.Writer // progress
	Start         time.Time // what the progress counts from
}

// Cluster is one that is coming up or running.
type Cluster struct {
	Options
	dir   *datadir.Dir
	parts *parts
	certs *pki.Cluster
	etcd  *etcd.Server
	api   net.Listener

	network *node.Network
	nodes   []*node.Node
}

// Up runs a cluster until ctx ends, which is the way to stop it, or until a part fails.
func Up(ctx context.Context, o Options) error {
	dir, err := datadir.Hold(o.Dir)
	if err != nil {
		return err
	}
	c := &Cluster{Options: o, dir: dir, parts: newParts()}
	err = c.start(ctx)
	if err == nil {
		err = c.serve(ctx)
	}
	if ctx.Err() != nil {
		err = nil // being told to stop, at whatever point, is no failure
		c.say("stopping")
	}
	stopping := time.Now()
	err = errors.Join(err, c.parts.stop(), dir.Release())
	if err == nil {
		fmt.Fprintf(o.Out, "stopped in %.1fs\n", time.Since(stopping).Seconds())
	}
	return err
}

func (c *Cluster) start(ctx context.Context) error {
	steps := []func(context.Context) error{c.logs, c.makeNetwork, c.listen, c.certificates, c.startNodes, c.runEtcd, c.runAPIServer}
	if !c.APIServerOnly {
		steps = append(steps, c.serveNodes, c.runControllers, c.runVolumes, c.runSimulated, c.awaitNodes)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// serve says that all is ready and waits for the end.
func (c *Cluster) serve(ctx context.Context) error {
	if err := c.describe(true); err != nil {
		return err
	}
	fmt.Fprintf(c.Out, "ready: %s\n", filepath.Join(c.Dir, "kubeconfig"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for lost := c.lost(ctx); ; {
		select {
		case <-ctx.Done():
			return nil
		case name := <-lost:
			if ctx.Err() == nil {
				c.say("node %s is lost; see %s. Its pods are moved elsewhere; stop and start the cluster to have it back",
					name, filepath.Join(c.Dir, "nodes", name, "node.log"))
			}
		case err := <-c.parts.failed:
			return fmt.Errorf("%w; see %s", err, c.logPath("kube.log"))
		case err := <-c.etcd.Failed():
			return fmt.Errorf("etcd: %w; see %s", err, c.logPath("etcd.log"))
		}
	}
}

func (c *Cluster) say(format string, args ...any) {
	fmt.Fprintf(c.Out, "%6.2fs  %s\n", time.Since(c.Start).Seconds(), fmt.Sprintf(format, args...))
}

func (c *Cluster) describe(ready bool) error {
	return c.dir.Write(datadir.Run{Port: c.port(), Nodes: c.Nodes, Simulated: c.Simulated, Ready: ready, Version: c.Version})
}

func (c *Cluster) port() int { return datadir.Port(c.api) }

func (c *Cluster) url(host string) string {
	return "https://" + net.JoinHostPort(host, strconv.Itoa(c.port()))
}

func (c *Cluster) logPath(name string) string { return filepath.Join(c.Dir, "log", name) }

func (c *Cluster) logFile(name string) io.Writer {
	return &lumberjack.Logger{Filename: c.logPath(name), MaxSize: 50, MaxBackups: 2}
}

func (c *Cluster) logs(context.Context) error {
	if err := os.MkdirAll(filepath.Join(c.Dir, "log"), 0o700); err != nil {
		return fmt.Errorf("make the directory for logs: %w", err)
	}
	if err := controlplane.DivertStderr(c.logPath("stderr.log")); err != nil {
		return err
	}
	return controlplane.LogTo(c.logFile("kube.log"), c.fatal("kube.log"))
}

// fatal is told by parts that are about to end the process themselves.
func (c *Cluster) fatal(log string) func(string) {
	return func(reason string) {
		fmt.Fprintf(os.Stderr, "error: %s; see %s\n", reason, c.logPath(log))
	}
}

func (c *Cluster) listen(ctx context.Context) error {
	api, err := datadir.Listen(ctx, loopback, c.Port)
	if err != nil {
		return err
	}
	c.api = api
	c.parts.hold("listener", func() { _ = api.Close() }) // again, where the API server has closed it
	return c.describe(false)
}

func (c *Cluster) certificates(context.Context) error {
	certs, err := pki.NewCluster(pki.Options{
		Dir: filepath.Join(c.Dir, "pki"), URL: c.url(loopback), Hosts: c.bridgeHosts(), HasData: etcd.HasData(c.etcdDir()), Now: time.Now,
	})
	if err != nil {
		return err
	}
	c.certs = certs
	return nil
}

func (c *Cluster) etcdDir() string { return filepath.Join(c.Dir, "etcd") }

func (c *Cluster) runEtcd(ctx context.Context) error {
	member, err := etcd.Start(ctx, etcd.Config{
		Dir: c.etcdDir(), Log: c.logFile("etcd.log"), Fatal: c.fatal("etcd.log"), NoSync: c.NoSync,
	})
	if err != nil {
		return err
	}
	c.etcd = member
	c.parts.hold("etcd", member.Close)
	c.say("etcd")
	return nil
}

func (c *Cluster) runAPIServer(ctx context.Context) error {
	config := controlplane.Config{
		Dir: c.Dir, PKI: c.certs, Etcd: c.etcd.Endpoint, Listener: c.api, Alone: c.APIServerOnly, Profiling: c.Profiling,
	}
	if c.network != nil {
		config.Advertise = c.network.ControlPlaneIP()
	}
	c.parts.run(ctx, "kube-apiserver", func(ctx context.Context) error {
		return controlplane.RunAPIServer(ctx, config)
	})
	if err := c.awaitReady(ctx, c.url(loopback)+"/readyz?verbose"); err != nil {
		return fmt.Errorf("kube-apiserver: %w; see %s", err, c.logPath("kube.log"))
	}
	c.say("kube-apiserver %s", c.url(loopback))
	admin, err := os.ReadFile(c.certs.Admin)
	if err != nil {
		return fmt.Errorf("read the admin's kubeconfig: %w", err)
	}
	return pki.WriteFile(filepath.Join(c.Dir, "kubeconfig"), admin)
}

func (c *Cluster) awaitReady(ctx context.Context, url string) error {
	return c.parts.await(ctx, func(ctx context.Context) error {
		return controlplane.WaitReady(ctx, c.certs, url)
	})
}

// runControllers starts the controller-manager and the scheduler side by side.
func (c *Cluster) runControllers(ctx context.Context) error {
	components := []struct {
		name  string
		check string
		run   func(context.Context, controlplane.Config) error
	}{
		{"kube-controller-manager", "/healthz", controlplane.RunControllerManager},
		{"kube-scheduler", "/readyz?verbose", controlplane.RunScheduler},
	}
	urls := make([]string, len(components))
	for i, component := range components {
		listener, err := datadir.Listen(ctx, loopback, 0)
		if err != nil {
			return err
		}
		urls[i] = "https://" + listener.Addr().String() + component.check
		config := controlplane.Config{Dir: c.Dir, PKI: c.certs, Listener: listener}
		c.parts.run(ctx, component.name, func(ctx context.Context) error { return component.run(ctx, config) })
	}
	for i, component := range components {
		if err := c.awaitReady(ctx, urls[i]); err != nil {
			return fmt.Errorf("%s: %w; see %s", component.name, err, c.logPath("kube.log"))
		}
		c.say("%s", component.name)
	}
	return nil
}
