package inplace

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// State is what a pod remembers of its last change in place, in the annotation apps.kruise.io/inplace-update-state.
type State struct {
	// Revision that the pod goes to.
	Revision string `json:"revision"`
	// UpdateTimestamp is when the change began.
	UpdateTimestamp metav1.Time `json:"updateTimestamp"`
	// LastContainerStatuses are the containers that must restart, as they were before.
	LastContainerStatuses map[string]ContainerStatus `json:"lastContainerStatuses,omitempty"`
	// UpdateImages, UpdateEnvFromMetadata and UpdateResources say what kind of change it is.
	UpdateImages          bool `json:"updateImages,omitempty"`
	UpdateEnvFromMetadata bool `json:"updateEnvFromMetadata,omitempty"`
	UpdateResources       bool `json:"updateResources,omitempty"`
	// NextContainerImages wait until the containers of higher launch priority are ready.
	NextContainerImages map[string]string `json:"nextContainerImages,omitempty"`
	// PreCheckBeforeNext names those containers.
	PreCheckBeforeNext *PreCheck `json:"preCheckBeforeNext,omitempty"`
	// ContainerBatchesRecord is the history of the batches.
	ContainerBatchesRecord []Batch `json:"containerBatchesRecord,omitempty"`
}

// ContainerStatus is what identifies one run of a container.
type ContainerStatus struct {
	ImageID     string `json:"imageID,omitempty"`
	ContainerID string `json:"containerID,omitempty"`
	// Unsettled says that the change before this one was still under way: the kubelet may never see that one, and then
	// taking it back restarts nothing.
	Unsettled bool `json:"unsettled,omitempty"`
	// EnvHash stands for the values that the container shall get from the pod's metadata, where a node daemon is to restart
	// it for them.
	EnvHash uint64 `json:"envHash,omitempty"`
}

// PreCheck is what must hold before the next batch.
type PreCheck struct {
	ContainersRequiredReady []string `json:"containersRequiredReady,omitempty"`
}

// Batch is a group of containers that were changed together.
type Batch struct {
	Timestamp  metav1.Time `json:"timestamp"`
	Containers []string    `json:"containers"`
}

// Read returns the state that rides on the pod; nil when it was never changed in place, or when the state cannot be read,
// which is all one: nothing is known to be under way.
func Read(p *corev1.Pod) *State {
	raw, ok := p.Annotations[appsv1beta1.InPlaceUpdateState]
	if !ok {
		return nil
	}
	var state State
	if json.Unmarshal([]byte(raw), &state) != nil {
		return nil
	}
	return &state
}

// Phase is how far a change in place has come.
type Phase int

// The phases of a change in place.
const (
	// Idle: no change is under way.
	Idle Phase = iota
	// Running: the kubelet has work to do.
	Running
	// NextBatch: the containers of the next launch priority can be changed.
	NextBatch
)

// Progress tells how far the pod's change in place has come, and what it waits for.
func Progress(p *corev1.Pod) (Phase, string) {
	state := underWay(p)
	if state == nil {
		return Idle, ""
	}
	if why := state.unfinished(p); why != "" {
		return Running, why
	}
	if len(state.NextContainerImages) == 0 {
		return Idle, ""
	}
	for _, name := range state.required() {
		if status := pod.Container(p, name); status == nil || !status.Ready {
			return Running, "container " + name + " must be ready before containers of lower launch priority are changed"
		}
	}
	return NextBatch, ""
}

// Covered reports whether the kubelet itself keeps the pod not ready until its change in place is done, so that the readiness
// gate has nothing to keep any more: it has seen the change, and none of the containers that must restart runs. Whatever it
// starts from then on is what the spec says. The pod is then ready with the kubelet's own word that its containers are, one
// write and one round trip sooner.
func Covered(p *corev1.Pod) bool {
	state := underWay(p)
	if state == nil || state.UpdateResources || len(state.NextContainerImages) > 0 || p.Status.ObservedGeneration == 0 || !pod.Observed(p) {
		return false
	}
	covered := false
	for name, before := range state.LastContainerStatuses {
		if state.done(p, name, before) {
			continue
		}
		status := pod.Container(p, name)
		if before.EnvHash != 0 || status == nil || status.Ready || status.State.Running != nil {
			return false // a node daemon needs the gate closed for as long as it is to stop a container
		}
		covered = true
	}
	return covered
}

func (s *State) required() []string {
	if s.PreCheckBeforeNext == nil {
		return nil
	}
	return s.PreCheckBeforeNext.ContainersRequiredReady
}

// unfinished names the first thing that the kubelet has still to do.
func (s *State) unfinished(p *corev1.Pod) string {
	for _, name := range slices.Sorted(maps.Keys(s.LastContainerStatuses)) { // sorted: the same answer at every pass
		before := s.LastContainerStatuses[name]
		if s.done(p, name, before) {
			continue
		}
		if cause, text := pod.Waiting(p); cause != pod.NoCause {
			return text
		}
		if before.EnvHash != 0 && !settled(p, name, before) {
			return "container " + name + " has not started with its new environment yet; the daemon of its node restarts it, " +
				"and if it does not, see whether holdfast-node runs there"
		}
		return "container " + name + " has not started with its new image yet"
	}
	if s.UpdateResources {
		return pod.Resizing(p)
	}
	return ""
}

// done reports whether the container runs with what it was stopped for.
func (s *State) done(p *corev1.Pod, name string, before ContainerStatus) bool {
	if before.EnvHash == 0 {
		return restarted(p, name, before)
	}
	return settled(p, name, before) && (!s.changesImage(name) || restarted(p, name, before))
}

// changesImage reports whether the container is in the batch whose images were changed last.
func (s *State) changesImage(name string) bool {
	n := len(s.ContainerBatchesRecord)
	return n > 0 && slices.Contains(s.ContainerBatchesRecord[n-1].Containers, name)
}

// restarted reports whether the container runs what the spec says. A new image ID proves it. With the same content under a
// new tag the image ID stays, and then a new container ID proves it once the kubelet has seen the spec. The name of the
// image in the status proves nothing as a rule: a runtime that knows two tags of one image may tell either of them, before
// the restart too. It is asked only where nothing else can tell: a change that was taken back before the kubelet saw it
// restarts nothing, an older kubelet does not say what it has seen, and another controller kept no container ID.
func restarted(p *corev1.Pod, name string, before ContainerStatus) bool {
	status := pod.Container(p, name)
	if status == nil || status.ContainerID == "" || !pod.Observed(p) {
		return false
	}
	if status.ImageID != before.ImageID && status.ImageID != "" && before.ImageID != "" {
		return true
	}
	known := p.Status.ObservedGeneration > 0 && (before.ContainerID != "" || before.ImageID == "") // neither: it had not started yet
	if known && status.ContainerID != before.ContainerID {
		return true
	}
	return (!known || before.Unsettled) && status.State.Running != nil && sameImage(status.Image, specImage(p, name))
}

// sameImage compares the image in a status, which the runtime may have completed with a registry, to that in a spec.
func sameImage(status, spec string) bool {
	return status == spec || strings.HasSuffix(status, "/"+spec)
}

func specImage(p *corev1.Pod, name string) string {
	for _, containers := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range containers {
			if containers[i].Name == name {
				return containers[i].Image
			}
		}
	}
	return ""
}

// priority is the launch priority that a container asks for in its environment; higher starts first.
func priority(c *corev1.Container) int {
	for _, env := range c.Env {
		if env.Name == appsv1beta1.ContainerPriorityEnv {
			if n, err := strconv.Atoi(env.Value); err == nil {
				return n
			}
		}
	}
	return 0
}

// firstBatch splits images into those of the highest launch priority and the rest.
func firstBatch(p *corev1.Pod, images map[string]string) (now, later map[string]string) {
	type ranked struct {
		name     string
		priority int
	}
	var all []ranked
	ordered := p.Annotations[appsv1beta1.ContainerLaunchPriority] == "Ordered"
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		if image, changes := images[c.Name]; !changes || image == c.Image {
			continue // its turn never came before the change was taken back: the kubelet has nothing to do
		}
		rank := priority(c)
		if ordered {
			rank = -i
		}
		all = append(all, ranked{c.Name, rank})
	}
	if len(all) == 0 {
		return nil, nil
	}
	top := slices.MaxFunc(all, func(a, b ranked) int { return cmp.Compare(a.priority, b.priority) }).priority
	for _, c := range all {
		if c.priority == top {
			put(&now, c.name, images[c.name])
		} else {
			put(&later, c.name, images[c.name])
		}
	}
	return now, later
}

// Begin returns the state and the images of the first batch with which the pod starts on its way to the revision.
func Begin(p *corev1.Pod, delta Delta, revision string, now time.Time) (State, map[string]string) {
	prior := underWay(p)
	if prior == nil {
		prior = &State{}
	}
	// Containers of a change that was overtaken may not have got their images yet; the templates alone do not show that.
	all := map[string]string{}
	maps.Copy(all, prior.NextContainerImages)
	maps.Copy(all, delta.Images)
	images, later := firstBatch(p, all)
	state := State{
		Revision:              revision,
		UpdateTimestamp:       metav1.NewTime(now),
		UpdateImages:          len(all) > 0,
		UpdateEnvFromMetadata: len(delta.Env) > 0,
		UpdateResources:       len(delta.Resources) > 0,
	}
	for name, before := range prior.LastContainerStatuses {
		if !prior.done(p, name, before) && all[name] == "" {
			put(&state.LastContainerStatuses, name, before) // the kubelet still owes this one
		}
	}
	for _, name := range delta.Env {
		if later[name] == "" { // its new image restarts it when its turn comes
			run := identify(p, name, prior)
			run.EnvHash = asked(p, name, delta)
			put(&state.LastContainerStatuses, name, run)
		}
	}
	state.take(p, images, later, prior, now)
	return state, images
}

// Continue returns the state and the images of the next batch.
func Continue(p *corev1.Pod, state State, now time.Time) (State, map[string]string) {
	images, later := firstBatch(p, state.NextContainerImages)
	prior := state
	state.LastContainerStatuses = nil
	state.take(p, images, later, &prior, now)
	return state, images
}

// take notes the images of a batch, and how the containers are before; prior is the change before this one.
func (s *State) take(p *corev1.Pod, images, later map[string]string, prior *State, now time.Time) {
	batch := make([]string, 0, len(images))
	for name := range images {
		run := identify(p, name, prior)
		if run.Unsettled { // taken back in time its image restarts nothing, and then a new environment needs the daemon
			run.EnvHash = s.LastContainerStatuses[name].EnvHash
		}
		put(&s.LastContainerStatuses, name, run)
		batch = append(batch, name)
	}
	slices.Sort(batch)
	s.NextContainerImages, s.PreCheckBeforeNext = later, nil
	if len(later) > 0 {
		s.PreCheckBeforeNext = &PreCheck{ContainersRequiredReady: batch}
	}
	if len(batch) > 0 {
		s.ContainerBatchesRecord = append(s.ContainerBatchesRecord, Batch{Timestamp: metav1.NewTime(now), Containers: batch})
	}
}

// identify tells which run of a container there is now; prior is the change before this one.
func identify(p *corev1.Pod, name string, prior *State) ContainerStatus {
	status := pod.Container(p, name)
	if status == nil {
		return ContainerStatus{}
	}
	before, changed := prior.LastContainerStatuses[name]
	unsettled := changed && !prior.done(p, name, before)
	return ContainerStatus{ImageID: status.ImageID, ContainerID: status.ContainerID, Unsettled: unsettled}
}

// underWay returns the state of the change that brought the pod to its revision, or nil.
func underWay(p *corev1.Pod) *State {
	if state := Read(p); state != nil && state.Revision == pod.Revision(p) {
		return state
	}
	return nil
}
