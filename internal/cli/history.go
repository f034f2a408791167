package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// historyOptions are the flags of rollout history.
type historyOptions struct {
	*session
	output   string
	revision int64
}

// History is the revisions of a workload, the oldest first.
type History struct {
	metav1.TypeMeta `json:",inline"`
	Workload        string         `json:"workload"`
	Namespace       string         `json:"namespace"`
	Revisions       []HistoryEntry `json:"revisions"`
}

// HistoryEntry is one revision, and what it changed.
type HistoryEntry struct {
	Number   int64          `json:"number"`
	Name     string         `json:"name"`
	Created  metav1.Time    `json:"created"`
	Current  bool           `json:"current"`
	Update   bool           `json:"update"`
	Pods     int            `json:"pods"`
	Cause    string         `json:"cause,omitempty"`
	Images   []string       `json:"images,omitempty"`
	Since    int64          `json:"changedSince,omitempty"` // the revision that Changes compares with
	Changes  []string       `json:"changes,omitempty"`
	Template map[string]any `json:"template,omitempty"` // with --revision
}

func newHistory(s *session) *cobra.Command {
	o := &historyOptions{session: s}
	cmd := &cobra.Command{
		Use:   "history TYPE/NAME",
		Short: "List the revisions of a workload, and what each changed",
		Example: `  kubectl holdfast rollout history cloneset/web
  kubectl holdfast rollout history cloneset/web --revision 3`,
		ValidArgsFunction: s.completeOne,
	}
	cmd.RunE = s.run(o.history)
	cmd.Flags().Int64Var(&o.revision, "revision", 0, "show this revision: its template, and what it changed")
	cmd.Flags().StringVarP(&o.output, "output", "o", "", "json or yaml")
	return cmd
}

func (o *historyOptions) history(ctx context.Context, args []string) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	f, err := o.one(ctx, args)
	if err != nil {
		return err
	}
	s, err := o.snapshot(ctx, f)
	if err != nil {
		return err
	}
	view := viewHistory(s)
	if o.revision != 0 {
		if view, err = view.only(s, o.revision); err != nil {
			return err
		}
	}
	switch {
	case o.output != "":
		return printObject(o.Out, o.output, view)
	case len(view.Revisions) == 0:
		fmt.Fprintf(o.Out, "%s has no revisions yet\n", s.Workload.ref())
		return nil
	case o.revision != 0:
		fmt.Fprintf(o.Out, "%s revision %d\n\n", s.Workload.ref(), o.revision)
		if changes := view.Revisions[0].Changes; len(changes) > 0 {
			fmt.Fprintf(o.Out, "changed since revision %d:\n  %s\n\n", view.Revisions[0].Since, strings.Join(changes, "\n  "))
		}
		fmt.Fprintln(o.Out, "template:")
		return printObject(o.Out, "yaml", view.Revisions[0].Template)
	}
	printLines(o.Out, view.text(o.now()))
	return nil
}

// viewHistory compares each revision with the one before it.
func viewHistory(s Snapshot) History {
	view := History{
		TypeMeta: typeMeta("RolloutHistory"), Workload: s.Workload.ref(),
		Namespace: s.Workload.Object.GetNamespace(), Revisions: []HistoryEntry{},
	}
	for _, r := range s.Revisions {
		entry := HistoryEntry{
			Number: r.Number, Name: r.Name, Created: r.Created, Current: r.Current, Update: r.Update,
			Pods: countAt(s.Pods, s.Revisions, r), Cause: r.Cause, Images: r.images(),
		}
		if older, found := before(s.Revisions, r); found {
			entry.Since, entry.Changes = older.Number, diff(older.Template, r.Template)
		}
		view.Revisions = append(view.Revisions, entry)
	}
	return view
}

// only keeps one revision, with its template.
func (h History) only(s Snapshot, number int64) (History, error) {
	r, found := revisionNumbered(s.Revisions, number)
	if !found {
		return History{}, noRevision(s, number)
	}
	for _, entry := range h.Revisions {
		if entry.Number == number {
			entry.Template = r.Template
			h.Revisions = []HistoryEntry{entry}
			break
		}
	}
	return h, nil
}

func noRevision(s Snapshot, number int64) error {
	var numbers []string
	for _, r := range s.Revisions {
		numbers = append(numbers, fmt.Sprint(r.Number))
	}
	fix := "it has none yet"
	if len(numbers) > 0 {
		fix = "it has " + strings.Join(numbers, ", ") + "; older ones are kept up to spec.revisionHistoryLimit"
	}
	return &Failure{Code: CodeNotFound, What: fmt.Sprintf("%s has no revision %d", s.Workload.ref(), number), Fix: fix}
}

func countAt(list []corev1.Pod, revisions []Revision, r Revision) int {
	n := 0
	for i := range list {
		if own, found := revisionOf(&list[i], revisions); found && own.Name == r.Name {
			n++
		}
	}
	return n
}

// text draws the history as a table.
func (h History) text(now time.Time) []string {
	rows := [][]string{{"REVISION", "NAME", "AGE", "PODS", "IN FORCE", "CHANGE"}}
	for _, e := range h.Revisions {
		change := e.Cause
		if change == "" && e.Since > 0 {
			change = summary(e.Changes, 2)
		}
		if change == "" {
			change = strings.Join(e.Images, ",")
		}
		rows = append(rows, []string{
			fmt.Sprint(e.Number), e.Name, age(e.Created.Time, now), fmt.Sprint(e.Pods), inForce(e), change,
		})
	}
	return align(rows)
}

func inForce(e HistoryEntry) string {
	switch {
	case e.Update && e.Current:
		return "current, update"
	case e.Update:
		return "update"
	case e.Current:
		return "current"
	}
	return "-"
}
