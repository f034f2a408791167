package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Init is the hidden command node-init: pid 1 of a node. It returns when the node has stopped.
func Init(args []string) error {
	if len(args) != 1 || os.Getpid() != 1 {
		return errors.New("node-init is started by `holdfast-kube up` only, as the first process of a node")
	}
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return fmt.Errorf("read what the node is: %w", err)
	}
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil { //nolint:musttag // only this program writes and reads it
		return fmt.Errorf("read %s: %w", args[0], err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	i := &initProcess{spec: s}
	if err := i.live(ctx); err != nil {
		i.set(func(s *status) { s.Failed = err.Error() })
		return err
	}
	return nil
}

// initProcess is a node's pid 1.
type initProcess struct {
	spec
	reaper *reaper
	mu     sync.Mutex
	status status
}

// live sets the node up, keeps its components until ctx ends, and stops them in order.
func (i *initProcess) live(ctx context.Context) error {
	c, err := i.settle()
	if err != nil {
		return err
	}
	reaping, endReaping := context.WithCancel(context.WithoutCancel(ctx))
	defer endReaping()
	i.reaper = newReaper(reaping)

	// containerd outlives the others: containers are stopped in between.
	runtimeCtx, stopRuntime := context.WithCancel(reaping)
	defer stopRuntime()
	var runtime, rest sync.WaitGroup
	runtime.Go(func() { i.reaper.keep(runtimeCtx, i.containerdProcess(), time.Second) })
	// The API server's clients wait for it: those that come first wait up to 7 s between their tries, and take
	// processor time from what they wait for.
	served := make(chan struct{})
	rest.Go(func() {
		i.waitServer(ctx)
		close(served)
	})
	rest.Go(func() {
		<-served
		i.reaper.keep(ctx, i.proxyProcess(), time.Second)
	})
	rest.Go(func() {
		i.importImages(ctx) // a pod that comes first would wait in a pull back-off
		<-served
		i.reaper.keep(ctx, i.kubeletProcess(), 2*time.Second)
	})
	rest.Go(func() { i.observe(ctx) })
	<-ctx.Done()
	rest.Wait()
	i.stopContainers(context.WithoutCancel(ctx), c)
	stopRuntime()
	runtime.Wait()
	return nil
}

// settle makes the node's own surroundings.
func (i *initProcess) settle() (cgroups, error) {
	c, err := machineCgroups() // before mounts: it reads the machine's /proc
	if err != nil {
		return c, err
	}
	if err := c.enter(i.CgroupDir + "/system"); err != nil {
		return c, err
	}
	if err := unix.Sethostname([]byte(i.Name)); err != nil {
		return c, fmt.Errorf("set the host name: %w", err)
	}
	if err := i.mounts(); err != nil {
		return c, err
	}
	for _, f := range i.files() {
		path := filepath.Join(i.DataDir, f.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return c, fmt.Errorf("make the folder of the node's configuration: %w", err)
		}
		if err := os.WriteFile(path, []byte(f.text), 0o600); err != nil {
			return c, fmt.Errorf("write the node's configuration: %w", err)
		}
	}
	return c, nil
}

func (i *initProcess) containerdProcess() component {
	return component{"containerd", []string{
		i.Tools.Containerd, "--config", filepath.Join(i.DataDir, "containerd.toml"),
	}, filepath.Join(i.DataDir, "containerd.log")}
}

func (i *initProcess) proxyProcess() component {
	return component{"kube-proxy", []string{
		i.Exe, "kube-proxy", "--config=" + filepath.Join(i.DataDir, "kube-proxy.yaml"),
	}, filepath.Join(i.DataDir, "kube-proxy.log")}
}

func (i *initProcess) kubeletProcess() component {
	return component{"kubelet", []string{
		i.Exe, "kubelet", "--config=" + filepath.Join(i.DataDir, "kubelet.yaml"), "--kubeconfig=" + i.Kubeconfig,
		"--hostname-override=" + i.Name, "--node-ip=" + i.NodeIP, "--v=1",
	}, filepath.Join(i.DataDir, "kubelet.log")}
}

// importImages has the node's images there, or says why the node cannot come up.
func (i *initProcess) importImages(ctx context.Context) {
	err := i.images(ctx)
	if err == nil {
		i.set(func(s *status) { s.Images = true })
		return
	}
	fmt.Fprintln(os.Stdout, err)
	if ctx.Err() == nil {
		i.set(func(s *status) { s.Failed = err.Error() })
	}
}

// waitServer returns when the API server answers anything, or after a while: the kubelet is patient.
func (i *initProcess) waitServer(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	probe := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, //nolint:gosec // nothing is sent and nothing believed: this only asks whether somebody answers
		},
		DisableKeepAlives: true,
	}}
	for !answers(ctx, probe, i.Server+"/readyz", http.StatusInternalServerError-1) {
		if pause(ctx, 100*time.Millisecond) != nil {
			return
		}
	}
}

// answers tells whether the URL answers with a status up to worst.
func answers(ctx context.Context, client *http.Client, url string, worst int) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode <= worst
}

// observe keeps status.json true: often until all parts serve, then once a second.
func (i *initProcess) observe(ctx context.Context) {
	client := &http.Client{Timeout: time.Second}
	for {
		now := status{
			Containerd: i.containerdServes(ctx),
			Kubelet:    answers(ctx, client, "http://127.0.0.1:10248/healthz", http.StatusOK),
			Proxy:      answers(ctx, client, "http://127.0.0.1:10256/healthz", http.StatusOK),
		}
		i.set(func(s *status) { s.Containerd, s.Kubelet, s.Proxy = now.Containerd, now.Kubelet, now.Proxy })
		again := 100 * time.Millisecond
		if now.Containerd && now.Kubelet && now.Proxy {
			again = time.Second
		}
		if pause(ctx, again) != nil {
			return
		}
	}
}

func (i *initProcess) containerdServes(ctx context.Context) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", containerdSocket)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// set changes the status and writes it down if it is new.
func (i *initProcess) set(change func(*status)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	before := i.status
	change(&i.status)
	if i.status == before {
		return
	}
	if err := writeJSON(filepath.Join(i.DataDir, "status.json"), i.status); err != nil {
		fmt.Fprintln(os.Stdout, err)
	}
}

// containerGrace is what containers get to end by themselves when the whole node stops.
const containerGrace = 2 * time.Second

func (i *initProcess) stopContainers(ctx context.Context, c cgroups) {
	ctx, cancel := context.WithTimeout(ctx, containerGrace)
	defer cancel()
	if err := c.empty(ctx, i.CgroupDir+"/kubepods", unix.SIGTERM); err != nil {
		fmt.Fprintln(os.Stdout, "stop:", err) // they end with this process
	}
}
