// Command demo shows what Holdfast is for, on a real Kubernetes of its own: it updates a running CloneSet in place, scales
// it, rolls it back and deletes one chosen pod of it, and says what it saw. Whatever it does not see makes it fail, so it is
// a test as well.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

// options are the flags.
type options struct {
	bin, dir         string
	nodes, simulated int
	down             bool
	limit            time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder with holdfast-kube, holdfast and images")
	flag.StringVar(&o.dir, "data-dir", ".holdfast", "directory of the cluster")
	flag.IntVar(&o.nodes, "nodes", 1, "real nodes; they need root, and without it simulated ones are taken")
	flag.IntVar(&o.simulated, "simulated", 0, "simulated nodes instead of real ones")
	flag.BoolVar(&o.down, "down", false, "stop the cluster at the end, and remove its data")
	flag.DurationVar(&o.limit, "limit", 5*time.Minute, "the longest that all of it may take")
	flag.Parse()
	if err := runUntilStopped(o); err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(1)
	}
}

// runUntilStopped gives the run until the limit, or until somebody stops it.
func runUntilStopped(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	return run(ctx, o)
}

func run(ctx context.Context, o options) (err error) {
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return fmt.Errorf("--data-dir %s: %w", o.dir, err)
	}
	begun := time.Now()
	c, err := startCluster(ctx, o)
	if err != nil {
		return err
	}
	if o.down {
		defer func() { err = firstOf(err, c.Discard()) }()
	}
	if err := installHoldfast(ctx, c); err != nil {
		return err
	}
	defer c.StopOperator()
	s, err := newStage(c)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		s.create, s.updateInPlace, s.scale, s.rollBack, s.deleteOne, s.show,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	cluster.Say("All of it was seen, in %s.", time.Since(begun).Round(time.Second))
	if !o.down {
		goOn(c)
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
