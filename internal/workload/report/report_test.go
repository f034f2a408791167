package report_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
)

func words(all report.Conditions) string {
	var list []string
	for _, c := range all {
		list = append(list, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(list, " ")
}

func invalid() error {
	return fmt.Errorf("create pod: %w", apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "web-x", nil))
}

func TestConditions(t *testing.T) {
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "web-x", errors.New("changed"))
	for _, test := range []struct {
		reason string
		stands report.Standing
		want   string
	}{
		{"all there", report.Standing{Done: true, Available: 3}, "Ready=True/Available"},
		{"on its way", report.Standing{}, "Ready=False/InProgress Reconciling=True/InProgress"},
		{
			"pods cannot be made",
			report.Standing{Acted: &workload.Error{Scale: errors.New("quota")}},
			"FailedCreatePod=True/FailedCreatePod Ready=False/InProgress Reconciling=True/InProgress",
		},
		{
			"pods cannot be made, ever",
			report.Standing{Acted: &workload.Error{Scale: invalid()}},
			"FailedCreatePod=True/FailedCreatePod Ready=False/InProgress Stalled=True/RefusedByAPIServer",
		},
		{
			"pods cannot be changed",
			report.Standing{Acted: &workload.Error{Update: errors.New("no")}},
			"FailedUpdatePod=True/FailedUpdatePod Ready=False/InProgress Reconciling=True/InProgress",
		},
		{
			"a conflict is no failure",
			report.Standing{Acted: &workload.Error{Scale: conflict}},
			"Ready=False/InProgress Reconciling=True/InProgress",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			all := report.Conditions{{Type: "FailedCreatePod", Status: "True"}, {Type: report.Stalled, Status: "True"}}
			test.stands.FailedScale, test.stands.FailedUpdate = "FailedCreatePod", "FailedUpdatePod"
			all.Failures(test.stands, testkit.Epoch)
			all.Kstatus(test.stands, testkit.Epoch)
			if got := words(all); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestSetMovesTheTimes(t *testing.T) {
	var all report.Conditions
	at := func(minute int) time.Time { return testkit.Epoch.Add(time.Duration(minute) * time.Minute) }
	all.Set("Ready", "False", "InProgress", "waits", at(1))
	all.Set("Ready", "False", "InProgress", "waits", at(2))
	if c := all.Find("Ready"); !c.Updated.Time.Equal(at(1)) {
		t.Errorf("it said the same, but its time moved to %s", c.Updated)
	}
	all.Set("Ready", "False", "InProgress", "waits longer", at(3))
	if c := all.Find("Ready"); !c.Changed.Time.Equal(at(1)) || !c.Updated.Time.Equal(at(3)) {
		t.Errorf("another message: changed %s, updated %s", c.Changed, c.Updated)
	}
	all.Set("Ready", "True", "Available", "", at(4))
	if c := all.Find("Ready"); !c.Changed.Time.Equal(at(4)) {
		t.Errorf("another status: changed %s", c.Changed)
	}
}

func TestListAndBack(t *testing.T) {
	var all report.Conditions
	all.Set("Ready", "True", "Available", "3 pods are available", testkit.Epoch)
	all.Stall("Bad", errors.New("fix it"), testkit.Epoch)
	list := all.List()
	if got := words(report.From(list)); got != "Ready=False/Bad Stalled=True/Bad" {
		t.Errorf("got %s", got)
	}
	if report.From(nil).List() != nil {
		t.Error("no conditions became a list")
	}
	if message := list[1].Message; message != "fix it" {
		t.Errorf("got %q", message)
	}
}

func TestWaitsNamesTheFirstReason(t *testing.T) {
	all := report.Conditions{}
	all.Kstatus(report.Standing{Held: []appsv1beta1.HeldChange{{Reason: "Order", Message: "web-0 first"}}}, testkit.Epoch)
	if got := all.Find(report.Ready).Message; got != "waits: Order: web-0 first" {
		t.Errorf("got %q", got)
	}
}

func TestADeadlineStalls(t *testing.T) {
	all := report.Conditions{{Type: report.Progressing, Status: "False", Reason: report.DeadlineExceeded, Message: "too long"}}
	all.Kstatus(report.Standing{}, testkit.Epoch)
	if c := all.Find(report.Stalled); c == nil || c.Message != "too long" {
		t.Errorf("got %s", words(all))
	}
}

func TestVerdict(t *testing.T) {
	if err := report.Verdict(&workload.Error{Scale: invalid()}); !strings.Contains(err.Error(), "spec.template") {
		t.Errorf("the user is not told which field: %v", err)
	}
	plain := &workload.Error{Scale: errors.New("quota")}
	if err := report.Verdict(plain); !errors.Is(err, plain) || strings.Contains(err.Error(), "spec.template") {
		t.Errorf("got %v, want it to be tried again", err)
	}
}

func TestSooner(t *testing.T) {
	for _, test := range []struct{ a, b, want time.Duration }{{0, 0, 0}, {1, 0, 1}, {0, 2, 2}, {3, 2, 2}, {1, 2, 1}} {
		if got := report.Sooner(test.a, test.b); got != test.want {
			t.Errorf("%d and %d: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
