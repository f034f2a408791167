package broadcastjob

import (
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/node"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

var errEndless = errors.New("spec.template.spec.restartPolicy is Always, so no pod would ever end; set Never or OnFailure")

// tally is how far a job has come, node by node.
type tally struct {
	// nodes is how many there are, desired how many of them should run a pod or have run one.
	nodes, desired int
	// running pods have not ended; spent ones were restarted more often than allowed, and have failed.
	running, spent []*workload.Member
	// waiting are the nodes without a pod, by name.
	waiting           []string
	succeeded, failed int
	// leaving is how many pods still run although they were asked to go; overdue is when the first of them should be gone.
	leaving int
	overdue time.Duration
	// example is a pod that has failed; "": none has.
	example string
	lacks   node.Lacks
}

// look counts the pods of the nodes that the job is for. What ran on nodes that have left does not count. A node that does not
// answer keeps its pod for as long as Kubernetes lets the pod stay there: it may come back in time. Then it has left, too.
func look(job *appsv1beta1.BroadcastJob, nodes []corev1.Node, state workload.State, now time.Time) (tally, error) {
	if job.Spec.Template.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return tally{}, errEndless // it got past us while we were away
	}
	template, err := node.NewTemplate(&job.Spec.Template)
	if err != nil {
		return tally{}, err
	}
	patient, err := node.NewTemplate(&job.Spec.Template, node.Unanswering()...)
	if err != nil {
		return tally{}, err
	}
	t := tally{nodes: len(nodes), lacks: node.Lacks{}}
	on := occupants(state, &t, now)
	for i := range nodes {
		name := nodes[i].Name
		here := on[name]
		verdict, why := template.Judge(&nodes[i])
		if verdict != node.Run {
			t.lacks.Add(why)
		}
		if here != nil {
			verdict, _ = patient.Judge(&nodes[i])
		}
		if verdict == node.Away || verdict == node.Stay && here == nil {
			continue
		}
		t.desired++
		if here == nil {
			t.waiting = append(t.waiting, name)
			continue
		}
		t.count(job, here)
	}
	slices.Sort(t.waiting)
	return t, nil
}

// occupant is who has, or had, a node.
type occupant struct {
	members []*workload.Member
	ended   *corev1.Pod
}

// occupants finds the pods of each node. Those that are terminating are only counted: whether they have ended well is not
// theirs to say any more, and their nodes run the pod again.
func occupants(state workload.State, t *tally, now time.Time) map[string]*occupant {
	on := make(map[string]*occupant, len(state.Members)+len(state.Gone))
	at := func(p *corev1.Pod) *occupant {
		key := node.Of(p)
		if on[key] == nil {
			on[key] = &occupant{}
		}
		return on[key]
	}
	for i := range state.Members {
		m := &state.Members[i]
		at(m.Pod).members = append(at(m.Pod).members, m)
	}
	for _, p := range state.Gone {
		switch {
		case pod.Finished(p) && !pod.Terminating(p):
			if o := at(p); o.ended == nil || p.Status.Phase == corev1.PodSucceeded {
				o.ended = p
			}
		case !pod.Finished(p):
			t.leave(p, now)
		}
	}
	return on
}

// patience is how much longer than its grace a pod may take to be gone.
const patience = 30 * time.Second

// leave counts a pod that is on its way out, while its node may still be about to stop it. One that is still there when its time
// is over is on a node that does not answer, and must not keep the others waiting.
func (t *tally) leave(p *corev1.Pod, now time.Time) {
	if p.DeletionTimestamp != nil {
		left := p.DeletionTimestamp.Add(patience).Sub(now)
		if left <= 0 {
			return
		}
		t.overdue = report.Sooner(t.overdue, left)
	}
	t.leaving++
}

// count adds one node's pods.
func (t *tally) count(job *appsv1beta1.BroadcastJob, here *occupant) {
	fail := func(p *corev1.Pod) {
		t.failed++
		if t.example == "" || p.Name < t.example {
			t.example = p.Name
		}
	}
	switch {
	case here.ended != nil && here.ended.Status.Phase == corev1.PodSucceeded:
		t.succeeded++ // another pod of the node, if there is one, is superfluous
	case here.ended != nil:
		fail(here.ended)
	case restarts(here.members[0].Pod) > job.Spec.FailurePolicy.RestartLimit:
		t.spent = append(t.spent, here.members[0])
		fail(here.members[0].Pod)
	default:
		t.running = append(t.running, here.members...)
	}
}

// restarts is how often the containers of a pod were started again in all, those that run beside the others apart.
func restarts(p *corev1.Pod) (n int32) {
	for i := range p.Status.InitContainerStatuses {
		n += p.Status.InitContainerStatuses[i].RestartCount
	}
	for i := range p.Status.ContainerStatuses {
		n += p.Status.ContainerStatuses[i].RestartCount
	}
	return n
}
