package command

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-io/holdfast/kube/internal/cluster"
)

const defaultPort = 6443

func up() *cobra.Command {
	var o cluster.Options
	var only string
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
	flags.BoolVar(&o.NoSync, "no-fsync", false, "do not force writes to the disk: faster, and data may be lost in a power cut")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Dir, o.Start, o.Out, o.Version = *dir, time.Now(), cmd.OutOrStdout(), gitVersion()
		if err := choose(&o, only); err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return cluster.Up(ctx, o)
	}
	return cmd
}

// choose checks the flags against each other.
func choose(o *cluster.Options, only string) error {
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
	}
	return nil
}
