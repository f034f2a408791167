// Command scenario plays out, on a real Kubernetes of its own, what Holdfast is for: guards against many deletions at once,
// and workloads that keep their promises while nodes are lost. Every claim is checked where it is made; one that does not
// hold makes the run fail, so it is a test as well.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	bin, dir  string
	only, out string
	nodes     int
	simulated int
	keep      bool
	limit     time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "scenario: "+err.Error())
		os.Exit(1)
	}
}

// parse reads the command line.
func parse(args []string) (options, []scenario, error) {
	var o options
	flags := flag.NewFlagSet("scenario", flag.ContinueOnError)
	flags.StringVar(&o.bin, "bin", "bin", "folder with holdfast-kube, holdfast and images")
	flags.StringVar(&o.dir, "data-dir", ".holdfast-e2e", "directory of the cluster; it is removed at the end")
	flags.StringVar(&o.only, "only", "", "comma-separated scenarios or groups to play: "+strings.Join(names(), ", ")+" (default: all)")
	flags.StringVar(&o.out, "out", "", "Markdown file to write the figures to")
	flags.IntVar(&o.nodes, "nodes", 2, "real nodes; they need root")
	flags.IntVar(&o.simulated, "simulated", 50, "simulated nodes beside them")
	flags.BoolVar(&o.keep, "keep", false, "leave the cluster running at the end, to look around")
	flags.DurationVar(&o.limit, "limit", 15*time.Minute, "the longest that one scenario may take")
	if err := flags.Parse(args); err != nil {
		return o, nil, fmt.Errorf("read the command line: %w", err)
	}
	if flags.NArg() > 0 {
		return o, nil, fmt.Errorf("unexpected argument %q: everything is a flag, see --help", flags.Arg(0))
	}
	if os.Geteuid() != 0 {
		return o, nil, errors.New("real nodes need root: run it as root")
	}
	chosen, err := choose(o.only)
	return o, chosen, err
}

// run plays the chosen scenarios one after the other on one cluster.
func run(ctx context.Context, args []string) (err error) {
	o, chosen, err := parse(args)
	if err != nil {
		return err
	}
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return fmt.Errorf("--data-dir %s: %w", o.dir, err)
	}
	t, err := startTheatre(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close(o)) }()
	records := t.playAll(ctx, chosen, o.limit)
	printSummary(records)
	if o.out != "" {
		if err := writeReport(o.out, records); err != nil {
			return err
		}
	}
	return verdict(records)
}
