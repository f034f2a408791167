package workload

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
)

// State is what was observed of a workload. The objects in it are shared with the cache: nobody changes them.
type State struct {
	// Members are the active pods.
	Members []Member
	// Gone are the pods that hold no place: terminating ones and finished ones.
	Gone   []*corev1.Pod
	Claims []*corev1.PersistentVolumeClaim
	// History holds all revisions; Update is the one of the template, Current the one before.
	History         []*appsv1.ControllerRevision
	Update, Current *appsv1.ControllerRevision
	CollisionCount  *int32
	// Paths tell, for each revision that a member runs, how it becomes the update revision.
	Paths map[string]Path
	// Spread are the domains of nodes, by their names, for each topology that the pods are to be spread over.
	Spread []map[string]string

	// synced is how far the cache of pods had got before they were read.
	synced string
	// bound is a limit that somebody else has set who changes pods of the workload; "" by nobody.
	bound disruption.Bound

	set   string
	names names
	taken map[string]bool
}

// pods yields the active pods.
func (s *State) pods(yield func(*corev1.Pod) bool) {
	for i := range s.Members {
		if !yield(s.Members[i].Pod) {
			return
		}
	}
}

// NewState is the state of a workload before anything was seen.
func NewState(owner metav1.Object) State {
	return State{set: owner.GetName(), names: newNames(string(owner.GetUID())), taken: map[string]bool{}}
}

// Divide sorts pods into members and those that hold no place. member looks at an active pod; false: it is as good as gone.
func (s *State) Divide(pods []*corev1.Pod, member func(p *corev1.Pod) (Member, bool)) {
	s.Members = make([]Member, 0, len(pods))
	for _, p := range pods {
		s.taken[claim.Instance(p)] = true
		s.taken[suffix(s.set, p.Name)] = true
		if pod.Active(p) {
			if m, stays := member(p); stays {
				s.Members = append(s.Members, m)
				continue
			}
		}
		s.Gone = append(s.Gone, p)
	}
	for _, c := range s.Claims {
		s.taken[claim.Instance(c)] = true
	}
}

// fullNames are the names of the revisions by what follows the set's name in them. Kubernetes's DaemonSets, and those of
// OpenKruise, label their pods with no more than that: taken over, they would be strangers of an unknown revision, and be
// replaced.
func (s *State) fullNames() map[string]string {
	full := make(map[string]string, len(s.History))
	for _, rev := range s.History {
		if short := suffix(s.set, rev.Name); short != "" && rev.Name == s.set+"-"+short {
			full[short] = rev.Name
		}
	}
	return full
}

// suffix returns what follows the set's name in the pod's.
func suffix(set, name string) string {
	if len(name) <= len(set)+1 {
		return ""
	}
	return name[len(set)+1:]
}
