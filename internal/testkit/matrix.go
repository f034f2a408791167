package testkit

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// Scenario is one course of events that must end well, whatever the faults do to its writes. It makes its own namespace
// and its own controller, sends the controller's requests through f, and asserts its end by itself.
type Scenario func(t *testing.T, f *Faults)

// Matrix runs a scenario once without faults, to count its writes, and then again with one of these writes going wrong. The
// plan is enumerated: every third write goes wrong, writes and faults taking turns from a seed on, so that many runs see all
// of them; with HOLDFAST_FAULTS=all every write goes wrong in every way. -short tries every fifth write.
func Matrix(t *testing.T, scenario Scenario) {
	t.Helper()
	var writes []string
	if !t.Run("no fault", func(t *testing.T) {
		f := NewFaults(nil)
		scenario(t, f)
		writes = f.Writes()
	}) {
		t.Fatal("the scenario fails without any fault: nothing is learned from the rest")
	}
	if len(writes) == 0 {
		t.Fatal("the scenario wrote nothing through its Faults: is its client made from Faults.Config?")
	}
	for _, plan := range plans(t, len(writes)) {
		t.Run(fmt.Sprintf("write %d %s", plan.write, plan.fault), func(t *testing.T) {
			f := NewFaults(map[int]Fault{plan.write: plan.fault})
			scenario(t, f)
			if len(f.Struck()) == 0 {
				t.Logf("this run wrote less than the one without faults (%d writes): the fault never struck", len(f.Writes()))
			}
		})
	}
}

// plan is one write and what happens to it.
type plan struct {
	write int
	fault Fault
}

func plans(t *testing.T, writes int) (all []plan) {
	t.Helper()
	faults := AllFaults()
	stride := 3
	if testing.Short() {
		stride = 5
	}
	every := os.Getenv("HOLDFAST_FAULTS") == "all"
	if every {
		stride = 1
	}
	seed, _ := Seed(t)
	turn := int(seed % 1_000_000)
	first := turn % stride
	for n := min(first, writes-1); n < writes; n += stride {
		for i, fault := range faults {
			if every || (n/stride+turn)%len(faults) == i {
				all = append(all, plan{n, fault})
			}
		}
	}
	return all
}

// RandomMatrix runs a scenario several times with faults by chance. The seed of each run is in its name and its log; set
// HOLDFAST_SEED to repeat one run.
func RandomMatrix(t *testing.T, runs int, rate float64, scenario Scenario) {
	t.Helper()
	first, fixed := Seed(t)
	if fixed {
		runs = 1
	}
	for i := range uint64(max(runs, 0)) {
		seed := first + i
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			f := RandomFaults(seed, rate)
			defer func() {
				if t.Failed() {
					t.Logf("repeat with HOLDFAST_SEED=%d; what went wrong: %q", seed, f.Struck())
				}
			}()
			scenario(t, f)
		})
	}
}

// Seed returns HOLDFAST_SEED and true, or a new seed and false, and logs it.
func Seed(t testing.TB) (seed uint64, fixed bool) {
	t.Helper()
	if text := os.Getenv("HOLDFAST_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("HOLDFAST_SEED is no number: %v", err)
		}
		return seed, true
	}
	seed = uint64(time.Now().UnixNano()) % 1_000_000
	t.Logf("HOLDFAST_SEED=%d", seed)
	return seed, false
}
