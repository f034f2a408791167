package testkit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Limits are what a workload has promised to keep.
type Limits struct {
	// Replicas is the number of pods asked for.
	Replicas int
	// MaxUnavailable is how many of them may be away by the controller's doing.
	MaxUnavailable int
	// MaxSurge is how many pods there may be beyond Replicas.
	MaxSurge int
	// MinReadySeconds is how long a pod must be ready to be available.
	MinReadySeconds int32
}

// Oracle watches every event of the pods of one workload and holds each against the limits: it sees states that last for
// a moment, which looking now and then would miss. It judges what a controller does, not what happens to it: a pod that
// crashes breaks no promise, but taking another one away while it is down does.
type Oracle struct {
	owner    types.UID
	selector labels.Selector
	pods     *feed
	client   client.WithWatch
	clock    func() time.Time

	limits   Limits
	rules    []Rule
	claims   bool // claims outlive their pods
	now      map[client.ObjectKey]*corev1.Pod
	crossed  []string
	observed int
}

// NewOracle watches the pods that selector matches in the owner's namespace, from now on. It ends with the test.
func NewOracle(t testing.TB, env *Env, owner client.Object, selector *metav1.LabelSelector, limits Limits) *Oracle {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatalf("oracle: selector: %v", err)
	}
	o := &Oracle{
		owner: owner.GetUID(), selector: parsed, client: env.Client, clock: time.Now, limits: limits,
		now: map[client.ObjectKey]*corev1.Pod{},
	}
	pods, first, err := newFeed(t.Context(), env.Client, corev1.SchemeGroupVersion.WithKind("Pod"), owner.GetNamespace())
	if err != nil {
		t.Fatalf("oracle: %v", err)
	}
	t.Cleanup(pods.stop)
	o.pods = pods
	for _, e := range first {
		if pod, ok := e.object.(*corev1.Pod); ok && parsed.Matches(labels.Set(pod.Labels)) {
			o.now[client.ObjectKeyFromObject(pod)] = pod
		}
	}
	return o
}

// Rule is a promise of one kind of workload: it is told what the controller did to a pod - before is nil when it made it,
// after is nil when it is gone - and which pods there are now, and returns what that breaks, or "".
type Rule func(before, after *corev1.Pod, now []*corev1.Pod) string

// Also judges by a rule, too.
func (o *Oracle) Also(rule Rule) { o.rules = append(o.rules, rule) }

// KeepsClaims tells that claims outlive their pods.
func (o *Oracle) KeepsClaims() { o.claims = true }

// Available reports whether a pod serves.
func (o *Oracle) Available(pod *corev1.Pod) bool { return o.available(pod) }

// UseClock makes minReadySeconds count by a stepped clock.
func (o *Oracle) UseClock(now func() time.Time) { o.clock = now }

// Check judges every event up to now, and fails the test with all that crossed a limit.
func (o *Oracle) Check(t testing.TB) {
	t.Helper()
	if err := o.Sync(t.Context()); err != nil {
		t.Fatalf("oracle: %v", err)
	}
	if len(o.crossed) > 0 {
		t.Fatalf("the limits %+v were crossed:\n  %s", o.limits, strings.Join(o.crossed, "\n  "))
	}
}

// SetLimits judges every event up to now by the limits so far, and those to come by the new ones. Call it before the
// change of the workload is written.
func (o *Oracle) SetLimits(t testing.TB, limits Limits) {
	t.Helper()
	o.Check(t)
	o.limits = limits
}

// Sync receives and judges every event that the server has committed.
func (o *Oracle) Sync(ctx context.Context) error {
	events, err := o.pods.drain(ctx)
	for _, e := range events {
		if pod, ok := e.object.(*corev1.Pod); ok {
			o.judge(e.kind, pod)
		}
	}
	return err
}

// Crossed lists what broke a limit so far; Observed is the number of events that were judged.
func (o *Oracle) Crossed() []string { return slices.Clone(o.crossed) }

// Observed is the number of events judged so far.
func (o *Oracle) Observed() int { return o.observed }

// judge applies one event and holds the state after it against the limits.
func (o *Oracle) judge(kind watch.EventType, pod *corev1.Pod) {
	key := client.ObjectKeyFromObject(pod)
	before := o.now[key]
	if kind == watch.Deleted || !o.selector.Matches(labels.Set(pod.Labels)) {
		delete(o.now, key)
	} else {
		o.now[key] = pod
	}
	if before == nil && o.now[key] == nil {
		return
	}
	o.observed++
	if before != nil && o.available(before) && takenAway(before, pod, kind) {
		o.judgeTaken(pod)
	}
	if before == nil {
		o.judgeAdded(pod)
	}
	if before == nil || o.now[key] == nil || takenAway(before, pod, kind) {
		o.judgeByRules(before, o.now[key])
	}
}

func (o *Oracle) judgeByRules(before, after *corev1.Pod) {
	now := make([]*corev1.Pod, 0, len(o.now))
	for _, pod := range o.now {
		now = append(now, pod)
	}
	for _, rule := range o.rules {
		if broken := rule(before, after, now); broken != "" {
			o.crossed = append(o.crossed, broken+": "+o.describe())
		}
	}
}

// judgeTaken checks that enough pods are left after the controller took one away.
func (o *Oracle) judgeTaken(pod *corev1.Pod) {
	left := 0
	for _, other := range o.now {
		if other.UID != pod.UID && o.available(other) {
			left++
		}
	}
	if least := o.limits.Replicas - o.limits.MaxUnavailable; left < least {
		o.crossed = append(o.crossed, fmt.Sprintf("taking %s away at version %s left %d available, fewer than %d: %s",
			pod.Name, pod.ResourceVersion, left, least, o.describe()))
	}
}

// judgeAdded checks that there are not too many pods after the controller made one.
func (o *Oracle) judgeAdded(pod *corev1.Pod) {
	count := 0
	for _, other := range o.now {
		ended := other.Status.Phase == corev1.PodFailed || other.Status.Phase == corev1.PodSucceeded
		if other.DeletionTimestamp == nil && !ended {
			count++
		}
	}
	if most := o.limits.Replicas + o.limits.MaxSurge; count > most {
		o.crossed = append(o.crossed, fmt.Sprintf("making %s at version %s led to %d pods, more than %d: %s",
			pod.Name, pod.ResourceVersion, count, most, o.describe()))
	}
}

// takenAway reports whether a change of a pod is the kind that only a controller makes to stop it.
func takenAway(before, after *corev1.Pod, kind watch.EventType) bool {
	switch {
	case kind == watch.Deleted, before.DeletionTimestamp == nil && after.DeletionTimestamp != nil:
		return true
	case !sameImages(before, after):
		return true
	default:
		return conditionTrue(before, inPlaceGate) && !conditionTrue(after, inPlaceGate)
	}
}

// sameImages compares the images that two states of a pod ask for.
func sameImages(a, b *corev1.Pod) bool {
	images := func(pod *corev1.Pod) []string {
		var list []string
		for i := range pod.Spec.Containers {
			list = append(list, pod.Spec.Containers[i].Image)
		}
		return list
	}
	return slices.Equal(images(a), images(b))
}

// available reports whether a pod serves: ready for long enough, staying, and running what its spec asks for.
func (o *Oracle) available(pod *corev1.Pod) bool {
	ready := condition(pod, corev1.PodReady)
	if pod.DeletionTimestamp != nil || ready == nil || ready.Status != corev1.ConditionTrue {
		return false
	}
	changed := false
	eachContainer(pod, func(container *corev1.Container, status *corev1.ContainerStatus) {
		changed = changed || status.Image != container.Image // it is about to stop
	})
	if changed {
		return false
	}
	long := time.Duration(o.limits.MinReadySeconds) * time.Second
	return !o.clock().Before(ready.LastTransitionTime.Add(long))
}

// describe writes the pods on one line, for a failure.
func (o *Oracle) describe() string {
	var words []string
	for _, pod := range o.now {
		word := pod.Name + "/" + pod.Labels[revisionLabel]
		switch {
		case pod.DeletionTimestamp != nil:
			word += "~"
		case !o.available(pod):
			word += "!"
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// Done checks, after a workload has converged, that nothing was crossed on the way and nothing is left over: as many pods
// as asked for, each with an owner and an instance of its own, every claim with its pod, no revision twice.
func (o *Oracle) Done(t testing.TB) {
	t.Helper()
	o.Check(t)
	left := o.leftOvers(t)
	if len(left) > 0 {
		t.Fatalf("the workload ended untidy (%s):\n  %s", o.describe(), strings.Join(left, "\n  "))
	}
}

// leftOvers lists what should not be there.
func (o *Oracle) leftOvers(t testing.TB) []string {
	t.Helper()
	var faults []string
	instances := map[string]string{}
	for _, pod := range o.now {
		if pod.DeletionTimestamp != nil {
			faults = append(faults, "pod "+pod.Name+" still terminates")
		}
		if controller := metav1.GetControllerOf(pod); controller == nil || controller.UID != o.owner {
			faults = append(faults, "pod "+pod.Name+" is an orphan")
		}
		id := pod.Labels["apps.kruise.io/cloneset-instance-id"]
		if other := instances[id]; id != "" && other != "" {
			faults = append(faults, fmt.Sprintf("pods %s and %s share the instance id %s", other, pod.Name, id))
		}
		instances[id] = pod.Name
	}
	if len(o.now) != o.limits.Replicas {
		faults = append(faults, fmt.Sprintf("there are %d pods, not %d", len(o.now), o.limits.Replicas))
	}
	if !o.claims {
		faults = append(faults, o.strayClaims(t)...)
	}
	faults = append(faults, o.doubleRevisions(t)...)
	slices.Sort(faults)
	return faults
}

// strayClaims lists claims of the workload that no pod uses.
func (o *Oracle) strayClaims(t testing.TB) []string {
	t.Helper()
	used := map[string]bool{}
	for _, pod := range o.now {
		for _, volume := range pod.Spec.Volumes {
			if volume.PersistentVolumeClaim != nil {
				used[volume.PersistentVolumeClaim.ClaimName] = true
			}
		}
	}
	var claims corev1.PersistentVolumeClaimList
	if err := o.client.List(t.Context(), &claims, client.InNamespace(o.pods.namespace)); err != nil {
		t.Fatalf("oracle: list claims: %v", err)
	}
	var faults []string
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.DeletionTimestamp == nil && !used[claim.Name] && o.selector.Matches(labels.Set(claim.Labels)) {
			faults = append(faults, "claim "+claim.Name+" has no pod")
		}
	}
	return faults
}

// doubleRevisions lists revisions of the owner that say the same.
func (o *Oracle) doubleRevisions(t testing.TB) []string {
	t.Helper()
	var revisions appsv1.ControllerRevisionList
	if err := o.client.List(t.Context(), &revisions, client.InNamespace(o.pods.namespace)); err != nil {
		t.Fatalf("oracle: list revisions: %v", err)
	}
	var faults []string
	own := slices.DeleteFunc(revisions.Items, func(r appsv1.ControllerRevision) bool {
		controller := metav1.GetControllerOf(&r)
		return controller == nil || controller.UID != o.owner
	})
	for i := range own {
		for j := range own[:i] {
			if equality.Semantic.DeepEqual(own[i].Data, own[j].Data) {
				faults = append(faults, fmt.Sprintf("revisions %s and %s are the same", own[j].Name, own[i].Name))
			}
		}
	}
	return faults
}
