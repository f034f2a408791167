package cli

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// PodView is a pod of a workload, and how it got, or gets, to its revision.
type PodView struct {
	Name            string      `json:"name"`
	Namespace       string      `json:"namespace,omitempty"` // where the workload itself has none
	Status          string      `json:"status"`
	Ready           bool        `json:"ready"`
	Available       bool        `json:"available"`
	ReadyContainers int         `json:"readyContainers"`
	Containers      int         `json:"containers"`
	Restarts        int32       `json:"restarts"`
	Created         metav1.Time `json:"created"`
	Node            string      `json:"node,omitempty"`
	IP              string      `json:"ip,omitempty"`
	Change          Change      `json:"change"`
}

// The states of a pod's change.
const (
	ChangeCreated  = "Created"        // made at its revision
	ChangeInPlace  = "UpdatedInPlace" // brought to its revision without being recreated
	ChangeUpdating = "Updating"       // being brought to its revision in place
	ChangeWaiting  = "Waiting"        // something is held back
	ChangeKept     = "Kept"           // partition keeps it at its old revision
	ChangeDeleting = "Deleting"       // on its way out
)

// Change is how a pod got to its revision, or what keeps it from the next one.
type Change struct {
	State   string       `json:"state"`
	Reason  string       `json:"reason,omitempty"` // Paused, Partition, Budget, Hook, OnDelete, Turn, or the controller's own
	Message string       `json:"message,omitempty"`
	Since   *metav1.Time `json:"since,omitempty"`

	brief string // stands for Message in a table whose head tells it once for all pods
}

// viewPod makes the view of one pod.
func viewPod(s Snapshot, p *corev1.Pod, now time.Time) PodView {
	minReady := time.Duration(s.Workload.number("spec.minReadySeconds", 0)) * time.Second
	available, _ := pod.Available(p, minReady, now)
	view := PodView{
		Name: p.Name, Status: podStatus(p), Ready: pod.Ready(p), Available: available, Restarts: pod.Restarts(p),
		Containers: len(p.Spec.Containers), Created: p.CreationTimestamp, Node: p.Spec.NodeName, IP: p.Status.PodIP,
		Change: changeOf(s, p),
	}
	if s.Workload.Object.GetNamespace() == "" {
		view.Namespace = p.Namespace
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.Ready {
			view.ReadyContainers++
		}
	}
	return view
}

// changeOf says how a pod got to its revision, or what keeps it from the next one.
func changeOf(s Snapshot, p *corev1.Pod) Change {
	if s.Workload.Kind.Injects {
		return givenChange(s, p)
	}
	state := inplace.Read(p)
	steps := []func() (Change, bool){
		func() (Change, bool) { return leaving(s, p) },
		func() (Change, bool) { return changing(s, p, state) },
		func() (Change, bool) { return heldBack(s, p) },
		func() (Change, bool) { return behind(s, p) },
	}
	for _, step := range steps {
		if change, found := step(); found {
			return change
		}
	}
	if state != nil && revisionsAgree(p, s, state.Revision) {
		return Change{State: ChangeInPlace, Since: &state.UpdateTimestamp}
	}
	return Change{State: ChangeCreated, Since: &p.CreationTimestamp}
}

// leaving covers pods on their way out.
func leaving(s Snapshot, p *corev1.Pod) (Change, bool) {
	switch {
	case p.DeletionTimestamp != nil && len(p.Finalizers) > 0:
		return Change{
			State: ChangeDeleting, Reason: "Finalizer", Message: "being deleted, held by finalizer " + p.Finalizers[0],
			Since: p.DeletionTimestamp,
		}, true
	case p.DeletionTimestamp != nil:
		return Change{State: ChangeDeleting, Message: "being deleted", Since: p.DeletionTimestamp}, true
	case p.Labels[v1beta1.LifecycleStateKey] == "PreparingDelete":
		return Change{State: ChangeDeleting, Reason: "Hook", Message: "to be deleted, waiting: " + hookText(s.Workload, "preDelete")}, true
	case p.Labels[v1beta1.SpecifiedDelete] != "":
		change, held := heldBack(s, p)
		change.State = ChangeDeleting
		if !held {
			change.Message = "to be deleted, as asked by its label " + v1beta1.SpecifiedDelete
			return change, true
		}
		change.Message, change.brief = "to be deleted, "+change.Message, "to be deleted, "+change.brief
		return change, true
	}
	return Change{}, false
}

// changing covers pods in the middle of a change in place, and those that a hook holds.
func changing(s Snapshot, p *corev1.Pod, state *inplace.State) (Change, bool) {
	lifecycle := p.Labels[v1beta1.LifecycleStateKey]
	switch {
	case lifecycle == "PreparingUpdate":
		return Change{State: ChangeWaiting, Reason: "Hook", Message: "waiting: " + hookText(s.Workload, "inPlaceUpdate")}, true
	case lifecycle == "PreparingNormal":
		return Change{State: ChangeWaiting, Reason: "Hook", Message: "waiting: " + hookText(s.Workload, "preNormal")}, true
	case p.Annotations[v1beta1.InPlaceUpdateGrace] != "":
		return Change{State: ChangeUpdating, Reason: "Grace", Message: "updating in place: taken out of traffic before the change"}, true
	case state == nil:
		return Change{}, false
	}
	since := &state.UpdateTimestamp
	switch phase, waits := inplace.Progress(p); phase {
	case inplace.Running:
		return Change{State: ChangeUpdating, Reason: "Update", Message: "updating in place: " + waits, Since: since}, true
	case inplace.NextBatch:
		return Change{State: ChangeUpdating, Reason: "Update", Message: "updating in place: its next containers follow", Since: since}, true
	case inplace.Idle:
	}
	switch lifecycle {
	case "Updating":
		return Change{State: ChangeUpdating, Message: "updating in place", Since: since}, true
	case "Updated":
		return Change{
			State: ChangeWaiting, Reason: "Hook", Since: since,
			Message: "updated in place, waiting: " + hookText(s.Workload, "inPlaceUpdate"),
		}, true
	}
	return Change{}, false
}

// heldBack covers pods that the controller itself says it holds back.
func heldBack(s Snapshot, p *corev1.Pod) (Change, bool) {
	for _, held := range s.Workload.Held {
		if slices.Contains(held.Pods, p.Name) && !outdated(held, p) {
			return heldChange(held), true
		}
	}
	return Change{}, false
}

// outdated tells whether the pod itself shows that the status is older than it.
func outdated(held Held, p *corev1.Pod) bool {
	switch v1beta1.HeldReason(held.Reason) {
	case v1beta1.HeldByUpdate:
		return true // a pod that is still being changed shows it itself
	case v1beta1.HeldByImage, v1beta1.HeldByContainer, v1beta1.HeldByScheduling, v1beta1.HeldByPVC:
		return pod.Ready(p)
	default:
		return false
	}
}

// heldChange words what the controller holds back: what the user wants kept is kept, the rest waits.
func heldChange(held Held) Change {
	c := Change{State: ChangeWaiting, Reason: held.Reason, brief: "waiting: " + lowerFirst(held.Reason)}
	if held.Reason == string(v1beta1.HeldByPartition) {
		c.State, c.brief = ChangeKept, "kept: partition"
	}
	c.Message = c.brief
	if held.Message != "" {
		c.Message += " (" + held.Message + ")"
	}
	return c
}

// inWords prefers the controller's own words for a reason: it names some of the pods only.
func inWords(w Workload, c Change) Change {
	for _, held := range w.Held {
		if held.Reason == c.Reason {
			return heldChange(held)
		}
	}
	return c
}

// behind covers pods of an old revision for which the controller gives no reason: the spec tells.
func behind(s Snapshot, p *corev1.Pod) (Change, bool) {
	update, known := updateRevision(s.Revisions)
	if own, found := revisionOf(p, s.Revisions); !known || !found || own.Name == update.Name {
		return Change{}, false
	}
	return inWords(s.Workload, behindOf(s.Workload)), true
}

// behindOf says what keeps the pods of old revisions, by the spec.
func behindOf(w Workload) Change {
	written, most := w.budget()
	missing := w.desired() - w.number(w.Kind.Available, 0)
	switch {
	case w.paused():
		return Change{State: ChangeWaiting, Reason: "Paused", Message: "waiting: paused"}
	case w.strategy() == "OnDelete":
		return Change{State: ChangeWaiting, Reason: "OnDelete", Message: "waiting: OnDelete, until somebody deletes it"}
	case w.kept() > 0 && w.number(w.Kind.Updated, 0) >= w.toUpdate():
		return Change{State: ChangeKept, Reason: "Partition", Message: fmt.Sprintf("kept: partition (keeps %d at their old revision)", w.kept())}
	case missing >= most:
		return Change{
			State: ChangeWaiting, Reason: "Budget",
			Message: fmt.Sprintf("waiting: budget (maxUnavailable %s, %d unavailable)", written, missing),
		}
	}
	return Change{State: ChangeWaiting, Reason: "Turn", Message: "waiting: its turn"}
}

// revisionsAgree tells whether a pod's labels name the revision id.
func revisionsAgree(p *corev1.Pod, s Snapshot, id string) bool {
	own, found := revisionOf(p, s.Revisions)
	return found && own.is(id) || id == pod.Revision(p)
}

// podStatus is the one word that says how a pod is, as kubectl get pods words it.
func podStatus(p *corev1.Pod) string {
	switch {
	case p.DeletionTimestamp != nil && p.Status.Reason == "NodeLost":
		return "Unknown"
	case p.DeletionTimestamp != nil:
		return "Terminating"
	case p.Status.Reason != "":
		return p.Status.Reason // Evicted, NodeAffinity, ...
	}
	if status := initStatus(p); status != "" {
		return status
	}
	status := string(p.Status.Phase)
	for _, container := range slices.Backward(p.Status.ContainerStatuses) {
		if text := containerStatus(container.State); text != "" && (text != "Completed" || !pod.Ready(p)) {
			status = text
		}
	}
	if c := pod.Condition(p, corev1.PodScheduled); status == "Pending" && c != nil && c.Status == corev1.ConditionFalse {
		return c.Reason // Unschedulable, SchedulingGated
	}
	return status
}

// initStatus is the status of the first init container that is not done, or "".
func initStatus(p *corev1.Pod) string {
	for i, c := range p.Status.InitContainerStatuses {
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0, c.Started != nil && *c.Started && c.Ready:
			continue
		case c.State.Running != nil && c.Started != nil && *c.Started:
			continue // a sidecar: it never ends
		}
		if text := containerStatus(c.State); text != "" && text != "PodInitializing" {
			return "Init:" + text
		}
		return fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
	}
	return ""
}

func containerStatus(state corev1.ContainerState) string {
	switch {
	case state.Waiting != nil:
		return state.Waiting.Reason
	case state.Terminated != nil && state.Terminated.Reason != "":
		return state.Terminated.Reason
	case state.Terminated != nil:
		return fmt.Sprintf("ExitCode:%d", state.Terminated.ExitCode)
	}
	return ""
}
