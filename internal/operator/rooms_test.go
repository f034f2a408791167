package operator

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/holdfast-io/holdfast/api/crds"
)

// Every definition belongs to exactly one part, and every part's definition exists.
func TestRoomsServeEveryDefinition(t *testing.T) {
	all, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	var embedded, served []string
	for _, crd := range all {
		embedded = append(embedded, crd.Name)
	}
	for _, room := range Rooms() {
		served = append(served, room.CRDs...)
		if room.Name == "" || room.Help == "" || (room.Start == nil && room.Hooks == nil) {
			t.Errorf("part %q lacks a name, its help or anything to do", room.Name)
		}
	}
	slices.Sort(embedded)
	slices.Sort(served)
	if !slices.Equal(embedded, served) {
		t.Errorf("embedded are %v; the parts serve %v", embedded, served)
	}
}

func TestHooksAreWellNamed(t *testing.T) {
	scheme, err := NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, hook := range Hooks(scheme, "holdfast-system") {
		if errs := validation.IsFullyQualifiedName(nil, hook.Name); len(errs) > 0 {
			t.Errorf("hook %q: %v", hook.Name, errs)
		}
		if seen[hook.Name] || seen[hook.Path] {
			t.Errorf("hook %q at %q is there twice", hook.Name, hook.Path)
		}
		seen[hook.Name], seen[hook.Path] = true, true
		if !strings.HasPrefix(hook.Path, "/") || hook.Handler == nil || len(hook.Rules) == 0 {
			t.Errorf("hook %q cannot be served: path %q, %d rules", hook.Name, hook.Path, len(hook.Rules))
		}
	}
	if len(seen) == 0 {
		t.Error("there are no hooks")
	}
}

func TestParts(t *testing.T) {
	rooms := []Room{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	for _, tc := range []struct {
		reason          string
		enable, disable []string
		on, off         string
	}{
		{reason: "all by default", on: "a b c"},
		{reason: "all but one", disable: []string{"b"}, on: "a c", off: "b"},
		{reason: "only one", enable: []string{"b"}, on: "b", off: "a c"},
		{reason: "off wins", enable: []string{"a", "b"}, disable: []string{"b"}, on: "a", off: "b c"},
	} {
		on, off, err := (&Options{Enable: tc.enable, Disable: tc.disable}).parts(rooms)
		if err != nil || strings.Join(partNames(on), " ") != tc.on || strings.Join(partNames(off), " ") != tc.off {
			t.Errorf("%s: on %v, off %v, %v; want %q and %q", tc.reason, partNames(on), partNames(off), err, tc.on, tc.off)
		}
	}
}
