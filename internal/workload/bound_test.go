package workload

import (
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/internal/disruption"
)

// Whoever changes pods of the workload, too, has a limit that holds for the workload's own update as well.
func TestLimitOfSomebodyElse(t *testing.T) {
	bound := func(most int) func(*State) {
		return func(s *State) { s.bound = disruption.Bound{By: "SidecarSet log", Most: most} }
	}
	for _, test := range []struct {
		reason string
		scene  scene
	}{
		{"the tighter one holds", scene{
			slots: 3, unavailable: 3, pods: "a/v1 b/v1 c/v1", set: inPlaceSet, state: bound(1), want: "update c; hold b: Budget; hold a: Budget",
		}},
		{"the workload's own is the tighter", scene{
			slots: 3, unavailable: 1, pods: "a/v1 b/v1 c/v1", set: inPlaceSet, state: bound(2), want: "update c; hold b: Budget; hold a: Budget",
		}},
		{"what is away already counts", scene{
			slots: 3, unavailable: 3, pods: "a/v1 b/v2! c/v1", set: inPlaceSet, state: bound(1), want: "hold c: Budget; hold a: Budget",
		}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			plan := test.scene.check(t)
			if bound := test.scene.unavailable > 1; bound != strings.Contains(plan.Held[0].Message, "SidecarSet log, which changes their containers, allows (1)") {
				t.Errorf("message %q", plan.Held[0].Message)
			}
		})
	}
}
