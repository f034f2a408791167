// Package command is the command line of holdfast-kube.
package command

import (
	"context"

	"github.com/spf13/cobra"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/holdfast-io/holdfast/kube/internal/image"
	"github.com/holdfast-io/holdfast/kube/internal/node"
)

// Root is the whole command line.
func Root() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast-kube",
		Short: "A real Kubernetes in one binary",
		Long: `A real Kubernetes in one binary: etcd, API server, controller-manager and scheduler
in one process, with real nodes on this machine or simulated ones.`,
		SilenceUsage:  true,
		SilenceErrors: true, // main prints them
		Args:          cobra.NoArgs,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(up(), down(), status(), image.Command(), version(), nodeInit())
	return root
}

// Component returns the upstream command of that name, which a node runs as a process of its own.
// They are kept out of the tree of commands: each wants flags and signals to itself.
func Component(ctx context.Context, name string) *cobra.Command {
	switch name {
	case "kubelet":
		return kubelet.NewKubeletCommand(ctx)
	case "kube-proxy":
		return kubeproxy.NewProxyCommand()
	}
	return nil
}

// nodeInit is the first process of a node.
func nodeInit() *cobra.Command {
	return &cobra.Command{
		Use: "node-init", Hidden: true, Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error { return node.Init(args) },
	}
}

// dataDir adds the flag that every command shares.
func dataDir(cmd *cobra.Command) *string {
	return cmd.Flags().String("data-dir", ".holdfast", "directory of the cluster's data, certificates and logs")
}
