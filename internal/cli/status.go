package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// statusOptions are the flags of rollout status.
type statusOptions struct {
	*session
	output   string
	watch    bool
	revision int64
	timeout  time.Duration
}

// RolloutStatus is what rollout status prints for a program.
type RolloutStatus struct {
	metav1.TypeMeta `json:",inline"`
	Workload        WorkloadView `json:"workload"`
}

func newStatus(s *session) *cobra.Command {
	o := &statusOptions{session: s}
	cmd := &cobra.Command{
		Use:   "status TYPE/NAME",
		Short: "Follow a rollout to its end; the exit code says how it ended",
		Long: `Follow a rollout to its end: every pod that should be updated is, and all are
available. With a partition it ends when the pods outside of it are updated.

Exit codes: 0 done; 1 failed (progress deadline exceeded, stalled, or superseded);
6 not done yet (with --watch=false); 124 not done within --timeout.`,
		Example: `  kubectl holdfast rollout status cloneset/web --timeout 5m
  kubectl holdfast rollout status deploy/api --watch=false -o json`,
		ValidArgsFunction: s.completeOne,
	}
	cmd.RunE = s.run(o.status)
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", true, "wait until the rollout ends")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 0, "give up after this long (0: never)")
	cmd.Flags().Int64Var(&o.revision, "revision", 0, "the revision whose rollout is meant: fail when another one is under way")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json or yaml: print the last status when it ends")
	return cmd
}

func (o *statusOptions) status(ctx context.Context, args []string) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	if o.timeout < 0 || o.revision < 0 {
		return usage("--timeout and --revision cannot be negative")
	}
	f, w, err := o.get(ctx, args)
	if err != nil {
		return err
	}
	if !o.watch {
		return o.judge(ctx, w)
	}
	return o.await(ctx, f, w)
}

// await follows the rollout to its end.
func (o *statusOptions) await(ctx context.Context, f found, w Workload) error {
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	said := ""
	err := o.follow(ctx, f.Key.Namespace, []subject{workloadSubject(f)}, 0, func(ctx context.Context, from client.Reader) (bool, error) {
		next, err := o.next(ctx, from, f)
		if err != nil {
			return true, err
		}
		w = next
		ongoing := progress(w).State == StateOngoing
		if text := statusLine(viewWorkload(w)); ongoing && text != said && o.output == "" {
			said = text
			fmt.Fprintf(o.Out, "%s: %s\n", w.ref(), text)
		}
		return !ongoing, nil
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		return o.timedOut(w)
	case err != nil:
		return err
	case ctx.Err() != nil && progress(w).State == StateOngoing:
		return &Failure{Code: CodeInterrupted, What: "interrupted: the rollout goes on without being followed"}
	}
	return o.judge(ctx, w)
}

// next reads the workload again, which may be gone, or on its way to another revision than that meant.
func (o *statusOptions) next(ctx context.Context, from client.Reader, f found) (Workload, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(f.GVK)
	err := from.Get(ctx, f.Key, object)
	ref := f.Kind.short() + "/" + f.Key.Name
	switch {
	case apierrors.IsNotFound(err):
		return Workload{}, &Failure{Code: CodeFailed, What: ref + " was deleted during its rollout", Err: err}
	case err != nil:
		return Workload{}, fmt.Errorf("get %s: %w", ref, err)
	}
	return newWorkload(f.Kind, object), o.pinned(ctx, f)
}

// timedOut prints what there is, and fails with the code of timeout(1).
func (o *statusOptions) timedOut(w Workload) error {
	if o.output != "" {
		if err := o.print(w); err != nil {
			return err
		}
	}
	return &Failure{
		Code: CodeTimeout, What: fmt.Sprintf("%s is not done after %s: %s", w.ref(), o.timeout, statusLine(viewWorkload(w))),
		Fix: "kubectl holdfast why " + w.ref() + " says what it waits for",
	}
}

// judge prints the state and returns it as an exit code.
func (o *statusOptions) judge(ctx context.Context, w Workload) error {
	if err := o.pinned(ctx, found{Kind: w.Kind, GVK: w.Object.GroupVersionKind(), Key: client.ObjectKeyFromObject(w.Object)}); err != nil {
		return err
	}
	p := progress(w)
	if o.output != "" {
		if err := o.print(w); err != nil {
			return err
		}
	}
	text := statusLine(viewWorkload(w))
	switch p.State {
	case StateFailed:
		return &Failure{
			Code: CodeFailed, What: fmt.Sprintf("the rollout of %s %s", w.ref(), text),
			Fix: "kubectl holdfast why " + w.ref() + " says what it waits for; kubectl holdfast rollout undo " + w.ref() + " takes it back",
		}
	case StateOngoing:
		return &Failure{Code: CodeOngoing, What: fmt.Sprintf("the rollout of %s is not done: %s", w.ref(), text)}
	case StateDone:
	}
	if o.output == "" {
		fmt.Fprintf(o.Out, "%s: %s\n", w.ref(), text)
	}
	return nil
}

func (o *statusOptions) print(w Workload) error {
	return printObject(o.Out, o.output, RolloutStatus{TypeMeta: typeMeta("RolloutStatus"), Workload: viewWorkload(w)})
}

// pinned fails when --revision names another revision than the one under way.
func (o *statusOptions) pinned(ctx context.Context, f found) error {
	if o.revision == 0 {
		return nil
	}
	s, err := read(ctx, o.client, f)
	if err != nil {
		return err
	}
	update, known := updateRevision(s.Revisions)
	if !known || update.Number == o.revision {
		return nil // not known: not observed yet
	}
	return &Failure{
		Code: CodeFailed, What: fmt.Sprintf("%s goes to revision %d, not to %d", s.Workload.ref(), update.Number, o.revision),
		Fix: "kubectl holdfast rollout history " + s.Workload.ref() + " lists its revisions",
	}
}

// statusLine is the state with what is held back.
func statusLine(w WorkloadView) string {
	text := w.Rollout.text()
	var more []Held // what the state does not say itself
	for _, h := range w.Held {
		if h.Reason != w.Rollout.Reason {
			more = append(more, h)
		}
	}
	if len(more) > 0 && w.Rollout.State == StateOngoing {
		text += "; waits for " + heldText(more)
	}
	return text
}
