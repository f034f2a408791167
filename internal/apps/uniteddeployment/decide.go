package uniteddeployment

import (
	"cmp"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

// change is one write to a subset's workload.
type change struct {
	subset string
	// child is the workload as it is; nil: it is to be made.
	child *child
	// object is the workload as it is to be; nil: it stays as it is but for its replicas, or goes.
	object client.Object
	// replicas it is asked for.
	replicas int32
	remove   bool
}

// grows reports whether the change asks for more pods than before.
func (c change) grows() bool { return c.child == nil || c.replicas > c.child.asked }

// mark is a pod whose label is to say whether another stands in for it.
type mark struct {
	pod      *corev1.Pod
	reserved bool
}

// plan is what a pass does, and what it found out.
type plan struct {
	subsets []appsv1beta1.Subset
	// target are the pods that each subset is to have in the end, and next what it is asked for now.
	target, next []int32
	rooms        []room
	reserved     []int32
	schedulable  []report.Conditions
	changes      []change
	marks        []mark
	held         []appsv1beta1.HeldChange
	// notes are what happened to subsets, for the events.
	notes []string
	// problems are what the user must correct: the topology does not fit, or a workload cannot be made.
	problems []error
	again    time.Duration
}

// decide is pure. It compares what is with what the spec asks for.
func decide(ud *appsv1beta1.UnitedDeployment, st state, revision string, now time.Time) plan {
	p := plan{subsets: ud.Spec.Topology.Subsets}
	replicas := ptr.Deref(ud.Spec.Replicas, 1)
	all, err := shares(p.subsets, replicas)
	if err != nil {
		p.problems = append(p.problems, err)
	}
	limit := replicas
	if isAdaptive(ud) {
		limit += p.spread(ud, st, all, replicas, now)
	} else {
		p.target = fixed(all, replicas)
		p.reserved = make([]int32, len(p.subsets))
	}
	p.pace(st, limit)
	for i := range p.subsets {
		p.change(ud, st, i, revision)
	}
	p.leave(st)
	p.partitions(st)
	return p
}

// spread lets pods move to where there is room, and returns how many stand in for others.
func (p *plan) spread(ud *appsv1beta1.UnitedDeployment, st state, all []share, replicas int32, now time.Time) (reserved int32) {
	t := tuningOf(ud)
	places := make([]place, len(p.subsets))
	p.reserved, p.rooms, p.schedulable = make([]int32, len(places)), make([]room, len(places)), make([]report.Conditions, len(places))
	for i, s := range p.subsets {
		r := look(st.pods[s.Name], t, now)
		places[i].share = all[i]
		if c := st.chosen[s.Name]; c != nil {
			places[i].asked = c.asked
			if st.family.numbered {
				r.movable = tail(c.asked, st.pods[s.Name], r.stuck)
			}
		}
		places[i].stuck = r.movable
		if t.reserve {
			places[i].stuck = int32(len(r.stuck)) //nolint:gosec // at most as many as there are pods
		}
		p.rooms[i] = r
		p.again = report.Sooner(p.again, r.again)
		again := p.judge(ud, i, &places[i], t, now)
		p.again = report.Sooner(p.again, again)
	}
	p.target = adaptive(places, replicas, t.reserve)
	for i := range places {
		if t.reserve {
			p.reserved[i] = min(places[i].stuck, p.target[i])
			reserved += p.reserved[i]
		}
		p.mark(st.pods[p.subsets[i].Name], p.rooms[i].stuck, t.reserve)
		p.waitForNodes(i, places[i], t.reserve)
	}
	total := int32(0)
	for _, n := range p.target {
		total += n
	}
	return min(reserved, max(total-replicas, 0)) // as many stand in as found a place
}

// judge says whether a subset has room, and for how long it counts as having none.
func (p *plan) judge(ud *appsv1beta1.UnitedDeployment, i int, place *place, t tuning, now time.Time) (again time.Duration) {
	conditions := report.From(statusOf(ud, p.subsets[i].Name).Conditions)
	r := p.rooms[i]
	before := conditions.Find(appsv1beta1.SubsetSchedulable)
	closed := before != nil && before.Status == corev1.ConditionFalse
	switch {
	case len(r.stuck) > 0:
		if closed && now.Sub(before.Changed.Time) > t.critical {
			conditions.Remove(appsv1beta1.SubsetSchedulable) // pods were found stuck again: the time counts from now
		}
		if !closed {
			p.notes = append(p.notes, fmt.Sprintf("subset %q has no room: %s", p.subsets[i].Name, message(r.stuck[0])))
		}
		conditions.Set(appsv1beta1.SubsetSchedulable, corev1.ConditionFalse, "Unschedulable",
			fmt.Sprintf("pods find no node for more than %s: %s", t.critical, message(r.stuck[0])), now)
		place.closed, again = true, t.closed
	case closed && now.Sub(before.Changed.Time) < t.closed:
		place.closed, again = true, t.closed-now.Sub(before.Changed.Time)
	case closed:
		conditions.Set(appsv1beta1.SubsetSchedulable, corev1.ConditionUnknown, "Recovering",
			"it gets pods again when there are to be more; none are taken from other subsets for it", now)
		place.trial = true
	case before != nil && before.Status == corev1.ConditionUnknown && (place.asked < place.goal || r.waiting > 0):
		place.trial = true
	default:
		conditions.Set(appsv1beta1.SubsetSchedulable, corev1.ConditionTrue, "Schedulable", "no pod waits for a node for long", now)
	}
	p.schedulable[i] = conditions
	return again
}

func message(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.Message
		}
	}
	return "it has no node"
}

// mark labels the pods for which others stand in, and no others.
func (p *plan) mark(pods, stuck []*corev1.Pod, reserve bool) {
	isStuck := map[*corev1.Pod]bool{}
	for _, one := range stuck {
		isStuck[one] = reserve
	}
	for _, one := range pods {
		if has := one.Labels[appsv1beta1.ReservedPod] == "true"; has != isStuck[one] && one.DeletionTimestamp == nil {
			p.marks = append(p.marks, mark{one, isStuck[one]})
		}
	}
}

// waitForNodes tells of pods that find no node and stay where they are.
func (p *plan) waitForNodes(i int, place place, reserve bool) {
	stuck := p.rooms[i].stuck
	left := min(p.target[i]-(place.asked-place.stuck), int32(len(stuck))) //nolint:gosec // as many as pods
	if left <= 0 {
		return
	}
	text := "pods of subset %q find no node, and no other subset takes them; make room, or raise maxReplicas of another subset: %s"
	if reserve {
		text = "pods of subset %q find no node; others stand in for them as far as other subsets have room: %s"
	}
	held := appsv1beta1.HeldChange{
		Reason: appsv1beta1.HeldByScheduling, Count: left, Message: fmt.Sprintf(text, p.subsets[i].Name, message(stuck[0])),
	}
	for _, one := range stuck[:min(left, maxNamed)] {
		held.Pods = append(held.Pods, one.Name)
	}
	p.held = append(p.held, held)
}

// pace brings the numbers one step nearer to the targets.
func (p *plan) pace(st state, limit int32) {
	var now []standing
	for _, s := range p.subsets {
		now = append(now, standingOf(st.chosen[s.Name]))
	}
	for _, c := range st.others {
		now = append(now, standingOf(c))
	}
	target := append(append([]int32{}, p.target...), make([]int32, len(st.others))...)
	p.next = step(now, target, limit)
	var fewer, more int32
	for i := range now {
		fewer += max(p.next[i]-target[i], 0)
		more += max(target[i]-p.next[i], 0)
	}
	if more > 0 {
		p.hold(more, "pods are made in their subset when those of other subsets are gone, so that there are never more than %d", limit)
	} else if fewer > 0 {
		p.hold(fewer, "pods leave their subset when those of other subsets are ready, so that at most %d%% of all are away", movable)
	}
}

func standingOf(c *child) standing {
	if c == nil {
		return standing{}
	}
	if c.leaving {
		return standing{pods: c.most, ready: 0}
	}
	return standing{asked: c.asked, pods: c.most, ready: min(c.counts.ready, c.asked)}
}

func (p *plan) hold(count int32, format string, args ...any) {
	p.held = append(p.held, appsv1beta1.HeldChange{Reason: appsv1beta1.HeldBySubset, Count: count, Message: fmt.Sprintf(format, args...)})
}

// change finds what is to be done to the workload of a subset.
func (p *plan) change(ud *appsv1beta1.UnitedDeployment, st state, i int, revision string) {
	s, c := p.subsets[i], st.chosen[p.subsets[i].Name]
	if c != nil && c.leaving {
		p.held = append(p.held, appsv1beta1.HeldChange{
			Reason: appsv1beta1.HeldByTermination, Count: 1,
			Message: fmt.Sprintf("%s %s is being deleted; subset %q gets a new one when it is gone",
				st.family.kind.Kind, c.object.GetName(), s.Name),
		})
		return
	}
	object, err := build(ud, i, revision)
	if err != nil {
		p.problems = append(p.problems, err)
		object = nil
	}
	switch {
	case c == nil && object == nil:
	case c == nil:
		p.changes = append(p.changes, change{subset: s.Name, object: object, replicas: p.next[i]})
	case object != nil && outdated(c.object, object):
		p.changes = append(p.changes, change{subset: s.Name, child: c, object: object, replicas: p.next[i]})
	case c.asked != p.next[i]:
		p.changes = append(p.changes, change{subset: s.Name, child: c, replicas: p.next[i]})
	}
}

// outdated reports whether a workload is another than it is to be: it was made from another spec, or somebody changed it.
// What the spec does not speak of, defaults above all, may be anything. A selector stays as it was made, and a CloneSet takes
// names off its list when their pods have gone.
func outdated(is, want client.Object) bool {
	key := appsv1beta1.SubsetTemplateHash
	if is.GetAnnotations()[key] != want.GetAnnotations()[key] {
		return true
	}
	asked := shapeOf(want)
	defer func(selector *metav1.LabelSelector) { *asked.selector = selector }(*asked.selector)
	*asked.selector = nil
	if set, ok := want.(*appsv1beta1.CloneSet); ok {
		defer func(names []string) { set.Spec.ScaleStrategy.PodsToDelete = names }(set.Spec.ScaleStrategy.PodsToDelete)
		set.Spec.ScaleStrategy.PodsToDelete = nil
	}
	return !apiequality.Semantic.DeepDerivative(asked.spec, shapeOf(is).spec)
}

// leave lets go of workloads that no subset has any more, once their pods are gone.
func (p *plan) leave(st state) {
	for i, c := range st.others {
		next := p.next[len(p.subsets)+i]
		switch {
		case c.leaving:
		case c.asked != next:
			p.changes = append(p.changes, change{subset: c.subset, child: c, replicas: next})
		case c.asked == 0 && c.counts.observed && c.counts.pods == 0:
			p.changes = append(p.changes, change{subset: c.subset, child: c, remove: true})
		}
	}
}

// partitions tells of the pods that stay at their old revision.
func (p *plan) partitions(st state) {
	var count int32
	var named string
	for _, s := range p.subsets {
		c := st.chosen[s.Name]
		if c == nil || c.counts.updated >= c.counts.pods {
			continue
		}
		if n := min(keeps(c), c.counts.pods-c.counts.updated); n > 0 {
			count += n
			named = cmp.Or(named, s.Name)
		}
	}
	if count > 0 {
		p.held = append(p.held, appsv1beta1.HeldChange{
			Reason: appsv1beta1.HeldByPartition, Count: count,
			Message: fmt.Sprintf("the partition of subset %q keeps pods at their old revision; "+
				"lower it in spec.updateStrategy.manualUpdate.partitions", named),
		})
	}
}
