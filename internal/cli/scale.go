package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scaleOptions are the flags of scale.
type scaleOptions struct {
	*session
	replicas int64
	current  int64
}

func newScale(streams genericiooptions.IOStreams) *cobra.Command {
	o := &scaleOptions{session: newSession(streams)}
	cmd := &cobra.Command{
		Use:   "scale TYPE/NAME --replicas N",
		Short: "Set the number of pods of a workload",
		Example: `  kubectl holdfast scale cloneset/web --replicas 5
  kubectl holdfast scale cloneset/web --replicas 5 --current-replicas 3   # only if it is 3 now`,
		ValidArgsFunction: o.completeOne,
	}
	cmd.RunE = o.run(o.scale)
	cmd.Flags().Int64Var(&o.replicas, "replicas", -1, "the number of pods wanted")
	cmd.Flags().Int64Var(&o.current, "current-replicas", -1, "scale only if this many are wanted now")
	o.flags.AddFlags(cmd.Flags())
	return cmd
}

func (o *scaleOptions) scale(ctx context.Context, args []string) error {
	if o.replicas < 0 {
		return usage("--replicas N is needed, 0 or more")
	}
	f, err := o.one(ctx, args)
	if err != nil {
		return err
	}
	ref := f.Kind.short() + "/" + f.Key.Name
	if !f.Kind.Scalable {
		return usage("%s: a %s has one pod on each matching node, and no number to set", ref, f.Kind.Kind)
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(f.GVK)
	object.SetNamespace(f.Key.Namespace)
	object.SetName(f.Key.Name)
	scale := &unstructured.Unstructured{}
	scale.SetGroupVersionKind(autoscalingv1.SchemeGroupVersion.WithKind("Scale"))
	if err := o.client.SubResource("scale").Get(ctx, object, scale); err != nil {
		return o.notFound(ctx, f, fmt.Errorf("read the scale of %s: %w", ref, err))
	}
	now, _, err := unstructured.NestedInt64(scale.Object, "spec", "replicas")
	if err != nil {
		return fmt.Errorf("read the scale of %s: %w", ref, err)
	}
	switch {
	case o.current >= 0 && now != o.current:
		return &Failure{Code: CodeFailed, What: fmt.Sprintf("%s wants %d replicas, not %d as --current-replicas expects: left as it is",
			ref, now, o.current)}
	case now == o.replicas:
		fmt.Fprintf(o.Out, "%s has %d replicas already\n", ref, now)
		return nil
	}
	if err := unstructured.SetNestedField(scale.Object, o.replicas, "spec", "replicas"); err != nil {
		return fmt.Errorf("scale %s: %w", ref, err)
	}
	// Update, not patch: it fails when somebody scaled it since it was read.
	if err := o.client.SubResource("scale").Update(ctx, object, client.WithSubResourceBody(scale)); err != nil {
		return fmt.Errorf("scale %s: %w", ref, err)
	}
	fmt.Fprintf(o.Out, "%s scaled from %d to %d\n", ref, now, o.replicas)
	return nil
}
