package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/ptr"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// broadcastJobOptions are the flags of create broadcastjob.
type broadcastJobOptions struct {
	*creation
	parallelism string
	deadline    time.Duration
	ttl         time.Duration
	keepOn      bool
	onFailure   string
	restarts    int32
	paused      bool
}

func newCreateBroadcastJob(c *creation) *cobra.Command {
	o := &broadcastJobOptions{creation: c}
	cmd := &cobra.Command{
		Use:     "broadcastjob NAME --image IMAGE [flags] [-- COMMAND [ARGUMENT...]]",
		Aliases: []string{"bcj"},
		Short:   "Run a pod to its end on every node",
		Example: `  kubectl holdfast create broadcastjob disks --image busybox:1.37 -- df -h
  kubectl holdfast create bcj scan --image example.com/scan:2 --parallelism 10% --on-failure Continue --ttl 1h
  kubectl holdfast create bcj prepare --image example.com/prepare:1 --new-nodes   # on every node that joins, too
  kubectl holdfast create bcj disks --image busybox:1.37 --dry-run client -o yaml -- df -h`,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return o.run(func(ctx context.Context, args []string) error { return o.create(ctx, cmd, args) })(cmd, args)
	}
	o.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.parallelism, "parallelism", "",
		"how many pods may run at a time: a number, or a percentage of the nodes (default: all)")
	flags.DurationVar(&o.deadline, "deadline", 0, "how long the job may take; then it has failed (0: any time)")
	flags.DurationVar(&o.ttl, "ttl", -1, "how long the job is kept after its end (default: until it is deleted)")
	flags.BoolVar(&o.keepOn, "new-nodes", false, "never end: run on nodes that join later, too")
	flags.StringVar(&o.onFailure, "on-failure", string(v1beta1.FailurePolicyFailFast),
		"when a pod fails: FailFast ends the job, Continue goes on with the other nodes, Pause starts no further pods")
	flags.Int32Var(&o.restarts, "restart-limit", 0,
		"with --restart OnFailure: how often a pod's containers may be restarted before it has failed")
	flags.BoolVar(&o.paused, "paused", false, "start no pods yet")
	return cmd
}

func (o *broadcastJobOptions) create(ctx context.Context, cmd *cobra.Command, args []string) error {
	name, command, err := o.named(cmd, args)
	if err != nil {
		return err
	}
	spec, err := o.spec(name, command)
	if err != nil {
		return err
	}
	kind, _ := kindNamed("broadcastjob")
	return o.submit(ctx, kind, name, spec)
}

// spec is the job of the flags.
func (o *broadcastJobOptions) spec(name string, command []string) (v1beta1.BroadcastJobSpec, error) {
	spec := v1beta1.BroadcastJobSpec{
		Paused:           o.paused,
		CompletionPolicy: v1beta1.CompletionPolicy{Type: v1beta1.CompletionPolicyAlways},
		FailurePolicy:    v1beta1.FailurePolicy{Type: v1beta1.FailurePolicyType(o.onFailure), RestartLimit: o.restarts},
	}
	var err error
	if spec.Template, err = o.pod.template(name, command); err != nil {
		return spec, err
	}
	if spec.Parallelism, err = numberOrShare("parallelism", o.parallelism); err != nil {
		return spec, err
	}
	if o.keepOn {
		spec.CompletionPolicy.Type = v1beta1.CompletionPolicyNever
		if o.deadline > 0 || o.ttl >= 0 {
			return spec, usage("a job with --new-nodes never ends: --deadline and --ttl mean nothing with it")
		}
	}
	if o.deadline > 0 {
		spec.CompletionPolicy.ActiveDeadlineSeconds = ptr.To(int64(max(1, o.deadline.Seconds())))
	}
	if o.ttl >= 0 {
		spec.CompletionPolicy.TTLSecondsAfterFinished = ptr.To(int32(o.ttl.Seconds()))
	}
	return spec, nil
}
