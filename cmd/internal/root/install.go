package root

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/cli"
	"github.com/holdfast-io/holdfast/internal/operator"
	"github.com/holdfast-io/holdfast/internal/operator/install"
)

func newInstall(streams genericiooptions.IOStreams) *cobra.Command {
	opts := install.Defaults()
	var kubeconfig, kubeContext, output string
	var show bool
	command := &cobra.Command{
		Use:   "install",
		Short: "Install or upgrade the operator, or print its manifests",
		Example: "  holdfast install\n  holdfast install --print -o yaml > holdfast.yaml\n" +
			"  holdfast install --only crds   # for an operator that runs beside the cluster",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "yaml" && output != "json" {
				return &operator.Misuse{Err: fmt.Errorf("--output is %q: use yaml or json", output)}
			}
			if show {
				return install.Print(streams.Out, opts, output)
			}
			if err := opts.Validate(); err != nil {
				return err
			}
			return withClient(kubeconfig, kubeContext, func(c client.Client) error {
				return install.Apply(cmd.Context(), c, opts, streams.Out)
			})
		},
	}
	flags := command.Flags()
	clusterFlags(command, &kubeconfig, &kubeContext)
	flags.StringVar(&opts.SystemNamespace, "system-namespace", opts.SystemNamespace, "namespace of the operator")
	flags.StringVar(&opts.Image, "image", opts.Image, "image of the operator")
	flags.Int32Var(&opts.Replicas, "replicas", opts.Replicas, "replicas of the operator")
	flags.BoolVar(&opts.Node, "node", opts.Node, "install the node daemon, too; --node=false takes it away")
	flags.StringVar(&opts.RuntimeEndpoint, "runtime-endpoint", "",
		"socket of the nodes' container runtime, such as unix:///run/containerd/containerd.sock; default: the usual ones are looked for")
	flags.StringSliceVar(&opts.Parts, "parts", nil, "parts to install; default: all")
	flags.StringSliceVar(&opts.Only, "only", nil, "steps to take: crds, namespace, rbac, operator, node, policies, webhooks; default: all")
	flags.BoolVar(&opts.TakeOver, "take-over", false, "take definitions over from another installation; every object stays")
	flags.BoolVar(&opts.Wait, "wait", opts.Wait, "wait until the operator is ready")
	flags.DurationVar(&opts.Timeout, "timeout", opts.Timeout, "how long all of it may take")
	flags.BoolVar(&opts.DryRun, "dry-run", false, "have the API server check everything, and change nothing")
	flags.BoolVar(&show, "print", false, "print the manifests, without a cluster")
	flags.StringVarP(&output, "output", "o", "yaml", "format of --print: yaml or json")
	return command
}

func newUninstall(streams genericiooptions.IOStreams) *cobra.Command {
	opts := install.RemoveDefaults()
	var kubeconfig, kubeContext string
	command := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove the operator; your objects stay unless you say otherwise",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClient(kubeconfig, kubeContext, func(c client.Client) error {
				return install.Remove(cmd.Context(), c, opts, streams.Out)
			})
		},
	}
	flags := command.Flags()
	clusterFlags(command, &kubeconfig, &kubeContext)
	flags.StringVar(&opts.SystemNamespace, "system-namespace", opts.SystemNamespace, "namespace of the operator")
	flags.BoolVar(&opts.DeleteCRDs, "delete-crds", false, "delete the definitions too; refused while objects of theirs exist")
	flags.BoolVar(&opts.DeleteObjects, "delete-objects", false, "delete every object of our kinds, and with them their pods")
	flags.BoolVar(&opts.DryRun, "dry-run", false, "only say what would be deleted")
	flags.DurationVar(&opts.Timeout, "timeout", opts.Timeout, "how long all of it may take")
	return command
}

func clusterFlags(command *cobra.Command, kubeconfig, kubeContext *string) {
	command.Flags().StringVar(kubeconfig, "kubeconfig", "", "kubeconfig of the cluster; default: $KUBECONFIG, else ~/.kube/config")
	command.Flags().StringVar(kubeContext, "context", "", "context of the kubeconfig")
}

// withClient runs f with a client of the cluster that the user's kubeconfig names.
func withClient(kubeconfig, kubeContext string, f func(client.Client) error) error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: kubeContext}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return &cli.Failure{Code: cli.CodeUnreachable, What: "no cluster is named", Fix: "give --kubeconfig, or set KUBECONFIG", Err: err}
	}
	if err != nil {
		return &cli.Failure{
			Code: cli.CodeUnreachable, What: "the kubeconfig cannot be used: " + err.Error(),
			Fix: "give one that kubectl can use with --kubeconfig", Err: err,
		}
	}
	config.QPS, config.Burst = 50, 100
	config.WarningHandler = warnings{}
	scheme, err := operator.NewScheme()
	if err != nil {
		return err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	err = f(c)
	var network interface{ Timeout() bool }
	if errors.As(err, &network) {
		return &cli.Failure{Code: cli.CodeUnreachable, What: err.Error(), Fix: "is the cluster up, and the kubeconfig the right one?", Err: err}
	}
	return err
}

// warnings drops the API server's: what the manifests hold is ours to mend, not the user's.
type warnings struct{}

func (warnings) HandleWarningHeader(int, string, string) {}
