package workload

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload/hook"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/order"
)

// Member is an active pod of a set and what matters about it.
type Member struct {
	Pod      *corev1.Pod
	Revision string
	// Ready is what the kubelet says; Available also asks for minReadySeconds, and that we are not about to take it away.
	Ready, Available bool
	// Missing is the time after which the pod becomes available if it stays ready; 0 when time alone does not do it.
	Missing time.Duration
	// Phase of its change in place, and what that waits for.
	Phase inplace.Phase
	Waits string
	// State of its lifecycle.
	State appsv1beta1.LifecycleState
	// Named says that somebody asked for exactly this pod to go.
	Named bool

	// begun says that a change is half way, standIn for which revision the pod only stands in.
	begun   bool
	standIn string
	// covered says that a change in place does not need the readiness gate any more, though it is not done.
	covered bool
	// worth is what makes the pod missed, rank the same among the pods of its set, once somebody has compared them.
	worth *order.Worth
	rank  order.Rank
}

// facts are what a pod's object alone says; they are kept from pass to pass and found again by resourceVersion, since a
// big set has few pods that changed.
type facts struct {
	resourceVersion string
	revision        string
	ready, marked   bool
	readySince      time.Time
	phase           inplace.Phase
	waits           string
	state           appsv1beta1.LifecycleState
	away, named     bool
	begun, covered  bool
	standIn         string
	worth           *order.Worth

	// seen is the pass that found the pod last.
	seen uint64
}

func look(p *corev1.Pod) *facts {
	phase, waits := inplace.Progress(p)
	sidecars := inplace.ReadSidecars(p).Waits(p)
	if waits == "" {
		waits = sidecars
	}
	_, named := p.Labels[appsv1beta1.SpecifiedDelete] // whatever its value
	state, unready := hook.State(p), inplace.Unready(p)
	covered := phase == inplace.Running && inplace.Covered(p)
	return &facts{
		resourceVersion: p.ResourceVersion,
		revision:        pod.Revision(p),
		ready:           pod.Ready(p),
		marked:          pod.MarkedUnavailable(p),
		readySince:      pod.ReadySince(p),
		phase:           phase,
		waits:           waits,
		state:           state,
		away:            hook.Away(p) || phase != inplace.Idle || sidecars != "" || unready,
		named:           named,
		begun: unready || covered || state == appsv1beta1.LifecycleStatePreparingUpdate ||
			state == appsv1beta1.LifecycleStatePreparingDelete,
		covered: covered,
		standIn: p.Annotations[StandIn],
		worth:   order.WorthOf(p),
	}
}

func (f *facts) member(p *corev1.Pod, minReady time.Duration, now time.Time) Member {
	m := Member{
		Pod: p, Revision: f.revision, Ready: f.ready, Phase: f.phase, Waits: f.waits, State: f.state, Named: f.named,
		begun: f.begun, covered: f.covered, standIn: f.standIn, worth: f.worth,
	}
	if !f.ready || f.marked || f.away {
		return m
	}
	if missing := minReady - now.Sub(f.readySince); minReady > 0 && missing > 0 {
		m.Missing = missing
		return m
	}
	m.Available = true
	return m
}

// NewMember looks at a pod for the first time.
func NewMember(p *corev1.Pod, minReady time.Duration, now time.Time) Member {
	return look(p).member(p, minReady, now)
}
