package cloneset

import (
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// parse reads "3", "20%" or "", which is unset.
func parse(text string) *intstr.IntOrString {
	if text == "" {
		return nil
	}
	v := intstr.Parse(text)
	return &v
}

// setWith is a CloneSet of so many replicas with a rolling update changed by the override.
func setWith(replicas int32, change func(r *appsv1beta1.RollingUpdateCloneSetStrategy)) *appsv1beta1.CloneSet {
	return testkit.CloneSet(func(cs *appsv1beta1.CloneSet) {
		cs.Generation = 1
		cs.Spec.Replicas = &replicas
		Default(cs)
		if change != nil {
			change(cs.Spec.UpdateStrategy.RollingUpdate)
		}
	})
}

// observed is the state with pods of the shorthand; the update revision is v2, the current one v1.
func observed(t *testing.T, pods string) workload.State {
	t.Helper()
	state := workload.NewState(&metav1.ObjectMeta{Name: "web", UID: "uid"})
	state.Current = &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "v1"}}
	state.Update = &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "v2"}}
	state.History = []*appsv1.ControllerRevision{state.Current, state.Update}
	state.Paths = map[string]workload.Path{"v1": {}, "v2": {}}
	state.Divide(testkit.Pods(t, pods), func(p *corev1.Pod) (workload.Member, bool) {
		return workload.NewMember(p, 0, testkit.Epoch.Add(time.Hour)), true
	})
	return state
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		reason             string
		replicas           int32
		unavailable, surge string
		paused             bool
		pace               string
		want               workload.Limits
	}{
		{"the default is 20%, rounded up", 6, "", "", false, "", workload.Limits{Unavailable: 2, Surge: 0, Starting: -1}},
		{"numbers are taken as they are", 10, "3", "4", false, "", workload.Limits{Unavailable: 3, Surge: 4, Starting: -1}},
		{"maxUnavailable rounds up without surge", 7, "10%", "0", false, "", workload.Limits{Unavailable: 1, Starting: -1}},
		{"and down with it", 7, "10%", "1", false, "", workload.Limits{Unavailable: 0, Surge: 1, Starting: -1}},
		{"and up again where the surge is 0%", 7, "10%", "0%", false, "", workload.Limits{Unavailable: 1, Starting: -1}},
		{"maxSurge rounds up", 7, "0", "10%", false, "", workload.Limits{Unavailable: 0, Surge: 1, Starting: -1}},
		{"both 0: nothing would move, so one may be missing", 7, "0", "0", false, "", workload.Limits{Unavailable: 1, Starting: -1}},
		{"of no replicas, too", 0, "20%", "20%", false, "", workload.Limits{Unavailable: 1, Starting: -1}},
		{"paused there is no surge, so maxUnavailable rounds up", 7, "10%", "3", true, "", workload.Limits{Unavailable: 1, Starting: -1}},
		{"pace of creation rounds up", 10, "1", "", false, "15%", workload.Limits{Unavailable: 1, Starting: 2}},
		{"and is never nothing", 10, "1", "", false, "0", workload.Limits{Unavailable: 1, Starting: 1}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			cs := setWith(test.replicas, func(r *appsv1beta1.RollingUpdateCloneSetStrategy) {
				if test.unavailable != "" {
					r.MaxUnavailable = parse(test.unavailable)
				}
				r.MaxSurge, r.Paused = parse(test.surge), test.paused
			})
			cs.Spec.ScaleStrategy.MaxUnavailable = parse(test.pace)
			got, err := limitsOf(cs, *cs.Spec.UpdateStrategy.RollingUpdate)
			if err != nil || got != test.want {
				t.Errorf("got %+v (%v), want %+v", got, err, test.want)
			}
		})
	}
}

func TestPartitionIsRounded(t *testing.T) {
	for _, test := range []struct {
		reason, value  string
		replicas, want int
	}{
		{"unset", "", 10, 0},
		{"a number", "3", 10, 3},
		{"a number above all", "30", 10, 10},
		{"as many as there are", "10", 10, 10},
		{"a percentage rounds up", "25%", 10, 3},
		{"all", "100%", 10, 10},
		{"below 100% one is updated", "99%", 10, 9},
		{"of two, too", "60%", 2, 1},
		{"but not of one", "50%", 1, 1},
		{"nothing of nothing", "50%", 0, 0},
		{"0%", "0%", 10, 0},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if got, err := partition(parse(test.value), test.replicas); err != nil || got != test.want {
				t.Errorf("%s of %d: got %d (%v), want %d", test.value, test.replicas, got, err, test.want)
			}
		})
	}
}

func TestStrategiesThatCannotBeRead(t *testing.T) {
	bad := func() *intstr.IntOrString { return parse("some") }
	for _, test := range []struct {
		field  string
		change func(cs *appsv1beta1.CloneSet, r *appsv1beta1.RollingUpdateCloneSetStrategy)
	}{
		{"spec.updateStrategy.rollingUpdate.partition", func(_ *appsv1beta1.CloneSet, r *appsv1beta1.RollingUpdateCloneSetStrategy) { r.Partition = bad() }},
		{"spec.updateStrategy.rollingUpdate.maxSurge", func(_ *appsv1beta1.CloneSet, r *appsv1beta1.RollingUpdateCloneSetStrategy) { r.MaxSurge = bad() }},
		{"spec.updateStrategy.rollingUpdate.maxUnavailable", func(_ *appsv1beta1.CloneSet, r *appsv1beta1.RollingUpdateCloneSetStrategy) { r.MaxUnavailable = bad() }},
		{"spec.scaleStrategy.maxUnavailable", func(cs *appsv1beta1.CloneSet, _ *appsv1beta1.RollingUpdateCloneSetStrategy) {
			cs.Spec.ScaleStrategy.MaxUnavailable = bad()
		}},
		{"spec.updateStrategy.rollingUpdate.priorityStrategy.weightPriority[0]", func(_ *appsv1beta1.CloneSet, r *appsv1beta1.RollingUpdateCloneSetStrategy) {
			r.PriorityStrategy = &appsv1beta1.UpdatePriorityStrategy{WeightPriority: []appsv1beta1.UpdatePriorityWeightTerm{{
				MatchSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Like"}}},
			}}}
		}},
	} {
		t.Run(test.field, func(t *testing.T) {
			cs := setWith(3, nil)
			test.change(cs, cs.Spec.UpdateStrategy.RollingUpdate)
			if _, err := decide(cs, observed(t, ""), testkit.Epoch); err == nil || !strings.HasPrefix(err.Error(), test.field) {
				t.Errorf("got %v, want it to begin with the field", err)
			}
		})
	}
}

func TestSetOf(t *testing.T) {
	type rolling = *appsv1beta1.RollingUpdateCloneSetStrategy
	for _, test := range []struct {
		reason string
		change func(cs *appsv1beta1.CloneSet, r rolling)
		want   string
	}{
		{"plain", func(*appsv1beta1.CloneSet, rolling) {}, "v2 v2 v2 ReCreate"},
		{"partition", func(_ *appsv1beta1.CloneSet, r rolling) { r.Partition = parse("1") }, "v1 v2 v2 ReCreate"},
		{"paused", func(_ *appsv1beta1.CloneSet, r rolling) { r.Paused = true }, "v2 v2 v2 ReCreate hold=Paused"},
		{"on delete", func(cs *appsv1beta1.CloneSet, _ rolling) { cs.Spec.UpdateStrategy.Type = "OnDelete" }, "v2 v2 v2 ReCreate hold=OnDelete"},
		{"grace brings a gate", func(_ *appsv1beta1.CloneSet, r rolling) {
			r.PodUpdatePolicy, r.InPlaceUpdateStrategy = "InPlaceIfPossible", &appsv1beta1.InPlaceUpdateStrategy{GracePeriodSeconds: 30}
		}, "v2 v2 v2 InPlaceIfPossible grace=30s gate=InPlaceUpdateReady"},
		{"in place without grace needs none", func(_ *appsv1beta1.CloneSet, r rolling) { r.PodUpdatePolicy = "InPlaceOnly" }, "v2 v2 v2 InPlaceOnly"},
		{"a hook that marks brings the shared gate", func(cs *appsv1beta1.CloneSet, _ rolling) {
			cs.Spec.Lifecycle = &appsv1beta1.Lifecycle{PreDelete: &appsv1beta1.LifecycleHook{MarkPodNotReady: true}}
		}, "v2 v2 v2 ReCreate gate=KruisePodReady"},
		{"a hook that does not mark brings none", func(cs *appsv1beta1.CloneSet, _ rolling) {
			cs.Spec.Lifecycle = &appsv1beta1.Lifecycle{PreDelete: &appsv1beta1.LifecycleHook{}}
		}, "v2 v2 v2 ReCreate"},
		{"named pods", func(cs *appsv1beta1.CloneSet, _ rolling) { cs.Spec.ScaleStrategy.PodsToDelete = []string{"a", "b"} }, "v2 v2 v2 ReCreate named=2"},
		{"nothing was defaulted", func(cs *appsv1beta1.CloneSet, _ rolling) {
			cs.Spec.Replicas, cs.Spec.UpdateStrategy = nil, appsv1beta1.CloneSetUpdateStrategy{}
		}, "v2 ReCreate"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			cs := setWith(3, nil)
			test.change(cs, cs.Spec.UpdateStrategy.RollingUpdate)
			set, err := setOf(cs, observed(t, ""))
			if err != nil {
				t.Fatal(err)
			}
			if got := sayAll(set); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if (set.Hold == "") != (set.HoldMessage == "") {
				t.Errorf("held for %q with the message %q", set.Hold, set.HoldMessage)
			}
		})
	}
}

func sayAll(set workload.Set) string {
	var words []string
	for _, slot := range set.Slots {
		words = append(words, slot.Revision)
	}
	words = append(words, string(set.Change))
	if set.Hold != "" {
		words = append(words, "hold="+string(set.Hold))
	}
	if set.Grace > 0 {
		words = append(words, "grace="+set.Grace.String())
	}
	for _, gate := range set.Gates {
		words = append(words, "gate="+string(gate))
	}
	if len(set.Named) > 0 {
		words = append(words, "named="+strconv.Itoa(len(set.Named)))
	}
	return strings.Join(words, " ")
}

func TestDecide(t *testing.T) {
	plan, err := decide(setWith(3, nil), observed(t, "a/v1 b/v1 c/v1"), testkit.Epoch.Add(time.Hour))
	if err != nil || len(plan.Steps) != 1 || len(plan.Held) != 2 {
		t.Errorf("of three pods one may be missing: %d steps, %d held (%v)", len(plan.Steps), len(plan.Held), err)
	}
}
