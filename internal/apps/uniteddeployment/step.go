package uniteddeployment

import "slices"

// standing is the workload of a subset, as far as moving pods goes.
type standing struct {
	// asked is how many pods it is asked for, pods how many there are, ready how many of them are ready.
	asked, pods, ready int32
}

// movable is the share of all pods that may be away while pods move from one subset to another, in percent; it is what CloneSet
// and others take for an update where the user says nothing.
const movable = 20

// step brings the subsets nearer to their targets, in such a way that there are never more than limit pods over all of them,
// nor, but for pods that are not wanted any more, fewer ready ones than all less a part. It returns what each is asked for
// next. It is pure, and what it returns differs from the target only while a subset has still to lose pods, or pods elsewhere
// have still to get ready.
func step(now []standing, target []int32, limit int32) []int32 {
	next := make([]int32, len(now))
	asked, ready := int32(0), int32(0)
	for i, s := range now {
		next[i] = s.asked
		asked += s.asked
		ready += min(s.ready, s.asked)
	}
	unwanted := max(asked-limit, 0)
	budget := max((limit*movable+99)/100, 1)
	pace := max(budget-max(limit-ready, 0), 0)
	for i, s := range slices.Backward(now) {
		wish := max(s.asked-target[i], 0)
		idle := max(s.asked-s.ready, 0) // these go first, and nobody misses them
		less := min(wish, idle+unwanted+pace)
		costs := max(less-idle, 0)
		free := min(costs, unwanted)
		unwanted -= free
		pace -= costs - free
		next[i] -= less
	}
	room := limit
	for i, s := range now {
		room -= max(next[i], s.pods)
	}
	for i, s := range now {
		more := min(max(target[i]-s.asked, 0), max(room, 0))
		next[i] += more
		room -= more
	}
	return next
}
