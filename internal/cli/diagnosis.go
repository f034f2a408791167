package cli

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Evidence is what was read to say why something waits.
type Evidence struct {
	Snapshot
	Events []corev1.Event                          // warnings, the newest last
	Claims map[string]corev1.PersistentVolumeClaim // of the pods, by name
	Nodes  map[string]corev1.Node                  // of the pods that are not ready, by name
	Known  bool                                    // the claims could be read: one that is missing does not exist
}

// Diagnosis is what a workload or a pod waits for, the first cause first.
type Diagnosis struct {
	metav1.TypeMeta `json:",inline"`
	Subject         string      `json:"subject"` // cloneset/web, pod/web-abcde
	Namespace       string      `json:"namespace"`
	Summary         string      `json:"summary"`
	Findings        []Finding   `json:"findings"`
	Guards          []GuardView `json:"guards,omitempty"` // of a pod: what must allow it to go
}

// Finding is one thing that is waited for.
type Finding struct {
	Cause string   `json:"cause"`
	What  string   `json:"what"`
	Why   string   `json:"why,omitempty"`
	Do    string   `json:"do,omitempty"`
	Pods  []string `json:"pods,omitempty"`
}

// causes lists what may be waited for, in the order in which one hides the next:
// what stops a whole workload, what stops a pod from running, what stops it from
// counting, and what holds a change back on purpose.
func causes() []string {
	return []string{
		"Stalled", "NotObserved", "Create", "Overlap",
		"Claim", "Scheduling", "Node", "Volume", "Network", "Image", "Config", "Crash", "Init", "Start",
		"PVC", "Container", "Failed", "Probe", "Gate", "Marked", "MinReady", "Update", "Grace", "Surge", "Hook", "Finalizer",
		"Deleting", "Termination", "ScaleStrategy", "NotInjected", "InPlaceOnly",
		"ProgressDeadlineExceeded", "Paused", "OnDelete", "Budget", "Partition", "Turn",
	}
}

// diagnose says what a workload waits for.
func diagnose(e Evidence, now time.Time) Diagnosis {
	w := e.Workload
	findings := ofWorkload(e, now)
	for i := range e.Pods {
		findings = append(findings, ofPod(e, &e.Pods[i], now)...)
	}
	findings = append(findings, ofHeld(w, findings)...)
	summary := statusLine(viewWorkload(w))
	return Diagnosis{
		TypeMeta: typeMeta("Diagnosis"), Subject: w.ref(), Namespace: w.Object.GetNamespace(),
		Summary: summary, Findings: fold(findings),
	}
}

// diagnosePod says what one pod waits for; e.Workload.Object is nil for a pod of no workload that we know.
func diagnosePod(e Evidence, p *corev1.Pod, now time.Time) Diagnosis {
	d := Diagnosis{
		TypeMeta: typeMeta("Diagnosis"), Subject: "pod/" + p.Name, Namespace: p.Namespace,
		Summary: podStatus(p) + ", " + readiness(p), Findings: fold(ofPod(e, p, now)),
	}
	if e.Workload.Object != nil {
		d.Summary += ", of " + e.Workload.ref()
		var own []Finding
		for _, f := range ofWorkload(e, now) {
			if f.Cause == "Stalled" || f.Cause == "NotObserved" {
				own = append(own, f)
			}
		}
		d.Findings = fold(append(own, d.Findings...))
	}
	return d
}

// fold joins the findings that differ in their pods only, and sorts by cause.
func fold(findings []Finding) []Finding {
	folded := []Finding{}
	for _, f := range findings {
		same := slices.IndexFunc(folded, func(g Finding) bool {
			return g.Cause == f.Cause && g.What == f.What && g.Do == f.Do && (g.Why == f.Why || len(f.Pods) > 0)
		})
		if same < 0 {
			folded = append(folded, f)
			continue
		}
		folded[same].Pods = append(folded[same].Pods, f.Pods...)
	}
	order := causes()
	rank := func(f Finding) int {
		if at := slices.Index(order, f.Cause); at >= 0 {
			return at
		}
		return len(order)
	}
	sort.SliceStable(folded, func(i, j int) bool { return rank(folded[i]) < rank(folded[j]) })
	return folded
}

// ofWorkload covers what concerns the workload as a whole.
func ofWorkload(e Evidence, now time.Time) []Finding {
	w := e.Workload
	var findings []Finding
	if !w.observed() {
		findings = append(findings, Finding{
			Cause: "NotObserved", What: fmt.Sprintf("generation %d of the spec is not seen yet", w.Object.GetGeneration()),
			Why: fmt.Sprintf("the controller has seen generation %d", w.number("status.observedGeneration", 0)),
			Do:  "wait some seconds; if it stays, " + operatorHint(w.Kind),
		})
	}
	if c := w.condition("Stalled"); c.Status == "True" {
		findings = append(findings, Finding{
			Cause: "Stalled", What: "the controller cannot go on: " + c.Reason, Why: c.Message,
			Do: "change what the message names, in the spec of " + w.ref(),
		})
	}
	if c := w.condition("Clashing"); c.Status == "True" {
		findings = append(findings, Finding{
			Cause: "Overlap", What: "another SidecarSet gives the same pods the same", Why: c.Message,
			Do: "do what the message says, in one of the two",
		})
	}
	if c := w.condition("NoMatchingNodes"); c.Status == "True" {
		findings = append(findings, Finding{
			Cause: "Scheduling", What: "no node should have a pod", Why: c.Message,
			Do: "change nodeSelector, affinity or tolerations in spec.template of " + w.ref() + ", or the labels and taints of the nodes",
		})
	}
	if c := w.condition("Progressing"); c.Reason == "ProgressDeadlineExceeded" {
		findings = append(findings, Finding{
			Cause: c.Reason, What: "the rollout made no progress within progressDeadlineSeconds", Why: c.Message,
			Do: "remove the causes named here, or go back: kubectl holdfast rollout undo " + w.ref(),
		})
	}
	findings = append(findings, ofCreation(e, now)...)
	return append(findings, ofStrangers(e)...)
}

func operatorHint(k Kind) string {
	if k.Ours {
		return "see whether the operator runs: kubectl -n holdfast-system get pods"
	}
	return "see whether the cluster's controller-manager runs"
}

// ofCreation covers pods that are wanted and cannot be made.
func ofCreation(e Evidence, now time.Time) []Finding {
	w := e.Workload
	for _, kind := range []string{"ReplicaFailure", "FailedScale", "FailedUpdate"} {
		if c := w.condition(kind); c.Status == "True" {
			return []Finding{{Cause: "Create", What: "pods cannot be created or changed: " + c.Reason, Why: c.Message, Do: refusedHint(c.Message)}}
		}
	}
	if int64(len(e.Pods)) >= w.desired() || !w.observed() || w.Kind.Injects {
		return nil
	}
	missing := pods(w.desired() - int64(len(e.Pods)))
	ids := []types.UID{w.uid()}
	for _, r := range e.Revisions {
		ids = append(ids, types.UID(r.Name)) // ReplicaSets are matched by name
	}
	if event, found := e.last(now, ids, "FailedCreate"); found {
		return []Finding{{Cause: "Create", What: missing + " cannot be created", Why: event.Message, Do: refusedHint(event.Message)}}
	}
	if len(w.Held) > 0 {
		return nil // the controller gives its reason
	}
	return []Finding{{Cause: "Create", What: missing + " not created yet", Do: "wait some seconds; if it stays, " + operatorHint(w.Kind)}}
}

// ofStrangers covers pods that the selector matches and somebody else controls.
func ofStrangers(e Evidence) []Finding {
	var findings []Finding
	for _, p := range e.Strangers {
		ref := metav1.GetControllerOfNoCopy(&p)
		if ref == nil {
			continue
		}
		findings = append(findings, Finding{
			Cause: "Overlap", What: fmt.Sprintf("the selector also matches pods of %s/%s", strings.ToLower(ref.Kind), ref.Name),
			Why: "two owners with one selector count each other's pods in Services and budgets",
			Do:  "give one of them a label of its own, in its selector and its template", Pods: []string{p.Name},
		})
	}
	return findings
}

// ofHeld covers what the controller says it holds back and no finding tells yet.
func ofHeld(w Workload, told []Finding) []Finding {
	var findings []Finding
	for _, h := range w.Held {
		known := slices.ContainsFunc(told, func(f Finding) bool { return strings.EqualFold(f.Cause, h.Reason) })
		if known {
			continue
		}
		n := max(h.Count, int64(len(h.Pods)))
		what := plural(max(n, 1), "change") + " held back"
		if h.Reason == string(v1beta1.HeldByUpdate) {
			what = plural(max(n, 1), "change") + " under way"
		}
		findings = append(findings, Finding{Cause: h.Reason, What: what, Why: h.Message, Do: heldHint(w, h.Reason), Pods: h.Pods})
	}
	return findings
}

// text tells the diagnosis to a person.
func (d Diagnosis) text() []string {
	lines := []string{fmt.Sprintf("%s%s: %s", d.Subject, inNamespace(d.Namespace), d.Summary)}
	if len(d.Findings) == 0 {
		return append(append(lines, "it waits for nothing"), d.guardLines()...)
	}
	for i, f := range d.Findings {
		what := f.What
		if len(f.Pods) > 0 && "pod/"+f.Pods[0] != d.Subject {
			what = fmt.Sprintf("%s: %s", podList(f.Pods), f.What)
		}
		lines = append(lines, "", fmt.Sprintf("%d. %s: %s", i+1, lowerFirst(f.Cause), what))
		if f.Why != "" {
			lines = append(lines, "   why  "+f.Why)
		}
		if f.Do != "" {
			lines = append(lines, "   do   "+f.Do)
		}
	}
	return append(lines, d.guardLines()...)
}

// guardLines tell of the guards of a pod.
func (d Diagnosis) guardLines() []string {
	if len(d.Guards) == 0 {
		return nil
	}
	return append([]string{"", "guarded by:"}, align(guardRows(d.Guards))...)
}

// podList names some pods and counts the others.
func podList(names []string) string {
	const most = 3
	if len(names) == 1 {
		return "pod " + names[0]
	}
	if len(names) <= most {
		return fmt.Sprintf("%d pods (%s)", len(names), strings.Join(names, ", "))
	}
	return fmt.Sprintf("%d pods (%s and %d more)", len(names), strings.Join(names[:most], ", "), len(names)-most)
}

// last is the newest event about one of the objects, by uid or name, with one of the reasons, of the last hour.
func (e Evidence) last(now time.Time, ids []types.UID, reasons ...string) (corev1.Event, bool) {
	for _, event := range slices.Backward(e.Events) {
		about := slices.Contains(ids, event.InvolvedObject.UID) || slices.Contains(ids, types.UID(event.InvolvedObject.Name))
		if about && slices.Contains(reasons, event.Reason) && now.Sub(eventTime(event)) < time.Hour {
			return event, true
		}
	}
	return corev1.Event{}, false
}

// eventTime is when an event was last seen, whichever API wrote it.
func eventTime(e corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}
