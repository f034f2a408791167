package simnode

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations on a pod that steer it.
const (
	// RunForAnnotation is how long a container runs before it ends by itself, such as "5s". Without
	// it, containers of pods with restartPolicy Always run on, and others end after a second.
	RunForAnnotation = "simulated.holdfast.io/run-for"
	// ExitCodeAnnotation is the exit code of a container that ends by itself. Default 0.
	ExitCodeAnnotation = "simulated.holdfast.io/exit-code"
)

const (
	exitTerminated = 143 // 128 + SIGTERM
	defaultRunFor  = time.Second
	// pullBackoff is how long a failed pull is called ErrImagePull before it is ImagePullBackOff.
	pullBackoff = 2 * time.Second
	envTagSize  = 8
)

// Delay is a range from which a time is drawn.
type Delay struct{ Min, Max time.Duration }

// of draws the same time for the same name, so that a decision made twice is the same.
func (d Delay) of(name string) time.Duration {
	if d.Max <= d.Min {
		return d.Min
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))                                // never fails
	return d.Min + time.Duration(hash.Sum64()%uint64(d.Max-d.Min)) //nolint:gosec // Max is larger than Min here
}

// look is one look at a pod.
type look struct {
	rules  Rules
	pod    *corev1.Pod
	memory *Memory
	now    metav1.Time // as the API stores it: whole seconds
	clock  time.Time
	again  time.Duration
}

// wait says whether the wait of that name is over, and notes when to look again if not.
func (l *look) wait(name string, wait time.Duration) bool {
	left := l.memory.until(name, l.clock, wait).Sub(l.clock)
	if left <= 0 {
		l.memory.forget(name)
		return true
	}
	if l.again == 0 || left < l.again {
		l.again = left
	}
	return false
}

func (l *look) containers(specs []corev1.Container, statuses []corev1.ContainerStatus, initial bool) []corev1.ContainerStatus {
	var all []corev1.ContainerStatus
	for i := range specs {
		var old *corev1.ContainerStatus
		for j := range statuses {
			if statuses[j].Name == specs[i].Name {
				old = statuses[j].DeepCopy()
			}
		}
		sidecar := specs[i].RestartPolicy != nil && *specs[i].RestartPolicy == corev1.ContainerRestartPolicyAlways
		if initial && !sidecar {
			all = append(all, l.initial(&specs[i], old))
		} else {
			all = append(all, l.container(&specs[i], old))
		}
	}
	return all
}

// initial is an init container: it does its work in no time.
func (l *look) initial(spec *corev1.Container, old *corev1.ContainerStatus) corev1.ContainerStatus {
	if old != nil && old.State.Terminated != nil {
		return *old
	}
	status := l.start(spec, nil)
	if status.State.Running != nil {
		stop(&status, l.now, 0)
		status.Ready = true // the kubelet calls an init container that completed ready
	}
	return status
}

// container decides what becomes of one container.
func (l *look) container(spec *corev1.Container, old *corev1.ContainerStatus) corev1.ContainerStatus {
	switch {
	case old == nil || old.State == (corev1.ContainerState{}):
		return l.start(spec, nil)
	case old.State.Running != nil:
		return l.run(spec, old)
	case old.State.Terminated != nil:
		return l.restart(spec, old)
	}
	return l.pull(spec, old)
}

// run is a running container: killed when its image or its environment changed, resized, or done.
func (l *look) run(spec *corev1.Container, old *corev1.ContainerStatus) corev1.ContainerStatus {
	if old.Image != spec.Image || !strings.HasSuffix(old.ContainerID, l.envTag(spec)) {
		stop(old, l.now, exitTerminated)
		l.wait(spec.Name, l.restartDelay(old)) // the wait begins now
		return *old
	}
	if d, ends := l.runFor(); ends && l.wait("run/"+spec.Name, d) {
		stop(old, l.now, l.exitCode())
		return *old
	}
	resize(spec, old)
	return *old
}

func (l *look) restart(spec *corev1.Container, old *corev1.ContainerStatus) corev1.ContainerStatus {
	again := l.pod.Spec.RestartPolicy == corev1.RestartPolicyAlways || l.pod.Spec.RestartPolicy == "" ||
		old.State.Terminated.ExitCode != 0 && l.pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure
	if !again || !l.wait(spec.Name, l.restartDelay(old)) {
		return *old
	}
	return l.start(spec, old)
}

// pull is a container whose image could not be had: it starts as soon as the image is another.
func (l *look) pull(spec *corev1.Container, old *corev1.ContainerStatus) corev1.ContainerStatus {
	if old.Image != spec.Image || Pullable(spec.Image) {
		l.memory.forget("pull/" + spec.Name)
		return l.start(spec, old)
	}
	if old.State.Waiting.Reason == "ErrImagePull" && l.wait("pull/"+spec.Name, pullBackoff) {
		old.State.Waiting = &corev1.ContainerStateWaiting{
			Reason:  "ImagePullBackOff",
			Message: fmt.Sprintf("Back-off pulling image %q", spec.Image),
		}
	}
	return *old
}

// start starts a container, after the one that ran before it, if any.
func (l *look) start(spec *corev1.Container, before *corev1.ContainerStatus) corev1.ContainerStatus {
	status := corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, Started: new(bool)}
	if before != nil {
		status.RestartCount = before.RestartCount
		status.LastTerminationState = before.LastTerminationState
		if before.State.Terminated != nil {
			status.LastTerminationState.Terminated = before.State.Terminated
		}
	}
	if !Pullable(spec.Image) {
		status.State.Waiting = &corev1.ContainerStateWaiting{
			Reason:  "ErrImagePull",
			Message: fmt.Sprintf("failed to pull image %q: not found (simulated)", spec.Image),
		}
		l.wait("pull/"+spec.Name, pullBackoff)
		return status
	}
	if status.LastTerminationState.Terminated != nil {
		status.RestartCount++
	}
	status.ImageID = imageID(spec.Image)
	status.ContainerID = l.containerID(spec, status.RestartCount)
	status.State.Running = &corev1.ContainerStateRunning{StartedAt: l.now}
	status.Ready, *status.Started = true, true
	resize(spec, &status)
	if d, ends := l.runFor(); ends {
		l.wait("run/"+spec.Name, d)
	}
	return status
}

func stop(status *corev1.ContainerStatus, now metav1.Time, code int32) {
	reason := "Completed"
	if code != 0 {
		reason = "Error"
	}
	ended := &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, FinishedAt: now, ContainerID: status.ContainerID}
	if status.State.Running != nil {
		ended.StartedAt = status.State.Running.StartedAt
	}
	status.State = corev1.ContainerState{Terminated: ended}
	status.Ready, status.Started = false, new(bool)
}

// resize reports what the container was given. On a simulated node everything fits.
func resize(spec *corev1.Container, status *corev1.ContainerStatus) {
	if status.Resources != nil && equality.Semantic.DeepEqual(*status.Resources, spec.Resources) {
		return
	}
	if len(spec.Resources.Requests) == 0 && len(spec.Resources.Limits) == 0 && status.Resources == nil {
		return
	}
	status.Resources = spec.Resources.DeepCopy()
	status.AllocatedResources = spec.Resources.DeepCopy().Requests
}

func (l *look) restartDelay(c *corev1.ContainerStatus) time.Duration {
	return l.rules.RestartDelay.of(string(l.pod.UID) + c.Name + strconv.Itoa(int(c.RestartCount)))
}

// runFor says how long containers run, when they end by themselves.
func (l *look) runFor() (time.Duration, bool) {
	if d, err := time.ParseDuration(l.pod.Annotations[RunForAnnotation]); err == nil {
		return d, true
	}
	return defaultRunFor, l.pod.Spec.RestartPolicy == corev1.RestartPolicyNever || l.pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure
}

func (l *look) exitCode() int32 {
	code, err := strconv.ParseInt(l.pod.Annotations[ExitCodeAnnotation], 10, 32)
	if err != nil {
		return 0
	}
	return int32(code)
}

// Pullable says whether a simulated node can get an image: not one whose name holds
// "does-not-exist", nor one of a registry in the domain that never exists (.invalid, RFC 2606).
func Pullable(image string) bool {
	registry, _, _ := strings.Cut(image, "/")
	host, _, _ := strings.Cut(registry, ":")
	return image != "" && !strings.Contains(image, "does-not-exist") && !strings.HasSuffix(host, ".invalid")
}

// imageID is the digest of an image: the one it names, else one made of the name. A tag that ends
// in "-same" is another name of the same image.
func imageID(image string) string {
	name, digest, ok := strings.Cut(image, "@")
	if !ok {
		name = strings.TrimSuffix(name, "-same")
		digest = "sha256:" + hash(name)
	}
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	return name + "@" + digest
}

// containerID differs for each start, and ends in a tag of the environment that the container got.
func (l *look) containerID(spec *corev1.Container, restarts int32) string {
	id := hash(fmt.Sprintf("%s/%s/%d/%s", l.pod.UID, spec.Name, restarts, spec.Image))
	return "simulated://" + id[:len(id)-envTagSize] + l.envTag(spec)
}

// envTag stands for the values that a container takes from its pod's labels and annotations. The
// kubelet reads them at a start only; a simulated node starts the container anew when they change,
// as a node daemon would.
func (l *look) envTag(spec *corev1.Container) string {
	var values strings.Builder
	for _, env := range spec.Env {
		if env.ValueFrom == nil || env.ValueFrom.FieldRef == nil {
			continue
		}
		path := env.ValueFrom.FieldRef.FieldPath
		for prefix, from := range map[string]map[string]string{
			"metadata.labels['": l.pod.Labels, "metadata.annotations['": l.pod.Annotations,
		} {
			if key, ok := strings.CutPrefix(path, prefix); ok {
				fmt.Fprintf(&values, "%s=%q\n", env.Name, from[strings.TrimSuffix(key, "']")])
			}
		}
	}
	return hash(values.String())[:envTagSize]
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
