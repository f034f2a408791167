package daemonset

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

// BenchmarkDecide is one pass over a set on 1,000 nodes in the middle of an update.
func BenchmarkDecide(b *testing.B) {
	var nodes, pods []string
	for i := range 1000 {
		nodes = append(nodes, fmt.Sprintf("n%d", i))
		pods = append(pods, fmt.Sprintf("p%d/v%d@n%d", i, 1+i%2, i))
	}
	state := observed(b, "v1", strings.Join(pods, " "))
	cluster := cluster(strings.Join(nodes, " "))
	ds := set(away("10%"), partition("20%"), canaries)
	for b.Loop() {
		s, err := look(ds, cluster, state, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := decide(ds, state, s, testkit.Epoch.Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
	}
}
