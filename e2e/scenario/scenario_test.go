package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		reason, only, want, fails string
	}{
		{reason: "some, in the order of the list", only: "flood,budget", want: "budget flood"},
		{reason: "a group", only: "guards", want: "budget talk flood outage"},
		{reason: "the one that takes a node away is last", only: "", want: "redis"},
		{reason: "an unknown one", only: "opera", fails: `no scenario "opera"`},
	} {
		t.Run(test.reason, func(t *testing.T) {
			chosen, err := choose(test.only)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("got %v, want %q in it", err, test.fails)
				}
				return
			}
			var got []string
			for _, s := range chosen {
				got = append(got, s.name)
			}
			if err != nil || !strings.HasSuffix(strings.Join(got, " "), test.want) {
				t.Errorf("got %v, %v, want %s", got, err, test.want)
			}
		})
	}
}

func TestPresence(t *testing.T) {
	type event struct {
		kind watch.EventType
		pod  string
	}
	for _, test := range []struct {
		reason string
		events []event
		away   int
	}{
		{"before all were there, fewer say nothing", []event{{watch.Added, "a/v1"}}, 0},
		{"one is not ready", []event{{watch.Added, "a/v1"}, {watch.Added, "b/v1"}, {watch.Modified, "a/v1!"}}, 1},
		{"one goes, and another comes", []event{{watch.Added, "a/v1"}, {watch.Added, "b/v1"}, {watch.Modified, "a/v1~"}, {watch.Added, "c/v1"}}, 1},
		{"two go", []event{{watch.Added, "a/v1"}, {watch.Added, "b/v1"}, {watch.Deleted, "a/v1"}, {watch.Modified, "b/v1~"}}, 2},
		{"one more than wanted goes", []event{{watch.Added, "a/v1"}, {watch.Added, "b/v1"}, {watch.Added, "c/v1"}, {watch.Deleted, "c/v1"}}, 0},
	} {
		t.Run(test.reason, func(t *testing.T) {
			w := &presence{want: 2, pods: map[types.UID]bool{}}
			for _, e := range test.events {
				w.note(e.kind, testkit.Pods(t, e.pod)[0])
			}
			if w.mostAway != test.away {
				t.Errorf("%d were away at most, want %d", w.mostAway, test.away)
			}
		})
	}
	t.Run("a spec that the kubelet has not seen yet", func(t *testing.T) {
		w := &presence{want: 1, pods: map[types.UID]bool{}}
		one := testkit.Pods(t, "a/v1")[0]
		w.note(watch.Added, one)
		one = one.DeepCopyObject().(*corev1.Pod) //nolint:forcetypeassert // a copy of a pod is a pod
		one.Generation = one.Status.ObservedGeneration + 1
		w.note(watch.Modified, one)
		if w.mostAway != 1 {
			t.Errorf("%d were away at most, want 1: it still runs what it ran", w.mostAway)
		}
	})
}

func TestReport(t *testing.T) {
	records := []*record{{
		scenario: scenario{name: "one", title: "a title", about: "\nwhat happens\n"},
		claims:   []claim{{text: "this holds", holds: true}, {text: "this does not"}},
		figures:  []figure{{name: "time", value: "1 s"}},
		err:      errors.New("broke | off\nearly"),
	}}
	path := filepath.Join(t.TempDir(), "report.md")
	if err := writeReport(path, records); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## one: a title\n\nwhat happens\n", "| this holds | holds |", "| this does not | **does not hold** |",
		`| the scenario broke off: broke \| off early | **failed** |`, "| time | 1 s |",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if got := records[0].failed(); got != 2 {
		t.Errorf("%d failed, want 2", got)
	}
	if err := verdict(records); err == nil || !strings.Contains(err.Error(), "this does not hold: this does not") {
		t.Errorf("the verdict is %v", err)
	}
	if err := verdict([]*record{{claims: []claim{{text: "this holds", holds: true}}}}); err != nil {
		t.Errorf("the verdict is %v, though all holds", err)
	}
}
