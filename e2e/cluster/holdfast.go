package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Holdfast runs a verb of the program and shows what it prints.
func (c *Local) Holdfast(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, c.Program("holdfast"), append(args, "--kubeconfig", c.Kubeconfig())...)
	out := &indented{to: os.Stdout}
	cmd.Stdout, cmd.Stderr = out, out
	Saw("$ holdfast %s", strings.Join(args, " "))
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("holdfast %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// OperatorArgs are those of an operator that runs beside the cluster.
func (c *Local) OperatorArgs() []string {
	return []string{"operator", "--kubeconfig", c.Kubeconfig(), "--metrics-bind", "off", "--health-bind", "off"}
}

// StartOperator starts the operator beside the cluster, until StopOperator or the end of ctx.
func (c *Local) StartOperator(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(c.Dir, "operator.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the operator's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the operator has a handle of its own
	c.operator = exec.CommandContext(ctx, c.Program("holdfast"), c.OperatorArgs()...)
	c.operator.Stdout, c.operator.Stderr = log, log
	c.operator.Cancel = func() error { return c.operator.Process.Signal(syscall.SIGTERM) }
	c.operator.WaitDelay = 20 * time.Second
	if err := c.operator.Start(); err != nil {
		return fmt.Errorf("start the operator: %w", err)
	}
	Saw("holdfast %s", strings.Join(c.OperatorArgs(), " "))
	return nil
}

// Beside reports whether StartOperator was called.
func (c *Local) Beside() bool { return c.operator != nil }

// StopOperator stops the operator beside the cluster, if there is one.
func (c *Local) StopOperator() {
	if c.operator == nil {
		return
	}
	// Whether it had ended already makes no difference.
	_ = c.operator.Process.Signal(syscall.SIGTERM)
	_ = c.operator.Wait()
}
