package uniteddeployment

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// parseSubsets reads one word per subset: "3", "50%", "-" (nothing), "2..5", "..5", "2..".
func parseSubsets(text string) []appsv1beta1.Subset {
	var all []appsv1beta1.Subset
	value := func(text string) *intstr.IntOrString {
		if text == "" {
			return nil
		}
		v := intstr.Parse(text)
		return &v
	}
	for i, word := range strings.Fields(text) {
		s := appsv1beta1.Subset{Name: string(rune('a' + i))}
		if low, high, isRange := strings.Cut(word, ".."); isRange {
			s.MinReplicas, s.MaxReplicas = value(low), value(high)
		} else if word != "-" {
			s.Replicas = value(word)
		}
		all = append(all, s)
	}
	return all
}

func numbers(all []int32) string { return strings.Trim(fmt.Sprint(all), "[]") }

func TestFixed(t *testing.T) {
	for _, test := range []struct {
		reason, subsets string
		replicas        int32
		want, problem   string
	}{
		{"evenly, the first one more", "- - -", 10, "4 3 3", ""},
		{"some say, the rest is shared", "2 - -", 9, "2 4 3", ""},
		{"all say", "1 2 3", 6, "1 2 3", ""},
		{"half and the rest", "1 50% -", 10, "1 5 4", ""},
		{"percentages add up", "33% 33% 34%", 10, "3 3 4", ""},
		{"percentages of few", "50% 50%", 1, "1 0", ""},
		{"percentages of none", "50% 50%", 0, "0 0", ""},
		{"a part in percent", "25% -", 10, "2 8", ""},
		{"half a pod and more is one", "35% -", 10, "3 7", ""},
		{"too many", "5 6", 10, "5 5", `subsets[1].replicas of "b" brings the sum above the 10`},
		{"far too many: none goes without", "5 5 5", 4, "2 1 1", "brings the sum above the 4"},
		{"too many beside one that says nothing", "9 -", 4, "2 2", "brings the sum above the 4"},
		{"too many in percent", "60% 60%", 10, "5 5", "lower it, or raise spec.replicas"},
		{"too few: all are run", "2 3", 10, "5 5", "adds up to 5, and spec.replicas is 10"},
		{"too few in percent", "20% 30%", 10, "5 5", "leave it out of one subset"},
		{"no subset", "", 3, "", "spec.topology.subsets is empty"},
		{"no subset, no pod", "", 0, "", ""},
		{"minimum first, then in order", "2.. 3..", 10, "7 3", ""},
		{"limits in order", "..3 ..4 ..", 10, "3 4 3", ""},
		{"the minimum of the last one holds", "..8 2..", 10, "8 2", ""},
		{"in percent", "..50% ..", 10, "5 5", ""},
		{"a minimum in percent is rounded up", "0.. 25%..", 10, "7 3", ""},
		{"minima beyond what there is", "4.. 4..", 6, "4 2", "minReplicas add up to 8, more than the 6"},
		{"limits below what there is", "..2 ..3", 6, "2 3", "maxReplicas add up to 5, less than the 6"},
		{"a minimum above the limit", "5..3 ..", 6, "3 3", `subsets[0].minReplicas of "a" is 5, more than its maxReplicas, 3`},
		{"scaled to nothing", "..2 ..3 ..", 0, "0 0 0", ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			all, err := shares(parseSubsets(test.subsets), test.replicas)
			if got := numbers(fixed(all, test.replicas)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if (err == nil) != (test.problem == "") || err != nil && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("got %v, want %q", err, test.problem)
			}
		})
	}
}

// parsePlaces reads "5", "5/2" (of which 2 find no node), with "x" (closed) or "?" (on trial) behind.
func parsePlaces(t *testing.T, text string, all []share) []place {
	t.Helper()
	places := make([]place, len(all))
	for i, word := range strings.Fields(text) {
		places[i].share = all[i]
		places[i].closed, places[i].trial = strings.HasSuffix(word, "x"), strings.HasSuffix(word, "?")
		word = strings.TrimRight(word, "x?")
		if _, err := fmt.Sscanf(word+"/0", "%d/%d", &places[i].asked, &places[i].stuck); err != nil {
			t.Fatalf("%q: %v", word, err)
		}
	}
	return places
}

func TestAdaptive(t *testing.T) {
	for _, test := range []struct {
		reason, subsets, places string
		replicas                int32
		reserve                 bool
		want                    string
	}{
		{"new: as fixed", "2.. 3..", "0 0", 10, false, "7 3"},
		{"at rest", "..5 ..", "5 5", 10, false, "5 5"},
		{"pods that find no node move on", "..5 ..", "5/3x 5", 10, false, "2 8"},
		{"to the next that is open", ".. ..4 ..", "5/3x 2x 0", 7, false, "2 2 3"},
		{"within its limit", ".. ..4 ..", "5/3x 2 0", 7, false, "2 4 1"},
		{"nobody has room: they wait where they are", "..5 ..5", "5/3x 5x", 10, false, "5 5"},
		{"some have room", "..5 ..6", "5/3x 5", 10, false, "4 6"},
		{"more pods pass by a closed subset", "..5 ..", "2x 5", 9, false, "2 7"},
		{"more pods, nobody open", "..5 ..9", "2x 5x", 9, false, "4 5"},
		{"it is open again: what runs stays where it runs", "..5 ..", "2? 8", 10, false, "2 8"},
		{"open again, and more pods: it gets them", "..5 ..", "2? 8", 12, false, "4 8"},
		{"on trial below its minimum: nothing is risked for it", "5.. ..", "2? 8", 10, false, "2 8"},
		{"below its minimum, and trusted: it gets it", "5.. ..", "2 8", 10, false, "5 5"},
		{"fewer pods: from the last to the first", "..5 ..", "5 5", 7, false, "5 2"},
		{"down to the minimum, then from those before", ".. 3..", "5 5", 6, false, "3 3"},
		{"below all minima in the end", "2.. 3..", "2 3", 1, false, "1 0"},
		{"fewer pods: those without a node go first", "..5 ..", "5/3x 5", 7, false, "2 5"},
		{"a lower limit moves pods on", "..2 ..", "5 5", 10, false, "2 8"},
		{"given numbers are kept where there is room", "3 -", "3 3", 6, false, "3 3"},
		{"those that say nothing take what finds no node", "3 -", "3/2x 3", 6, false, "1 5"},
		{"and nobody else does", "3 3 -", "3/2x 3 4x", 10, false, "3 3 4"},

		{"reserve: they stay, and others stand in", "..5 ..", "5/3x 5", 10, true, "5 8"},
		{"reserve: at rest", "..5 ..", "5/3x 8", 10, true, "5 8"},
		{"reserve: one came to life, one that stood in goes", "..5 ..", "5/2x 8", 10, true, "5 7"},
		{"reserve: all came to life", "..5 ..", "5? 8", 10, true, "5 5"},
		{"reserve: nobody can stand in", "..5 ..5", "5/3x 5", 10, true, "5 5"},
		{"reserve: some can", "..5 ..6", "5/3x 5", 10, true, "5 6"},
		{"reserve: more pods pass by", "..9 ..", "5/3x 8", 12, true, "5 10"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			all, err := shares(parseSubsets(test.subsets), test.replicas)
			if err != nil && !strings.Contains(test.reason, "below all minima") {
				t.Fatal(err)
			}
			if got := numbers(adaptive(parsePlaces(t, test.places, all), test.replicas, test.reserve)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestNamed(t *testing.T) {
	for subsets, want := range map[string]int32{"": 1, "-": 1, "2 3": 5, "2 -": 1, "2 50%": 1, "0 0": 0, "..2 ..3": 1} {
		if got := named(parseSubsets(subsets)); got != want {
			t.Errorf("%q: got %d, want %d", subsets, got, want)
		}
	}
}
