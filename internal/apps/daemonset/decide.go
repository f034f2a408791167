package daemonset

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/hook"
	"github.com/holdfast-io/holdfast/internal/workload/node"
	"github.com/holdfast-io/holdfast/internal/workload/report"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// defaultBurst counts where the user says nothing, as in Kubernetes.
const defaultBurst = 250

// decide is what is to be done now. It is pure.
func decide(ds *appsv1beta1.DaemonSet, state workload.State, s survey, now time.Time) (workload.Plan, error) {
	set, err := setOf(ds, state, s)
	if err != nil {
		return workload.Plan{}, err
	}
	burst, err := share.Of(ds.Spec.BurstReplicas, intstr.FromInt32(defaultBurst), s.desired, true)
	if err != nil {
		return workload.Plan{}, fmt.Errorf("spec.burstReplicas: %w", err)
	}
	plan := workload.Limit(set, state, workload.Diff(set, state), now)
	s.explain(plan.Held)
	inBursts(&plan, max(1, burst))
	plan.Again = report.Sooner(plan.Again, s.again)
	return plan, nil
}

// setOf says what a DaemonSet wants in the engine's words.
func setOf(ds *appsv1beta1.DaemonSet, state workload.State, s survey) (workload.Set, error) {
	rolling := ptr.Deref(ds.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateDaemonSet{})
	limits, err := limitsOf(rolling, s.desired)
	if err != nil {
		return workload.Set{}, err
	}
	kept, err := share.Of(rolling.Partition, intstr.FromInt32(0), s.desired, true)
	if err != nil {
		return workload.Set{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.partition: %w", err)
	}
	set := workload.Set{
		Slots: s.slots(state, max(0, s.desired-kept), partitioned(ds)), Limits: limits,
		Change: appsv1beta1.RecreatePodUpdatePolicy, Lifecycle: ds.Spec.Lifecycle,
		Place: node.Of, Shape: shape,
	}
	if rolling.Type == appsv1beta1.InplaceRollingUpdateType {
		set.Change = appsv1beta1.InPlaceIfPossiblePodUpdatePolicy
	}
	set.Gates = hook.Needed(ds.Spec.Lifecycle, 0, set.Change)
	set.Halt(rolling.Paused, ds.Spec.UpdateStrategy.Type == appsv1beta1.OnDeleteDaemonSetStrategyType)
	return set, nil
}

func partitioned(ds *appsv1beta1.DaemonSet) bool {
	return ds.Spec.ScaleStrategy != nil && ds.Spec.ScaleStrategy.PartitionedScaling
}

// shape ties a new pod to its node, and lets it bear what befalls a node.
func shape(p *corev1.Pod, to string) {
	node.Pin(&p.Spec, to)
	node.Tolerate(&p.Spec, node.Daemon(p.Spec.HostNetwork))
}

// limitsOf scales the limits to the nodes that should have a pod.
func limitsOf(rolling appsv1beta1.RollingUpdateDaemonSet, desired int) (workload.Limits, error) {
	surge, err := share.Of(rolling.MaxSurge, intstr.FromInt32(0), desired, true)
	if err != nil {
		return workload.Limits{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.maxSurge: %w", err)
	}
	unavailable, err := share.Of(rolling.MaxUnavailable, defaultMaxUnavailable(rolling), desired, true)
	if err != nil {
		return workload.Limits{}, fmt.Errorf("spec.updateStrategy.rollingUpdate.maxUnavailable: %w", err)
	}
	if surge == 0 && unavailable == 0 {
		unavailable = 1 // both can be scaled to 0 of few nodes, and then nothing would ever move
	}
	if rolling.Paused {
		surge = 0
	}
	return workload.Limits{Unavailable: unavailable, Surge: surge, Starting: -1}, nil
}

// defaultMaxUnavailable is 1, but where a surge makes the update go on it need not take anything away.
func defaultMaxUnavailable(rolling appsv1beta1.RollingUpdateDaemonSet) intstr.IntOrString {
	if share.Zero(rolling.MaxSurge, true) {
		return intstr.FromInt32(1)
	}
	return intstr.FromInt32(0)
}

// burstInterval is when the next burst comes at the latest; the events of the one before bring it sooner.
const burstInterval = time.Second

// inBursts keeps of a plan as many creations and as many deletions as are made in one go. Steps come in the order of their
// urgency, pods to be made in that of their nodes.
func inBursts(plan *workload.Plan, burst int) {
	if len(plan.Births) > burst {
		for _, b := range plan.Births[burst:] {
			plan.Held = append(plan.Held, bursting(workload.Change{Verb: workload.Create, Key: b.Key, Revision: b.Revision}))
		}
		plan.Births = plan.Births[:burst]
		plan.Again = report.Sooner(plan.Again, burstInterval)
	}
	deletions := 0
	plan.Steps = slices.DeleteFunc(plan.Steps, func(s workload.Step) bool {
		if s.Change.Verb != workload.Delete && s.Change.Verb != workload.Replace || s.Mark != "" {
			return false
		}
		if deletions++; deletions <= burst {
			return false
		}
		plan.Held = append(plan.Held, bursting(s.Change))
		plan.Again = report.Sooner(plan.Again, burstInterval)
		return true
	})
}

func bursting(c workload.Change) workload.Held {
	return workload.Held{
		Change: c, Reason: appsv1beta1.HeldByScaleStrategy,
		Message: "as many pods are created or deleted in one go as spec.burstReplicas allows; the next follow",
	}
}

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
	// rest is how long the node gets no pod after the last one failed.
	rest time.Duration
}

// look surveys the nodes. rest tells how long a node gets no pod after the last one failed.
func look(ds *appsv1beta1.DaemonSet, nodes []corev1.Node, state workload.State, rest func(node string) time.Duration) (survey, error) {
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
			p.rest = rest(n.Name)
			s.again = report.Sooner(s.again, p.rest)
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
		if p.rest > 0 {
			slots[i].Hold = appsv1beta1.HeldByContainer
			slots[i].Message = "the last pod on its node has failed; it is made again after a while, from 1 s up to 15 min"
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
	return slots
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
