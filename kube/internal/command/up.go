package command

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-io/holdfast/kube/internal/cluster"
	"github.com/holdfast-io/holdfast/kube/internal/simnode"
)

const (
	defaultPort = 6443
	// maxSimulated keeps heartbeats below a few hundred writes a second.
	maxSimulated = 5000
)

func up() *cobra.Command {
	var o cluster.Options
	var only, delay string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a cluster in the foreground until interrupted",
		Long: `Run a cluster in the foreground until interrupted (Ctrl-C, or holdfast-kube down).

It prints one line as each part becomes ready, and last the path of the kubeconfig.
What was stored is there again at the next start on the same --data-dir.`,
		Args: cobra.NoArgs,
	}
	dir := dataDir(cmd)
	flags := cmd.Flags()
	flags.IntVar(&o.Port, "port", defaultPort, "port of the API server on 127.0.0.1; 0 picks a free one")
	flags.StringVar(&only, "only", "", `"apiserver": run etcd and the API server alone`)
	flags.IntVar(&o.Nodes, "nodes", 0, "real nodes on this machine (needs root)")
	flags.IntVar(&o.Simulated, "simulated", 0, "simulated nodes, on which pods become Ready and nothing runs")
	flags.StringVar(&delay, "simulated-restart-delay", "1s-3s",
		"how long a container on a simulated node is away when it is changed in place: a time or a range")
	flags.StringVar(&o.Images, "images", "", "folder of image archives for real nodes (default: images beside this program)")
	flags.BoolVar(&o.NoSync, "no-fsync", false, "do not force writes to the disk: faster, and data may be lost in a power cut")
	flags.BoolVar(&o.Profiling, "profiling", false, "serve profiles of this process to administrators: kubectl get --raw /debug/pprof/profile")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Dir, o.Start, o.Out, o.Version = *dir, time.Now(), cmd.OutOrStdout(), gitVersion()
		if err := choose(&o, only, delay); err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return cluster.Up(ctx, o)
	}
	return cmd
}

// choose checks the flags against each other.
func choose(o *cluster.Options, only, delay string) error {
	var err error
	if o.RestartDelay, err = parseDelay(delay); err != nil {
		return err
	}
	switch only {
	case "":
	case "apiserver":
		o.APIServerOnly = true
	default:
		return fmt.Errorf(`--only %q is not known: "apiserver" is the only choice`, only)
	}
	switch {
	case o.Dir == "":
		return fmt.Errorf("--data-dir is empty: name a directory")
	case o.Port < 0 || o.Port > 65535:
		return fmt.Errorf("--port %d is not a port: choose one from 1024 to 65535, or 0 for a free one", o.Port)
	case o.Nodes < 0 || o.Simulated < 0:
		return fmt.Errorf("--nodes %d, --simulated %d: a number of nodes is 0 or more", o.Nodes, o.Simulated)
	case o.APIServerOnly && o.Nodes+o.Simulated > 0:
		return fmt.Errorf("--only apiserver runs no nodes: leave out --nodes and --simulated, or --only")
	case o.Simulated > maxSimulated:
		return fmt.Errorf("--simulated %d is more than the %d that one process can keep", o.Simulated, maxSimulated)
	}
	return nil
}

// parseDelay reads "2s" or "1s-3s".
func parseDelay(s string) (simnode.Delay, error) {
	low, high, isRange := strings.Cut(s, "-")
	if !isRange {
		high = low
	}
	minimum, err1 := time.ParseDuration(low)
	maximum, err2 := time.ParseDuration(high)
	if err1 != nil || err2 != nil || minimum < 0 || maximum < minimum {
		return simnode.Delay{}, fmt.Errorf(`--simulated-restart-delay %q is not a time such as "500ms" or a range such as "1s-3s"`, s)
	}
	return simnode.Delay{Min: minimum, Max: maximum}, nil
}
