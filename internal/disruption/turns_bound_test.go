package disruption_test

import (
	"testing"

	"github.com/holdfast-io/holdfast/internal/disruption"
)

func TestBounds(t *testing.T) {
	turns := disruption.NewTurns()
	if b, bounded := turns.Bound("w"); bounded {
		t.Errorf("bounded by %+v before anybody said so", b)
	}
	turns.Bind("w", disruption.Bound{By: "SidecarSet a", Most: 3})
	turns.Bind("w", disruption.Bound{By: "SidecarSet b", Most: 2})
	turns.Bind("other", disruption.Bound{By: "SidecarSet c", Most: 1})
	if b, _ := turns.Bound("w"); b != (disruption.Bound{By: "SidecarSet b", Most: 2}) {
		t.Errorf("got %+v, want the tightest", b)
	}
	turns.Unbind("w", "SidecarSet b")
	if b, _ := turns.Bound("w"); b.Most != 3 {
		t.Errorf("got %+v, want the one that is left", b)
	}
	turns.Unbind("w", "SidecarSet a")
	if b, bounded := turns.Bound("w"); bounded {
		t.Errorf("still bounded by %+v", b)
	}
	turns.Forget("other")
	if _, bounded := turns.Bound("other"); bounded {
		t.Error("a workload that is gone is still bounded")
	}
}
