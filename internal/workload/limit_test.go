package workload

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// scene is one decision: pods that exist, what is wanted of them, and what is done about it.
type scene struct {
	reason string
	pods   string
	// slots that should hold a pod, the first of them old ones. Revisions are v1, the current one, and v2, of the template.
	slots, old int
	// unavailable and surge are the limits; starting limits creations, 0 does not.
	unavailable, surge, starting int
	// more of the set, and of the state.
	set   func(s *Set)
	state func(s *State)
	want  string
}

const inPlace = appsv1beta1.InPlaceIfPossiblePodUpdatePolicy

// at is the time of all decisions: long after every pod of the shorthand got ready.
var at = testkit.Epoch.Add(time.Hour) //nolint:gochecknoglobals // Go has no constant of this type

func inPlaceSet(s *Set) { s.Change = inPlace }

func revisionNamed(name string) *appsv1.ControllerRevision {
	return &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// observed is the state that the engine would have made of the pods.
func (s *scene) observed(t *testing.T) State {
	t.Helper()
	state := NewState(&metav1.ObjectMeta{Name: "web", UID: "uid"})
	state.Current, state.Update = revisionNamed("v1"), revisionNamed("v2")
	state.History = []*appsv1.ControllerRevision{state.Current, state.Update}
	state.Paths = map[string]Path{
		"v1": {Delta: inplace.Delta{Images: map[string]string{"main": "registry.local/web:v2"}}},
		"v2": {},
	}
	state.Divide(testkit.Pods(t, s.pods), func(p *corev1.Pod) (Member, bool) { return NewMember(p, 0, at), true })
	if s.state != nil {
		s.state(&state)
	}
	return state
}

func (s *scene) wanted() Set {
	set := Set{
		Slots: make([]Slot, s.slots), Change: appsv1beta1.RecreatePodUpdatePolicy, Named: map[string]bool{},
		Limits: Limits{Unavailable: s.unavailable, Surge: s.surge, Starting: -1},
	}
	if s.starting > 0 {
		set.Limits.Starting = s.starting
	}
	for i := range set.Slots {
		set.Slots[i].Revision = "v2"
		if i < s.old {
			set.Slots[i].Revision = "v1"
		}
	}
	if s.set != nil {
		s.set(&set)
	}
	return set
}

// say puts a plan into words: steps, creations, what is held.
func say(plan Plan) string {
	var words []string
	for _, s := range plan.Steps {
		word := string(s.Change.Verb) + " " + s.Change.Member.Pod.Name
		if s.Change.Verb == Update && !s.Update.Patch {
			word = "ready " + s.Change.Member.Pod.Name
		}
		if s.Mark != "" {
			word += " as " + string(s.Mark)
		}
		for _, c := range s.Conditions {
			word += fmt.Sprintf(" %s=%s", c.Type, c.Status)
		}
		if s.Then != "" {
			word += " then " + s.Change.Revision
		}
		words = append(words, word)
	}
	for _, b := range plan.Births {
		word := "create " + b.Revision
		if b.StandIn {
			word += " to stand in"
		}
		words = append(words, word)
	}
	for _, h := range plan.Held {
		name := string(h.Change.Verb)
		if h.Change.Member != nil {
			name = h.Change.Member.Pod.Name
		}
		words = append(words, fmt.Sprintf("hold %s: %s", name, h.Reason))
	}
	return strings.Join(words, "; ")
}

// check decides, and holds the plan against the promises of Limit besides what the scene wants.
func (s *scene) check(t *testing.T) Plan {
	t.Helper()
	set, state := s.wanted(), s.observed(t)
	plan := Limit(set, state, Diff(set, state), at)
	if got := say(plan); got != s.want {
		t.Errorf("pods %q\n got %q\nwant %q", s.pods, got, s.want)
	}
	available, alive := 0, len(state.Members)+len(plan.Births)
	for i := range state.Members {
		if state.Members[i].Available {
			available++
		}
	}
	before := available
	for _, step := range plan.Steps {
		if step.Change.Verb != Refresh && step.Change.Member.Available && state.Paths[step.Change.Member.Revision].Delta.Disturbs() {
			available--
		}
		if step.Change.Verb == Delete && step.Mark == "" || step.Change.Verb == Replace && step.Then == "" && step.Mark == "" {
			alive--
		}
	}
	if floor := min(before, len(set.Slots)-set.Limits.Unavailable); available < floor {
		t.Errorf("pods %q: leaves %d available, fewer than %d", s.pods, available, floor)
	}
	if ceiling := max(len(state.Members), len(set.Slots)+set.Limits.Surge); alive > ceiling && !set.IgnoreLeaving {
		t.Errorf("pods %q: leaves %d pods, more than %d", s.pods, alive, ceiling)
	}
	return plan
}

func run(t *testing.T, scenes []scene) {
	t.Helper()
	for i := range scenes {
		t.Run(scenes[i].reason, func(t *testing.T) { scenes[i].check(t) })
	}
}

func TestScaling(t *testing.T) {
	run(t, []scene{
		{reason: "an empty set is filled", slots: 2, want: "create v2; create v2"},
		{reason: "nothing to do", pods: "a/v2 b/v2", slots: 2, want: ""},
		{reason: "what is missing is made", pods: "a/v2", slots: 3, want: "create v2; create v2"},
		{reason: "terminating pods hold no place", pods: "a/v2 b/v2~", slots: 2, want: "create v2"},
		{reason: "scaled down, the youngest goes", pods: "a/v2 b/v2 c/v2", slots: 2, want: "delete c"},
		{reason: "to nothing, however small maxUnavailable is", pods: "a/v2 b/v2 c/v2", unavailable: 1, want: "delete c; delete b; delete a"},
		{reason: "scaled down, the unready goes first and costs nothing", pods: "a/v2! b/v2 c/v2", slots: 2, want: "delete a"},
		{reason: "scaled down, the pending goes first", pods: "a/v2! b/v2? c/v2", slots: 2, want: "delete b"},
		{
			reason: "scaled down, outdated pods go before updated ones", pods: "a/v2! b/v1 c/v1", slots: 2, unavailable: 1,
			want: "delete c; hold b: Budget",
		},
		{reason: "a node with many pods gives one first", pods: "a/v2@n1 b/v2@n2 c/v2@n1", slots: 2, want: "delete c"},
		{
			reason: "creations are paced by the pods that start", pods: "a/v2 b/v2!", slots: 5, starting: 2,
			want: "create v2; hold create: ScaleStrategy; hold create: ScaleStrategy",
		},
		{
			reason: "a paced replacement is made when the place is empty", pods: "a/v1 b/v2", slots: 2, unavailable: 1, starting: 1,
			want: "replace a",
		},
		{
			reason: "scaled up half way, an old slot is filled with the old revision", pods: "a/v1 b/v2", slots: 4, old: 2, unavailable: 1,
			want: "create v1; create v2; hold a: Partition",
		},
		{
			reason: "a paused set scales", pods: "a/v1 b/v1", slots: 3, unavailable: 1,
			set:  func(s *Set) { s.Hold = appsv1beta1.HeldByPaused },
			want: "create v2; hold b: Paused; hold a: Paused",
		},
	})
}

func TestRecreate(t *testing.T) {
	run(t, []scene{
		{
			reason: "one at a time, its successor in the same pass", pods: "a/v1 b/v1 c/v1", slots: 3, unavailable: 1,
			want: "replace c then v2; hold b: Budget; hold a: Budget",
		},
		{
			reason: "what is unavailable takes the budget", pods: "a/v1 b/v1 c/v2!", slots: 3, unavailable: 1,
			want: "hold b: Budget; hold a: Budget",
		},
		{
			reason: "a missing pod takes the budget", pods: "a/v1 b/v1", slots: 3, unavailable: 1,
			want: "create v2; hold b: Budget; hold a: Budget",
		},
		{
			reason: "an outdated pod that is not available goes without asking", pods: "a/v1 b/v1! c/v2!", slots: 3, unavailable: 1,
			want: "replace b then v2; hold a: Budget",
		},
		{
			reason: "surge first where nothing may be missing", pods: "a/v1 b/v1 c/v1", slots: 3, surge: 1,
			want: "create v2; hold c: Budget; hold b: Budget; hold a: Budget",
		},
		{
			reason: "the surge is not there yet", pods: "a/v1 b/v1 c/v1 d/v2!", slots: 3, surge: 1,
			want: "hold c: Budget; hold b: Budget; hold a: Budget",
		},
		{
			reason: "the surge is there and an old one goes", pods: "a/v1 b/v1 c/v1 d/v2", slots: 3, surge: 1,
			want: "delete c; hold b: Budget; hold a: Budget",
		},
		{
			reason: "the last outdated pod within the budget needs no surge", pods: "a/v1 b/v2 c/v2", slots: 3, unavailable: 1, surge: 1,
			want: "replace a then v2",
		},
		{
			reason: "surge and budget together", pods: "a/v1 b/v1 c/v1", slots: 3, unavailable: 1, surge: 1,
			want: "replace c then v2; create v2; hold b: Budget; hold a: Budget",
		},
		{
			reason: "paused holds the rest", pods: "a/v1 b/v2", slots: 2, unavailable: 1,
			set:  func(s *Set) { s.Hold = appsv1beta1.HeldByPaused },
			want: "hold a: Paused",
		},
		{
			reason: "on delete, what is gone comes back updated", pods: "a/v1 b/v1~", slots: 2, unavailable: 1,
			set:  func(s *Set) { s.Hold = appsv1beta1.HeldByOnDelete },
			want: "create v2; hold a: OnDelete",
		},
		{
			reason: "claims to be reused are free only when the old pod is gone", pods: "a/v1 b/v2", slots: 2, unavailable: 1,
			set:  func(s *Set) { s.ReuseClaims, s.Claims = true, make([]corev1.PersistentVolumeClaim, 1) },
			want: "replace a",
		},
	})
}

func TestPartition(t *testing.T) {
	run(t, []scene{
		{
			reason: "keeps so many old pods", pods: "a/v1 b/v1 c/v1", slots: 3, old: 2, unavailable: 3,
			want: "replace c then v2; hold b: Partition; hold a: Partition",
		},
		{
			reason: "of all replicas changes nothing", pods: "a/v1 b/v1", slots: 2, old: 2, unavailable: 2,
			want: "hold a: Partition; hold b: Partition",
		},
		{
			reason: "raised later takes nothing back", pods: "a/v2 b/v2 c/v1", slots: 3, old: 2, unavailable: 1,
			want: "hold c: Partition",
		},
		{
			reason: "a named old pod comes back old", pods: "a/v1* b/v2 c/v2", slots: 3, old: 1, unavailable: 1,
			want: "replace a then v1",
		},
		{
			reason: "a named new pod comes back new", pods: "a/v1 b/v2* c/v2", slots: 3, old: 1, unavailable: 1,
			want: "replace b then v2; hold a: Partition",
		},
		{
			reason: "of two named old pods only as many as it keeps come back old", pods: "a/v1* b/v1* c/v2", slots: 3, old: 1, unavailable: 2,
			want: "replace a then v1; replace b then v2",
		},
		{
			reason: "scaled down, the old ones beyond it go", pods: "a/v1 b/v1 c/v1 d/v2 e/v2", slots: 3, old: 1, unavailable: 1,
			want: "delete c; delete b; hold a: Partition",
		},
	})
}

func TestInPlace(t *testing.T) {
	run(t, []scene{
		{
			reason: "one at a time", pods: "a/v1 b/v1 c/v1", slots: 3, unavailable: 1, set: inPlaceSet,
			want: "update c; hold b: Budget; hold a: Budget",
		},
		{
			reason: "the pod on its way counts as unavailable", pods: "a/v1 b/v1 c/v2^", slots: 3, unavailable: 1, set: inPlaceSet,
			want: "hold b: Budget; hold a: Budget; hold c: Update",
		},
		{
			reason: "surge is not used while some may be missing", pods: "a/v1 b/v1 c/v1", slots: 3, unavailable: 1, surge: 1, set: inPlaceSet,
			want: "update c; hold b: Budget; hold a: Budget",
		},
		{
			reason: "where nothing may be missing a pod stands in", pods: "a/v1 b/v1 c/v1", slots: 3, surge: 1, set: inPlaceSet,
			want: "create v2 to stand in; hold c: Budget; hold b: Budget; hold a: Budget",
		},
		{
			reason: "the pod that stands in stays until the end", pods: "a/v1 b/v1 c/v1 d/v2", slots: 3, surge: 1, set: inPlaceSet,
			state: standIn("d"), want: "update c; hold d: Surge; hold b: Budget; hold a: Budget",
		},
		{
			reason: "a surge pod for one that is replaced takes its place, although others could change in place", pods: "a/v1 b/v0 c/v2 d/v2",
			slots: 3, surge: 1, set: inPlaceSet, want: "delete b; hold a: Budget",
		},
		{
			reason: "the last one on its way is not taken for the pod too many", pods: "a/v2^ b/v2 c/v2 d/v2", slots: 3, surge: 1,
			set: inPlaceSet, state: standIn("d"), want: "hold d: Budget; hold a: Update",
		},
		{
			reason: "at the end the one that stood in goes", pods: "d/v2 a/v2 b/v2 c/v2", slots: 3, surge: 1,
			set: inPlaceSet, state: standIn("d"), want: "delete d",
		},
		{
			reason: "a pod that is not available is changed without anybody standing in", pods: "a/v1!", slots: 1, surge: 1, set: inPlaceSet,
			want: "update a",
		},
		{
			reason: "scaled down half way, one old pod and the stand-in leave their turn", pods: "a/v2 b/v1 c/v1 d/v2", slots: 2, surge: 1,
			set: inPlaceSet, state: standIn("d"), want: "delete c; update b; hold d: Surge",
		},
		{
			reason: "what cannot be changed in place is replaced", pods: "a/v1 b/v2", slots: 2, unavailable: 1, set: inPlaceSet,
			state: blocked, want: "replace a then v2",
		},
		{
			reason: "or is held where it must be in place", pods: "a/v1 b/v2", slots: 2, unavailable: 1,
			set:   func(s *Set) { s.Change = appsv1beta1.InPlaceOnlyPodUpdatePolicy },
			state: blocked, want: "hold a: InPlaceOnly",
		},
		{
			reason: "a revision that nobody knows is replaced", pods: "a/v0 b/v2", slots: 2, unavailable: 1, set: inPlaceSet,
			want: "replace a then v2",
		},
		{
			reason: "metadata alone costs no budget", pods: "a/v1 b/v1", slots: 2, unavailable: 1, set: inPlaceSet, state: metadataOnly,
			want: "update b; update a",
		},
		{
			reason: "an image that cannot be had is named, and its pod can be changed again", pods: "a/v1! b/v2!", slots: 2, unavailable: 1,
			set: inPlaceSet, state: unpulled, want: "update a; hold b: Image",
		},
	})
}

func standIn(name string) func(*State) {
	return func(s *State) {
		for i := range s.Members {
			if p := s.Members[i].Pod; p.Name == name {
				p.Annotations = map[string]string{StandIn: "v2"}
				s.Members[i] = NewMember(p, 0, at)
			}
		}
	}
}

func blocked(s *State) { s.Paths["v1"] = Path{Blocked: []string{"spec.hostNetwork"}} }

func metadataOnly(s *State) {
	on := "on"
	s.Paths["v1"] = Path{Delta: inplace.Delta{Labels: map[string]*string{"debug": &on}}}
}

func unpulled(s *State) {
	for i := range s.Members {
		s.Members[i].Pod.Status.ContainerStatuses[0].State = corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"},
		}
	}
}

func TestNamed(t *testing.T) {
	names := func(names ...string) func(*Set) {
		return func(s *Set) {
			for _, name := range names {
				s.Named[name] = true
			}
		}
	}
	run(t, []scene{
		{reason: "a named pod is replaced", pods: "a/v2* b/v2", slots: 2, unavailable: 1, want: "replace a then v2"},
		{reason: "by its name in the set, too", pods: "a/v2 b/v2", slots: 2, unavailable: 1, set: names("a", "gone"), want: "replace a then v2"},
		{reason: "scaled down, it goes first and leaves no place", pods: "a/v2 b/v2 c/v2", slots: 2, unavailable: 1, set: names("a"), want: "delete a"},
		{reason: "the budget holds for it", pods: "a/v2* b/v2! c/v2", slots: 3, unavailable: 1, want: "hold a: Budget"},
		{reason: "surge covers it", pods: "a/v2* b/v2 c/v2", slots: 3, surge: 1, want: "create v2; hold a: Budget"},
		{reason: "and then it goes", pods: "a/v2* b/v2 c/v2 d/v2", slots: 3, surge: 1, want: "delete a"},
		{
			reason: "it goes even while paused", pods: "a/v1* b/v1", slots: 2, unavailable: 1,
			set:  func(s *Set) { s.Hold = appsv1beta1.HeldByPaused },
			want: "replace a then v2; hold b: Paused",
		},
		{
			reason: "named pods are taken before outdated ones", pods: "a/v2* b/v1 c/v1", slots: 3, unavailable: 1,
			want: "replace a then v2; hold c: Budget; hold b: Budget",
		},
	})
}

func TestHooks(t *testing.T) {
	hooked := func(s *Set) {
		h := &appsv1beta1.LifecycleHook{LabelsHandler: map[string]string{"app": "web"}} // every pod of the shorthand has it
		s.Lifecycle = &appsv1beta1.Lifecycle{PreDelete: h, InPlaceUpdate: h}
	}
	hookedInPlace := func(s *Set) { hooked(s); inPlaceSet(s) }
	ignoring := func(s *Set) { hooked(s); s.IgnoreLeaving = true }
	run(t, []scene{
		{reason: "a pod that is to go is prepared first", pods: "a/v2 b/v2", slots: 1, unavailable: 1, set: hooked, want: "delete b as PreparingDelete"},
		{reason: "and waits for its hook", pods: "a/v2 b/v2%", slots: 1, unavailable: 1, set: hooked, want: "hold b: Hook"},
		{reason: "it is the same pod at every pass", pods: "a/v2% b/v2", slots: 1, unavailable: 1, set: hooked, want: "hold a: Hook"},
		{reason: "let go by its hook, it goes", pods: "a/v2 b/v2%", slots: 1, unavailable: 1, want: "delete b"},
		{reason: "wanted again, it is taken back", pods: "a/v2 b/v2%", slots: 2, unavailable: 1, set: hooked, want: "refresh b as Normal"},
		{
			reason: "left out of the count, it is replaced and goes on leaving", pods: "a/v2 b/v2%", slots: 2, unavailable: 1, set: ignoring,
			want: "create v2; hold b: Hook",
		},
		{
			reason: "left out of the count, it never stands in", pods: "a/v1 b/v2%", slots: 1, surge: 1,
			set:  func(s *Set) { inPlaceSet(s); s.IgnoreLeaving = true },
			want: "delete b; create v2 to stand in; hold a: Budget",
		},
		{
			reason: "a pod to be changed is prepared first", pods: "a/v1 b/v1", slots: 2, unavailable: 1, set: hookedInPlace,
			want: "ready b as PreparingUpdate; hold a: Budget",
		},
		{
			reason: "and waits, first in the line", pods: "a/v1+ b/v1", slots: 2, unavailable: 1, set: hookedInPlace,
			want: "hold a: Hook; hold b: Budget",
		},
		{
			reason: "let pass by its hook, it is changed", pods: "a/v1+ b/v1", slots: 2, unavailable: 1,
			set: func(s *Set) {
				hookedInPlace(s)
				s.Lifecycle.InPlaceUpdate.LabelsHandler = map[string]string{"hold": "on"}
			},
			want: "update a as Updating; hold b: Budget",
		},
		{
			reason: "not to be changed any more, it is taken back", pods: "a/v1+ b/v1", slots: 2, old: 2, unavailable: 1, set: hookedInPlace,
			want: "refresh a as Normal; hold a: Partition; hold b: Partition",
		},
		{
			reason: "a pod half way to its replacement is not given up for another", pods: "a/v1% b/v1 c/v1", slots: 3, old: 2, unavailable: 1,
			set: func(s *Set) {
				hooked(s)
				s.First = func(a, b *corev1.Pod) int { return strings.Compare(b.Name, a.Name) }
			},
			want: "hold a: Hook; hold c: Partition; hold b: Partition",
		},
		{
			reason: "created, and held by preNormal", pods: "a/v2 b/v2", slots: 2, unavailable: 1,
			set: func(s *Set) {
				s.Lifecycle = &appsv1beta1.Lifecycle{PreNormal: &appsv1beta1.LifecycleHook{FinalizersHandler: []string{"x/y"}}}
			},
			state: func(s *State) {
				s.Members[1].State, s.Members[1].Available = appsv1beta1.LifecycleStatePreparingNormal, false
				s.Members[1].Pod.Labels[appsv1beta1.LifecycleStateKey] = "PreparingNormal"
			},
			want: "hold b: Hook",
		},
		{
			reason: "changed, and held until its hook is complete again", pods: "a/v2", slots: 1, unavailable: 1,
			set: func(s *Set) {
				s.Lifecycle = &appsv1beta1.Lifecycle{InPlaceUpdate: &appsv1beta1.LifecycleHook{LabelsHandler: map[string]string{"hold": "on"}}}
			},
			state: func(s *State) {
				s.Members[0].State, s.Members[0].Available = appsv1beta1.LifecycleStateUpdated, false
				s.Members[0].Pod.Labels[appsv1beta1.LifecycleStateKey] = "Updated"
			},
			want: "hold a: Hook",
		},
	})
}

// gated gives every pod the gate of changes in place, with that status since then.
func gated(status corev1.ConditionStatus, since time.Time) func(*State) {
	return func(s *State) {
		for i := range s.Members {
			p := s.Members[i].Pod
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: appsv1beta1.InPlaceUpdateReady}}
			if status != "" {
				p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
					Type: appsv1beta1.InPlaceUpdateReady, Status: status, LastTransitionTime: metav1.NewTime(since),
				})
			}
			s.Members[i] = NewMember(p, 0, at)
		}
	}
}

func TestGrace(t *testing.T) {
	graceful := func(s *Set) { inPlaceSet(s); s.Grace = 30 * time.Second }
	scenes := []struct {
		scene
		again time.Duration
	}{
		{scene{
			reason: "a new pod gets its gate", pods: "a/v2", slots: 1, unavailable: 1, state: gated("", at),
			want: "refresh a InPlaceUpdateReady=True",
		}, 0},
		{scene{
			reason: "out of service first", pods: "a/v1", slots: 1, unavailable: 1, set: graceful, state: gated("True", at),
			want: "ready a InPlaceUpdateReady=False",
		}, 30 * time.Second},
		{scene{
			reason: "and for the whole grace", pods: "a/v1", slots: 1, unavailable: 1, set: graceful,
			state: gated("False", at.Add(-10*time.Second)), want: "hold a: Grace",
		}, 20 * time.Second},
		{scene{
			reason: "then it is changed", pods: "a/v1", slots: 1, unavailable: 1, set: graceful,
			state: gated("False", at.Add(-30*time.Second)), want: "update a",
		}, 0},
		{scene{
			reason: "without grace both at once", pods: "a/v1", slots: 1, unavailable: 1, set: inPlaceSet, state: gated("True", at),
			want: "update a InPlaceUpdateReady=False",
		}, 0},
		{scene{
			reason: "back in service when the kubelet itself keeps it not ready", pods: "a/v2", slots: 1, unavailable: 1, set: graceful,
			state: func(s *State) {
				p := s.Members[0].Pod
				p.Annotations = map[string]string{appsv1beta1.InPlaceUpdateState: `{"revision":"v2","lastContainerStatuses":{"main":{` +
					`"imageID":"` + p.Status.ContainerStatuses[0].ImageID + `","containerID":"` + p.Status.ContainerStatuses[0].ContainerID + `"}}}`}
				p.Status.ObservedGeneration = p.Generation
				p.Status.ContainerStatuses[0].Ready = false
				p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
				gated("False", at)(s)
			},
			want: "refresh a InPlaceUpdateReady=True; hold a: Update",
		}, 0},
		{scene{
			reason: "paused in its grace, it goes back into service", pods: "a/v1", slots: 1, unavailable: 1,
			set:   func(s *Set) { graceful(s); s.Hold = appsv1beta1.HeldByPaused },
			state: gated("False", at), want: "refresh a InPlaceUpdateReady=True; hold a: Paused",
		}, 0},
	}
	for _, s := range scenes {
		t.Run(s.reason, func(t *testing.T) {
			if plan := s.check(t); plan.Again != s.again {
				t.Errorf("comes back after %s, want %s", plan.Again, s.again)
			}
		})
	}
}

func TestMinReadyAlone(t *testing.T) {
	p := testkit.Pods(t, "a/v2")[0]
	m := NewMember(p, time.Minute, testkit.Epoch.Add(20*time.Second))
	if m.Available || !m.Ready || m.Missing != 40*time.Second {
		t.Errorf("ready for 20 s of 60: got %+v", m)
	}
	s := scene{
		pods: "a/v2 b/v1", slots: 2, unavailable: 1, want: "hold b: Budget",
		state: func(s *State) { s.Members[0] = m },
	}
	if plan := s.check(t); plan.Again != 40*time.Second {
		t.Errorf("comes back after %s, want when the pod becomes available, 40s", plan.Again)
	}
}

func TestMembers(t *testing.T) {
	for _, test := range []struct {
		reason, pod string
		change      func(p *corev1.Pod)
		available   bool
	}{
		{"ready", "a/v1", nil, true},
		{"not ready", "a/v1!", nil, false},
		{"about to be deleted", "a/v1%", nil, false},
		{"about to be changed", "a/v1+", nil, false},
		{"being changed", "a/v1^", nil, false},
		{"named to go, but still there", "a/v1*", nil, true},
		{"marked unavailable", "a/v1", func(p *corev1.Pod) { p.Labels["unavailable-pod.kruise.io/x"] = "" }, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := testkit.Pods(t, test.pod)[0]
			if test.change != nil {
				test.change(p)
			}
			if got := NewMember(p, 0, at).Available; got != test.available {
				t.Errorf("available: got %v, want %v", got, test.available)
			}
		})
	}
	p := testkit.Pods(t, "a/v1")[0]
	p.Labels[appsv1beta1.SpecifiedDelete] = ""
	if !NewMember(p, 0, at).Named {
		t.Error("the label specified-delete counts whatever its value")
	}
}

func TestUpdateOrder(t *testing.T) {
	weight := func(text string) func(*corev1.Pod) int { // pods named in text go first, in its order
		return func(p *corev1.Pod) int { return (strings.Index(text, p.Name) + 99) % 99 }
	}
	by := func(text string) func(*Set) {
		return func(s *Set) { s.First = func(a, b *corev1.Pod) int { return weight(text)(a) - weight(text)(b) } }
	}
	run(t, []scene{
		{
			reason: "without an order, those that are missed least", pods: "a/v1 b/v1! c/v1", slots: 3, unavailable: 3,
			want: "replace b then v2; replace c then v2; replace a then v2",
		},
		{
			reason: "priorities come first", pods: "a/v1 b/v1 c/v1", slots: 3, unavailable: 3, set: by("bac"),
			want: "replace b then v2; replace a then v2; replace c then v2",
		},
		{
			reason: "but not before pods that are half way", pods: "a/v1 b/v1 c/v1+", slots: 3, unavailable: 3, set: by("bac"),
			want: "replace c then v2; replace b then v2; replace a then v2",
		},
		{
			reason: "scattered, those half way first all the same", pods: "a/v1 b/v1 c/v1+", slots: 3, unavailable: 3,
			set: func(s *Set) {
				by("abc")(s)
				s.Scatter = appsv1beta1.UpdateScatterStrategy{{Key: "app", Value: "web"}}
			},
			want: "replace c then v2; replace a then v2; replace b then v2",
		},
	})
}
