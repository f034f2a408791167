package main

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/holdfast-io/holdfast/internal/operator"
)

func newOperator(streams genericiooptions.IOStreams) *cobra.Command {
	opts := operator.Defaults()
	command := &cobra.Command{
		Use:   "operator",
		Short: "Run the operator",
		Long: "Run the operator: in a Pod, as `holdfast install` deploys it, or as a plain process beside a cluster.\n" +
			"It ends on SIGTERM or SIGINT: it finishes the passes under way, releases its lease and exits with 0.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return operator.Run(cmd.Context(), opts, streams.ErrOut)
		},
	}
	opts.AddFlags(command.Flags())
	return command
}
