// Command bench measures what CloneSet costs beside the native Deployment, in one run on one cluster of simulated nodes,
// and writes the figures with the machine that they come from.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// userAgent marks the benchmark's own requests in the audit log.
const userAgent = "holdfast-bench"

// options are the command line.
type options struct {
	pods        int
	nodes       int
	daemonNodes int
	fleetPods   int
	restartPods int
	count       int
	only        string
	out         string
	bin         string
	dir         string
	limit       time.Duration
	rest        time.Duration
	profile     string
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		cancel()
		os.Exit(1) //nolint:gocritic // cancel has been called
	}
}

// parse reads the command line.
func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.pods, "pods", 1000, "pods of each workload")
	flags.IntVar(&o.nodes, "nodes", 100, "simulated nodes")
	flags.IntVar(&o.daemonNodes, "daemon-nodes", 500, "simulated nodes of the kinds that have a pod on every node")
	flags.IntVar(&o.fleetPods, "fleet-pods", 10000, "pods of the many workloads, 20 each; 0 leaves them out")
	flags.IntVar(&o.restartPods, "restart-pods", 5000, "pods of the restart of the operator; 0 leaves it out")
	flags.IntVar(&o.count, "count", 1, "repetitions; the report shows medians")
	flags.StringVar(&o.only, "only", "", "comma-separated parts to measure: "+strings.Join(partNames(), ", ")+" (default: all)")
	flags.StringVar(&o.out, "out", "docs/performance.md", "Markdown file to write; empty: standard output only, as with --only")
	flags.StringVar(&o.bin, "bin", "bin", "folder with holdfast-kube and holdfast")
	flags.StringVar(&o.dir, "dir", "", "folder for the cluster's files and logs, kept afterwards (default: a temporary one, removed)")
	flags.DurationVar(&o.limit, "limit", 5*time.Minute, "the longest that one phase may take")
	flags.DurationVar(&o.rest, "rest", 0, "pause before each part and phase: machines that may use much, but not for long, recover meanwhile")
	flags.StringVar(&o.profile, "profile", "", "folder for processor profiles of the control plane, one for some seconds of each phase")
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("read the command line: %w", err)
	}
	if o.only != "" && !given(flags, "out") {
		o.out = "" // a part must not replace the whole
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: everything is a flag, see --help", flags.Arg(0))
	}
	if o.rest < 0 {
		return o, errors.New("--rest must not be negative")
	}
	if o.pods < 1 || o.nodes < 1 || o.daemonNodes < 1 || o.fleetPods < 0 || o.count < 1 || o.restartPods < 0 {
		return o, errors.New("--pods, --nodes, --daemon-nodes and --count must be at least 1, --restart-pods and --fleet-pods at least 0")
	}
	_, err := o.chosen()
	return o, err
}

// given reports whether a flag is on the command line.
func given(flags *flag.FlagSet, name string) bool {
	found := false
	flags.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// chosen returns what is to be measured.
func (o options) chosen() ([]part, error) {
	wanted := map[string]bool{}
	if o.only != "" {
		for name := range strings.SplitSeq(o.only, ",") {
			if !slices.Contains(partNames(), name) {
				return nil, fmt.Errorf("--only: unknown part %q: use %s", name, strings.Join(partNames(), ", "))
			}
			wanted[name] = true
		}
	}
	var chosen []part
	for _, p := range parts() {
		left := p.name == partRestart && o.restartPods == 0 || p.name == partFleet && o.fleetPods == 0
		if o.only == "" && !left || wanted[p.name] {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

// run measures and reports.
func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	dir, tidy, err := workDir(o.dir)
	if err != nil {
		return err
	}
	defer tidy()
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o700); err != nil {
			return fmt.Errorf("make the folder of --profile: %w", err)
		}
	}

	result := newResults(o)
	err = measureAll(ctx, o, chosen, dir, result)
	if result.empty() && err != nil {
		return err
	}
	text := result.markdown(err)
	if _, err := fmt.Fprintln(os.Stdout, text); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if o.out != "" && err == nil {
		if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil { //nolint:gosec // documentation is for everybody
			return fmt.Errorf("write the report: %w", err)
		}
		if err := os.WriteFile(o.out, []byte(text), 0o644); err != nil { //nolint:gosec // as above
			return fmt.Errorf("write the report: %w", err)
		}
		progressf("written to %s", o.out)
	}
	return err
}

// workDir makes the folder for the cluster's files, and says how to tidy it up.
func workDir(asked string) (dir string, tidy func(), err error) {
	if asked != "" {
		if err := os.MkdirAll(asked, 0o700); err != nil {
			return "", nil, fmt.Errorf("make the folder of --dir: %w", err)
		}
		return asked, func() {}, nil
	}
	dir, err = os.MkdirTemp("", "holdfast-bench-")
	if err != nil {
		return "", nil, fmt.Errorf("make a folder for the cluster: %w", err)
	}
	progressf("the cluster's files are in %s until the end", dir)
	return dir, func() { _ = os.RemoveAll(dir) }, nil // what is left would be in the system's temporary folder
}

// measureAll measures the parts, those that need the same number of nodes on one cluster.
func measureAll(ctx context.Context, o options, chosen []part, dir string, into *results) error {
	for len(chosen) > 0 {
		nodes := chosen[0].on(o)
		n := 1
		for n < len(chosen) && chosen[n].on(o) == nodes {
			n++
		}
		if err := measure(ctx, o, chosen[:n], filepath.Join(dir, fmt.Sprintf("%d-nodes", nodes)), into); err != nil {
			return err
		}
		chosen = chosen[n:]
	}
	return nil
}

// on is the number of nodes that the part is measured on.
func (p part) on(o options) int {
	if p.nodes == nil {
		return o.nodes
	}
	return p.nodes(o)
}

// measure starts a cluster, measures the parts as often as asked, and stops everything it started.
func measure(ctx context.Context, o options, chosen []part, dir string, into *results) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a folder for the cluster: %w", err)
	}
	b := &bench{options: o, dir: dir, ledger: newLedger(), results: into}
	defer b.stop()
	if err := b.startCluster(ctx, chosen[0].on(o)); err != nil {
		return err
	}
	if slices.ContainsFunc(chosen, func(p part) bool { return !workloads()[p.name].native }) {
		if err := b.startOperator(ctx); err != nil {
			return err
		}
	}
	for i := range o.count {
		progressf("repetition %d of %d", i+1, o.count)
		for _, p := range chosen {
			if err := pause(ctx, o.rest); err != nil {
				return err
			}
			if err := b.measurePart(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

// pause lets the machine rest.
func pause(ctx context.Context, rest time.Duration) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("rest before the next part: %w", ctx.Err())
	case <-time.After(rest):
		return nil
	}
}

// progressf tells the user what goes on, apart from the report.
func progressf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
