package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// undoOptions are the flags of rollout undo.
type undoOptions struct {
	*session
	to     int64
	dryRun string
}

func newUndo(s *session) *cobra.Command {
	o := &undoOptions{session: s}
	cmd := &cobra.Command{
		Use:   "undo TYPE/NAME",
		Short: "Go back to an older revision",
		Long: `Go back to an older revision: its template becomes the workload's template again,
and is rolled out as any other change.`,
		Example: `  kubectl holdfast rollout undo cloneset/web
  kubectl holdfast rollout undo cloneset/web --to-revision 3 --dry-run=client   # what would change`,
		ValidArgsFunction: s.completeOne,
	}
	cmd.RunE = s.run(o.undo)
	cmd.Flags().Int64Var(&o.to, "to-revision", 0, "the revision to go back to (0: the one before the last)")
	cmd.Flags().StringVar(&o.dryRun, "dry-run", "none", "none; client: print what would change; server: let the server check it too")
	_ = cmd.RegisterFlagCompletionFunc("dry-run", completeWords("none", "client", "server"))
	return cmd
}

func (o *undoOptions) undo(ctx context.Context, args []string) error {
	if o.to < 0 {
		return usage("--to-revision %d: a revision's number is above 0", o.to)
	}
	if o.dryRun != "none" && o.dryRun != "client" && o.dryRun != "server" {
		return usage("--dry-run=%s: it is none, client or server", o.dryRun)
	}
	f, err := o.one(ctx, args)
	if err != nil {
		return err
	}
	s, err := o.snapshot(ctx, f)
	if err != nil {
		return err
	}
	target, err := undoTarget(s, o.to)
	if err != nil {
		return err
	}
	ref, changes := s.Workload.ref(), diff(s.Workload.template(), target.Template)
	if len(changes) == 0 {
		fmt.Fprintf(o.Out, "%s: nothing to undo, its template is that of revision %d already\n", ref, target.Number)
		return nil
	}
	if o.dryRun != "client" {
		if err := o.sendUndo(ctx, f, s.Workload, target); err != nil {
			return fmt.Errorf("undo %s: %w", ref, err)
		}
	}
	done := "goes back to"
	if o.dryRun != "none" {
		done = "would go back to"
	}
	fmt.Fprintf(o.Out, "%s %s revision %d:\n  %s\n", ref, done, target.Number, strings.Join(changes, "\n  "))
	if s.Workload.paused() {
		fmt.Fprintf(o.ErrOut, "warning: it is paused: no pod changes until kubectl holdfast rollout resume %s\n", ref)
	}
	return nil
}

func (o *undoOptions) sendUndo(ctx context.Context, f found, w Workload, target Revision) error {
	raw, err := undoPatch(w, target)
	if err != nil {
		return err
	}
	var options []client.PatchOption
	if o.dryRun == "server" {
		options = append(options, client.DryRunAll)
	}
	return o.send(ctx, f, w, types.JSONPatchType, raw, options...)
}

// undoTarget is the revision asked for, or the newest one before that in force.
func undoTarget(s Snapshot, to int64) (Revision, error) {
	if to > 0 {
		r, found := revisionNumbered(s.Revisions, to)
		if !found {
			return Revision{}, noRevision(s, to)
		}
		return r, nil
	}
	update, known := updateRevision(s.Revisions)
	if !known {
		return Revision{}, &Failure{
			Code: CodeFailed, What: s.Workload.ref() + ": its controller has not recorded the current template yet",
			Fix: "name the revision with --to-revision, or try again",
		}
	}
	if older, found := before(s.Revisions, update); found {
		return older, nil
	}
	return Revision{}, &Failure{Code: CodeNotFound, What: fmt.Sprintf("%s has no revision before %d", s.Workload.ref(), update.Number)}
}

// undoPatch replaces the template as a whole, unless somebody changed the workload meanwhile.
func undoPatch(w Workload, target Revision) ([]byte, error) {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	patch := []operation{{"replace", "/metadata/resourceVersion", w.Object.GetResourceVersion()}}
	if w.Kind.Injects {
		have, want := specOf(w.template()), specOf(target.Template)
		for _, field := range givenFields() {
			_, has := have[field]
			switch value, wanted := want[field]; {
			case wanted:
				patch = append(patch, operation{"add", "/spec/" + field, value}) // takes the place of what is there
			case has:
				patch = append(patch, operation{Op: "remove", Path: "/spec/" + field})
			}
		}
	} else {
		patch = append(patch, operation{"replace", "/spec/template", target.Template})
	}
	cause := "/metadata/annotations/" + strings.ReplaceAll(changeCause, "/", "~1")
	_, had := w.Object.GetAnnotations()[changeCause]
	switch {
	case target.Cause != "" && len(w.Object.GetAnnotations()) == 0:
		patch = append(patch, operation{"add", "/metadata/annotations", map[string]string{changeCause: target.Cause}})
	case target.Cause != "":
		patch = append(patch, operation{"add", cause, target.Cause})
	case had:
		patch = append(patch, operation{Op: "remove", Path: cause}) // it told of the change that is undone
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("write the patch: %w", err)
	}
	return raw, nil
}
