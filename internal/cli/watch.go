package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"time"

	"golang.org/x/term"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// screen shows a view that changes: on a terminal it draws it anew, elsewhere it
// appends the lines that changed, with the time.
type screen struct {
	out    io.Writer
	file   *os.File // set when out is a terminal
	output string
	last   map[string]string // what was printed, by key
	now    func() time.Time
}

// entry is a line of a view as a log tells it: key says what it is about.
type entry struct{ key, text string }

func (o *getOptions) newScreen() *screen {
	s := &screen{out: o.Out, output: o.output, last: map[string]string{}, now: o.now}
	if file, ok := o.Out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.file = file
	}
	return s
}

// refresh is how often a screen is drawn though nothing changed.
func (s *screen) refresh() time.Duration {
	if s.file == nil || s.output == "json" || s.output == "yaml" {
		return 0
	}
	return 5 * time.Second
}

// show prints a view: lines draw it, entries tell it.
func (s *screen) show(view any, lines func() []string, entries func() []entry) error {
	switch {
	case s.output == "json" || s.output == "yaml":
		return s.document(view)
	case s.file != nil:
		s.draw(lines())
	default:
		s.tell(entries())
	}
	return nil
}

// document prints the whole view when it changed: one JSON object per line, or one YAML document.
func (s *screen) document(view any) error {
	raw, err := json.Marshal(view)
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	if s.last[""] == string(raw) {
		return nil
	}
	s.last[""] = string(raw)
	if s.output == "json" {
		if _, err = fmt.Fprintln(s.out, string(raw)); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
		return nil
	}
	fmt.Fprintln(s.out, "---")
	return printObject(s.out, s.output, view)
}

// draw puts lines on the terminal from its top, as many and as long as fit.
func (s *screen) draw(lines []string) {
	width, height, err := term.GetSize(int(s.file.Fd()))
	if err != nil || width < 20 || height < 5 {
		width, height = 200, 50
	}
	if rest := len(lines) - (height - 2); rest > 0 {
		lines = append(lines[:height-2:height-2], fmt.Sprintf("... and %d more lines", rest))
	}
	var frame strings.Builder
	if s.last[""] == "" {
		s.last[""] = "drawn"
		frame.WriteString("\x1b[2J") // what stood there before
	}
	frame.WriteString("\x1b[H")
	for _, line := range lines {
		if runes := []rune(line); len(runes) > width {
			line = string(runes[:width-1]) + "…"
		}
		frame.WriteString(line + "\x1b[K\n") // clears what an earlier frame left
	}
	frame.WriteString("\x1b[J")
	fmt.Fprint(s.out, frame.String())
}

// tell appends the entries that changed, and names those that are gone.
func (s *screen) tell(entries []entry) {
	stamp := s.now().Format("15:04:05.000")
	seen := map[string]bool{}
	for _, e := range entries {
		seen[e.key] = true
		if s.last[e.key] != e.text {
			s.last[e.key] = e.text
			fmt.Fprintf(s.out, "%s  %s  %s\n", stamp, e.key, e.text)
		}
	}
	var gone []string
	for key := range s.last {
		if !seen[key] {
			gone = append(gone, key)
		}
	}
	sort.Strings(gone)
	for _, key := range gone {
		delete(s.last, key)
		fmt.Fprintf(s.out, "%s  %s  gone\n", stamp, key)
	}
}

// watchTree follows one workload until it is deleted or the user interrupts.
func (o *getOptions) watchTree(ctx context.Context, f found) error {
	first, err := o.snapshot(ctx, f) // also tells a wrong name or a missing right at once
	if err != nil {
		return err
	}
	parts, err := partSubjects(first.Workload)
	if err != nil {
		return err
	}
	screen := o.newScreen()
	subjects := append([]subject{workloadSubject(f)}, parts...)
	return o.follow(ctx, f.Key.Namespace, subjects, screen.refresh(), func(ctx context.Context, from client.Reader) (bool, error) {
		s, err := read(ctx, from, f)
		if apierrors.IsNotFound(err) {
			fmt.Fprintf(o.ErrOut, "%s is deleted\n", first.Workload.ref())
			return true, nil
		}
		if err != nil {
			return true, err
		}
		tree := viewTree(s, o.now())
		return false, screen.show(tree, func() []string { return tree.text(o.output == "wide", o.now()) }, tree.entries)
	})
}

// watchList follows a list.
func (o *getOptions) watchList(ctx context.Context, wanted []found, selector labels.Selector) error {
	var subjects []subject
	for _, f := range wanted {
		subjects = append(subjects, workloadSubject(f))
	}
	namespace := o.namespace
	if o.allSpaces {
		namespace = ""
	}
	if _, err := readList(ctx, o.client, wanted, selector, func(error) {}); err != nil {
		return err
	}
	screen := o.newScreen()
	return o.follow(ctx, namespace, subjects, screen.refresh(), func(ctx context.Context, from client.Reader) (bool, error) {
		view, err := readList(ctx, from, wanted, selector, o.warn)
		if err != nil {
			return true, err
		}
		return false, screen.show(view, func() []string {
			return view.text(o.allSpaces, o.output == "wide", o.now())
		}, func() []entry { return view.entries(o.allSpaces) })
	})
}

// entries tells the tree for a log: one line for the workload, each revision and each pod, without ages.
func (t Tree) entries() []entry {
	list := []entry{{t.Workload.Ref, t.Workload.line()}}
	for _, h := range t.Workload.Held {
		list = append(list, entry{"waits for " + lowerFirst(h.Reason), strings.TrimPrefix(h.text(), lowerFirst(h.Reason)+" ")})
	}
	for _, r := range t.Revisions {
		if r.Hash != "" {
			list = append(list, entry{"revision/" + r.Name, strings.TrimSuffix(revisionMark(r)+strings.Join(r.Images, ","), " ")})
		}
	}
	for _, r := range t.Revisions {
		for _, p := range r.Pods {
			list = append(list, entry{"pod/" + p.Name, fmt.Sprintf("revision %d  %d/%d %s  restarts %d  node %s  %s",
				r.Number, p.ReadyContainers, p.Containers, p.Status, p.Restarts, orDash(p.Node), p.Change.text(time.Time{}))})
		}
	}
	return list
}

func revisionMark(r RevisionView) string {
	mark := fmt.Sprintf("number %d  ", r.Number)
	if r.Update {
		mark += "(update)  "
	}
	if r.Current {
		mark += "(current)  "
	}
	return mark
}

// entries tells the list for a log.
func (l List) entries(spaces bool) []entry {
	var list []entry
	for _, w := range l.Items {
		key := w.Ref
		if spaces {
			key = w.Namespace + "/" + key
		}
		list = append(list, entry{key, w.line()})
	}
	return list
}

// line tells a workload in one line.
func (w WorkloadView) line() string {
	text := fmt.Sprintf("%s  desired %d  updated %d/%d  ready %d  available %d",
		w.Rollout.text(), w.Desired, w.Updated, w.ToUpdate, w.Ready, w.Available)
	if len(w.Held) > 0 {
		text += "  waits for " + heldText(w.Held)
	}
	return text
}
