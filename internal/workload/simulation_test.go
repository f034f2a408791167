package workload

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/hook"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// simulation is a workload whose decisions are carried out at once, on pods and nodes that exist only in memory, while a
// user changes his mind and pods crash. It looks for states in which nothing goes on, and for broken promises.
type simulation struct {
	t         *testing.T
	random    *rand.Rand
	now       time.Time
	pods      map[string]*corev1.Pod
	made      int
	templates map[string]*corev1.PodTemplateSpec
	update    string
	current   string
	replicas  int
	kept      int
	set       Set
	story     []string
}

const hookLabel, hookFinalizer = "example.com/hold", "example.com/held"

func newSimulation(t *testing.T, seed uint64) *simulation {
	t.Helper()
	s := &simulation{t: t, random: rand.New(rand.NewPCG(seed, seed)), now: at, pods: map[string]*corev1.Pod{}, //nolint:gosec // a game, with a seed
		templates: map[string]*corev1.PodTemplateSpec{}, update: "v1", current: "v1", replicas: 1 + int(seed%6)}
	for i := range 4 { // v1 to v3 differ in images, v4 in a field that needs new pods
		s.templates[fmt.Sprintf("v%d", i+1)] = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{HostNetwork: i == 3, Containers: []corev1.Container{
			{Name: "main", Image: fmt.Sprintf("main:%d", i%2)},
			{Name: "side", Image: fmt.Sprintf("side:%d", i), Env: []corev1.EnvVar{{Name: "KRUISE_CONTAINER_PRIORITY", Value: "5"}}},
		}}}
	}
	policies := []appsv1beta1.PodUpdatePolicyType{appsv1beta1.RecreatePodUpdatePolicy, inPlace, inPlace}
	s.set = Set{Change: policies[s.random.IntN(3)], Named: map[string]bool{}, IgnoreLeaving: s.random.IntN(4) == 0}
	s.set.Limits = Limits{Unavailable: s.random.IntN(3), Surge: s.random.IntN(3), Starting: -1}
	if s.set.Limits.Unavailable+s.set.Limits.Surge == 0 {
		s.set.Limits.Unavailable = 1
	}
	if s.random.IntN(4) == 0 {
		s.set.Limits.Starting = 1 + s.random.IntN(2)
	}
	if s.random.IntN(2) == 0 {
		s.set.Grace, s.set.Gates = 3*time.Second, []corev1.PodConditionType{appsv1beta1.InPlaceUpdateReady}
	}
	if s.random.IntN(2) == 0 {
		label := &appsv1beta1.LifecycleHook{LabelsHandler: map[string]string{hookLabel: "on"}, MarkPodNotReady: s.random.IntN(2) == 0}
		s.set.Lifecycle = &appsv1beta1.Lifecycle{PreDelete: label, InPlaceUpdate: label, PreNormal: label}
		s.set.Gates = append(s.set.Gates, appsv1beta1.KruisePodReady)
	}
	return s
}

func (s *simulation) tell(format string, args ...any) {
	s.story = append(s.story, fmt.Sprintf(format, args...))
}

func (s *simulation) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("%s\nset: %+v lifecycle %+v\n%s", fmt.Sprintf(format, args...), s.set, s.set.Lifecycle,
		strings.Join(s.story[max(0, len(s.story)-40):], "\n"))
}

func (s *simulation) state() State {
	state := NewState(&metav1.ObjectMeta{Name: "web", UID: "uid"})
	for name := range s.templates {
		state.History = append(state.History, revisionNamed(name))
	}
	find := func(name string) *appsv1.ControllerRevision {
		return state.History[slices.IndexFunc(state.History, func(r *appsv1.ControllerRevision) bool { return r.Name == name })]
	}
	state.Update, state.Current, state.Paths = find(s.update), find(s.current), map[string]Path{}
	for name, from := range s.templates {
		delta, blocked := inplace.Between(from, s.templates[s.update])
		state.Paths[name] = Path{Delta: delta, Blocked: blocked}
	}
	state.Divide(slices.Collect(maps.Values(s.pods)), func(p *corev1.Pod) (Member, bool) { return NewMember(p, 0, s.now), true })
	return state
}

func available(state State) (n int) {
	for i := range state.Members {
		if state.Members[i].Available {
			n++
		}
	}
	return n
}

// counted are the members that the limits speak of.
func (s *simulation) counted(state State) (n int) {
	for i := range state.Members {
		if !s.set.IgnoreLeaving || state.Members[i].State != appsv1beta1.LifecycleStatePreparingDelete {
			n++
		}
	}
	return n
}

// pass decides and carries out, and returns how much there was to do.
func (s *simulation) pass() int {
	s.t.Helper()
	state := s.state()
	s.set.Slots = make([]Slot, s.replicas)
	for i := range s.set.Slots {
		s.set.Slots[i].Revision = s.update
		if i < s.kept {
			s.set.Slots[i].Revision = s.current
		}
	}
	plan := Limit(s.set, state, Diff(s.set, state), s.now)
	s.tell("pods %s\n  plan: %s", s.describe(), say(plan))
	before, alive := available(state), s.counted(state)
	for _, step := range plan.Steps {
		s.carryOut(step, state)
	}
	for _, b := range plan.Births {
		s.create(b)
	}
	after := s.state()
	if floor := min(before, s.replicas-s.set.Limits.Unavailable); available(after) < floor {
		s.fail("%d pods are available after the pass, %d before; the floor is %d", available(after), before, floor)
	}
	if ceiling := max(alive, s.replicas+s.set.Limits.Surge); s.counted(after) > ceiling {
		s.fail("%d pods after the pass, %d before; the ceiling is %d", s.counted(after), alive, ceiling)
	}
	s.settleRevision(after)
	return len(plan.Steps) + len(plan.Births)
}

func (s *simulation) settleRevision(state State) {
	for i := range state.Members {
		if state.Members[i].Revision != s.update {
			return
		}
	}
	if len(state.Members) >= s.replicas {
		s.current = s.update
	}
}

func (s *simulation) carryOut(step Step, state State) {
	s.t.Helper()
	p := s.pods[step.Change.Member.Pod.Name].DeepCopy() // what was decided on stays as it was
	s.pods[p.Name] = p
	for _, c := range step.Conditions {
		p.Status.Conditions = append(slices.DeleteFunc(p.Status.Conditions, func(old corev1.PodCondition) bool { return old.Type == c.Type }), c)
	}
	if step.Mark != "" {
		p.Labels[appsv1beta1.LifecycleStateKey] = string(step.Mark)
	}
	switch {
	case step.Change.Verb == Update && step.Update.Patch:
		s.changeInPlace(p, step, state)
	case (step.Change.Verb == Delete || step.Change.Verb == Replace) && step.Mark == "":
		gone := metav1.NewTime(s.now)
		p.DeletionTimestamp = &gone
		if step.Then != "" {
			s.create(Birth{ID: step.Then, Revision: step.Change.Revision})
		}
	}
}

func (s *simulation) changeInPlace(p *corev1.Pod, step Step, state State) {
	s.t.Helper()
	m := step.Change.Member
	var next inplace.State
	var images map[string]string
	if m.Phase == inplace.NextBatch && step.Change.Revision == m.Revision {
		next, images = inplace.Continue(p, *inplace.Read(p), s.now)
	} else {
		next, images = inplace.Begin(p, state.Paths[m.Revision].Delta, step.Change.Revision, s.now)
	}
	raw, err := json.Marshal(next)
	if err != nil {
		s.t.Fatal(err)
	}
	p.Annotations[appsv1beta1.InPlaceUpdateState] = string(raw)
	p.Labels[appsv1.ControllerRevisionHashLabelKey] = step.Change.Revision
	for i := range p.Spec.Containers {
		if image, changes := images[p.Spec.Containers[i].Name]; changes {
			p.Spec.Containers[i].Image = image
			p.Generation++
		}
	}
}

func (s *simulation) create(b Birth) {
	s.t.Helper()
	name := "web-" + b.ID
	if s.pods[name] != nil || b.ID == "" {
		s.fail("pod %s is made twice", name)
	}
	s.made++
	p := testkit.Pod(func(p *corev1.Pod) {
		p.Name, p.UID = name, types.UID(fmt.Sprint(s.made))
		p.CreationTimestamp = metav1.NewTime(s.now)
		p.Annotations = map[string]string{}
		p.Labels[appsv1.ControllerRevisionHashLabelKey] = b.Revision
		p.Labels[appsv1beta1.CloneSetInstanceID] = b.ID
		p.Labels[appsv1beta1.LifecycleStateKey] = string(hook.First(s.set.Lifecycle))
		p.Spec = *s.templates[b.Revision].Spec.DeepCopy()
		p.Status = corev1.PodStatus{Phase: corev1.PodPending}
		for _, gate := range s.set.Gates {
			p.Spec.ReadinessGates = append(p.Spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: gate})
		}
		if b.StandIn {
			p.Annotations[StandIn] = b.Revision
		}
	})
	s.pods[name] = p
}

// nodes let every pod make one step, or not.
func (s *simulation) nodes() {
	for _, name := range slices.Sorted(maps.Keys(s.pods)) {
		p := s.pods[name].DeepCopy()
		s.pods[name] = p
		switch {
		case s.random.IntN(3) == 0:
		case p.DeletionTimestamp != nil:
			delete(s.pods, name)
		case p.Status.Phase == corev1.PodPending:
			p.Spec.NodeName, p.Status.Phase = "node-1", corev1.PodRunning
			for _, c := range p.Spec.Containers {
				p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name})
				s.start(p, c.Name)
			}
		case p.Status.ObservedGeneration != p.Generation:
			p.Status.ObservedGeneration = p.Generation
		default:
			s.restart(p)
		}
		s.readiness(p)
	}
}

// restart starts one container that runs another image than it should.
func (s *simulation) restart(p *corev1.Pod) {
	for _, c := range p.Spec.Containers {
		if status := pod.Container(p, c.Name); status.Image != c.Image {
			s.start(p, c.Name)
			return
		}
	}
}

func (s *simulation) start(p *corev1.Pod, name string) {
	status := pod.Container(p, name)
	for _, c := range p.Spec.Containers {
		if c.Name == name {
			status.Image, status.ImageID = c.Image, testkit.ImageID(c.Image)
		}
	}
	s.made++
	status.ContainerID, status.Ready = fmt.Sprint(s.made), true
	status.State.Running = &corev1.ContainerStateRunning{}
}

func (s *simulation) readiness(p *corev1.Pod) {
	ready := corev1.ConditionTrue
	for _, c := range p.Spec.Containers {
		if status := pod.Container(p, c.Name); status == nil || !status.Ready || status.Image != c.Image {
			ready = corev1.ConditionFalse
		}
	}
	for _, gate := range p.Spec.ReadinessGates {
		if c := pod.Condition(p, gate.ConditionType); c == nil || c.Status != corev1.ConditionTrue {
			ready = corev1.ConditionFalse
		}
	}
	if c := pod.Condition(p, corev1.PodReady); c != nil && c.Status == ready {
		return
	}
	p.Status.Conditions = append(slices.DeleteFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady }),
		corev1.PodCondition{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(s.now)})
}

// hooks are answered by somebody who puts his label on pods that are there, and takes it off to let them pass.
func (s *simulation) hooks() {
	for _, name := range slices.Sorted(maps.Keys(s.pods)) {
		p := s.pods[name].DeepCopy()
		s.pods[name] = p
		if s.set.Lifecycle == nil || s.random.IntN(3) == 0 {
			continue
		}
		switch hook.State(p) {
		case appsv1beta1.LifecycleStatePreparingNormal, appsv1beta1.LifecycleStateUpdated:
			p.Labels[hookLabel] = "on"
		case appsv1beta1.LifecycleStatePreparingUpdate, appsv1beta1.LifecycleStatePreparingDelete:
			delete(p.Labels, hookLabel)
		case appsv1beta1.LifecycleStateNormal, appsv1beta1.LifecycleStateUpdating:
			if hook.State(p) == appsv1beta1.LifecycleStateNormal {
				p.Labels[hookLabel] = "on"
			}
		}
	}
}

// trouble is what users and nodes do.
func (s *simulation) trouble() {
	names := slices.Sorted(maps.Keys(s.pods))
	switch s.random.IntN(12) {
	case 0:
		s.update = fmt.Sprintf("v%d", 1+s.random.IntN(4))
		s.tell("the template is %s", s.update)
	case 1:
		s.replicas = s.random.IntN(7)
		s.kept = min(s.kept, s.replicas)
		s.tell("%d replicas", s.replicas)
	case 2:
		s.kept = s.random.IntN(s.replicas + 1)
		s.tell("partition %d", s.kept)
	case 3:
		s.set.Hold = []appsv1beta1.HeldReason{"", appsv1beta1.HeldByPaused}[s.random.IntN(2)]
		s.tell("hold %q", s.set.Hold)
	default:
		if len(names) == 0 {
			return
		}
		name := names[s.random.IntN(len(names))]
		p := s.pods[name].DeepCopy()
		s.pods[name] = p
		switch s.random.IntN(8) {
		case 0:
			p.Labels[appsv1beta1.SpecifiedDelete] = "true"
			s.tell("%s is named to go", name)
		case 1:
			gone := metav1.NewTime(s.now)
			p.DeletionTimestamp = &gone
			s.tell("%s is deleted", name)
		case 2, 3:
			if len(p.Status.ContainerStatuses) > 0 {
				s.made++
				p.Status.ContainerStatuses[0].ContainerID = fmt.Sprint(s.made)
				p.Status.ContainerStatuses[0].RestartCount++
				s.tell("%s crashes", name)
			}
		}
	}
}

func (s *simulation) describe() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(s.pods)) {
		p := s.pods[name]
		word := name + "/" + pod.Revision(p) + "/" + string(hook.State(p))
		if !pod.Ready(p) {
			word += "!"
		}
		if p.DeletionTimestamp != nil {
			word += "~"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// finished says what is missing when all that is asked for should be there.
func (s *simulation) finished() string {
	state := s.state()
	updated := 0
	for i := range state.Members {
		m := &state.Members[i]
		if m.Revision == s.update {
			updated++
			for j, c := range m.Pod.Spec.Containers {
				if want := s.templates[s.update].Spec.Containers[j].Image; c.Image != want {
					return fmt.Sprintf("%s says it is %s but container %s has %s, not %s", m.Pod.Name, m.Revision, c.Name, c.Image, want)
				}
			}
		}
	}
	if len(state.Members) != s.replicas || available(state) != s.replicas || updated < s.replicas-s.kept {
		return fmt.Sprintf("%d pods, %d available, %d updated; wanted %d, %d of them old", len(state.Members), available(state), updated, s.replicas, s.kept)
	}
	return ""
}

func TestSimulation(t *testing.T) {
	seeds := uint64(60) // a thousand take a minute or two, and are worth it after a change of Diff or Limit
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s := newSimulation(t, seed)
			for range 100 {
				s.trouble()
				s.round()
			}
			s.set.Hold = ""
			s.tell("from now on nobody interferes")
			rest := 0
			for range 400 {
				if s.round() == 0 && s.finished() == "" {
					rest++
				} else {
					rest = 0
				}
				if rest > 5 {
					return
				}
			}
			s.fail("it never comes to rest: %s", s.finished())
		})
	}
}

func (s *simulation) round() int {
	did := s.pass()
	s.nodes()
	s.hooks()
	s.now = s.now.Add(time.Second)
	return did
}
