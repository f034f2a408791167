package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cluster is the Kubernetes of the demo.
type cluster struct {
	options
	kubeconfig string
	operator   *exec.Cmd // only beside simulated nodes, on which nothing runs
}

// startCluster starts the embedded Kubernetes, or takes the one that runs on the data directory already.
func startCluster(ctx context.Context, o options) (*cluster, error) {
	c := &cluster{options: o, kubeconfig: filepath.Join(o.dir, "kubeconfig")}
	status := exec.CommandContext(ctx, c.program("holdfast-kube"), "status", "--data-dir", o.dir)
	if status.Run() == nil {
		say("A Kubernetes runs on %s already: taking that one.", o.dir)
		return c, c.findNodes(ctx)
	}
	if c.simulated == 0 && os.Geteuid() != 0 {
		say("Real nodes need root, and this is user %d: taking simulated nodes, on which pods become ready and nothing runs.", os.Geteuid())
		c.nodes, c.simulated = 0, 3
	}
	if c.simulated > 0 {
		c.nodes = 0
		say("Starting a real Kubernetes with %d simulated nodes.", c.simulated)
	} else {
		say("Starting a real Kubernetes with %d real node(s).", c.nodes)
	}
	return c, c.up(ctx)
}

func (c *cluster) program(name string) string { return filepath.Join(c.bin, name) }

// up starts the cluster in a session of its own, so that it outlives the demo, and follows its output until it is ready.
func (c *cluster) up(ctx context.Context) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	path := filepath.Join(c.dir, "up.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the cluster's output: %w", err)
	}
	defer func() { _ = log.Close() }() // the cluster has a handle of its own
	// It must not end with ctx: the user goes on with it.
	up := exec.Command(c.program("holdfast-kube"), "up", "--data-dir", c.dir, "--port", "0", //nolint:noctx // see above
		"--nodes", strconv.Itoa(c.nodes), "--simulated", strconv.Itoa(c.simulated), "--images", c.program("images"))
	up.Stdout, up.Stderr = log, log
	up.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := up.Start(); err != nil {
		return fmt.Errorf("start %s (make kube builds it): %w", up.Path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	if err := follow(ctx, path, ended); err != nil {
		return errors.Join(err, c.stop())
	}
	return nil
}

// follow prints the lines of a log as they come, until one says ready.
func follow(ctx context.Context, path string, ended <-chan error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the cluster's output: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	lines := bufio.NewReader(file)
	part := ""
	for {
		line, err := lines.ReadString('\n')
		part += line
		switch {
		case err == nil:
			saw("%s", strings.TrimSpace(part))
			if strings.HasPrefix(part, "ready: ") {
				return nil
			}
			part = ""
			continue
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("read the cluster's output: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster did not get ready in time; its output is in %s: %w", path, ctx.Err())
		case err := <-ended:
			rest, _ := io.ReadAll(lines) // what is left of its last words
			return fmt.Errorf("the cluster ended before it was ready: %w\n%s%s", err, part, rest)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// findNodes tells whether the cluster that runs already has real nodes.
func (c *cluster) findNodes(ctx context.Context) error {
	client, err := newClient(c.kubeconfig)
	if err != nil {
		return err
	}
	nodes, err := countRealNodes(ctx, client)
	if err != nil {
		return err
	}
	if nodes == 0 {
		c.nodes, c.simulated = 0, 1
	}
	return nil
}

// installHoldfast installs Holdfast into the cluster; where no pod can run, it starts the operator beside it.
func (c *cluster) installHoldfast(ctx context.Context) error {
	if c.simulated == 0 {
		say("Installing Holdfast: two replicas of the operator, in pods.")
		return c.holdfast(ctx, "install", "--timeout", "2m")
	}
	say("Installing Holdfast's definitions, and starting its operator beside the cluster.")
	if err := c.holdfast(ctx, "install", "--only", "crds,namespace"); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.dir, "operator.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the operator's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the operator has a handle of its own
	c.operator = exec.CommandContext(ctx, c.program("holdfast"), c.operatorArgs()...)
	c.operator.Stdout, c.operator.Stderr = log, log
	c.operator.Cancel = func() error { return c.operator.Process.Signal(syscall.SIGTERM) }
	c.operator.WaitDelay = 20 * time.Second
	if err := c.operator.Start(); err != nil {
		return fmt.Errorf("start the operator: %w", err)
	}
	saw("holdfast %s", strings.Join(c.operatorArgs(), " "))
	return nil
}

func (c *cluster) operatorArgs() []string {
	return []string{"operator", "--kubeconfig", c.kubeconfig, "--metrics-bind", "off", "--health-bind", "off"}
}

// holdfast runs a verb of the program and shows what it prints.
func (c *cluster) holdfast(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, c.program("holdfast"), append(args, "--kubeconfig", c.kubeconfig)...)
	out := &indented{to: os.Stdout}
	cmd.Stdout, cmd.Stderr = out, out
	saw("$ holdfast %s", strings.Join(args, " "))
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("holdfast %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (c *cluster) stopOperator() {
	if c.operator == nil {
		return
	}
	// Whether it had ended already makes no difference.
	_ = c.operator.Process.Signal(syscall.SIGTERM)
	_ = c.operator.Wait()
}

// stop stops the cluster and removes its data.
func (c *cluster) stop() error {
	down := exec.Command(c.program("holdfast-kube"), "down", "--data-dir", c.dir) //nolint:noctx // it must run when the context has ended, too
	if out, err := down.CombinedOutput(); err != nil {
		return fmt.Errorf("stop the cluster: %w\n%s", err, out)
	}
	if !c.down {
		return nil
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove the cluster's data: %w", err)
	}
	return nil
}

// goOn tells the user what to do next.
func (c *cluster) goOn() {
	if c.down {
		return
	}
	say("The cluster goes on running. To go on with it:")
	saw("export KUBECONFIG=%s", c.kubeconfig)
	if c.operator != nil {
		saw("%s %s &", c.program("holdfast"), strings.Join(c.operatorArgs(), " "))
	}
	saw("%s get cloneset/web --watch", c.program("holdfast"))
	saw("%s why cloneset/web", c.program("holdfast"))
	saw("make down    # stops it; its data stays in %s", c.dir)
}

// indented puts two blanks before each line.
type indented struct {
	to      io.Writer
	midLine bool
}

// Write never says less than it wrote: a short count would end the command.
func (w *indented) Write(text []byte) (int, error) {
	for _, line := range strings.SplitAfter(string(text), "\n") {
		if line == "" {
			continue
		}
		if !w.midLine {
			line = "    " + line
		}
		if _, err := io.WriteString(w.to, line); err != nil {
			return 0, fmt.Errorf("print: %w", err)
		}
		w.midLine = !strings.HasSuffix(line, "\n")
	}
	return len(text), nil
}
