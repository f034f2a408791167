package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// outputVersion is the apiVersion of everything -o json|yaml prints. A field is
// never renamed or given another meaning within it; new fields may come.
const outputVersion = "cli.holdfast.io/v1"

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: outputVersion, Kind: kind}
}

// Tree is a workload with its revisions and their pods.
type Tree struct {
	metav1.TypeMeta `json:",inline"`
	Workload        WorkloadView   `json:"workload"`
	Revisions       []RevisionView `json:"revisions"`
}

// WorkloadView is the line of a workload: what it wants, has, and waits for.
type WorkloadView struct {
	APIVersion      string      `json:"apiVersion"`
	Kind            string      `json:"kind"`
	Namespace       string      `json:"namespace"`
	Name            string      `json:"name"`
	Ref             string      `json:"ref"` // as typed on the command line: cloneset/web
	Created         metav1.Time `json:"created"`
	Desired         int64       `json:"desired"`
	Total           int64       `json:"total"`
	Updated         int64       `json:"updated"`
	ToUpdate        int64       `json:"toUpdate"`
	Ready           int64       `json:"ready"`
	Available       int64       `json:"available"`
	Strategy        string      `json:"strategy"`
	UpdatePolicy    string      `json:"updatePolicy,omitempty"`
	Partition       string      `json:"partition,omitempty"`
	Kept            int64       `json:"kept"` // pods that partition keeps at their old revision
	MaxUnavailable  string      `json:"maxUnavailable,omitempty"`
	MaxSurge        string      `json:"maxSurge,omitempty"`
	Paused          bool        `json:"paused"`
	Observed        bool        `json:"observed"` // the controller has seen the current spec
	CurrentRevision string      `json:"currentRevision,omitempty"`
	UpdateRevision  string      `json:"updateRevision,omitempty"`
	Images          []string    `json:"images,omitempty"`
	Rollout         Progress    `json:"rollout"`
	Held            []Held      `json:"held,omitempty"`
}

// RevisionView is a revision of a workload with the pods that run it.
type RevisionView struct {
	Name    string      `json:"name"`
	Hash    string      `json:"hash"`
	Number  int64       `json:"number"`
	Created metav1.Time `json:"created"`
	Images  []string    `json:"images,omitempty"`
	Cause   string      `json:"cause,omitempty"`
	Current bool        `json:"current"`
	Update  bool        `json:"update"`
	Pods    []PodView   `json:"pods,omitempty"`
}

// viewWorkload makes the line of a workload.
func viewWorkload(w Workload) WorkloadView {
	view := WorkloadView{
		APIVersion: w.Object.GetAPIVersion(), Kind: w.Object.GetKind(), Namespace: w.Object.GetNamespace(),
		Name: w.Object.GetName(), Ref: w.ref(), Created: w.Object.GetCreationTimestamp(), Desired: w.desired(),
		Total: w.number(w.Kind.Total, 0), Updated: w.number(w.Kind.Updated, 0), ToUpdate: w.toUpdate(),
		Ready: w.number(w.Kind.Ready, 0), Available: w.number(w.Kind.Available, 0),
		Strategy: w.strategy(), UpdatePolicy: w.updatePolicy(), Kept: w.kept(), Paused: w.paused(), Observed: w.observed(),
		CurrentRevision: w.text("status.currentRevision"), UpdateRevision: w.text("status.updateRevision"),
		Images: templateImages(w.template()), Rollout: progress(w), Held: w.Held,
	}
	if view.Strategy == "RollingUpdate" {
		view.MaxUnavailable, _ = w.budget()
		if surge, found := w.rolling("maxSurge"); found {
			view.MaxSurge = surge.String()
		}
	}
	if partition, found := w.rolling("partition"); found {
		view.Partition = partition.String()
	}
	return view
}

// viewTree makes the tree: the newest revision first, the pods under their revision.
func viewTree(s Snapshot, now time.Time) Tree {
	tree := Tree{TypeMeta: typeMeta("WorkloadTree"), Workload: viewWorkload(s.Workload)}
	place := map[string]int{}
	for _, r := range slices.Backward(s.Revisions) {
		place[r.Name] = len(tree.Revisions)
		tree.Revisions = append(tree.Revisions, RevisionView{
			Name: r.Name, Hash: r.Hash, Number: r.Number, Created: r.Created, Images: r.images(), Cause: r.Cause,
			Current: r.Current, Update: r.Update,
		})
		if r.Update {
			tree.Workload.UpdateRevision = r.Name
		}
	}
	for i := range s.Pods {
		own, known := revisionOf(&s.Pods[i], s.Revisions)
		at, listed := place[own.Name]
		if !known || !listed {
			own.Name = unknownRevision(s.Workload, &s.Pods[i])
			if at, listed = place[own.Name]; !listed {
				at = len(tree.Revisions)
				place[own.Name] = at
				tree.Revisions = append(tree.Revisions, RevisionView{Name: own.Name})
			}
		}
		tree.Revisions[at].Pods = append(tree.Revisions[at].Pods, viewPod(s, &s.Pods[i], now))
	}
	return tree
}

// text draws the tree. Without ages (now is zero) it says only what can change by a change of the cluster.
func (t Tree) text(wide bool, now time.Time) []string {
	lines := append(t.head(), "")
	header := []string{"NAME", "READY", "STATUS", "RESTARTS", "AGE", "NODE", "CHANGE"}
	if wide {
		header = []string{"NAME", "READY", "STATUS", "RESTARTS", "AGE", "NODE", "IP", "CHANGE"}
	}
	rows := [][]string{header}
	for _, r := range t.Revisions {
		rows = append(rows, []string{r.line(now)})
		for i, p := range r.Pods {
			branch := "├─ "
			if i == len(r.Pods)-1 {
				branch = "└─ "
			}
			cells := p.cells(wide, now)
			cells[0] = branch + cells[0]
			rows = append(rows, cells)
		}
	}
	if len(t.Revisions) == 0 {
		rows = append(rows, []string{"no revisions yet"})
	}
	return append(lines, align(rows)...)
}

// head is the line of the workload, and what it waits for.
func (t Tree) head() []string {
	w := t.Workload
	lines := []string{
		fmt.Sprintf("%s%s: %s", w.Ref, inNamespace(w.Namespace), w.Rollout.text()),
		fmt.Sprintf("  pods      desired %d, updated %d of %d, ready %d, available %d, total %d",
			w.Desired, w.Updated, w.ToUpdate, w.Ready, w.Available, w.Total),
		"  strategy  " + w.strategyText(),
	}
	for i, held := range w.Held {
		lead := "  waits for "
		if i > 0 {
			lead = "            "
		}
		lines = append(lines, lead+held.text())
	}
	return lines
}

// text is the state of a rollout in one line.
func (p Progress) text() string {
	switch p.State {
	case StateDone:
		return "done, " + p.Message
	case StateFailed:
		return "failed, " + p.Message
	case StateOngoing:
	}
	return p.Message
}

func (w WorkloadView) strategyText() string {
	parts := []string{w.Strategy}
	if w.UpdatePolicy != "" {
		parts = append(parts, w.UpdatePolicy)
	}
	if w.MaxUnavailable != "" {
		parts = append(parts, "maxUnavailable "+w.MaxUnavailable)
	}
	if w.MaxSurge != "" && w.MaxSurge != "0" && w.MaxSurge != "0%" {
		parts = append(parts, "maxSurge "+w.MaxSurge)
	}
	if w.Partition != "" && w.Partition != "0" {
		parts = append(parts, fmt.Sprintf("partition %s (keeps %d)", w.Partition, w.Kept))
	}
	if w.Paused {
		parts = append(parts, "PAUSED")
	}
	return strings.Join(parts, ", ")
}

// heldText says in brief what is held back: budget 2, hook 1.
func heldText(held []Held) string {
	parts := make([]string, 0, len(held))
	for _, h := range held {
		parts = append(parts, h.brief())
	}
	return strings.Join(parts, ", ")
}

// brief is the reason and how many wait for it.
func (h Held) brief() string {
	if n := max(h.Count, int64(len(h.Pods))); n > 0 {
		return fmt.Sprintf("%s %d", lowerFirst(h.Reason), n)
	}
	return lowerFirst(h.Reason)
}

// text is brief, with the controller's words.
func (h Held) text() string {
	if h.Message == "" {
		return h.brief()
	}
	return h.brief() + ": " + h.Message
}

// line is the heading of a revision's pods.
func (r RevisionView) line(now time.Time) string {
	if r.Number == 0 && r.Hash == "" {
		if r.Name == notGiven {
			return "pods without its containers"
		}
		return "pods whose revision is not known"
	}
	parts := []string{fmt.Sprintf("revision %d %s", r.Number, r.Name)}
	switch {
	case r.Update && r.Current:
		parts = append(parts, "(current, update)")
	case r.Update:
		parts = append(parts, "(update)")
	case r.Current:
		parts = append(parts, "(current)")
	}
	parts = append(parts, strings.Join(r.Images, ","))
	if !now.IsZero() {
		parts = append(parts, age(r.Created.Time, now)+" old")
	}
	parts = append(parts, pods(int64(len(r.Pods))))
	return strings.Join(parts, "  ")
}

// name tells pods of several namespaces apart.
func (p PodView) name() string {
	if p.Namespace == "" {
		return p.Name
	}
	return p.Namespace + "/" + p.Name
}

// inNamespace says where something is that is in a namespace.
func inNamespace(namespace string) string {
	if namespace == "" {
		return ""
	}
	return " in namespace " + namespace
}

// notGiven stands for the revision of pods that have none of the containers.
const notGiven = "none"

// unknownRevision stands for the revision of pods of none that is there.
func unknownRevision(w Workload, p *corev1.Pod) string {
	if w.Kind.Injects && !isGiven(w, p) {
		return notGiven
	}
	return "unknown"
}

// cells is the row of a pod; without ages when now is zero.
func (p PodView) cells(wide bool, now time.Time) []string {
	since := ""
	if !now.IsZero() {
		since = age(p.Created.Time, now)
	}
	cells := []string{
		p.name(), fmt.Sprintf("%d/%d", p.ReadyContainers, p.Containers), p.Status, fmt.Sprint(p.Restarts), since, orDash(p.Node),
	}
	if wide {
		cells = append(cells, orDash(p.IP))
	}
	return append(cells, p.Change.text(now))
}

// text words a change; without times when now is zero.
func (c Change) text(now time.Time) string {
	text := c.Message
	if c.brief != "" {
		text = c.brief
	}
	switch c.State {
	case ChangeCreated:
		return "created"
	case ChangeInPlace:
		text = "updated in place"
	}
	if now.IsZero() || c.Since == nil || c.Since.IsZero() {
		return text
	}
	switch c.State {
	case ChangeInPlace:
		return fmt.Sprintf("%s %s ago", text, age(c.Since.Time, now))
	case ChangeUpdating:
		return fmt.Sprintf("%s, for %s", text, age(c.Since.Time, now))
	}
	return text
}
