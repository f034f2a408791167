package cli

import (
	"context"

	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/ptr"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// cronJobOptions are the flags of create cronjob.
type cronJobOptions struct {
	*creation
	schedule  string
	timeZone  string
	broadcast bool
	overlap   string
	deadline  int64
	keep      int32
	keepBad   int32
	paused    bool
}

func newCreateCronJob(c *creation) *cobra.Command {
	o := &cronJobOptions{creation: c}
	cmd := &cobra.Command{
		Use:     "cronjob NAME --schedule LINE --image IMAGE [flags] [-- COMMAND [ARGUMENT...]]",
		Aliases: []string{"advancedcronjob", "acj"},
		Short:   "Run a pod at the times of a cron line, once or on every node",
		Example: `  kubectl holdfast create cronjob backup --schedule "0 3 * * *" --time-zone Europe/Berlin --image example.com/backup:2
  kubectl holdfast create cronjob clean --schedule @weekly --broadcast --image busybox:1.37 -- rm -rf /tmp/cache
  kubectl holdfast create cronjob sync --schedule "*/10 * * * *" --overlap Forbid --deadline 300 --image example.com/sync:1`,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return o.run(func(ctx context.Context, args []string) error { return o.create(ctx, cmd, args) })(cmd, args)
	}
	o.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.schedule, "schedule", "", `the cron line, such as "0 3 * * *" or @daily (needed)`)
	flags.StringVar(&o.timeZone, "time-zone", "", "the zone in which the line is read, such as Europe/Berlin (default: Etc/UTC)")
	flags.BoolVar(&o.broadcast, "broadcast", false, "run on every node, as a BroadcastJob does, instead of once")
	flags.StringVar(&o.overlap, "overlap", string(v1beta1.AllowConcurrent),
		"when an earlier job still runs: Allow both, Forbid the new one until the earlier has ended, Replace the earlier one")
	flags.Int64Var(&o.deadline, "deadline", -1, "how many seconds late a job may start (default: any)")
	flags.Int32Var(&o.keep, "keep", 3, "how many jobs that ended well are kept")
	flags.Int32Var(&o.keepBad, "keep-failed", 1, "how many jobs that failed are kept")
	flags.BoolVar(&o.paused, "paused", false, "start no jobs yet")
	return cmd
}

func (o *cronJobOptions) create(ctx context.Context, cmd *cobra.Command, args []string) error {
	name, command, err := o.named(cmd, args)
	if err != nil {
		return err
	}
	spec, err := o.spec(name, command)
	if err != nil {
		return err
	}
	kind, _ := kindNamed("advancedcronjob")
	return o.submit(ctx, kind, name, spec)
}

// spec is the object of the flags. What is wrong with the cron line the server says best.
func (o *cronJobOptions) spec(name string, command []string) (v1beta1.AdvancedCronJobSpec, error) {
	spec := v1beta1.AdvancedCronJobSpec{
		Schedule: o.schedule, ConcurrencyPolicy: v1beta1.ConcurrencyPolicy(o.overlap),
		SuccessfulJobsHistoryLimit: &o.keep, FailedJobsHistoryLimit: &o.keepBad,
	}
	if o.schedule == "" {
		return spec, usage("--schedule is needed")
	}
	if o.keep < 0 || o.keepBad < 0 {
		return spec, usage("--keep and --keep-failed cannot be negative")
	}
	template, err := o.pod.template(name, command)
	if err != nil {
		return spec, err
	}
	if o.timeZone != "" {
		spec.TimeZone = &o.timeZone
	}
	if o.deadline >= 0 {
		spec.StartingDeadlineSeconds = &o.deadline
	}
	if o.paused {
		spec.Paused = ptr.To(true)
	}
	if o.broadcast {
		spec.Template.BroadcastJobTemplate = &v1beta1.BroadcastJobTemplateSpec{Spec: v1beta1.BroadcastJobSpec{Template: template}}
	} else {
		spec.Template.JobTemplate = &batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}
	}
	return spec, nil
}
