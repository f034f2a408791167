package share_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// parse reads "3", "20%" or "", which is unset.
func parse(text string) *intstr.IntOrString {
	if text == "" {
		return nil
	}
	v := intstr.Parse(text)
	return &v
}

func TestOf(t *testing.T) {
	for _, test := range []struct {
		reason, value string
		up            bool
		want          int
		bad           bool
	}{
		{"a number", "3", false, 3, false},
		{"unset is the default", "", false, 5, false},
		{"a percentage, rounded down", "15%", false, 1, false},
		{"and up", "15%", true, 2, false},
		{"never negative", "-4", true, 0, false},
		{"no number", "many", true, 0, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			got, err := share.Of(parse(test.value), intstr.FromInt32(5), 10, test.up)
			if got != test.want || (err != nil) != test.bad {
				t.Errorf("got %d (%v), want %d", got, err, test.want)
			}
		})
	}
}

func TestZero(t *testing.T) {
	for text, want := range map[string]bool{"0": true, "0%": true, "1": false, "1%": false, "": true, "many": false} {
		if got := share.Zero(parse(text), true); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestPace(t *testing.T) {
	for text, want := range map[string]int{"": -1, "0": 1, "15%": 2, "4": 4} {
		if got, err := share.Pace(parse(text), 10); err != nil || got != want {
			t.Errorf("%q: got %d (%v), want %d", text, got, err, want)
		}
	}
	if _, err := share.Pace(parse("many"), 10); err == nil {
		t.Error("no number is accepted")
	}
}
