package statefulset

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

type edit = func(s *appsv1beta1.StatefulSet)

// setWith is a StatefulSet of so many replicas with its defaults, changed by the edits.
func setWith(replicas int32, edits ...edit) *appsv1beta1.StatefulSet {
	return testkit.StatefulSet(func(s *appsv1beta1.StatefulSet) {
		s.Generation = 1
		s.Spec.Replicas = &replicas
		Default(s)
		for _, change := range edits {
			change(s)
		}
	})
}

func rolling(change func(r *appsv1beta1.RollingUpdateStatefulSetStrategy)) edit {
	return func(s *appsv1beta1.StatefulSet) { change(s.Spec.UpdateStrategy.RollingUpdate) }
}

func parallel(s *appsv1beta1.StatefulSet) { s.Spec.PodManagementPolicy = "Parallel" }

func away(text string) edit {
	return rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) { r.MaxUnavailable = ptr.To(intstr.Parse(text)) })
}

func partition(n int32) edit {
	return rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) { r.Partition = &n })
}

func policy(p appsv1beta1.PodUpdatePolicyType) edit {
	return rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) { r.PodUpdatePolicy = p })
}

func unordered(keys ...string) edit {
	return rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) {
		strategy := &appsv1beta1.UpdatePriorityStrategy{}
		for _, key := range keys {
			strategy.OrderPriority = append(strategy.OrderPriority, appsv1beta1.UpdatePriorityOrderTerm{OrderedKey: key})
		}
		r.UnorderedUpdate = &appsv1beta1.UnorderedUpdateStrategy{PriorityStrategy: strategy}
	})
}

func reserving(text string) edit {
	return func(s *appsv1beta1.StatefulSet) { s.Spec.ReserveOrdinals = reserve(text) }
}

// revisions are the update revision and the current one.
func revisions() (update, current *appsv1.ControllerRevision) {
	return &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "v2"}},
		&appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "v1"}}
}

// observed is the state with pods of the shorthand; the update revision is v2, the current one v1.
func observed(t *testing.T, pods string, overrides ...func(*corev1.Pod)) workload.State {
	t.Helper()
	state := workload.NewState(&metav1.ObjectMeta{Name: "web", UID: "uid"})
	state.Update, state.Current = revisions()
	state.History = []*appsv1.ControllerRevision{state.Current, state.Update}
	image := inplace.Delta{Images: map[string]string{"main": "registry.local/web:v2"}}
	state.Paths = map[string]workload.Path{"v1": {Delta: image}, "v2": {}}
	state.Divide(testkit.Pods(t, pods, overrides...), func(p *corev1.Pod) (workload.Member, bool) {
		return workload.NewMember(p, 0, testkit.Epoch.Add(time.Hour)), true
	})
	return state
}

// say puts a plan into words.
func say(plan workload.Plan) string {
	var words []string
	for _, s := range plan.Steps {
		if s.Change.Verb != workload.Refresh {
			words = append(words, fmt.Sprintf("%s %s", s.Change.Verb, s.Change.Member.Pod.Name))
		}
	}
	for _, b := range plan.Births {
		words = append(words, fmt.Sprintf("create %s/%s", b.Key, b.Revision))
	}
	for _, h := range plan.Held {
		name := string(h.Change.Verb) + " " + h.Change.Key
		if h.Change.Member != nil {
			name = h.Change.Member.Pod.Name
		}
		words = append(words, fmt.Sprintf("hold %s: %s", name, h.Reason))
	}
	return strings.Join(words, "; ")
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		reason   string
		replicas int32
		edits    []edit
		pods     string
		want     string
	}{
		{"the first pod first", 3, nil, "", "create 0/v2; hold create 1: Order; hold create 2: Order"},
		{"the next when it is available", 2, nil, "web-0/v2", "create 1/v2"},
		{"and not before", 2, nil, "web-0/v2!", "hold create 1: Order"},
		{"all at once", 3, []edit{parallel}, "", "create 0/v2; create 1/v2; create 2/v2"},
		{
			"all at once, but at a pace", 3,
			[]edit{parallel, func(s *appsv1beta1.StatefulSet) {
				s.Spec.ScaleStrategy = &appsv1beta1.StatefulSetScaleStrategy{MaxUnavailable: ptr.To(intstr.Parse("34%"))}
			}},
			"",
			"create 0/v2; create 1/v2; hold create 2: ScaleStrategy",
		},
		{"the last pod goes first", 1, nil, "web-0/v2 web-1/v2 web-2/v2", "delete web-2; hold web-1: Order"},
		{"one at a time", 1, nil, "web-0/v2 web-1/v2 web-2/v2~", "hold web-1: Order"},
		{"none while one is not available", 1, nil, "web-0/v2! web-1/v2 web-2/v2", "hold web-2: Order; hold web-1: Order"},
		{"all spare ones at once", 1, []edit{parallel}, "web-0/v2 web-1/v2 web-2/v2", "delete web-2; delete web-1"},
		{
			"to none", 0, nil, "web-0/v2 web-1/v2", "delete web-1; hold web-0: Order",
		},

		{"updates come from the last", 3, nil, "web-0/v1 web-1/v1 web-2/v1", "replace web-2; hold web-1: Order; hold web-0: Order"},
		{"an updated pod that starts holds the next", 3, nil, "web-0/v1 web-1/v1 web-2/v2!", "hold web-1: Order; hold web-0: Order"},
		{
			"several at a time", 4,
			[]edit{parallel, away("2")},
			"web-0/v1 web-1/v1 web-2/v1 web-3/v1",
			"replace web-3; replace web-2; hold web-1: Budget; hold web-0: Budget",
		},
		{
			"a percentage rounds up", 4,
			[]edit{parallel, away("30%")},
			"web-0/v1 web-1/v1 web-2/v1 web-3/v1",
			"replace web-3; replace web-2; hold web-1: Budget; hold web-0: Budget",
		},
		{
			"the default is one", 3,
			[]edit{parallel},
			"web-0/v1 web-1/v1 web-2/v1",
			"replace web-2; hold web-1: Budget; hold web-0: Budget",
		},
		{
			"numbers, not names, are in order", 11,
			[]edit{parallel},
			"web-0/v2 web-1/v2 web-2/v1 web-3/v2 web-4/v2 web-5/v2 web-6/v2 web-7/v2 web-8/v2 web-9/v2 web-10/v1",
			"replace web-10; hold web-2: Budget",
		},
		{
			"in place", 2, []edit{policy("InPlaceIfPossible")}, "web-0/v1 web-1/v1", "update web-1; hold web-0: Order",
		},
		{
			"paused", 2,
			[]edit{rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) { r.Paused = true })},
			"web-0/v1 web-1/v1",
			"hold web-1: Paused; hold web-0: Paused",
		},
		{
			"on delete", 2,
			[]edit{func(s *appsv1beta1.StatefulSet) { s.Spec.UpdateStrategy.Type = "OnDelete" }},
			"web-0/v1 web-1/v1~",
			"hold web-0: OnDelete; hold create 1: Termination",
		},
		{
			"on delete, it is gone", 2,
			[]edit{func(s *appsv1beta1.StatefulSet) { s.Spec.UpdateStrategy.Type = "OnDelete" }},
			"web-0/v1",
			"create 1/v2; hold web-0: OnDelete",
		},

		{"the partition keeps the first", 3, []edit{partition(2)}, "web-0/v1 web-1/v1 web-2/v1", "replace web-2; hold web-1: Partition; hold web-0: Partition"},
		{"a kept pod comes back as it was", 3, []edit{partition(2)}, "web-0/v1 web-2/v2", "create 1/v1; hold web-0: Partition"},
		{"a new one behind it is new", 3, []edit{partition(2)}, "web-0/v1 web-1/v1", "create 2/v2; hold web-1: Partition; hold web-0: Partition"},
		{"a partition beyond replicas keeps all", 2, []edit{partition(7)}, "web-0/v1 web-1/v1", "hold web-1: Partition; hold web-0: Partition"},
		{
			"it counts pods, not numbers", 3,
			[]edit{partition(2), reserving("0-4")},
			"web-5/v1 web-6/v1 web-7/v1",
			"replace web-7; hold web-6: Partition; hold web-5: Partition",
		},
		{"an updated pod is never taken back", 2, []edit{partition(2)}, "web-0/v2 web-1/v1", "hold web-1: Partition"},

		{"a reserved number goes, and the next one comes", 3, []edit{parallel, reserving("1")}, "web-0/v2 web-1/v2 web-2/v2", "delete web-1; create 3/v2"},
		{
			"in order: the new one first", 3,
			[]edit{reserving("1")},
			"web-0/v2 web-1/v2 web-2/v2",
			"create 3/v2; hold web-1: Order",
		},
		{"then the reserved one goes", 3, []edit{reserving("1")}, "web-0/v2 web-1/v2 web-2/v2 web-3/v2", "delete web-1"},
		{"a number that is free again comes back", 3, []edit{parallel}, "web-0/v2 web-2/v2 web-3/v2", "delete web-3; create 1/v2"},
		{"another start", 2, []edit{parallel, func(s *appsv1beta1.StatefulSet) {
			s.Spec.Ordinals = &appsv1beta1.StatefulSetOrdinals{Start: 1}
		}}, "web-0/v2 web-1/v2", "delete web-0; create 2/v2"},

		{"a named pod is made anew", 3, []edit{parallel}, "web-0/v2 web-1/v2* web-2/v2", "replace web-1"},
		{"within maxUnavailable", 3, []edit{parallel}, "web-0/v2* web-1/v2* web-2/v2!", "hold web-1: Budget; hold web-0: Budget"},
		{"whatever the partition says", 3, []edit{parallel, partition(3)}, "web-0/v1* web-1/v1 web-2/v1", "replace web-0; hold web-2: Partition; hold web-1: Partition"},
		{"and paused", 2, []edit{rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) { r.Paused = true })}, "web-0/v1* web-1/v1", "replace web-0; hold web-1: Paused"},
		{"its number is filled when it is gone", 2, []edit{parallel}, "web-0/v2~ web-1/v2", "hold create 0: Termination"},
		{"two pods never share a number, not even when one hangs", 1, nil, "web-0/v2~", "hold create 0: Termination"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			plan, err := decide(setWith(test.replicas, test.edits...), observed(t, test.pods), testkit.Epoch.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			if got := say(plan); got != test.want {
				t.Errorf("pods %q:\n got %s\nwant %s", test.pods, got, test.want)
			}
		})
	}
}

// ranked gives the pods named the label rank, the larger the earlier.
func ranked(ranks map[string]string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		if rank := ranks[p.Name]; rank != "" {
			p.Labels["rank"] = rank
		}
	}
}

func TestUnorderedUpdate(t *testing.T) {
	ranks := ranked(map[string]string{"web-0": "3", "web-1": "1", "web-2": "2"})
	for _, test := range []struct{ reason, pods, edits, want string }{
		{"the highest rank first, those without a rank last", "web-0/v1 web-1/v1 web-2/v1 web-3/v1", "", "replace web-0"},
		{"then the next", "web-0/v2 web-1/v1 web-2/v1 web-3/v1", "", "replace web-2"},
		{"the partition keeps the last in that order", "web-0/v1 web-1/v1 web-2/v1 web-3/v1", "2", "replace web-0"},
		{"and lets as many be updated as it says", "web-0/v2 web-1/v1 web-2/v2 web-3/v1", "2", ""},
		{"a pod that is being made anew is one of them", "web-0/v2 web-1/v1 web-3/v1", "2", "create 2/v2"},
		{"a kept pod that goes comes back as it was", "web-0/v2 web-1/v1 web-2/v2", "2", "create 3/v1"},
		{"what is updated already counts first, whatever its rank", "web-0/v1 web-1/v1 web-2/v1 web-3/v2", "3", ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			edits := []edit{parallel, unordered("rank")}
			if test.edits != "" {
				edits = append(edits, partition(int32(test.edits[0]-'0')))
			}
			plan, err := decide(setWith(4, edits...), observed(t, test.pods, ranks), testkit.Epoch.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			plan.Held = nil
			if got := say(plan); got != test.want {
				t.Errorf("pods %q: got %s, want %s", test.pods, got, test.want)
			}
		})
	}
}

func TestSetOf(t *testing.T) {
	set := setWith(2, policy("InPlaceIfPossible"), func(s *appsv1beta1.StatefulSet) {
		s.Spec.Lifecycle = &appsv1beta1.Lifecycle{PreDelete: &appsv1beta1.LifecycleHook{MarkPodNotReady: true}}
		s.Spec.UpdateStrategy.RollingUpdate.InPlaceUpdateStrategy = &appsv1beta1.InPlaceUpdateStrategy{GracePeriodSeconds: 7}
	})
	wanted, err := setOf(set, observed(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	if wanted.Grace != 7*time.Second || wanted.Change != "InPlaceIfPossible" || len(wanted.Gates) != 1 || wanted.Gates[0] != "KruisePodReady" {
		t.Errorf("grace %s, change %s, gates %v", wanted.Grace, wanted.Change, wanted.Gates)
	}
	for _, broken := range []edit{
		reserving("3-1"), rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) {
			r.MaxUnavailable = ptr.To(intstr.FromString("many"))
		}),
	} {
		if _, err := setOf(setWith(2, parallel, broken), observed(t, "")); err == nil || !strings.Contains(err.Error(), "spec.") {
			t.Errorf("got %v, want an error that names the field", err)
		}
	}
}

func TestAClaimThatIsBeingDeletedKeepsItsNumberEmpty(t *testing.T) {
	set := setWith(2, parallel, func(s *appsv1beta1.StatefulSet) {
		s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{testkit.ClaimTemplate("data", "1Gi")}
	})
	state := observed(t, "web-0/v2")
	gone := testkit.ClaimTemplate("data-web-1", "1Gi")
	gone.DeletionTimestamp = ptr.To(metav1.NewTime(testkit.Epoch))
	state.Claims = []*corev1.PersistentVolumeClaim{&gone}
	plan, err := decide(set, state, testkit.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	if got := say(plan); got != "hold create 1: PVC" || !strings.Contains(plan.Held[0].Message, "data-web-1") {
		t.Errorf("got %s (%+v)", got, plan.Held)
	}
}

func TestIdentity(t *testing.T) {
	set := setWith(2, func(s *appsv1beta1.StatefulSet) {
		s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{testkit.ClaimTemplate("data", "1Gi")}
	})
	who := identityOf(set)
	p := testkit.Pod(func(p *corev1.Pod) { p.Name, p.Labels = "web-1", map[string]string{"app": "web"} })
	if lost := who.lost(p); len(lost) != 2 {
		t.Errorf("both labels are missing, got %v", lost)
	}
	who.shape(p, "1")
	if p.Spec.Hostname != "web-1" || p.Spec.Subdomain != "peers" || p.Labels["statefulset.kubernetes.io/pod-name"] != "web-1" ||
		p.Labels["apps.kubernetes.io/pod-index"] != "1" || p.Labels["app"] != "web" {
		t.Errorf("got host %s.%s, labels %v", p.Spec.Hostname, p.Spec.Subdomain, p.Labels)
	}
	if lost := who.lost(p); len(lost) != 0 {
		t.Errorf("nothing is missing, got %v", lost)
	}
	p.Labels["apps.kubernetes.io/pod-index"] = "7"
	if lost := who.lost(p); len(lost) != 1 || lost["apps.kubernetes.io/pod-index"] != "1" {
		t.Errorf("one label is wrong, got %v", lost)
	}
	if text := who.strange(p); !strings.Contains(text, "data-web-1") {
		t.Errorf("its volume is not its own, got %q", text)
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-web-1"},
	}}}
	if text := who.strange(p); text != "" {
		t.Errorf("its volume is its own, got %q", text)
	}
	for name, want := range map[string]bool{"web-0": true, "web-x": false, "web": false, "other-0": false} {
		if got := who.adopts(testkit.Pod(func(p *corev1.Pod) { p.Name = name })); got != want {
			t.Errorf("adopts %s: %v, want %v", name, got, want)
		}
	}
}
