package sidecarset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/order"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// member is a pod that has the containers of the set.
type member struct {
	workload.Member

	// record is what the pod says of the set.
	record inject.Record
	// updated: its containers are of the newest revision, or on the way there.
	updated bool
	// fixed says why the pod cannot get to the newest revision in place; "" when it can.
	fixed string
	// hot is a hot upgrade that is half way: the new container is there, and the former has not become idle.
	hot bool
	// waits is what the kubelet has still to do for the set.
	waits string
}

// state is what was seen of a set.
type state struct {
	members []member
	latest  string
	// missed are pods that should have the containers and were created while nobody could give them.
	missed []string
}

// step is one pod to be changed now.
type step struct {
	member *member
	change change
	// owner whose turn was taken for it; nil: the pod has none that counts.
	owner *owner
}

// plan is what is to be done now, and what is not, and why.
type plan struct {
	steps []step
	held  []workload.Held
	again time.Duration
	// stuck is how many pods should be changed and cannot be.
	stuck int
	// bound is how many pods of a workload may be away, whoever takes them, while pods are being changed; 0: none are.
	bound int
	// expected is how many pods are to be of the newest revision.
	expected int
}

// lend tells how many pods of a pod's workload may still be taken, taking the turn for that; busy says why nobody can tell
// now.
type lend func(p *corev1.Pod) (o *owner, busy string)

// remembered is what a pod looked like at one of its versions: of many pods few have changed since the last look.
type remembered struct {
	version string
	entry   *entry
	member  member
}

// observe looks at the pods of a set. why explains which fields of a revision cannot change in place; known is what was seen
// last, and is brought up to date.
func observe(
	pods []*corev1.Pod, set string, e *entry, why func(record inject.Record) string, known map[types.UID]remembered, now time.Time,
) state {
	s := state{latest: e.latest, members: make([]member, 0, len(pods))}
	there := make(map[types.UID]bool, len(pods))
	for _, p := range pods {
		if !pod.Active(p) {
			continue
		}
		there[p.UID] = true
		seen, same := known[p.UID]
		if !same || seen.version != p.ResourceVersion || seen.entry != e || p.ResourceVersion == "" {
			seen = remembered{version: p.ResourceVersion, entry: e, member: look(p, set, e, why, now)}
			known[p.UID] = seen
		}
		seen.member.Pod = p
		s.members = append(s.members, seen.member)
	}
	maps.DeleteFunc(known, func(uid types.UID, _ remembered) bool { return !there[uid] })
	slices.SortFunc(s.members, func(a, b member) int {
		return cmp.Or(strings.Compare(a.Pod.Namespace, b.Pod.Namespace), strings.Compare(a.Pod.Name, b.Pod.Name))
	})
	return s
}

// look finds out what one pod has of the set.
func look(p *corev1.Pod, set string, e *entry, why func(record inject.Record) string, now time.Time) member {
	m := member{Member: workload.NewMember(p, 0, now), record: inject.Read(p, appsv1beta1.SidecarSetHash)[set]}
	m.updated = m.record.Hash == e.plan.Hash
	if !m.updated && inject.Read(p, appsv1beta1.SidecarSetHashWithoutImage)[set].Hash != e.plan.HashWithoutImage {
		m.fixed = why(m.record)
	}
	m.hot = m.fixed == "" && len(former(p, e.plan)) > 0
	if progress, known := inplace.ReadSidecars(p)[set]; known {
		m.waits = inplace.Sidecars{set: progress}.Waits(p)
	}
	if m.hot {
		m.Available = false // its other container is still to be stopped
	}
	return m
}

// decide is what is to be done now. It is pure, but for what lend does.
func decide(set *appsv1beta1.SidecarSet, e *entry, s state, lend lend, now time.Time) (plan, error) {
	d := &decision{set: set, entry: e, state: s, lend: lend, now: now}
	if err := d.limits(); err != nil {
		return plan{}, err
	}
	first, err := order.Priority(set.Spec.UpdateStrategy.PriorityStrategy)
	if err != nil {
		return plan{}, fmt.Errorf("spec.updateStrategy.priorityStrategy.%w", err)
	}
	for i := range d.state.members {
		if m := &d.state.members[i]; m.hot {
			d.finish(m) // whatever the user wants by now, a pod must not stay half way
		}
	}
	for _, m := range d.inOrder(first) {
		d.consider(m)
	}
	d.tellWaiting()
	return d.plan, nil
}

// decision hands out what may be taken in one pass.
type decision struct {
	set   *appsv1beta1.SidecarSet
	entry *entry
	state state
	lend  lend
	now   time.Time
	plan  plan
	// budget is how many available pods may still be taken, of max; left is how many pods may still be updated.
	budget, max, left int
	touched           map[*member]bool
}

func (d *decision) limits() error {
	strategy := &d.set.Spec.UpdateStrategy
	d.touched = map[*member]bool{}
	all, available, candidates, updated := len(d.state.members), 0, 0, 0
	for i := range d.state.members {
		m := &d.state.members[i]
		if m.Available {
			available++
		}
		if d.selected(m) {
			candidates++
			if m.updated {
				updated++
			}
		}
	}
	var err error
	if d.max, err = share.Of(strategy.MaxUnavailable, intstr.FromInt32(1), all, true); err != nil {
		return fmt.Errorf("spec.updateStrategy.maxUnavailable: %w", err)
	}
	d.budget = d.max - (all - available)
	keep, err := share.Partition(strategy.Partition, candidates)
	if err != nil {
		return fmt.Errorf("spec.updateStrategy.partition: %w", err)
	}
	if strategy.Type != appsv1beta1.NotUpdateSidecarSetStrategyType {
		d.plan.expected = candidates - keep
	}
	d.left = max(0, d.plan.expected-updated)
	if d.underWay() {
		d.plan.bound = d.max
	}
	return nil
}

// underWay reports whether pods are being changed, or are to be.
func (d *decision) underWay() bool {
	strategy := &d.set.Spec.UpdateStrategy
	going := !strategy.Paused && strategy.Type != appsv1beta1.NotUpdateSidecarSetStrategyType && d.left > 0
	for i := range d.state.members {
		m := &d.state.members[i]
		if m.hot || m.waits != "" || going && !m.updated && m.fixed == "" && d.selected(m) {
			return true
		}
	}
	return false
}

func (d *decision) selected(m *member) bool {
	return d.entry.updated == nil || d.entry.updated.Matches(labels.Set(m.Pod.Labels))
}

// inOrder are the outdated pods, the first to be changed first.
func (d *decision) inOrder(first order.Less) []*member {
	byPod := map[*corev1.Pod]*member{}
	var pods []*corev1.Pod
	for i := range d.state.members {
		if m := &d.state.members[i]; !m.updated && !m.hot {
			byPod[m.Pod] = m
			pods = append(pods, m.Pod)
		}
	}
	sorted := order.Scatter(order.Sort(pods, order.Chain(first, order.LeastMissed(pods))), d.set.Spec.UpdateStrategy.ScatterStrategy)
	outdated := make([]*member, 0, len(sorted))
	for _, p := range sorted {
		outdated = append(outdated, byPod[p])
	}
	return outdated
}

// consider lets one outdated pod go as far as it may.
func (d *decision) consider(m *member) {
	strategy := &d.set.Spec.UpdateStrategy
	switch {
	case !d.selected(m):
		return // it is not meant
	case strategy.Type == appsv1beta1.NotUpdateSidecarSetStrategyType:
		d.hold(m, appsv1beta1.HeldByOnDelete, "the update strategy is NotUpdate: only new pods get the new revision")
		return
	case strategy.Paused:
		d.hold(m, appsv1beta1.HeldByPaused, "the update is paused; set spec.updateStrategy.paused to false to go on")
		return
	case d.left <= 0:
		d.hold(m, appsv1beta1.HeldByPartition, "the partition keeps these pods at the old revision")
		return
	case m.fixed != "":
		d.plan.stuck++
		d.hold(m, appsv1beta1.HeldByInPlaceOnly,
			"only images can change in a pod that is there: %s; whoever deletes the pod gets a new one with them", m.fixed)
		return
	}
	if d.take(m, d.changeOf(m)) {
		d.left--
	}
}

// finish makes the idle container of a hot upgrade idle, once the other one works; or tries another image before.
func (d *decision) finish(m *member) {
	switch {
	case m.waits == "" && takingOver(m.Pod, d.entry.plan) == "":
		d.take(m, reset(m.Pod, d.entry.plan))
	case !m.updated && !d.set.Spec.UpdateStrategy.Paused && d.selected(m):
		d.take(m, d.changeOf(m)) // what it goes to is outdated already: perhaps it fails for that reason
	}
}

// take makes a change now when the limits of the set and of the pod's workload let it.
func (d *decision) take(m *member, c change) bool {
	d.touched[m] = true // whatever becomes of it, its reason is told here
	if !c.disturbs() {
		d.plan.steps = append(d.plan.steps, step{member: m, change: c})
		return true
	}
	if m.Available && d.budget <= 0 {
		d.hold(m, appsv1beta1.HeldByBudget, "as many of the set's pods are unavailable as spec.updateStrategy.maxUnavailable allows (%d); "+
			"more are taken when others are available", d.max)
		return false
	}
	o, busy := d.lend(m.Pod)
	if busy != "" {
		d.hold(m, appsv1beta1.HeldByBudget, "%s", busy)
		d.sooner(ownerInterval)
		return false
	}
	if o != nil && o.available[m.Pod.UID] && o.budget <= 0 {
		d.hold(m, appsv1beta1.HeldByBudget, "%s", o.exhausted())
		d.sooner(budgetInterval)
		return false
	}
	if o != nil && o.available[m.Pod.UID] {
		o.budget--
	}
	if m.Available {
		d.budget--
	}
	d.plan.steps = append(d.plan.steps, step{member: m, change: c, owner: o})
	return true
}

// How long until a workload is looked at again that has no pod to spare: its own pods are not all the set's, so that no
// event may tell.
const budgetInterval = 5 * time.Second

func (d *decision) sooner(after time.Duration) {
	if d.plan.again == 0 || after < d.plan.again {
		d.plan.again = after
	}
}

func (d *decision) hold(m *member, reason appsv1beta1.HeldReason, format string, args ...any) {
	d.plan.held = append(d.plan.held, workload.Held{
		Change: workload.Change{Verb: workload.Update, Member: &m.Member}, Reason: reason, Message: fmt.Sprintf(format, args...),
	})
}

// tellWaiting tells of pods on their way what they wait for, as far as they show it.
func (d *decision) tellWaiting() {
	for i := range d.state.members {
		m := &d.state.members[i]
		if d.touched[m] || !m.hot && (!m.updated || m.waits == "" && m.Ready) {
			continue
		}
		cause, text := pod.Waiting(m.Pod)
		switch {
		case cause == pod.Image || cause == pod.Starting:
			reason := appsv1beta1.HeldByContainer
			if cause == pod.Image {
				reason = appsv1beta1.HeldByImage
			}
			d.hold(m, reason, "%s", text)
		case m.waits != "":
			d.hold(m, appsv1beta1.HeldByUpdate, "%s", m.waits)
		case m.hot:
			d.hold(m, appsv1beta1.HeldByUpdate, "%s", takingOver(m.Pod, d.entry.plan))
		}
	}
}
