package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scaleDownOptions are the flags of scaledown.
type scaleDownOptions struct {
	*session
	pods []string
}

func newScaleDown(streams genericiooptions.IOStreams) *cobra.Command {
	o := &scaleDownOptions{session: newSession(streams)}
	cmd := &cobra.Command{
		Use:   "scaledown TYPE/NAME --pods POD,...",
		Short: "Take chosen pods out of a workload, which then wants so many fewer",
		Long: `Take chosen pods out of a workload, which then wants so many fewer: none is made in
their place. Both are one write, so that no other pod goes instead.`,
		Example:           "  kubectl holdfast scaledown cloneset/web --pods web-4kq2z,web-9bxm7",
		ValidArgsFunction: o.completeOne,
	}
	cmd.RunE = o.run(o.scaleDown)
	cmd.Flags().StringSliceVar(&o.pods, "pods", nil, "the pods that are to go (needed)")
	_ = cmd.RegisterFlagCompletionFunc("pods", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		if err := o.connect(); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return o.podNames(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
	o.flags.AddFlags(cmd.Flags())
	return cmd
}

func (o *scaleDownOptions) scaleDown(ctx context.Context, args []string) error {
	slices.Sort(o.pods)
	o.pods = slices.Compact(o.pods)
	if len(o.pods) == 0 {
		return usage("--pods is needed: the pods that are to go")
	}
	_, w, err := o.get(ctx, args)
	if err != nil {
		return err
	}
	if w.Kind.ToDelete == "" {
		return &Failure{
			Code: CodeUsage, What: fmt.Sprintf("%s: of a %s pods cannot be chosen", w.ref(), w.Kind.Kind),
			Fix: "lower its number with kubectl holdfast scale",
		}
	}
	next := newWorkload(w.Kind, w.Object.DeepCopy())
	if err := o.choosePods(ctx, w, next); err != nil {
		return err
	}
	patch := client.MergeFromWithOptions(w.Object, client.MergeFromWithOptimisticLock{})
	if err := o.client.Patch(ctx, next.Object, patch, client.FieldOwner("kubectl-holdfast")); err != nil {
		return fmt.Errorf("take pods out of %s: %w", w.ref(), err)
	}
	fmt.Fprintf(o.Out, "%s scaled from %d to %d, without %s\n", w.ref(), w.desired(), next.desired(), strings.Join(o.pods, ", "))
	return nil
}

// choosePods names the pods in next, and lowers its number by those that were not named before.
func (o *scaleDownOptions) choosePods(ctx context.Context, w, next Workload) error {
	at := strings.Split(w.Kind.ToDelete, ".")
	named, _, err := unstructured.NestedStringSlice(w.Object.Object, at...)
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", w.Kind.ToDelete, w.ref(), err)
	}
	fewer := int64(0)
	for _, name := range o.pods {
		if slices.Contains(named, name) {
			continue // its place was given up already
		}
		var pod corev1.Pod
		if err := o.client.Get(ctx, client.ObjectKey{Namespace: w.Object.GetNamespace(), Name: name}, &pod); err != nil {
			return fmt.Errorf("look for pod %s: %w", name, err)
		}
		if !controlledBy(&pod, map[types.UID]bool{w.uid(): true}) {
			return &Failure{Code: CodeUsage, What: fmt.Sprintf("pod %s does not belong to %s", name, w.ref())}
		}
		named, fewer = append(named, name), fewer+1
	}
	if fewer == 0 {
		return &Failure{Code: CodeUsage, What: fmt.Sprintf("%s is on its way to lose %s already", w.ref(), strings.Join(o.pods, ", "))}
	}
	if fewer > w.desired() {
		return &Failure{Code: CodeFailed, What: fmt.Sprintf("%s wants %d pods only: it cannot lose %d", w.ref(), w.desired(), fewer)}
	}
	if err := unstructured.SetNestedStringSlice(next.Object.Object, named, at...); err != nil {
		return fmt.Errorf("write %s of %s: %w", w.Kind.ToDelete, w.ref(), err)
	}
	if err := unstructured.SetNestedField(next.Object.Object, w.desired()-fewer, "spec", "replicas"); err != nil {
		return fmt.Errorf("write spec.replicas of %s: %w", w.ref(), err)
	}
	return nil
}
