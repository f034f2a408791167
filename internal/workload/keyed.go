package workload

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
)

// Slots with keys: each place is somebody's own, and who fills it matters.

// keyed reports whether the places of the set have keys.
func (s *Set) keyed() bool { return s.Place != nil }

// seat is a keyed slot and who holds it.
type seat struct {
	Slot
	index int
	// members of the slot, the one to be kept first. There are two while a successor starts beside an outdated pod.
	members []*Member
	// leaving is the name of a pod that is on its way out and still has the place.
	leaving string
	// ended says that a pod which has ended keeps the place for good.
	ended bool
}

func (s *seat) available() bool {
	return s.ended || slices.ContainsFunc(s.members, func(m *Member) bool { return m.Available })
}

// seating is who holds which slot.
type seating struct {
	seats []*seat // in the order of the slots
	byKey map[string]*seat
	// strangers hold no slot; leaving names one of the pods without a slot that are on their way out.
	strangers []*Member
	leaving   string
}

// seated puts every pod to its slot.
func seated(set Set, state State) *seating {
	s := &seating{seats: make([]*seat, 0, len(set.Slots)), byKey: make(map[string]*seat, len(set.Slots))}
	for i, slot := range set.Slots {
		place := &seat{Slot: slot, index: i}
		s.seats, s.byKey[slot.Key] = append(s.seats, place), place
	}
	for i := range state.Members {
		m := &state.Members[i]
		if place := s.byKey[set.Place(m.Pod)]; place != nil {
			place.members = append(place.members, m)
		} else {
			s.strangers = append(s.strangers, m)
		}
	}
	for _, p := range state.Gone {
		over := pod.Finished(p) && !pod.Terminating(p)
		switch place := s.byKey[set.Place(p)]; {
		case place == nil:
			s.leaving = p.Name
		case over && set.Ended == KeepEnded:
			place.ended = true
		case over && set.PodName == nil: // another one has another name, and this one needs nothing any more
		default:
			place.leaving = p.Name
		}
	}
	for _, place := range s.seats {
		slices.SortStableFunc(place.members, func(a, b *Member) int { return keepFirst(set, state, place, a, b) })
	}
	slices.SortFunc(s.strangers, func(a, b *Member) int { return lastKeyFirst(set, a.Pod, b.Pod) })
	return s
}

// keepFirst orders the members of one slot: the one that belongs there, then the one that serves, then the elder.
func keepFirst(set Set, state State, place *seat, a, b *Member) int {
	return cmp.Or(
		number(set.goes(a))-number(set.goes(b)),
		number(state.fits(b, place.Slot))-number(state.fits(a, place.Slot)),
		number(b.Available)-number(a.Available),
		number(b.Ready)-number(a.Ready),
		a.Pod.CreationTimestamp.Compare(b.Pod.CreationTimestamp.Time),
		cmp.Compare(a.Pod.Name, b.Pod.Name),
	)
}

// lastKeyFirst orders pods from the last place to the first: the longer key, of equally long ones the larger. Ordinals are
// in their order so.
func lastKeyFirst(set Set, a, b *corev1.Pod) int {
	x, y := set.Place(a), set.Place(b)
	return cmp.Or(cmp.Compare(len(y), len(x)), cmp.Compare(y, x), cmp.Compare(a.Name, b.Name))
}

// goes reports whether somebody asked for exactly this pod to go.
func (s *Set) goes(m *Member) bool { return m.Named || s.Named[m.Pod.Name] }

// fits reports whether the member is what the slot asks for. One that is updated already is never taken back.
func (s *State) fits(m *Member, slot Slot) bool {
	return m.Revision == slot.Revision || m.Revision == s.Update.Name
}

func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// diffKeyed lists the differences of a set whose slots have keys: strangers and doubles go, outdated pods change, empty
// slots are filled.
func diffKeyed(set Set, state State) []Change {
	s := seated(set, state)
	d := &division{set: set, state: state}
	var changes, creations []Change
	for _, m := range s.strangers {
		changes = append(changes, Change{Verb: Delete, Member: m, Why: "its place is not wanted any more"})
	}
	var outdated []*Member
	places := map[*Member]*seat{}
	for _, place := range s.seats {
		if len(place.members) == 0 {
			if !place.ended {
				creations = append(creations, place.fill())
			}
			continue
		}
		first := place.members[0]
		for _, m := range place.members[1:] {
			changes = append(changes, place.relieve(m, first, set))
		}
		if set.goes(first) || first.Revision != state.Update.Name {
			outdated = append(outdated, first)
			places[first] = place
		}
	}
	for _, m := range d.keyedOrder(outdated, places) {
		if c, differs := d.change(m, places[m]); differs {
			changes = append(changes, c)
		}
	}
	return append(changes, creations...)
}

// fill makes a pod for the empty slot, once nobody is in the way any more.
func (s *seat) fill() Change {
	c := Change{Verb: Create, Key: s.Key, Revision: s.Revision, Hold: s.Hold, Message: s.Message}
	if s.leaving != "" && c.Hold == "" {
		c.Hold, c.Message = appsv1beta1.HeldByTermination, "its place is still held by "+s.leaving+", which is on its way out"
	}
	return c
}

// relieve takes away a pod whose slot has another one. A pod that was to serve until its successor does goes only then.
func (s *seat) relieve(m, successor *Member, set Set) Change {
	c := Change{Verb: Delete, Member: m, Key: s.Key, Why: "its place has another pod, " + successor.Pod.Name}
	if set.Limits.Surge > 0 && m.Available && !successor.Available {
		c.Hold, c.Message = appsv1beta1.HeldBySurge, "its successor "+successor.Pod.Name+" is not available yet"
	}
	return c
}

// change brings a pod to what its slot asks for. false: it stays as it is, and there is nothing to say about it.
func (d *division) change(m *Member, place *seat) (Change, bool) {
	var c Change
	switch {
	case d.set.goes(m):
		c = Change{Verb: Replace, Member: m, Revision: place.Revision, Why: "it was named to go"}
	default:
		c = d.update(m, place.Revision == d.state.Update.Name)
	}
	c.Key = place.Key
	if c.Hold == "" && d.set.Limits.Surge > 0 {
		c.Verb, c.Beside = Replace, true
		if len(place.members) > 1 {
			return c, false // its successor, or its double, is dealt with first
		}
	}
	return c, true
}

// keyedOrder is the order in which pods change: those half way first, then the set's own order, then from the last slot to
// the first.
func (d *division) keyedOrder(members []*Member, places map[*Member]*seat) []*Member {
	own := d.own()
	slices.SortStableFunc(members, func(a, b *Member) int {
		if c := begunFirst(a, b); c != 0 {
			return c
		}
		if c := first(d.set.Named[a.Pod.Name], d.set.Named[b.Pod.Name]); c != 0 {
			return c
		}
		if c := own(a.Pod, b.Pod); c != 0 {
			return c
		}
		return cmp.Compare(places[b].index, places[a].index)
	})
	return members
}

// inOrder lets through the one change that may be made in a set that fills, changes and empties its slots one after the
// other, and holds all others. Whatever is wrong with a slot is put right before a later one is touched; when all slots are
// available the last surplus pod goes; when there is none the first pod in update order changes.
func (l *limiter) inOrder(changes []Change) []Change {
	allowed, why := l.turn(changes)
	kept := changes[:0:0]
	for i := range changes {
		c := changes[i]
		if c.Hold == "" && !allowed(&changes[i]) {
			c.Hold, c.Message = appsv1beta1.HeldByOrder, "pods start, change and stop one after the other: "+why
		}
		kept = append(kept, c)
	}
	return kept
}

// turn tells whose turn it is.
func (l *limiter) turn(changes []Change) (allowed func(*Change) bool, why string) {
	for _, place := range l.seats.seats {
		if !place.available() {
			return func(c *Change) bool { return c.Key == place.Key && l.seats.byKey[c.Key] == place }, place.waits(l.set)
		}
	}
	if l.seats.leaving != "" {
		return func(*Change) bool { return false }, "pod " + l.seats.leaving + " must be gone first"
	}
	for i := range changes {
		if first := &changes[i]; first.Hold == "" {
			return func(c *Change) bool { return c == first }, "pod " + first.Member.Pod.Name + " goes before"
		}
	}
	return func(*Change) bool { return false }, ""
}

// waits says what the slots after this one wait for.
func (s *seat) waits(set Set) string {
	name := s.Key
	if set.PodName != nil {
		name = set.PodName(s.Key)
	}
	return "pod " + name + " must be available first"
}

// others reports whether the member's slot would still have an available pod without it; so does a pod without a slot, which
// nobody counts on.
func (l *limiter) others(m *Member) bool {
	place := l.seats.byKey[l.set.Place(m.Pod)]
	return place == nil || slices.ContainsFunc(place.members, func(o *Member) bool { return o != m && o.Available && !l.touched[o] })
}

// beside makes the successor of a pod on the pod's own slot, as far as the surge allows, and keeps the pod until then.
func (l *limiter) beside(c Change) {
	if l.surging >= l.set.Limits.Surge {
		l.hold(c, appsv1beta1.HeldByBudget, "as many places have a second pod as maxSurge allows (%d)", l.set.Limits.Surge)
		return
	}
	l.surging++
	l.plan.Births = append(l.plan.Births, Birth{ID: l.keyedID(c.Key), Key: c.Key, Revision: c.Revision})
	l.hold(c, appsv1beta1.HeldBySurge, "its successor is being made")
}

// keyedBirths makes the pods of empty slots.
func (l *limiter) keyedBirths(changes []Change) {
	for i := range changes {
		switch c := &changes[i]; {
		case c.Verb != Create:
		case c.Hold != "":
			l.plan.Held = append(l.plan.Held, Held{Change: *c, Reason: c.Hold, Message: c.Message})
		case l.set.Limits.Starting >= 0 && l.starting >= l.set.Limits.Starting:
			l.hold(*c, appsv1beta1.HeldByScaleStrategy,
				"as many pods are not available yet as scaleStrategy.maxUnavailable allows (%d)", l.set.Limits.Starting)
		default:
			l.starting++
			l.plan.Births = append(l.plan.Births, Birth{ID: l.keyedID(c.Key), Key: c.Key, Revision: c.Revision})
		}
	}
}

// keyedID is the id of the next pod of a slot. It follows from the slot alone: two who believe that the slot is empty try
// the same name, and one of them is told so.
func (l *limiter) keyedID(key string) string {
	if l.set.PodName != nil {
		return key
	}
	id := ""
	for n := range maxPerSlot {
		if id = l.state.names.keyed(key, n); !l.state.taken[id] {
			break
		}
	}
	return id
}

// maxPerSlot is more pods than a slot ever has at a time, those that have ended among them.
const maxPerSlot = 1000
