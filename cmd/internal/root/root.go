// Package root puts the verbs of Holdfast under one command, alike in the binary and in the kubectl plugin.
package root

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/holdfast-io/holdfast/internal/cli"
	"github.com/holdfast-io/holdfast/internal/operator"
)

// New is the command called name with the user's verbs, those of the installation, and more.
func New(name string, streams genericiooptions.IOStreams, more ...*cobra.Command) *cobra.Command {
	command := &cobra.Command{
		Use:   name,
		Short: "Holdfast keeps stateful applications safe from risky changes",
		Long: "Holdfast keeps stateful applications on Kubernetes safe from rollouts that take too much away at once,\n" +
			"cascading deletions, unencrypted data and credentials passed by hand.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	command.SetOut(streams.Out)
	command.SetErr(streams.ErrOut)
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &operator.Misuse{Err: err} })
	command.AddCommand(cli.Commands(streams)...)
	command.AddCommand(newInstall(streams), newUninstall(streams), newVersion(streams))
	command.AddCommand(more...)
	return command
}

// Execute runs command until it ends or is told to stop, and returns the exit code.
func Execute(command *cobra.Command, streams genericiooptions.IOStreams) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the defaults are back: a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	err := command.ExecuteContext(ctx)
	var misuse *operator.Misuse
	if errors.As(err, &misuse) {
		_, _ = fmt.Fprintf(streams.ErrOut, "error: %v\n", err)
		return cli.CodeUsage
	}
	return cli.Report(streams.ErrOut, err)
}

func newVersion(streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this build",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(streams.Out, "holdfast", operator.Version())
			return nil
		},
	}
}
