package command

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	component "k8s.io/component-base/version"

	"github.com/holdfast-io/holdfast/kube/internal/datadir"
)

func status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether the cluster of a data directory runs (exit code 1: it does not)",
		Args:  cobra.NoArgs,
	}
	dir := dataDir(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or empty for a line of text")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		run, running, err := datadir.Running(*dir)
		switch {
		case err != nil:
			return err
		case !running:
			return fmt.Errorf("nothing runs in %s: start it with `holdfast-kube up --data-dir %s`", *dir, *dir)
		case output == "json":
			return json.NewEncoder(cmd.OutOrStdout()).Encode(run)
		case output != "":
			return fmt.Errorf(`--output %q is not known: "json" is the only choice`, output)
		}
		state := "starting"
		if run.Ready {
			state = "ready: " + filepath.Join(*dir, "kubeconfig")
		}
		fmt.Fprintf(cmd.OutOrStdout(), "process %d, port %d, %s\n", run.PID, run.Port, state)
		return nil
	}
	return cmd
}

func version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of Kubernetes inside",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "Kubernetes", gitVersion())
		},
	}
}

func gitVersion() string { return component.Get().GitVersion }
