package command

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/kube/internal/cluster"
	"github.com/holdfast-io/holdfast/kube/internal/simnode"
)

func TestChoose(t *testing.T) {
	for _, test := range []struct {
		name        string
		options     cluster.Options
		only, delay string
		want        string // in the refusal; empty: accepted
	}{
		{"nothing but a directory", cluster.Options{Dir: "d"}, "", "1s", ""},
		{"the API server alone", cluster.Options{Dir: "d"}, "apiserver", "1s", ""},
		{"nodes of both kinds", cluster.Options{Dir: "d", Nodes: 2, Simulated: 100}, "", "1s-3s", ""},
		{"nodes without the rest", cluster.Options{Dir: "d", Nodes: 1}, "apiserver", "1s", "--nodes"},
		{"an unknown part", cluster.Options{Dir: "d"}, "etcd", "1s", `"etcd"`},
		{"no directory", cluster.Options{}, "", "1s", "--data-dir"},
		{"a port too high", cluster.Options{Dir: "d", Port: 65536}, "", "1s", "--port 65536"},
		{"a negative port", cluster.Options{Dir: "d", Port: -1}, "", "1s", "--port -1"},
		{"a negative number of nodes", cluster.Options{Dir: "d", Nodes: -1}, "", "1s", "--nodes -1"},
		{"too many simulated nodes", cluster.Options{Dir: "d", Simulated: 5001}, "", "1s", "5000"},
		{"a delay that is none", cluster.Options{Dir: "d"}, "", "soon", `"soon"`},
		{"a range turned round", cluster.Options{Dir: "d"}, "", "3s-1s", `"3s-1s"`},
		{"a negative delay", cluster.Options{Dir: "d"}, "", "-1s", `"-1s"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := choose(&test.options, test.only, test.delay)
			if test.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want a refusal that says %q", err, test.want)
			}
		})
	}
}

func TestParseDelay(t *testing.T) {
	got, err := parseDelay("500ms-2s")
	if want := (simnode.Delay{Min: 500 * time.Millisecond, Max: 2 * time.Second}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}
