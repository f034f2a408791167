package workload

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/order"
)

// Diff lists every difference between the slots and the pods, whatever the limits: what is to be created, changed,
// replaced, deleted. Changes of one verb come in the order in which they should be made.
func Diff(set Set, state State) []Change {
	if set.keyed() {
		return diffKeyed(set, state)
	}
	d := match(set, state)
	changes := make([]Change, 0, len(d.named)+len(d.surplus)+len(d.outdated)+d.missing())
	for _, m := range d.named {
		changes = append(changes, d.removeNamed(m))
	}
	for _, m := range d.surplus {
		changes = append(changes, Change{Verb: Delete, Member: m, Why: "it is more than replicas asks for", Spare: true})
	}
	for i, m := range d.outdated {
		changes = append(changes, d.update(m, i < d.updates))
	}
	for range d.missingOld {
		changes = append(changes, Change{Verb: Create, Revision: state.Current.Name})
	}
	for range d.missingNew {
		changes = append(changes, Change{Verb: Create, Revision: state.Update.Name})
	}
	return changes
}

// division is which pods fill the slots, and which slots and pods are left over.
type division struct {
	set   Set
	state State
	// named are to go because somebody named them; some of them leave a slot of the update revision behind, or an old one.
	named                []*Member
	refillNew, refillOld int
	// surplus is beyond the slots.
	surplus []*Member
	// outdated are the pods of other revisions that keep a slot, the first to be changed first; updates of them are to be
	// changed, the partition keeps the others.
	outdated []*Member
	updates  int
	// missingNew and missingOld are slots without a pod, by revision.
	missingNew, missingOld int
}

func (d *division) missing() int { return d.missingNew + d.missingOld }

// match divides the pods over the slots: pods of the update revision first, then outdated ones that are to be changed.
func match(set Set, state State) *division {
	d := &division{set: set, state: state}
	var updated, outdated []*Member
	for i := range state.Members {
		m := &state.Members[i]
		switch {
		case set.IgnoreLeaving && m.State == appsv1beta1.LifecycleStatePreparingDelete:
			d.surplus = append(d.surplus, m) // it goes on leaving, and its place is free already
		case m.Named || set.Named[m.Pod.Name]:
			d.named = append(d.named, m)
		case m.Revision == state.Update.Name:
			updated = append(updated, m)
		default:
			outdated = append(outdated, m)
		}
	}
	wantNew := 0
	for _, slot := range set.Slots {
		if slot.Revision == state.Update.Name {
			wantNew++
		}
	}
	wantOld := len(set.Slots) - wantNew

	// Pods made as surge for a change in place only stand in until it is done: they fill no slot while an outdated pod
	// could be changed to fill it.
	standIns := d.standIns(updated, outdated, wantNew)
	fill := min(len(updated)-standIns, wantNew)
	keep := min(len(outdated), wantOld)
	d.updates = min(wantNew-fill, len(outdated)-keep)
	d.missingNew, d.missingOld = wantNew-fill-d.updates, wantOld-keep
	spareNew, spareOld := len(updated)-fill, len(outdated)-keep-d.updates

	// An updated pod is never taken back to an older revision: it holds an old slot as it is.
	spareNew, d.missingOld = settle(spareNew, d.missingOld)
	// A named pod holds its slot until it is gone.
	d.refillNew = min(len(d.named), d.missingNew)
	d.refillOld = min(len(d.named)-d.refillNew, d.missingOld)
	d.missingNew -= d.refillNew
	d.missingOld -= d.refillOld

	d.choose(updated, outdated, spareNew, spareOld)
	return d
}

// settle lets supply meet demand and returns what is left of both.
func settle(supply, demand int) (int, int) {
	met := min(supply, demand)
	return supply - met, demand - met
}

// standIns is how many updated pods only stand in. Those that say so do; a surge pod made for a pod that is replaced takes
// its slot.
func (d *division) standIns(updated, outdated []*Member, wantNew int) int {
	beyond := len(updated) + len(outdated) + len(d.named) - len(d.set.Slots)
	inPlace := slices.ContainsFunc(outdated, func(m *Member) bool {
		path, known := d.state.Paths[m.Revision]
		return known && len(path.Blocked) == 0
	})
	if d.set.Limits.Unavailable > 0 || d.set.Hold != "" || d.set.Change == appsv1beta1.RecreatePodUpdatePolicy ||
		!inPlace || beyond <= 0 || len(updated) >= wantNew+beyond {
		return 0
	}
	marked := 0
	for _, m := range updated {
		if d.isStandIn(m) {
			marked++
		}
	}
	return min(d.set.Limits.Surge, beyond, marked)
}

func (d *division) isStandIn(m *Member) bool {
	return m.standIn == d.state.Update.Name
}

// choose picks the pods behind the numbers: the least missed are surplus, and of the rest the first in update order are
// changed.
func (d *division) choose(updated, outdated []*Member, spareNew, spareOld int) {
	if spareNew+spareOld == 0 && (d.updates == 0 || len(outdated) == 0) {
		d.outdated = outdated
		return
	}
	d.rank()
	if spareNew > 0 {
		slices.SortStableFunc(updated, d.leastMissed)
		d.surplus = append(d.surplus, updated[:spareNew]...)
	}
	if spareOld > 0 {
		slices.SortStableFunc(outdated, d.leastMissed)
		d.surplus = append(d.surplus, outdated[:spareOld]...)
		outdated = outdated[spareOld:]
	}
	d.outdated = d.updateOrder(outdated)
}

// rank tells of each member what it is worth among all.
func (d *division) rank() {
	worths := make([]*order.Worth, 0, len(d.state.Members))
	for i := range d.state.Members {
		worths = append(worths, d.state.Members[i].worth)
	}
	for i, rank := range order.Ranks(worths, d.state.Spread...) {
		d.state.Members[i].rank = rank
	}
}

// leastMissed is the order in which members are given up.
func (d *division) leastMissed(a, b *Member) int {
	const leaving = appsv1beta1.LifecycleStatePreparingDelete
	if c := first(a.State == leaving, b.State == leaving); c != 0 {
		return c
	}
	// A pod that only stood in goes before those it stood in for, although these were ready for a shorter time by then.
	if c := first(d.isStandIn(a), d.isStandIn(b)); c != 0 {
		return c
	}
	return a.rank.Compare(b.rank)
}

// first orders by a property: who has it goes first.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// updateOrder puts members that are half way first, then follows the set's own order.
func (d *division) updateOrder(members []*Member) []*Member {
	own := d.own()
	if len(d.set.Scatter) == 0 {
		slices.SortStableFunc(members, func(a, b *Member) int {
			if c := begunFirst(a, b); c != 0 {
				return c
			}
			if c := own(a.Pod, b.Pod); c != 0 {
				return c
			}
			return d.leastMissed(a, b)
		})
		return members
	}
	slices.SortStableFunc(members, func(a, b *Member) int {
		if c := own(a.Pod, b.Pod); c != 0 {
			return c
		}
		return d.leastMissed(a, b)
	})
	byPod := make(map[*corev1.Pod]*Member, len(members))
	pods := make([]*corev1.Pod, 0, len(members))
	for _, m := range members {
		byPod[m.Pod] = m
		pods = append(pods, m.Pod)
	}
	scattered := make([]*Member, 0, len(members))
	for _, p := range order.Scatter(pods, d.set.Scatter) {
		scattered = append(scattered, byPod[p])
	}
	slices.SortStableFunc(scattered, begunFirst)
	return scattered
}

// own is the set's own order.
func (d *division) own() order.Less {
	if d.set.First == nil {
		return order.Chain()
	}
	return d.set.First
}

// begunFirst puts members first whose change is half way.
func begunFirst(a, b *Member) int { return first(a.begun, b.begun) }

// removeNamed deletes a named pod, or replaces it where its slot stays: by one of its own kind where the partition wants
// more old pods than there are.
func (d *division) removeNamed(m *Member) Change {
	c := Change{Verb: Replace, Member: m, Revision: d.state.Update.Name, Why: "it was named to go"}
	switch {
	case d.refillOld > 0 && (m.Revision != d.state.Update.Name || d.refillNew == 0):
		d.refillOld--
		c.Revision = d.state.Current.Name
	case d.refillNew > 0:
		d.refillNew--
	default:
		c.Verb, c.Revision = Delete, ""
	}
	return c
}

// update brings an outdated pod to the update revision, or says why it stays.
func (d *division) update(m *Member, wanted bool) Change {
	target := d.state.Update.Name
	c := Change{Verb: Replace, Member: m, Revision: target, Why: "its revision is outdated"}
	path, known := d.state.Paths[m.Revision]
	blocked := path.Blocked
	if !known {
		blocked = []string{"the revision " + m.Revision + ", which is not in the history any more"}
	} else if names := path.Delta.NeedsDaemon(m.Pod); len(names) > 0 {
		blocked = append(slices.Clip(blocked), fmt.Sprintf(
			"the environment of container %s, which follows metadata and takes effect only when the container restarts: "+
				"no node daemon looks after it",
			strings.Join(names, ", ")))
	}
	if d.set.Change != appsv1beta1.RecreatePodUpdatePolicy && len(blocked) == 0 {
		c.Verb = Update
	}
	switch {
	case d.set.Hold != "":
		c.Hold, c.Message = d.set.Hold, d.set.HoldMessage
	case !wanted:
		c.Hold = appsv1beta1.HeldByPartition
		c.Message = "partition keeps them at their revision; lower it to go on"
	case c.Verb == Replace && d.set.Change == appsv1beta1.InPlaceOnlyPodUpdatePolicy:
		c.Hold = appsv1beta1.HeldByInPlaceOnly
		c.Message = "podUpdatePolicy is InPlaceOnly and these cannot be changed in place: " + strings.Join(blocked, ", ") +
			"; take the change back, or set InPlaceIfPossible"
	}
	return c
}
