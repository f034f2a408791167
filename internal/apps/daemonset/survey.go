package daemonset

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/node"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

var errEnds = errors.New("spec.template.spec.restartPolicy must be Always: a daemon has no end; leave it out")

// survey is what the nodes mean for a set, and who is on them.
type survey struct {
	// places are the nodes that should have a pod, and those that have one which may stay, by name.
	places []place
	// desired is how many nodes should have a pod, nodes how many there are.
	desired, nodes int
	// lacks counts the nodes that get none, by what they lack.
	lacks node.Lacks
	// again is when the next back-off ends.
	again time.Duration
}

type place struct {
	node     *corev1.Node
	members  []*workload.Member
	wanted   bool // the node should have a pod
	selected bool // pods on it are to be updated
	// failed is the last pod that failed there; nil: none did.
	failed *failure
}

// look surveys the nodes. failed are the pods that failed there last.
func look(ds *appsv1beta1.DaemonSet, nodes []corev1.Node, state workload.State, failed map[string]*failure) (survey, error) {
	if policy := ds.Spec.Template.Spec.RestartPolicy; policy != "" && policy != corev1.RestartPolicyAlways {
		return survey{}, errEnds // it got past us while we were away
	}
	template, err := node.NewTemplate(&ds.Spec.Template, node.Daemon(ds.Spec.Template.Spec.HostNetwork)...)
	if err != nil {
		return survey{}, err
	}
	selected, err := updateSelector(ds)
	if err != nil {
		return survey{}, err
	}
	members := make(map[string][]*workload.Member, len(state.Members))
	for i := range state.Members {
		m := &state.Members[i]
		members[node.Of(m.Pod)] = append(members[node.Of(m.Pod)], m)
	}
	s := survey{nodes: len(nodes), lacks: node.Lacks{}}
	for i := range nodes {
		n := &nodes[i]
		verdict, why := template.Judge(n)
		if verdict != node.Run {
			s.lacks.Add(why)
		}
		p := place{node: n, members: members[n.Name], wanted: verdict == node.Run}
		if verdict == node.Away || !p.wanted && len(p.members) == 0 {
			continue
		}
		p.selected = selected(n)
		if p.wanted {
			s.desired++
			if p.failed = failed[n.Name]; p.failed != nil {
				s.again = report.Sooner(s.again, p.failed.left)
			}
		}
		s.places = append(s.places, p)
	}
	slices.SortFunc(s.places, func(a, b place) int { return cmp.Compare(a.node.Name, b.node.Name) })
	return s, nil
}

// slots are the places with the revision that each should have: as many of those that should have a pod at the update
// revision as updated says, and first of all those that have it already.
func (s *survey) slots(state workload.State, updated int, partitioned bool) []workload.Slot {
	update, current := state.Update.Name, state.Current.Name
	slots := make([]workload.Slot, len(s.places))
	var candidates []int
	for i := range s.places {
		p := &s.places[i]
		slots[i] = workload.Slot{Key: p.node.Name, Revision: current}
		switch {
		case !p.wanted: // whatever it is, it stays as it is
			slots[i].Revision = p.eldest().Revision
		case p.selected || update == current || p.progress(update) == isUpdated:
			candidates = append(candidates, i)
		}
	}
	slices.SortStableFunc(candidates, func(a, b int) int {
		return cmp.Compare(s.places[a].progress(update), s.places[b].progress(update))
	})
	for n, i := range candidates {
		p := &s.places[i]
		switch {
		case n < updated || p.progress(update) == isUpdated:
			slots[i].Revision = update
		case partitioned && len(p.members) == 0:
			slots[i].Hold = appsv1beta1.HeldByPartition
			slots[i].Message = "partition keeps them from getting their first pod; lower it to go on"
		}
	}
	for i := range s.places {
		if f := s.places[i].failed; f != nil && f.left > 0 && pod.Revision(f.pod) == slots[i].Revision {
			slots[i].Hold = appsv1beta1.HeldByContainer
			slots[i].Message = "the last pod on its node has failed; it is made again after a while, from 1 s up to 15 min"
		}
	}
	return slots
}

// shape ties a new pod to its node, lets it bear what befalls a node, and tells it how many have failed there before.
func (s *survey) shape(p *corev1.Pod, to string) {
	node.Pin(&p.Spec, to)
	node.Tolerate(&p.Spec, node.Daemon(p.Spec.HostNetwork))
	if at := s.place(to); at != nil && at.failed != nil && pod.Revision(at.failed.pod) == pod.Revision(p) {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[failuresBefore] = strconv.Itoa(at.failed.count)
	}
}

// spent reports whether a pod that has ended can be deleted: the last one that failed stays until there is another.
func (s *survey) spent(p *corev1.Pod) bool {
	at := s.place(node.Of(p))
	return at == nil || len(at.members) > 0 || at.failed == nil || at.failed.pod != p
}

// place finds the place of a node that matters; nil: it does not.
func (s *survey) place(name string) *place {
	i, found := slices.BinarySearchFunc(s.places, name, func(p place, name string) int { return cmp.Compare(p.node.Name, name) })
	if !found {
		return nil
	}
	return &s.places[i]
}

// progress is how far a node is on the way to the update revision.
type progress int

const (
	isUpdated progress = iota
	begun
	isEmpty // between two pods, as a rule
	isOutdated
)

func (p *place) progress(update string) progress {
	if len(p.members) == 0 {
		return isEmpty
	}
	how := isOutdated
	for _, m := range p.members {
		switch {
		case m.Revision == update:
			return isUpdated
		case m.State == appsv1beta1.LifecycleStatePreparingUpdate || m.State == appsv1beta1.LifecycleStatePreparingDelete:
			how = begun
		}
	}
	return how
}

// explain says of pods that the engine keeps at their revision which rule it is that keeps them.
func (s *survey) explain(held []workload.Held) {
	byName := make(map[string]*place, len(s.places))
	for i := range s.places {
		byName[s.places[i].node.Name] = &s.places[i]
	}
	for i := range held {
		p := byName[held[i].Change.Key]
		switch h := &held[i]; {
		case h.Reason != appsv1beta1.HeldByPartition || p == nil:
		case !p.wanted:
			h.Reason, h.Message = appsv1beta1.HeldByScheduling, "taints keep new pods from their nodes, so the old ones stay as they are"
		case !p.selected && len(p.members) > 0:
			h.Message = "spec.updateStrategy.rollingUpdate.selector leaves their nodes out, so they stay at their revision"
		}
	}
}
