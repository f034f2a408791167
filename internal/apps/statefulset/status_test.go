package statefulset

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// pass decides and reports, as a pass does whose writes all ended with acted.
func pass(t *testing.T, set *appsv1beta1.StatefulSet, pods string, acted error, now time.Time) {
	t.Helper()
	state := observed(t, pods)
	rand.Shuffle(len(state.Members), func(i, j int) { // a cache lists in no order
		state.Members[i], state.Members[j] = state.Members[j], state.Members[i]
	})
	plan, err := decide(set, state, now)
	if err != nil {
		t.Fatal(err)
	}
	fillStatus(set, state, plan, acted, now)
}

func later(d time.Duration) time.Time { return testkit.Epoch.Add(time.Hour + d) }

// conditions in words: "Ready=True/Available".
func conditions(set *appsv1beta1.StatefulSet) string {
	var words []string
	for _, c := range set.Status.Conditions {
		words = append(words, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(words, " ")
}

func TestConditions(t *testing.T) {
	const on = "Ready=False/InProgress Reconciling=True/InProgress"
	for _, test := range []struct {
		reason, pods string
		edits        []edit
		acted        error
		want         string
	}{
		{"all there", "web-0/v2 web-1/v2 web-2/v2", nil, nil, "Ready=True/Available"},
		{"one starts", "web-0/v2 web-1/v2 web-2/v2!", nil, nil, on},
		{"one is missing", "web-0/v2 web-1/v2", nil, nil, on},
		{"one is outdated", "web-0/v1 web-1/v2 web-2/v2", nil, nil, on},
		{"one too many", "web-0/v2 web-1/v2 web-2/v2 web-3/v2", nil, nil, on},
		{"as many as wanted, but one of a reserved number", "web-0/v2 web-1/v2 web-2/v2", []edit{reserving("1")}, nil, on},
		{"all that the partition lets", "web-0/v1 web-1/v1 web-2/v2", []edit{partition(2)}, nil, "Ready=True/Available"},
		{"an updated pod below the partition is right, too", "web-0/v2 web-1/v1 web-2/v2", []edit{partition(2)}, nil, "Ready=True/Available"},
		{"paused half way", "web-0/v1 web-1/v1 web-2/v2", []edit{rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) { r.Paused = true })}, nil, on},
		{"pods cannot be made", "web-0/v2", nil, &workload.Error{Scale: errors.New("quota")}, "FailedCreatePod=True/FailedCreatePod " + on},
		{"pods cannot be changed", "web-0/v2", nil, &workload.Error{Update: errors.New("no")}, "FailedUpdatePod=True/FailedUpdatePod " + on},
	} {
		t.Run(test.reason, func(t *testing.T) {
			set := setWith(3, test.edits...)
			pass(t, set, test.pods, test.acted, later(0))
			if got := conditions(set); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
			if set.Status.ObservedGeneration != set.Generation || set.Status.LabelSelector != "app=web" {
				t.Errorf("generation %d, selector %q", set.Status.ObservedGeneration, set.Status.LabelSelector)
			}
		})
	}
}

func TestCounts(t *testing.T) {
	for _, test := range []struct {
		reason, before, pods string
		want                 string // replicas ready available / current of revision / updated ready available
	}{
		{"none", "", "", "0 0 0 / 0 of v2 / 0 0 0"},
		{"a new set", "", "web-0/v2 web-1/v2!", "2 1 1 / 2 of v2 / 2 1 1"},
		{"half way", "v1", "web-0/v1 web-1/v1 web-2/v2", "3 3 3 / 2 of v1 / 1 1 1"},
		{"all updated", "v1", "web-0/v2 web-1/v2 web-2/v2", "3 3 3 / 3 of v2 / 3 3 3"},
		{"all updated, but one is not ready", "v1", "web-0/v2! web-1/v2 web-2/v2", "3 2 2 / 0 of v1 / 3 2 2"},
		{"terminating pods do not count", "v1", "web-0/v1 web-1/v1~", "1 1 1 / 1 of v1 / 0 0 0"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			set := setWith(3)
			set.Status.CurrentRevision = test.before
			pass(t, set, test.pods, nil, later(0))
			s := set.Status
			got := fmt.Sprintf("%d %d %d / %d of %s / %d %d %d", s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.CurrentReplicas,
				s.CurrentRevision, s.UpdatedReplicas, s.UpdatedReadyReplicas, s.UpdatedAvailableReplicas)
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestStatusRests(t *testing.T) {
	for _, pods := range []string{"", "web-0/v2 web-1/v2 web-2/v2", "web-0/v1 web-1/v2! web-2/v2^ web-3/v2 web-7/v1", "web-0/v1* web-1/v1! web-2/v2%"} {
		for _, edits := range [][]edit{nil, {parallel, away("2")}, {partition(2)}, {parallel, unordered("a"), partition(1)}} {
			set := setWith(5, edits...)
			pass(t, set, pods, nil, later(0))
			first, err := json.Marshal(set.Status)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 { // what is shuffled, and the clock, are all that differs
				pass(t, set, pods, nil, later(time.Duration(i+1)*time.Second))
				if again, err := json.Marshal(set.Status); err != nil || string(again) != string(first) {
					t.Fatalf("pods %q: nothing changed but the status (%v):\n%s\n%s", pods, err, first, again)
				}
			}
		}
	}
}

func TestVolumes(t *testing.T) {
	set := setWith(2, withClaims(testkit.ClaimTemplate("data", "2Gi"), testkit.ClaimTemplate("log", "1Gi")))
	state := observed(t, "")
	add := func(name, asks, has string) {
		c := testkit.ClaimTemplate(name, asks)
		c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(has)}
		state.Claims = append(state.Claims, &c)
	}
	add("data-web-0", "2Gi", "2Gi")
	add("data-web-1", "2Gi", "1Gi")
	add("data-web-7", "2Gi", "2Gi") // of a number that is not wanted
	add("log-web-0", "500Mi", "1Gi")
	got := fmt.Sprint(volumes(set, state, []workload.Slot{{Key: "0"}, {Key: "1"}}))
	if want := "[{data 2 1} {log 0 0}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
