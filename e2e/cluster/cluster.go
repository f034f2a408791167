// Package cluster runs the embedded Kubernetes with Holdfast for the programs that show what it does: it starts and stops
// both, looks at pods, and prints what was seen.
package cluster

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

// Local is a Kubernetes on this machine.
type Local struct {
	// Bin is the folder with holdfast-kube, holdfast and images.
	Bin string
	// Dir is the cluster's data directory, as an absolute path.
	Dir string
	// Nodes are real ones, and Simulated are those on which pods become ready and nothing runs.
	Nodes, Simulated int

	operator *exec.Cmd // beside the cluster, where no pod can run
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Local) Kubeconfig() string { return filepath.Join(c.Dir, "kubeconfig") }

// Program is the path of a program of ours.
func (c *Local) Program(name string) string { return filepath.Join(c.Bin, name) }

// Running reports whether a Kubernetes runs on the data directory.
func (c *Local) Running(ctx context.Context) bool {
	return exec.CommandContext(ctx, c.Program("holdfast-kube"), "status", "--data-dir", c.Dir).Run() == nil
}

// Up starts the cluster in a session of its own, so that it outlives the program, and follows its output until it is ready.
func (c *Local) Up(ctx context.Context) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	path := filepath.Join(c.Dir, "up.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the cluster's output: %w", err)
	}
	defer func() { _ = log.Close() }() // the cluster has a handle of its own
	// It must not end with ctx: the user goes on with it.
	up := exec.Command(c.Program("holdfast-kube"), "up", "--data-dir", c.Dir, "--port", "0", //nolint:noctx // see above
		"--nodes", strconv.Itoa(c.Nodes), "--simulated", strconv.Itoa(c.Simulated), "--images", c.Program("images"))
	up.Stdout, up.Stderr = log, log
	up.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := up.Start(); err != nil {
		return fmt.Errorf("start %s (make kube builds it): %w", up.Path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	if err := follow(ctx, path, ended); err != nil {
		return errors.Join(err, c.Down())
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
			Saw("%s", strings.TrimSpace(part))
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

// Down stops the cluster; its data stays. It needs no context: it must also run when time is up.
func (c *Local) Down() error {
	down := exec.Command(c.Program("holdfast-kube"), "down", "--data-dir", c.Dir) //nolint:noctx // see above
	if out, err := down.CombinedOutput(); err != nil {
		return fmt.Errorf("stop the cluster: %w\n%s", err, out)
	}
	return nil
}

// Discard stops the cluster and removes its data.
func (c *Local) Discard() error {
	if err := c.Down(); err != nil {
		return err
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("remove the cluster's data: %w", err)
	}
	return nil
}
