package statefulset

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// game is a seeded game on the pure decisions alone: pods start, crash and go, a user changes the spec at will, and every
// plan is held against the promises.
type game struct {
	t     *testing.T
	dice  *rand.Rand
	set   *appsv1beta1.StatefulSet
	pods  map[string]*piece
	calm  bool // nothing happens any more but what the controller does
	moves []string
}

type piece struct {
	revision                  string
	ready, terminating, named bool
}

func (p *piece) serves() bool { return p != nil && p.ready && !p.terminating }

// words are the pods in the shorthand of the testkit.
func (g *game) words() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(g.pods)) {
		p := g.pods[name]
		marks := []string{}
		for mark, is := range map[string]bool{"!": !p.ready, "~": p.terminating, "*": p.named} {
			if is {
				marks = append(marks, mark)
			}
		}
		words = append(words, name+"/"+p.revision+strings.Join(marks, ""))
	}
	return strings.Join(words, " ")
}

func (g *game) wanted() []string {
	numbers, err := ordinals(g.set)
	if err != nil {
		g.t.Fatal(err)
	}
	var names []string
	for _, n := range numbers {
		names = append(names, fmt.Sprintf("web-%d", n))
	}
	return names
}

func (g *game) chance(one int) bool { return g.dice.IntN(one) == 0 }

// world lets the nodes do what they do.
func (g *game) world() {
	for _, name := range slices.Sorted(maps.Keys(g.pods)) {
		p := g.pods[name]
		switch {
		case p.terminating && (g.calm || g.chance(2)):
			delete(g.pods, name)
		case !p.ready && (g.calm || g.chance(2)):
			p.ready = true
		case !g.calm && g.chance(30):
			p.ready = false
		case !g.calm && g.chance(60):
			p.terminating = true
		case !g.calm && g.chance(40):
			p.named = true
		}
	}
}

// user changes the spec now and then.
func (g *game) user() {
	if g.calm || !g.chance(6) {
		return
	}
	rolling := g.set.Spec.UpdateStrategy.RollingUpdate
	switch g.dice.IntN(6) {
	case 0:
		g.set.Spec.Replicas = ptr.To(g.dice.Int32N(6))
	case 1:
		g.set.Spec.ReserveOrdinals = reserve([]string{"", "1", "0-2", "2 4"}[g.dice.IntN(4)])
	case 2:
		rolling.Partition = ptr.To(g.dice.Int32N(4))
	case 3:
		rolling.Paused = !rolling.Paused
	case 4:
		g.set.Spec.Ordinals = &appsv1beta1.StatefulSetOrdinals{Start: g.dice.Int32N(3)}
	default:
		for _, p := range g.pods { // a new template: what was updated is outdated
			p.revision = "v1"
		}
	}
}

// controller decides, and the plan is held against the promises before it is carried out.
func (g *game) controller() {
	plan, err := decide(g.set, observed(g.t, g.words()), later(0))
	if err != nil {
		g.t.Fatal(err)
	}
	before := g.words()
	wanted := g.wanted()
	changes := 0
	for _, s := range plan.Steps {
		name := s.Change.Member.Pod.Name
		p := g.pods[name]
		if s.Change.Verb == workload.Refresh {
			continue
		}
		changes++
		served := p.serves() && slices.Contains(wanted, name)
		g.inTurn(name, wanted, before)
		if s.Change.Verb == workload.Update {
			p.revision, p.ready = "v2", false
		} else {
			p.terminating = true
		}
		if least := len(wanted) - plan.Set.Limits.Unavailable; served && g.serving(wanted) < least {
			g.t.Fatalf("%s was taken from %q: fewer than %d serve", name, before, least)
		}
	}
	for _, b := range plan.Births {
		name := "web-" + b.Key
		changes++
		if g.pods[name] != nil {
			g.t.Fatalf("%s was made, and is there already: %q", name, before)
		}
		g.inTurn(name, wanted, before)
		g.pods[name] = &piece{revision: b.Revision}
	}
	if ordered(g.set) && changes > 1 {
		g.t.Fatalf("%d changes at a time from %q: %s", changes, before, say(plan))
	}
	g.moves = append(g.moves, before+" => "+say(plan))
}

// inTurn: in order, nothing is touched while a pod before it is away, nor, if it serves, while any is.
func (g *game) inTurn(name string, wanted []string, before string) {
	if !ordered(g.set) {
		return
	}
	p := g.pods[name]
	for _, other := range wanted {
		if other == name && !p.serves() {
			return
		}
		if other != name && !g.pods[other].serves() {
			g.t.Fatalf("%s was touched while %s was away: %q", name, other, before)
		}
	}
}

func (g *game) serving(wanted []string) (count int) {
	for _, name := range wanted {
		if g.pods[name].serves() {
			count++
		}
	}
	return count
}

// rest holds the end against the spec.
func (g *game) rest() {
	wanted := g.wanted()
	outdated := 0
	for _, name := range wanted {
		if !g.pods[name].serves() || g.pods[name].named {
			g.t.Fatalf("%s is not as it should be: %q; the last moves:\n%s", name, g.words(), strings.Join(g.moves[max(0, len(g.moves)-4):], "\n"))
		}
		if g.pods[name].revision == "v1" {
			outdated++
		}
	}
	if most := int(*g.set.Spec.UpdateStrategy.RollingUpdate.Partition); len(g.pods) != len(wanted) || outdated > most {
		g.t.Fatalf("%d pods for %d places, %d of them outdated and %d kept: %q", len(g.pods), len(wanted), outdated, most, g.words())
	}
}

func TestGames(t *testing.T) {
	t.Parallel()
	first, _ := testkit.Seed(t)
	for seed := range uint64(60) {
		seed += first
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			g := &game{t: t, dice: rand.New(rand.NewPCG(seed, 0)), pods: map[string]*piece{}} //nolint:gosec // a game
			g.set = setWith(3)
			if g.chance(2) {
				parallel(g.set)
				away([]string{"1", "2", "50%"}[g.dice.IntN(3)])(g.set)
				if g.chance(3) {
					unordered("rank")(g.set)
				}
			}
			if g.chance(2) {
				policy("InPlaceIfPossible")(g.set)
			}
			for range 150 {
				g.user()
				g.controller()
				g.world()
			}
			g.calm, g.set.Spec.UpdateStrategy.RollingUpdate.Paused = true, false
			for range 60 {
				g.controller()
				g.world()
			}
			g.rest()
		})
	}
}
