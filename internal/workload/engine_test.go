package workload

import (
	"errors"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/hook"
	"github.com/holdfast-io/holdfast/internal/workload/revision"
)

// bench is the engine on a real API server, with a set of pods and no room around it.
type bench struct {
	t      *testing.T
	env    *testkit.Env
	ns     string
	cache  *testkit.LagCache
	engine *Engine
	owner  *appsv1beta1.CloneSet
	slots  int
	claims []corev1.PersistentVolumeClaim
	limit  *int32
	more   func(set *Set) // what else the set wants
}

func newBench(t *testing.T, slots int) *bench {
	t.Helper()
	b := &bench{t: t, env: testkit.APIServer(t), slots: slots}
	b.ns = b.env.Namespace(t)
	b.cache = testkit.NewLagCache(t, b.env, b.ns, &corev1.Pod{}, &corev1.PersistentVolumeClaim{}, &appsv1.ControllerRevision{})
	if err := Index(t.Context(), b.cache); err != nil {
		t.Fatal(err)
	}
	b.restart()
	b.make()
	return b
}

// restart replaces the engine by one that remembers nothing.
func (b *bench) restart() {
	b.engine = &Engine{Client: b.cache.Client(b.env.Client), Live: b.env.Client, Position: b.cache, Clock: fixed(at)}
}

// make creates the set, anew if need be.
func (b *bench) make() {
	b.t.Helper()
	b.owner = testkit.CloneSet(func(cs *appsv1beta1.CloneSet) { cs.Namespace = b.ns })
	if err := b.env.Client.Create(b.t.Context(), b.owner); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) source() Source {
	selector, err := metav1.LabelSelectorAsSelector(b.owner.Spec.Selector)
	if err != nil {
		b.t.Fatal(err)
	}
	return Source{
		Owner: b.owner, Kind: appsv1beta1.SchemeGroupVersion.WithKind("CloneSet"), Selector: selector,
		Labels: b.owner.Spec.Selector.MatchLabels, Template: &b.owner.Spec.Template, Claims: b.claims, HistoryLimit: b.limit,
	}
}

// pass observes, decides and acts once.
func (b *bench) pass() error {
	b.t.Helper()
	if err := b.cache.CatchUp(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	src := b.source()
	state, err := b.engine.Observe(b.t.Context(), src)
	if err != nil {
		return err
	}
	set := Set{Slots: make([]Slot, b.slots), Change: inPlace, Claims: b.claims, Limits: Limits{Unavailable: b.slots, Starting: -1}}
	for i := range set.Slots {
		set.Slots[i].Revision = state.Update.Name
	}
	if b.more != nil {
		b.more(&set)
	}
	plan := Limit(set, state, Diff(set, state), at)
	return b.engine.Act(b.t.Context(), src, state, &plan)
}

// passes are as many as the engine needs to have nothing to wait for; few are enough.
func (b *bench) passes() {
	b.t.Helper()
	var err error
	for range 8 {
		err = b.pass()
	}
	if err != nil {
		b.t.Fatalf("still after eight passes: %v", err)
	}
}

func (b *bench) pods() []corev1.Pod {
	b.t.Helper()
	var list corev1.PodList
	if err := b.env.Client.List(b.t.Context(), &list, client.InNamespace(b.ns)); err != nil {
		b.t.Fatal(err)
	}
	return list.Items
}

func (b *bench) revisions() []appsv1.ControllerRevision {
	b.t.Helper()
	var list appsv1.ControllerRevisionList
	if err := b.env.Client.List(b.t.Context(), &list, client.InNamespace(b.ns)); err != nil {
		b.t.Fatal(err)
	}
	return list.Items
}

func (b *bench) update(o client.Object, change func()) {
	b.t.Helper()
	change()
	if err := b.env.Client.Update(b.t.Context(), o); err != nil {
		b.t.Fatal(err)
	}
}

func TestANameThatBelongsToSomebodyElse(t *testing.T) {
	b := newBench(t, 3)
	foreign := testkit.Pod(func(p *corev1.Pod) {
		p.Namespace, p.Name = b.ns, "web-"+newNames(string(b.owner.UID)).id(0)
		p.Labels = nil
		p.Spec.NodeName = ""
		p.UID, p.Status = "", corev1.PodStatus{}
	})
	if err := b.env.Client.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	if err := b.pass(); err == nil || !strings.Contains(err.Error(), foreign.Name) {
		t.Errorf("nothing else would wake the set, so the pass must be repeated: %v", err)
	}
	b.passes()
	if got := len(b.pods()); got != 4 {
		t.Errorf("got %d pods, want three beside the foreign one", got)
	}
}

func TestASetLeftBehindIsTakenOver(t *testing.T) {
	b := newBench(t, 2)
	b.passes()
	before := map[types.UID]string{}
	for _, p := range b.pods() {
		before[p.UID] = p.Labels[appsv1.ControllerRevisionHashLabelKey]
		b.update(&p, func() { p.OwnerReferences = nil })
	}
	for _, rev := range b.revisions() {
		b.update(&rev, func() { rev.OwnerReferences = nil })
	}
	if err := b.env.Client.Delete(t.Context(), b.owner, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	b.make()
	b.restart()
	b.passes()
	for _, p := range b.pods() {
		if rev, known := before[p.UID]; !known || rev != p.Labels[appsv1.ControllerRevisionHashLabelKey] || !metav1.IsControlledBy(&p, b.owner) {
			t.Errorf("pod %s is not what it was: revision %s, owners %v", p.Name, p.Labels[appsv1.ControllerRevisionHashLabelKey], p.OwnerReferences)
		}
	}
	if revs := b.revisions(); len(b.pods()) != 2 || len(revs) != 1 || !metav1.IsControlledBy(&revs[0], b.owner) {
		t.Errorf("got %d pods and %d revisions, want 2 and 1, all owned", len(b.pods()), len(b.revisions()))
	}
}

// The set that was left behind said all that the API server fills in, as native workloads do; its successor says nothing of it.
func TestWhatTheAPIServerFillsInIsNoNewRevision(t *testing.T) {
	b := newBench(t, 2)
	b.update(b.owner, func() { b.owner.Spec.Template = *pod.Defaulted(&b.owner.Spec.Template) })
	b.passes()
	before := map[types.UID]bool{}
	for _, p := range b.pods() {
		before[p.UID] = true
		b.update(&p, func() { p.OwnerReferences = nil })
	}
	for _, rev := range b.revisions() {
		b.update(&rev, func() { rev.OwnerReferences = nil })
	}
	if err := b.env.Client.Delete(t.Context(), b.owner, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	b.make()
	if b.owner.Spec.Template.Spec.DNSPolicy != "" {
		t.Fatal("the successor says more than it should")
	}
	b.restart()
	b.passes()
	for _, p := range b.pods() {
		if !before[p.UID] || !metav1.IsControlledBy(&p, b.owner) {
			t.Errorf("pod %s is another one, or not taken over", p.Name)
		}
	}
	if revs := b.revisions(); len(revs) != 1 {
		t.Errorf("got %d revisions, want 1", len(revs))
	}
}

func TestAPodThatTheSelectorLosesIsReleased(t *testing.T) {
	b := newBench(t, 1)
	b.passes()
	lost := b.pods()[0]
	b.update(&lost, func() { lost.Labels["app"] = "debug" })
	b.passes()
	for _, p := range b.pods() {
		if owned := metav1.IsControlledBy(&p, b.owner); owned == (p.UID == lost.UID) {
			t.Errorf("pod %s: owned %v", p.Name, owned)
		}
	}
	if got := len(b.pods()); got != 2 {
		t.Errorf("got %d pods, want the released one and its successor", got)
	}
}

// The pods that the engine sees are the cache's own, and others see them, too.
func TestWhoAdoptsAndReleasesChangesNothingInTheCache(t *testing.T) {
	b := newBench(t, 1)
	b.passes()
	orphan := b.pods()[0]
	b.update(&orphan, func() { orphan.OwnerReferences = nil })
	src, m := b.source(), b.engine.memory(b.owner)
	cached := orphan.DeepCopy()
	if err := b.engine.adoptAll(t.Context(), src, m, []*corev1.Pod{cached}); err == nil || !strings.Contains(err.Error(), "adopted") {
		t.Errorf("the pod is adopted, and all is looked at again: got %v", err)
	}
	if !apiequality.Semantic.DeepEqual(cached, &orphan) {
		t.Errorf("adopting changed the cache: %+v", cached.ObjectMeta)
	}
	owned := b.pods()[0]
	cached = owned.DeepCopy()
	if err := b.engine.release(t.Context(), src, m, cached); err != nil {
		t.Fatal(err)
	}
	if !apiequality.Semantic.DeepEqual(cached, &owned) {
		t.Errorf("releasing changed the cache: %+v", cached.ObjectMeta)
	}
	if !metav1.IsControlledBy(&owned, b.owner) || metav1.GetControllerOf(&b.pods()[0]) != nil {
		t.Error("the pod was not adopted, or not released")
	}
}

func TestFinishedPodsAreReplacedAndBuried(t *testing.T) {
	b := newBench(t, 2)
	b.passes()
	dead := b.pods()[0]
	dead.Status.Phase, dead.Status.Reason = corev1.PodFailed, "Evicted"
	if err := b.env.Client.Status().Update(t.Context(), &dead); err != nil {
		t.Fatal(err)
	}
	b.passes()
	pods := b.pods()
	for _, p := range pods {
		if p.UID == dead.UID && p.DeletionTimestamp == nil {
			t.Errorf("pod %s is dead and still there", p.Name)
		}
	}
	if len(pods) != 2 {
		t.Errorf("got %d pods, want 2", len(pods))
	}
}

func TestADeletionWithoutAnAnswer(t *testing.T) {
	b := newBench(t, 1)
	m := b.engine.memory(b.owner)
	m.doubt("web-gone", "uid-gone")
	if err := b.engine.resolve(t.Context(), b.source(), m); err != nil {
		t.Fatal(err)
	}
	if !m.deleted["uid-gone"] || len(m.unsure) != 0 {
		t.Errorf("a cache may show the pod for a while, it must not count: %v %v", m.deleted, m.unsure)
	}
}

func TestAClaimInUseIsNeverDeleted(t *testing.T) {
	b := newBench(t, 1)
	b.claims = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		},
	}}}
	b.passes()
	if err := b.cache.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	state, err := b.engine.Observe(t.Context(), b.source())
	if err != nil || len(state.Claims) != 1 {
		t.Fatalf("got %d claims (%v)", len(state.Claims), err)
	}
	// As if the cache of pods were older than that of claims.
	if err := b.engine.Act(t.Context(), b.source(), state, &Plan{Spent: state.Claims}); err != nil {
		t.Fatal(err)
	}
	var claims corev1.PersistentVolumeClaimList
	if err := b.env.Client.List(t.Context(), &claims, client.InNamespace(b.ns)); err != nil || len(claims.Items) != 1 || claims.Items[0].DeletionTimestamp != nil {
		t.Errorf("the claim of a living pod was deleted (%v)", err)
	}
	b.slots = 0
	b.passes()
	if err := b.env.Client.List(t.Context(), &claims, client.InNamespace(b.ns)); err != nil || len(claims.Items) > 0 && claims.Items[0].DeletionTimestamp == nil {
		t.Errorf("the claim of a pod that is gone stays (%v)", err)
	}
}

func TestResizeInPlace(t *testing.T) {
	b := newBench(t, 1)
	cpu := func(requests, limits string) func() {
		return func() {
			b.owner.Spec.Template.Spec.Containers[0].Resources = corev1.ResourceRequirements{
				Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(limits), corev1.ResourceMemory: resource.MustParse("1Gi")},
			}
			if requests != "" {
				b.owner.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(requests)}
			}
		}
	}
	b.update(b.owner, cpu("", "1"))
	b.passes()
	before := b.pods()[0]
	b.update(b.owner, cpu("", "2"))
	b.passes()
	p := b.pods()[0]
	got := p.Spec.Containers[0].Resources
	if p.UID != before.UID || got.Limits.Cpu().String() != "2" || got.Requests.Cpu().String() != "2" || p.Status.QOSClass != corev1.PodQOSGuaranteed {
		t.Errorf("made anew: %v; resources %v, class %s", p.UID != before.UID, got, p.Status.QOSClass)
	}
}

func TestHistory(t *testing.T) {
	b := newBench(t, 0)
	b.limit = ptr.To[int32](1)
	numbers := map[string]int64{}
	for _, tag := range []string{"v1", "v2", "v3", "v1"} {
		b.update(b.owner, func() { b.owner.Spec.Template.Spec.Containers[0].Image = "registry.local/web:" + tag })
		b.passes()
		for _, rev := range b.revisions() {
			if strings.Contains(string(rev.Data.Raw), "web:"+tag) {
				numbers[tag] = rev.Revision
			}
		}
	}
	// With no pods every revision but the update one counts against the limit: v1 was trimmed, and came back as the newest.
	if got := len(b.revisions()); got != 2 || numbers["v1"] <= numbers["v3"] {
		t.Errorf("got %d revisions, numbers %v", got, numbers)
	}
	b.engine.Forget(client.ObjectKeyFromObject(b.owner))
}

func (b *bench) image(tag string) {
	b.t.Helper()
	b.update(b.owner, func() { b.owner.Spec.Template.Spec.Containers[0].Image = "registry.local/web:" + tag })
}

func TestATemplateThatComesBackIsTheNewestRevision(t *testing.T) {
	b := newBench(t, 1)
	for _, tag := range []string{"v1", "v2", "v1"} {
		b.image(tag)
		b.passes()
	}
	for _, rev := range b.revisions() {
		if newest := strings.Contains(string(rev.Data.Raw), "web:v1"); newest != (rev.Revision == 3) {
			t.Errorf("revision %s has number %d", rev.Name, rev.Revision)
		}
	}
	if got := b.pods()[0]; len(b.revisions()) != 2 || got.Spec.Containers[0].Image != "registry.local/web:v1" {
		t.Errorf("got %d revisions, and the pod runs %s", len(b.revisions()), got.Spec.Containers[0].Image)
	}
}

func TestARevisionNameThatIsTaken(t *testing.T) {
	b := newBench(t, 1)
	src := b.source()
	rev, err := revision.New(src.Owner, src.Kind, src.Template, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rev.OwnerReferences, rev.Data.Raw = nil, []byte(`{"spec":{"template":{"spec":{"containers":[]}}}}`)
	if err := b.env.Client.Create(t.Context(), rev); err != nil {
		t.Fatal(err)
	}
	b.passes()
	if p := b.pods()[0]; p.Labels[appsv1.ControllerRevisionHashLabelKey] == rev.Name {
		t.Errorf("the pod says that it runs %s, which is somebody else's", rev.Name)
	}
}

func TestPodsThatTheAPIServerRefuses(t *testing.T) {
	b := newBench(t, 20)
	b.update(b.owner, func() {
		b.owner.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "none", MountPath: "/x"}}
	})
	for range 2 {
		var failed *Error
		if err := b.pass(); !errors.As(err, &failed) || !apierrors.IsInvalid(failed.Scale) || failed.Update != nil {
			t.Fatalf("got %v", err)
		}
	}
	if m := b.engine.memory(b.owner); m.window != 1 {
		t.Errorf("it goes on trying %d at a time", m.window)
	}
}

func TestGatesAndHooksAreWritten(t *testing.T) {
	b := newBench(t, 1)
	h := &appsv1beta1.LifecycleHook{LabelsHandler: map[string]string{"hold": "on"}, MarkPodNotReady: true}
	b.more = func(set *Set) {
		set.Lifecycle = &appsv1beta1.Lifecycle{PreDelete: h, InPlaceUpdate: h, PreNormal: h}
		set.Gates = []corev1.PodConditionType{appsv1beta1.KruisePodReady, appsv1beta1.InPlaceUpdateReady}
	}
	look := func(when, state, shared, place string) {
		t.Helper()
		b.passes()
		p := b.pods()[0]
		if got := string(hook.State(&p)); got != state {
			t.Errorf("%s: state %q, want %q", when, got, state)
		}
		for kind, want := range map[corev1.PodConditionType]string{appsv1beta1.KruisePodReady: shared, appsv1beta1.InPlaceUpdateReady: place} {
			if c := pod.Condition(&p, kind); c == nil || string(c.Status) != want {
				t.Errorf("%s: %s is %v, want %s", when, kind, c, want)
			}
		}
	}
	hold := func(value string) {
		t.Helper()
		p := b.pods()[0]
		b.update(&p, func() { p.Labels["hold"] = value })
	}
	look("created", "PreparingNormal", "True", "True")
	hold("on")
	look("complete", "Normal", "True", "True")
	b.image("v2")
	look("to be changed", "PreparingUpdate", "False", "True")
	hold("off")
	look("let pass", "Updating", "False", "False")
	if got := b.pods()[0].Spec.Containers[0].Image; got != "registry.local/web:v2" {
		t.Errorf("its image is %s", got)
	}
	hold("on")
	b.slots = 0
	look("to go", "PreparingDelete", "False", "False")
	hold("off")
	b.passes()
	if pods := b.pods(); len(pods) > 0 && pods[0].DeletionTimestamp == nil {
		t.Errorf("pod %s is still there", pods[0].Name)
	}
}

func TestUnanswered(t *testing.T) {
	for _, test := range []struct {
		reason string
		err    error
		want   bool
	}{
		{"the connection broke", errors.New("EOF"), true},
		{"the API server gave up half way", apierrors.NewInternalError(errors.New("etcd")), true},
		{"a timeout", apierrors.NewTimeoutError("slow", 1), true},
		{"refused", apierrors.NewForbidden(schema.GroupResource{}, "x", nil), false},
		{"pushed back", apierrors.NewTooManyRequests("busy", 1), false},
		{"a conflict", apierrors.NewConflict(schema.GroupResource{}, "x", nil), false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if got := Unanswered(test.err); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
