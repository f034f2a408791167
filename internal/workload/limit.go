package workload

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
	"github.com/holdfast-io/holdfast/internal/workload/hook"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// Limit keeps the changes that may be made now and says of each other one why it waits. What it lets through never leaves
// fewer than slots - Unavailable pods available, nor more than slots + Surge pods.
func Limit(set Set, state State, changes []Change, now time.Time) Plan {
	l := newLimiter(set, state, changes, now)
	if set.Ordered {
		changes = l.inOrder(changes)
	}
	for i := range changes {
		if changes[i].Verb != Create {
			l.step(changes[i])
		}
	}
	if set.keyed() {
		l.keyedBirths(changes)
	} else {
		l.births(changes)
	}
	l.refresh()
	l.waiting()
	l.claims()
	return l.plan
}

// limiter hands out what may be taken away or added in one pass.
type limiter struct {
	set   Set
	state State
	now   time.Time
	plan  Plan
	// exhausted says whose limit it is that budget comes from.
	exhausted string
	// budget is how many available pods may still be taken.
	budget int
	// available and starting count the members.
	available, starting, counted int
	// pending changes take a pod away that a pod beyond the slots could stand in for; standIns of those are to stay for now.
	pending, standIns int
	touched           map[*Member]bool
	ids               []string
	// seats are who holds which slot, where slots have keys; surging of them have two pods.
	seats   *seating
	surging int
}

func newLimiter(set Set, state State, changes []Change, now time.Time) *limiter {
	exhausted := "maxUnavailable allows"
	if state.bound.By != "" && state.bound.Most < set.Limits.Unavailable {
		set.Limits.Unavailable = max(1, state.bound.Most)
		exhausted = state.bound.By + ", which changes their containers, allows"
	}
	l := &limiter{exhausted: exhausted, set: set, state: state, now: now, touched: map[*Member]bool{}}
	l.plan.Set = set
	for i := range state.Members {
		m := &state.Members[i]
		if set.IgnoreLeaving && m.State == appsv1beta1.LifecycleStatePreparingDelete {
			continue
		}
		l.counted++
		if m.Available {
			l.available++
		} else {
			l.starting++
		}
		l.again(m.Missing)
	}
	if set.keyed() {
		l.seat()
	}
	l.budget = l.available - (len(set.Slots) - set.Limits.Unavailable)
	replace, inPlace := 0, 0
	for i := range changes {
		switch c := &changes[i]; {
		case c.Hold != "":
		case c.Verb == Replace:
			replace++
		case c.Verb == Update && l.standsInFor(*c):
			inPlace++
		}
	}
	if set.keyed() {
		return l
	}
	l.pending = replace + inPlace
	l.standIns = min(set.Limits.Surge, inPlace)
	l.ids = state.names.free(state.taken, l.wantedIDs(changes))
	return l
}

// seat counts by slots: one that has two pods is not twice available.
func (l *limiter) seat() {
	l.seats = seated(l.set, l.state)
	l.available = 0
	for _, place := range l.seats.seats {
		l.available += number(place.available())
		l.surging += number(len(place.members) > 1)
	}
}

func (l *limiter) wantedIDs(changes []Change) int {
	n := l.set.Limits.Surge
	for i := range changes {
		if changes[i].Verb == Create || changes[i].Verb == Replace {
			n++
		}
	}
	return n
}

func (l *limiter) again(after time.Duration) {
	if after > 0 && (l.plan.Again == 0 || after < l.plan.Again) {
		l.plan.Again = after
	}
}

func (l *limiter) hold(c Change, reason appsv1beta1.HeldReason, format string, args ...any) {
	l.plan.Held = append(l.plan.Held, Held{Change: c, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// step lets one change of an existing pod go as far as it may.
func (l *limiter) step(c Change) {
	if c.Hold != "" {
		l.plan.Held = append(l.plan.Held, Held{Change: c, Reason: c.Hold, Message: c.Message})
		return
	}
	if c.Beside {
		l.beside(c)
		return
	}
	l.touched[c.Member] = true
	leaving := c.Member.State == appsv1beta1.LifecycleStatePreparingDelete
	if c.Spare && c.Member.Pod.Annotations[StandIn] == l.state.Update.Name && l.standIns > 0 && !leaving {
		l.standIns--
		l.hold(c, appsv1beta1.HeldBySurge, "it stands in until the others are changed in place")
		l.touched[c.Member] = false
		return
	}
	s, why := l.next(c)
	if why.Reason != "" {
		l.plan.Held = append(l.plan.Held, why)
		return
	}
	if l.takes(c) && !l.take() {
		l.hold(c, appsv1beta1.HeldByBudget,
			"as many of %d pods are unavailable as %s (%d); more are taken when others are available",
			len(l.set.Slots), l.exhausted, l.set.Limits.Unavailable)
		l.touched[c.Member] = false
		return
	}
	if s.Update.Wait > 0 {
		l.again(s.Update.Wait)
	}
	l.settle(&s)
	l.plan.Steps = append(l.plan.Steps, s)
}

// settle notes a change that is made now: nobody has to stand in for its pod any more.
func (l *limiter) settle(s *Step) {
	switch c := s.Change; {
	case c.Verb == Replace && s.Mark == "":
		l.pending--
		if l.refills() {
			s.Then = l.id()
		}
	case c.Verb == Update && s.Update.Patch && l.standsInFor(c):
		l.pending--
	}
}

// standsInFor reports whether a change in place wants a pod to stand in: where none may be missing.
func (l *limiter) standsInFor(c Change) bool {
	return l.set.Limits.Unavailable == 0 && l.state.Paths[c.Member.Revision].Delta.Disturbs()
}

// takes reports whether the change takes an available pod away, be it for a moment.
func (l *limiter) takes(c Change) bool {
	if !c.Member.Available || l.set.keyed() && l.others(c.Member) {
		return false
	}
	return c.Verb != Update || l.state.Paths[c.Member.Revision].Delta.Disturbs() || hook.Set(l.lifecycle().InPlaceUpdate)
}

func (l *limiter) take() bool {
	if l.budget <= 0 {
		return false
	}
	l.budget--
	l.available--
	return true
}

// refills reports whether the place of a replaced pod is filled in the same pass. A slot with a key must be empty first, with
// claims to be reused the old pod must be gone first, and a limit on starting pods is checked when the place is empty.
func (l *limiter) refills() bool {
	return !l.set.keyed() && l.set.Limits.Starting < 0 && (!l.set.ReuseClaims || len(l.set.Claims) == 0)
}

func (l *limiter) id() string {
	if len(l.ids) == 0 {
		return ""
	}
	id := l.ids[0]
	l.ids = l.ids[1:]
	return id
}

func (l *limiter) lifecycle() *appsv1beta1.Lifecycle {
	if l.set.Lifecycle == nil {
		return &appsv1beta1.Lifecycle{}
	}
	return l.set.Lifecycle
}

// next finds how far the hooks and the grace let a change go.
func (l *limiter) next(c Change) (Step, Held) {
	s := Step{Change: c}
	h, preparing := l.lifecycle().PreDelete, appsv1beta1.LifecycleStatePreparingDelete
	if c.Verb == Update {
		h, preparing = l.lifecycle().InPlaceUpdate, appsv1beta1.LifecycleStatePreparingUpdate
	}
	if by := hook.Held(h, c.Member.Pod); by != "" {
		if c.Member.State == preparing {
			l.refreshGates(c.Member, preparing)
			return s, Held{
				Change: c, Reason: appsv1beta1.HeldByHook,
				Message: fmt.Sprintf("the pod is %s; its hook holds it until %s is removed", preparing, by),
			}
		}
		s.Mark = preparing
		s.Conditions = hook.Gates(l.set.Lifecycle, c.Member.Pod, preparing, inplace.Unready(c.Member.Pod), l.now)
		return s, Held{}
	}
	if c.Verb != Update {
		return s, Held{}
	}
	delta := l.state.Paths[c.Member.Revision].Delta
	s.Update = inplace.Next(c.Member.Pod, delta, l.set.Grace, l.now)
	if hook.Set(h) {
		s.Mark = appsv1beta1.LifecycleStateUpdating
	}
	if s.Update.Unready {
		s.Conditions = hook.Gates(l.set.Lifecycle, c.Member.Pod, s.Mark, true, l.now)
	}
	if s.Update.Wait > 0 && !s.Update.Unready {
		l.again(s.Update.Wait)
		return s, Held{
			Change: c, Reason: appsv1beta1.HeldByGrace,
			Message: fmt.Sprintf("the pod is out of service for gracePeriodSeconds (%s) before it is changed", l.set.Grace),
		}
	}
	return s, Held{}
}

// births makes the pods of empty slots, and the surge.
func (l *limiter) births(changes []Change) {
	var revisions []string
	for i := range changes {
		if changes[i].Verb == Create {
			revisions = append(revisions, changes[i].Revision)
		}
	}
	wanted := len(revisions)
	for range min(l.set.Limits.Surge, l.pending) - max(0, l.counted-len(l.set.Slots)) {
		revisions = append(revisions, l.state.Update.Name)
	}
	ids, waiting := l.instances(len(revisions))
	for i, revision := range revisions {
		c := Change{Verb: Create, Revision: revision}
		switch {
		case l.set.Limits.Starting >= 0 && l.starting >= l.set.Limits.Starting:
			l.hold(c, appsv1beta1.HeldByScaleStrategy, "as many pods are not available yet as scaleStrategy.maxUnavailable allows (%d)",
				l.set.Limits.Starting)
		case i >= len(ids):
			l.hold(c, appsv1beta1.HeldByTermination, "its volumes are still used by %s, which is terminating", waiting)
		default:
			l.starting++
			l.plan.Births = append(l.plan.Births, Birth{ID: ids[i], Revision: revision, StandIn: i >= wanted && i-wanted < l.standIns})
		}
	}
}

// instances returns the ids of the next pods: those with claims that nobody uses first, where claims are reused. A
// terminating pod whose claims will be reused keeps one pod waiting.
func (l *limiter) instances(count int) (ids []string, waiting string) {
	if !l.set.ReuseClaims || len(l.set.Claims) == 0 {
		for range count {
			ids = append(ids, l.id())
		}
		return ids, ""
	}
	left := count
	users := l.users()
	unused := claim.ByInstance(l.state.Claims)
	for _, id := range slices.Sorted(maps.Keys(unused)) { // sorted: a pass that sees too little takes the same ones again
		switch user, used := users[id]; {
		case left == 0 || terminating(unused[id]):
		case !used:
			ids = append(ids, id)
			left--
		case user != "":
			waiting = user
			left--
		}
	}
	for range left {
		ids = append(ids, l.id())
	}
	return ids, waiting
}

// users are the ids that pods have; the value names a pod that is on its way out.
func (l *limiter) users() map[string]string {
	users := make(map[string]string, len(l.state.Members)+len(l.state.Gone))
	for _, p := range l.state.Gone {
		users[claim.Instance(p)] = p.Name
	}
	for i := range l.state.Members {
		users[claim.Instance(l.state.Members[i].Pod)] = ""
	}
	return users
}

func terminating(claims []*corev1.PersistentVolumeClaim) bool {
	for _, c := range claims {
		if c.DeletionTimestamp != nil {
			return true
		}
	}
	return false
}

// refresh brings the labels and gates of all pods up to date that no other change touches.
func (l *limiter) refresh() {
	for i := range l.state.Members {
		m := &l.state.Members[i]
		if l.touched[m] {
			continue
		}
		if m.Phase == inplace.NextBatch {
			l.plan.Steps = append(l.plan.Steps, Step{Change: Change{
				Verb: Update, Member: m, Revision: m.Revision,
				Why: "containers of the next launch priority",
			}, Update: inplace.Step{Patch: true}})
			continue
		}
		mark := hook.Next(l.set.Lifecycle, m.Pod, m.Phase == inplace.Idle)
		if m.State == appsv1beta1.LifecycleStatePreparingDelete || m.State == appsv1beta1.LifecycleStatePreparingUpdate {
			mark = hook.Back(l.set.Lifecycle, m.Pod) // nobody wants it to go, or to change, any more
		}
		l.refreshGates(m, mark)
	}
}

func (l *limiter) refreshGates(m *Member, mark appsv1beta1.LifecycleState) {
	state := m.State
	if mark != "" {
		state = mark
	}
	s := Step{Change: Change{Verb: Refresh, Member: m}, Mark: mark}
	if mark == m.State {
		s.Mark = ""
	}
	if len(m.Pod.Spec.ReadinessGates) > 0 {
		s.Conditions = hook.Gates(l.set.Lifecycle, m.Pod, state, m.Phase != inplace.Idle && !m.covered, l.now)
	}
	if s.Mark != "" || len(s.Conditions) > 0 {
		l.plan.Steps = append(l.plan.Steps, s)
	}
}

// waiting tells of pods that are not available what they wait for, as far as they show it.
func (l *limiter) waiting() {
	for i := range l.state.Members {
		m := &l.state.Members[i]
		if m.Available || l.touched[m] || m.Phase == inplace.NextBatch {
			continue
		}
		c := Change{Verb: Refresh, Member: m}
		cause, text := pod.NoCause, ""
		if !m.Ready {
			cause, text = pod.Waiting(m.Pod)
		}
		switch {
		case cause != pod.NoCause:
			l.hold(c, heldBy(cause), "%s", text)
		case m.Phase != inplace.Idle || m.Waits != "":
			l.hold(c, appsv1beta1.HeldByUpdate, "%s", m.Waits)
		case m.State == appsv1beta1.LifecycleStatePreparingNormal:
			l.hold(c, appsv1beta1.HeldByHook, "the pod is PreparingNormal until its preNormal hook puts %s on it",
				hook.Missing(l.lifecycle().PreNormal, m.Pod))
		case m.State == appsv1beta1.LifecycleStateUpdated:
			l.hold(c, appsv1beta1.HeldByHook, "the pod is Updated until its inPlaceUpdate hook puts %s back on it",
				hook.Missing(l.lifecycle().InPlaceUpdate, m.Pod))
		}
	}
}

func heldBy(cause pod.Cause) appsv1beta1.HeldReason {
	switch cause {
	case pod.Scheduling:
		return appsv1beta1.HeldByScheduling
	case pod.Claim:
		return appsv1beta1.HeldByPVC
	case pod.Image:
		return appsv1beta1.HeldByImage
	default:
		return appsv1beta1.HeldByContainer
	}
}

// claims finds the claims that nobody will use again, and the pods that may lack one.
func (l *limiter) claims() {
	if len(l.set.Claims) == 0 && len(l.state.Claims) == 0 {
		return
	}
	if !l.set.keyed() {
		l.spent()
	}
	for i := range l.state.Members {
		m := &l.state.Members[i]
		switch {
		case m.Pod.Spec.NodeName != "":
		case l.set.keyed():
			l.plan.Instances = append(l.plan.Instances, l.set.Place(m.Pod))
		default:
			l.plan.Instances = append(l.plan.Instances, claim.Instance(m.Pod))
		}
	}
	for _, c := range l.state.Claims {
		if text := claim.Waiting(c); text != "" && c.DeletionTimestamp == nil {
			l.hold(Change{Verb: Refresh}, appsv1beta1.HeldByPVC, "%s", text)
		}
	}
}

// spent finds the claims that nobody will use again. The claims of slots with keys are never ours to delete: whoever comes
// to the slot finds them again.
func (l *limiter) spent() {
	used := l.users()
	for _, b := range l.plan.Births {
		used[b.ID] = ""
	}
	full := l.counted+len(l.plan.Births) >= len(l.set.Slots)
	for id, claims := range claim.ByInstance(l.state.Claims) {
		if _, inUse := used[id]; inUse || l.set.ReuseClaims && !full {
			continue
		}
		for _, c := range claims {
			if c.DeletionTimestamp == nil {
				l.plan.Spent = append(l.plan.Spent, c)
			}
		}
	}
}
