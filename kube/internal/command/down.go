package command

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-io/holdfast/kube/internal/datadir"
	"github.com/holdfast-io/holdfast/kube/internal/node"
)

const (
	// downTimeout covers a stop in order, with containers that use their whole grace.
	downTimeout = 90 * time.Second
	killTimeout = 10 * time.Second
)

func down() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster of a data directory; its data stays",
		Args:  cobra.NoArgs,
	}
	dir := dataDir(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		run, running, err := datadir.Running(*dir)
		if err != nil {
			return err
		}
		if running {
			err = end(cmd.Context(), *dir, run)
		}
		if err = errors.Join(err, clean(cmd.Context(), *dir)); err != nil {
			return err
		}
		if running {
			fmt.Fprintf(cmd.OutOrStdout(), "stopped; the data stays in %s\n", *dir)
		} else {
			fmt.Fprintf(cmd.OutOrStdout(), "nothing runs in %s\n", *dir)
		}
		return nil
	}
	return cmd
}

// end asks the process to stop, and insists when it does not.
func end(ctx context.Context, dir string, run datadir.Run) error {
	for _, try := range []struct {
		signal  syscall.Signal
		timeout time.Duration
	}{{syscall.SIGTERM, downTimeout}, {syscall.SIGKILL, killTimeout}} {
		if err := syscall.Kill(run.PID, try.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop process %d: %w", run.PID, err)
		}
		if gone(ctx, dir, try.timeout) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not end; look at it with `cat /proc/%d/stack`", run.PID, run.PID)
}

func gone(ctx context.Context, dir string, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, running, err := datadir.Running(dir); err == nil && !running {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// clean removes what a process that was killed could not remove itself.
func clean(ctx context.Context, dir string) error {
	if err := node.Clean(ctx, dir); err != nil {
		return fmt.Errorf("remove what was left: %w", err)
	}
	return nil
}
