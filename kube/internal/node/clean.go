package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Clean removes everything that a killed run on the data directory dir left behind, except its data. It may be called
// at any time when no control plane runs on dir, and again. It trusts what the machine has under the directory's own
// names more than any file: files may be lost.
func Clean(ctx context.Context, dir string) error {
	id, err := ID(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	pids, _ := filepath.Glob(filepath.Join(dir, "nodes", "*", "pid.json"))
	for _, file := range pids {
		if p, ok := readProcess(file); ok && p.alive() {
			_ = unix.Kill(p.Pid, unix.SIGKILL)
		}
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("clean %s: %w", dir, err)
		}
	}
	return errors.Join(cleanCgroups(ctx, id), removeNetwork(id))
}

func cleanCgroups(ctx context.Context, id string) error {
	c, err := machineCgroups()
	if err != nil {
		return nil //nolint:nilerr // no cgroups here: no node was ever here
	}
	left := false
	for _, root := range c.all() {
		if _, err := os.Stat(filepath.Join(root, cgroupBase(id))); err == nil {
			left = true
		}
	}
	if !left {
		return nil
	}
	if err := c.empty(ctx, cgroupBase(id), unix.SIGKILL); err != nil {
		return err
	}
	return c.remove(ctx, cgroupBase(id))
}
