package statefulset_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

// life takes a set through all it knows: up, changed in place, made anew, another number, down.
func life(behind int, shape ...edit) testkit.Scenario {
	return func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		w := newWorld(t, f, behind, append([]edit{replicas(2), claims("1Gi"), inPlace}, shape...)...)
		w.run()
		for _, step := range []edit{image("v2"), command, reserving("1"), replicas(1)} {
			w.change(step)
		}
		f.Stop()
		w.Lag.Behind = 0
		w.run()
		w.Oracle.Done(t)
		if got := w.names(); got != "web-0" {
			t.Errorf("got %s, want web-0", got)
		}
	}
}

// Each write of a set's life goes wrong in each way that there is.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	shapes := map[string][]edit{
		"in order": {},
		"parallel": {parallel, retention("Delete", "Delete")},
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.Matrix(t, life(0, shape...))
		})
	}
}

// Many writes go wrong, while the cache shows everything a few events late.
func TestRandomFaultsWithALaggingCache(t *testing.T) {
	t.Parallel()
	for _, behind := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("%d events behind", behind), func(t *testing.T) {
			t.Parallel()
			testkit.RandomMatrix(t, 4, 0.2, life(behind))
		})
	}
}
