package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

func newRollout(streams genericiooptions.IOStreams) *cobra.Command {
	s := newSession(streams)
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "Follow, pause, undo or restart the rollout of a workload",
		Args:  noSuchVerb,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStatus(s), newHistory(s), newUndo(s), newPause(s, true), newPause(s, false), newRestart(s))
	s.flags.AddFlags(cmd.PersistentFlags())
	return cmd
}

// noSuchVerb refuses words that are no verb below rollout.
func noSuchVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var verbs []string
	for _, c := range cmd.Commands() {
		verbs = append(verbs, c.Name())
	}
	return &Failure{
		Code: CodeUsage, What: fmt.Sprintf("unknown verb %q", cmd.Name()+" "+args[0]),
		Fix: "the verbs are " + strings.Join(verbs, ", "),
	}
}

func newPause(s *session, on bool) *cobra.Command {
	verb, short := "pause", "Hold back further updates of a workload's pods; scaling and repair go on"
	if !on {
		verb, short = "resume", "Let a paused rollout go on"
	}
	cmd := &cobra.Command{
		Use: verb + " TYPE/NAME", Short: short,
		Example:           "  kubectl holdfast rollout " + verb + " cloneset/web",
		ValidArgsFunction: s.completeOne,
	}
	cmd.RunE = s.run(func(ctx context.Context, args []string) error { return s.setPaused(ctx, args, on) })
	return cmd
}

// setPaused writes the switch that pauses a rollout.
func (s *session) setPaused(ctx context.Context, args []string, on bool) error {
	f, w, err := s.get(ctx, args)
	if err != nil {
		return err
	}
	verb, done := "pause", "paused"
	if !on {
		verb, done = "resume", "resumed"
	}
	path := w.pausedAt()
	if path == "" {
		fix := "set spec.updateStrategy.type to OnDelete, or a partition, to hold its update back"
		if w.Kind.Parts != "" {
			fix = "set partitions of its subsets in spec.updateStrategy.manualUpdate.partitions to hold its update back"
		}
		return &Failure{Code: CodeUsage, What: fmt.Sprintf("%s: a %s cannot be paused", w.ref(), w.Kind.Kind), Fix: fix}
	}
	if w.paused() == on {
		fmt.Fprintf(s.Out, "%s is %s already\n", w.ref(), map[bool]string{true: "paused", false: "not paused"}[on])
		return nil
	}
	patch := map[string]any{}
	if err := unstructured.SetNestedField(patch, on, strings.Split(path, ".")...); err != nil {
		return fmt.Errorf("%s %s: %w", verb, w.ref(), err)
	}
	if err := s.merge(ctx, f, w, patch); err != nil {
		return fmt.Errorf("%s %s: %w", verb, w.ref(), err)
	}
	fmt.Fprintf(s.Out, "%s %s\n", w.ref(), done)
	return nil
}

func newRestart(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restart TYPE/NAME",
		Short: "Restart all pods of a workload, within its limits",
		Long: `Restart all pods of a workload by recreating them, as its update strategy allows
(maxUnavailable, maxSurge, partition, order). It writes the annotation
kubectl.kubernetes.io/restartedAt into the pod template, as kubectl does. A CloneSet
that updates in place recreates its pods for this: an annotation alone could be
changed without any restart, which is not what was asked for.`,
		Example:           "  kubectl holdfast rollout restart cloneset/web",
		ValidArgsFunction: s.completeOne,
	}
	cmd.RunE = s.run(s.restart)
	return cmd
}

func (s *session) restart(ctx context.Context, args []string) error {
	f, w, err := s.get(ctx, args)
	if err != nil {
		return err
	}
	if w.Kind.Injects || w.Kind.Podless {
		return &Failure{
			Code: CodeUsage, What: fmt.Sprintf("%s: a %s has no pods of its own to restart", w.ref(), w.Kind.Kind),
			Fix: "restart what the pods belong to",
		}
	}
	if w.Kind.Ends != "" {
		return &Failure{
			Code: CodeUsage, What: fmt.Sprintf("%s: the pods of a %s run to their end, and are not restarted", w.ref(), w.Kind.Kind),
			Fix: "delete it and create it anew to run it again; a pod that has failed is made again when it is deleted",
		}
	}
	if w.paused() {
		return &Failure{
			Code: CodeFailed, What: w.ref() + " is paused, and would not restart",
			Fix: "resume it first: kubectl holdfast rollout resume " + w.ref(),
		}
	}
	patch := map[string]any{}
	at := slices.Concat([]string{"spec", "template"}, podTemplateAt(w.template()), []string{"metadata", "annotations", v1beta1.RestartedAt})
	err = unstructured.SetNestedField(patch, s.now().Format(time.RFC3339), at...)
	if err != nil {
		return fmt.Errorf("restart %s: %w", w.ref(), err)
	}
	if err := s.merge(ctx, f, w, patch); err != nil {
		return fmt.Errorf("restart %s: %w", w.ref(), err)
	}
	fmt.Fprintf(s.Out, "%s restarts; follow it with: kubectl holdfast rollout status %s\n", w.ref(), w.ref())
	if w.strategy() == "OnDelete" {
		fmt.Fprintln(s.ErrOut, "warning: its strategy is OnDelete: each pod restarts when somebody deletes it")
	}
	return nil
}

// get reads the one workload that the arguments name.
func (s *session) get(ctx context.Context, args []string) (found, Workload, error) {
	f, err := s.one(ctx, args)
	if err != nil {
		return found{}, Workload{}, err
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(f.GVK)
	if err := s.client.Get(ctx, f.Key, object); err != nil {
		return found{}, Workload{}, s.notFound(ctx, f, fmt.Errorf("get %s/%s: %w", f.Kind.short(), f.Key.Name, err))
	}
	return f, newWorkload(f.Kind, object), nil
}

// merge sends a merge patch of the workload.
func (s *session) merge(ctx context.Context, f found, w Workload, patch map[string]any) error {
	raw, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	return s.send(ctx, f, w, types.MergePatchType, raw)
}

// send sends a patch of the workload.
func (s *session) send(ctx context.Context, f found, w Workload, kind types.PatchType, raw []byte, options ...client.PatchOption) error {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(f.GVK)
	object.SetNamespace(w.Object.GetNamespace())
	object.SetName(w.Object.GetName())
	options = append(options, client.FieldOwner("kubectl-holdfast"))
	return s.client.Patch(ctx, object, client.RawPatch(kind, raw), options...) //nolint:wrapcheck // the verbs say what they were doing
}
