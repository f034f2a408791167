package cloneset

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

// pass decides and reports, as a pass does whose writes all ended with acted.
func pass(t *testing.T, cs *appsv1beta1.CloneSet, pods string, acted error, now time.Time) time.Duration {
	t.Helper()
	state := observed(t, pods)
	rand.Shuffle(len(state.Members), func(i, j int) { // a cache lists in no order
		state.Members[i], state.Members[j] = state.Members[j], state.Members[i]
	})
	plan, err := decide(cs, state, now)
	if err != nil {
		t.Fatal(err)
	}
	return fillStatus(cs, state, plan, acted, now)
}

// conditions in words: "Ready=True/Available".
func conditions(cs *appsv1beta1.CloneSet) string {
	var words []string
	for _, c := range cs.Status.Conditions {
		words = append(words, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(words, " ")
}

type rolling = *appsv1beta1.RollingUpdateCloneSetStrategy

func later(d time.Duration) time.Time { return testkit.Epoch.Add(time.Hour + d) }

func TestConditions(t *testing.T) {
	group := schema.GroupKind{Kind: "Pod"}
	invalid := fmt.Errorf("create pod: %w", apierrors.NewInvalid(group, "web-x", nil))
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "web-x", errors.New("changed"))
	for _, test := range []struct {
		reason, pods string
		change       func(r rolling)
		acted        error
		want         string
	}{
		{"all there", "a/v2 b/v2 c/v2", nil, nil, "Progressing=True/CloneSetAvailable Ready=True/Available"},
		{
			"starting", "a/v2 b/v2! c/v2", nil, nil,
			"Progressing=True/CloneSetUpdated Ready=False/InProgress Reconciling=True/InProgress",
		},
		{
			"updating", "a/v1 b/v2 c/v2", nil, nil,
			"Progressing=True/CloneSetUpdated Ready=False/InProgress Reconciling=True/InProgress",
		},
		{
			"one too many", "a/v2 b/v2 c/v2 d/v2", nil, nil,
			"Progressing=True/CloneSetUpdated Ready=False/InProgress Reconciling=True/InProgress",
		},
		{
			"all that the partition lets", "a/v1 b/v2 c/v2", func(r rolling) { r.Partition = parse("1") }, nil,
			"Progressing=True/ProgressPartitionAvailable Ready=True/Available",
		},
		{
			"paused half way", "a/v1 b/v2 c/v2", func(r rolling) { r.Paused = true }, nil,
			"Progressing=True/CloneSetPaused Ready=False/InProgress Reconciling=True/InProgress",
		},
		{
			"paused with nothing to do", "a/v2 b/v2 c/v2", func(r rolling) { r.Paused = true }, nil,
			"Progressing=True/CloneSetPaused Ready=True/Available",
		},
		{
			"pods cannot be made", "a/v2 b/v2", nil, &workload.Error{Scale: errors.New("quota")},
			"FailedScale=True/FailedScale Progressing=True/CloneSetUpdated Ready=False/InProgress Reconciling=True/InProgress",
		},
		{
			"pods cannot be made, ever", "a/v2 b/v2", nil, &workload.Error{Scale: invalid},
			"FailedScale=True/FailedScale Progressing=True/CloneSetUpdated Ready=False/InProgress Stalled=True/RefusedByAPIServer",
		},
		{
			"pods cannot be changed", "a/v1 b/v2 c/v2", nil, &workload.Error{Update: errors.New("no")},
			"FailedUpdate=True/FailedUpdate Progressing=True/CloneSetUpdated Ready=False/InProgress Reconciling=True/InProgress",
		},
		{
			"a conflict is no failure", "a/v2 b/v2", nil, &workload.Error{Scale: conflict, Update: conflict},
			"Progressing=True/CloneSetUpdated Ready=False/InProgress Reconciling=True/InProgress",
		},
		{
			"a pass that waits is none either", "a/v2 b/v2", nil, reconcile.Wait(time.Second, "the cache"),
			"Progressing=True/CloneSetUpdated Ready=False/InProgress Reconciling=True/InProgress",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			cs := setWith(3, test.change)
			pass(t, cs, test.pods, test.acted, later(0))
			if got := conditions(cs); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
			if cs.Status.ObservedGeneration != cs.Generation {
				t.Errorf("observed generation %d of %d", cs.Status.ObservedGeneration, cs.Generation)
			}
		})
	}
}

func TestCounts(t *testing.T) {
	for _, test := range []struct {
		reason, pods, partition string
		want                    string // replicas ready available / updated ready available / expected
	}{
		{"none", "", "0", "0 0 0 / 0 0 0 / 3"},
		{"mixed", "a/v1 b/v2! c/v2", "0", "3 2 2 / 2 1 1 / 3"},
		{"terminating pods do not count", "a/v1~ b/v2", "0", "1 1 1 / 1 1 1 / 3"},
		{"ready, but about to go", "a/v1 b/v2% c/v2", "0", "3 3 2 / 2 2 1 / 3"},
		{"a partition expects fewer", "a/v1 b/v1 c/v2", "2", "3 3 3 / 1 1 1 / 1"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			cs := setWith(3, func(r rolling) { r.Partition = parse(test.partition) })
			pass(t, cs, test.pods, nil, later(0))
			s := cs.Status
			got := fmt.Sprintf("%d %d %d / %d %d %d / %d", s.Replicas, s.ReadyReplicas, s.AvailableReplicas,
				s.UpdatedReplicas, s.UpdatedReadyReplicas, s.UpdatedAvailableReplicas, s.ExpectedUpdatedReplicas)
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if s.LabelSelector != "app=web" || s.UpdateRevision != "v2" {
				t.Errorf("selector %q, update revision %q", s.LabelSelector, s.UpdateRevision)
			}
		})
	}
}

func TestCurrentRevision(t *testing.T) {
	for _, test := range []struct{ reason, before, pods, want string }{
		{"a new set", "", "", "v2"},
		{"half way", "v1", "a/v1 b/v2 c/v2", "v1"},
		{"all updated", "v1", "a/v2 b/v2 c/v2", "v2"},
		{"all that exist are updated, but some are missing", "v1", "a/v2 b/v2", "v1"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			cs := setWith(3, nil)
			cs.Status.CurrentRevision = test.before
			pass(t, cs, test.pods, nil, later(0))
			if got := cs.Status.CurrentRevision; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestStatusRests(t *testing.T) {
	for _, pods := range []string{
		"", "a/v2 b/v2 c/v2", "a/v1 b/v1 c/v1 d/v1 e/v1 f/v1 g/v1 h/v1", "a/v1 b/v2! c/v1 d/v1! e/v2^ f/v2^ g/v2? h/v1%", "a/v2! b/v2 c/v2",
	} {
		for _, change := range []func(rolling){nil, func(r rolling) { r.Paused = true }, func(r rolling) { r.Partition = parse("2") }} {
			cs := setWith(8, change)
			pass(t, cs, pods, nil, later(0))
			first, err := json.Marshal(cs.Status)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 { // what is shuffled, and the clock, are all that differs
				pass(t, cs, pods, nil, later(time.Duration(i+1)*time.Second))
				if again, err := json.Marshal(cs.Status); err != nil || string(again) != string(first) {
					t.Fatalf("pods %q: nothing changed but the status (%v):\n%s\n%s", pods, err, first, again)
				}
			}
		}
	}
}

func TestMessagesDoNotFollowEveryPod(t *testing.T) {
	cs := setWith(10, nil)
	pass(t, cs, "a/v2! b/v2! c/v1 d/v1 e/v1 f/v1 g/v1 h/v1 i/v1 j/v1", nil, later(0))
	before := conditionsOf(&cs.Status).Find(report.Ready).Message
	pass(t, cs, "a/v2 b/v2 c/v2! d/v2! e/v1 f/v1 g/v1 h/v1 i/v1 j/v1", nil, later(time.Minute))
	if after := conditionsOf(&cs.Status).Find(report.Ready).Message; before != after {
		t.Errorf("two pods further, and it waits for the same, but says so differently:\n%s\n%s", before, after)
	}
}

func TestProgressDeadline(t *testing.T) {
	seconds := int32(60)
	cs := setWith(3, nil)
	cs.Spec.ProgressDeadlineSeconds = &seconds
	look := func(reason, pods string, at, again time.Duration, want string) {
		t.Helper()
		if got := pass(t, cs, pods, nil, later(at)); got != again {
			t.Errorf("%s: comes back after %s, want %s", reason, got, again)
		}
		if got := conditionsOf(&cs.Status).Find(report.Progressing).Reason; got != want {
			t.Errorf("%s: got %s, want %s", reason, got, want)
		}
	}
	const on, over = appsv1beta1.CloneSetProgressUpdated, appsv1beta1.CloneSetProgressDeadlineExceeded
	minute := time.Minute
	look("the first look begins the time", "a/v1 b/v1 c/v2!", 0, minute, on)
	look("no progress, and the rest of the time is left", "a/v1 b/v1 c/v2!", 20*time.Second, 40*time.Second, on)
	look("progress begins it anew", "a/v1 b/v1 c/v2", 30*time.Second, minute, on)
	look("a step back is none", "a/v1 b/v1 c/v2!", 40*time.Second, 50*time.Second, on)
	look("time is over", "a/v1 b/v1 c/v2!", 90*time.Second, 0, over)
	if got := conditions(cs); !strings.Contains(got, "Progressing=False/"+over) || !strings.Contains(got, "Stalled=True/"+over) {
		t.Errorf("time is over: %s", got)
	}
	if message := conditionsOf(&cs.Status).Find(report.Stalled).Message; !strings.Contains(message, "maxUnavailable") {
		t.Errorf("it does not say what it waits for: %s", message)
	}
	look("it stays over", "a/v1 b/v1 c/v2!", 200*time.Second, 0, over)
	look("until something moves", "a/v1 b/v2 c/v2!", 210*time.Second, minute, on)
	cs.Spec.UpdateStrategy.RollingUpdate.Paused = true
	look("paused, no time runs", "a/v1 b/v2 c/v2!", 220*time.Second, 0, appsv1beta1.CloneSetProgressPaused)
	cs.Spec.UpdateStrategy.RollingUpdate.Paused = false
	look("resumed, it begins anew", "a/v1 b/v2 c/v2!", time.Hour, minute, on)
	look("done", "a/v2 b/v2 c/v2", time.Hour+minute, 0, appsv1beta1.CloneSetProgressAvailable)
	never := int32(1<<31 - 1)
	cs.Spec.ProgressDeadlineSeconds = &never
	look("no deadline", "a/v2 b/v2 c/v2!", 2*time.Hour, 0, on)
}

func TestReportStalled(t *testing.T) {
	cs := setWith(3, nil)
	pass(t, cs, "a/v2", nil, later(0))
	reportStalled(cs, "InvalidSelector", errors.New("spec.selector: no"), later(time.Second))
	want := "Progressing=True/CloneSetUpdated Ready=False/InvalidSelector Stalled=True/InvalidSelector"
	if got := conditions(cs); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	pass(t, cs, "a/v2 b/v2 c/v2", nil, later(time.Minute))
	if got := conditions(cs); got != "Progressing=True/CloneSetAvailable Ready=True/Available" {
		t.Errorf("it is over: %s", got)
	}
}

func TestSource(t *testing.T) {
	cs := setWith(3, nil)
	if src, err := source(cs); err != nil || src.Labels["app"] != "web" || src.MinReady != 0 {
		t.Errorf("got %+v (%v)", src, err)
	}
	cs.Spec.Template.Labels = map[string]string{"app": "other"}
	if _, err := source(cs); err == nil || !strings.Contains(err.Error(), "spec.selector") {
		t.Errorf("the set would not own its pods: %v", err)
	}
	cs.Spec.Selector.MatchLabels = nil
	if _, err := source(cs); err == nil {
		t.Error("an empty selector would own all pods")
	}
	cs.Spec.Selector = nil
	if _, err := source(cs); err == nil {
		t.Error("no selector owns no pods")
	}
}
