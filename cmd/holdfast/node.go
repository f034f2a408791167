package main

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/holdfast-io/holdfast/internal/operator"
)

func newNode(streams genericiooptions.IOStreams) *cobra.Command {
	opts := operator.NodeDefaults()
	command := &cobra.Command{
		Use:   "node",
		Short: "Run the node daemon",
		Long: "Run the node daemon, as `holdfast install` deploys it on every node: it restarts containers for the labels and\n" +
			"annotations that they take as environment, when their workload changes these in place.\n" +
			"It needs the socket of the node's container runtime. It ends on SIGTERM or SIGINT.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return operator.RunNode(cmd.Context(), opts, streams.ErrOut)
		},
	}
	opts.AddFlags(command.Flags())
	return command
}
