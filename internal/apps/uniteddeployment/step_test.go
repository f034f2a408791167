package uniteddeployment

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// parseStandings reads "5" (all there and ready), or "asked/pods/ready".
func parseStandings(t *testing.T, text string) []standing {
	t.Helper()
	var all []standing
	for word := range strings.FieldsSeq(text) {
		if !strings.Contains(word, "/") {
			word = word + "/" + word + "/" + word
		}
		var s standing
		if _, err := fmt.Sscanf(word, "%d/%d/%d", &s.asked, &s.pods, &s.ready); err != nil {
			t.Fatalf("%q: %v", word, err)
		}
		all = append(all, s)
	}
	return all
}

func parseNumbers(t *testing.T, text string) []int32 {
	t.Helper()
	var all []int32
	for word := range strings.FieldsSeq(text) {
		var n int32
		if _, err := fmt.Sscan(word, &n); err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

func TestStep(t *testing.T) {
	for _, test := range []struct {
		reason, now, target string
		limit               int32
		want                string
	}{
		{"new: all at once", "0 0", "4 6", 10, "4 6"},
		{"at rest", "4 6", "4 6", 10, "4 6"},
		{"more pods, at once", "4 6", "8 12", 20, "8 12"},
		{"fewer pods, at once, ready or not", "4 6", "2 3", 5, "2 3"},
		{"a move begins with a part", "10 0", "0 10", 10, "8 0"},
		{"and goes on when they are gone", "8/8/8 0", "0 10", 10, "8 2"},
		{"but not before", "8/10/10 0", "0 10", 10, "8 0"},
		{"and then waits for those that came", "8/8/8 2/2/0", "0 10", 10, "8 2"},
		{"one that got ready makes room for one more", "8/8/8 2/2/1", "0 10", 10, "7 2"},
		{"pods that are not ready go at once", "10/10/4 0", "0 10", 10, "4 0"},
		{"pods without a node, and not a single ready one more", "5/5/2 5", "2 8", 10, "2 5"},
		{"and others take their place", "2/2/2 5", "2 8", 10, "2 8"},
		{"a single pod moves, too", "1 0", "0 1", 1, "0 0"},
		{"one of two moves", "2 0", "0 2", 2, "1 0"},
		{"a move and fewer pods together", "10 0", "0 4", 4, "3 0"},
		{"pods that stand in", "5/5/2 5", "5 8", 13, "5 8"},
		{"and go when they are not needed any more", "5 8", "5 5", 10, "5 5"},
		{"a subset that is taken out, and another", "5 5 0", "0 5 5", 10, "3 5 0"},
		{"everything goes", "5 5", "0 0", 0, "0 0"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if got := numbers(step(parseStandings(t, test.now), parseNumbers(t, test.target), test.limit)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// From anywhere to anywhere: never too many pods, never too few ready ones but for those that were not ready before, and it ends.
func TestStepEnds(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a seed that can be given again is the point
		limit := random.Int32N(30)
		draw := func() []int32 {
			all := make([]int32, 3)
			for range limit {
				all[random.IntN(3)]++
			}
			return all
		}
		now, target := make([]standing, 3), draw()
		for i, n := range draw() {
			now[i] = standing{asked: n, pods: n, ready: n}
		}
		budget := max((limit*movable+99)/100, 1)
		rounds := 0
		for ; rounds < 200; rounds++ {
			next := step(now, target, limit)
			pods, ready := int32(0), int32(0)
			for i := range now {
				now[i].asked = next[i]
				switch random.IntN(3) { // the workloads follow at their own pace
				case 0:
					now[i].pods = next[i]
				case 1:
					now[i].ready = min(now[i].pods, now[i].asked)
				}
				now[i].ready = min(now[i].ready, max(now[i].pods, 0), next[i])
				pods, ready = pods+max(now[i].pods, next[i]), ready+now[i].ready
			}
			if pods > limit || ready < limit-budget {
				t.Fatalf("seed %d: %d pods, %d ready, of %d: %+v", seed, pods, ready, limit, now)
			}
			if numbers(next) == numbers(target) {
				break
			}
		}
		if rounds == 200 {
			t.Fatalf("seed %d: it never ends: %+v to %v", seed, now, target)
		}
	}
}
