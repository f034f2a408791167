package pull

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Outcome is how a pull went so far.
type Outcome struct {
	// Over: it is not tried any more.
	Over bool
	// Trouble is why the image is not there; "" where it is, or where nothing speaks against it.
	Trouble string
}

// Outcomes by pull.
type Outcomes map[Pull]Outcome

// Plan is what is to be done about the pulls of a set now.
type Plan struct {
	Create []Pull
	Delete []*corev1.Pod
	// Learned is what the pods show that was not known.
	Learned Outcomes
	// Again is when time alone will end a pull; 0: never.
	Again time.Duration
}

// batch bounds how many pull pods one pass makes, and how many it deletes; the events of those cause the next pass.
const batch = 50

// Decide compares the pull pods with what is wished. It is pure.
func Decide(w Wish, pods []*corev1.Pod, known Outcomes, now time.Time) Plan {
	plan := Plan{Learned: Outcomes{}}
	taken, flying := map[Pull]bool{}, 0
	for _, p := range pods {
		at := pullOf(p)
		taken[at] = true
		if p.DeletionTimestamp != nil {
			continue
		}
		o, left := Outcome{}, time.Duration(0)
		if w.Images[at.Image] {
			o, left = judge(p, known[at], w.Timeout, now)
			if o != known[at] {
				plan.Learned[at] = o
			}
		}
		if o.Over || !w.Images[at.Image] {
			plan.remove(p)
			continue
		}
		flying++
		if plan.Again == 0 || left < plan.Again {
			plan.Again = left
		}
	}
	for _, need := range w.Needs {
		if flying >= w.Parallel || len(plan.Create) == batch {
			break
		}
		if taken[need] || known[need].Over {
			continue
		}
		plan.Create = append(plan.Create, need)
		flying++
	}
	return plan
}

func (p *Plan) remove(pod *corev1.Pod) {
	if len(p.Delete) < batch {
		p.Delete = append(p.Delete, pod)
	}
}

// pullOf is what a pull pod is for.
func pullOf(p *corev1.Pod) Pull {
	at := Pull{Node: p.Spec.NodeName}
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == container {
			at.Image = p.Spec.Containers[i].Image
		}
	}
	return at
}

// judge reads from a pull pod how the pull goes, and how long it may still take.
func judge(p *corev1.Pod, known Outcome, timeout time.Duration, now time.Time) (Outcome, time.Duration) {
	status := corev1.ContainerStatus{}
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == container {
			status = s
		}
	}
	left := timeout - now.Sub(p.CreationTimestamp.Time)
	trouble := known.Trouble
	if trouble == "" { // the first message stays: the kubelet says the same in changing words
		trouble = refusal(&status)
	}
	switch {
	case p.Status.Phase == corev1.PodSucceeded || pulled(&status):
		return Outcome{Over: true}, 0
	case p.Status.Phase == corev1.PodFailed && trouble == "":
		return Outcome{Over: true, Trouble: "the node gave the pull up: " + short(p.Status.Reason+" "+p.Status.Message)}, 0
	case p.Status.Phase == corev1.PodFailed:
		return Outcome{Over: true, Trouble: trouble}, 0
	case left <= 0 && trouble == "":
		return Outcome{Over: true, Trouble: fmt.Sprintf("it was not there after imagePreDownloadTimeoutSeconds (%s)", timeout)}, 0
	case left <= 0:
		return Outcome{Over: true, Trouble: trouble}, 0
	}
	return Outcome{Trouble: trouble}, left
}

// pulled reports whether the kubelet had the image before it went on, or before it failed: any image may lack the command
// that a pull pod runs, and no pull pod needs to run.
func pulled(s *corev1.ContainerStatus) bool {
	switch {
	case s.ImageID != "" || s.State.Running != nil:
		return true
	case s.State.Terminated != nil:
		// The kubelet ends so a container that it never made, when it gives its pod up.
		return s.State.Terminated.Reason != "ContainerStatusUnknown"
	case s.State.Waiting != nil:
		return slices.Contains([]string{
			"CreateContainerError", "CreateContainerConfigError", "RunContainerError", "StartError",
			"PreCreateHookError", "CrashLoopBackOff",
		}, s.State.Waiting.Reason)
	}
	return false
}

// refusal is why the kubelet cannot get the image.
func refusal(s *corev1.ContainerStatus) string {
	if s.State.Waiting == nil {
		return ""
	}
	switch reason := s.State.Waiting.Reason; reason {
	case "ErrImagePull", "ImagePullBackOff":
		return short(s.State.Waiting.Message)
	case "InvalidImageName", "ErrImageNeverPull", "ErrImageInspect", "RegistryUnavailable", "SignatureValidationFailed":
		return short(reason + " " + s.State.Waiting.Message)
	}
	return ""
}

// How much of a kubelet's message is kept.
const maxMessage = 300

func short(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= maxMessage {
		return text
	}
	return strings.ToValidUTF8(text[:maxMessage], "") + "..."
}
