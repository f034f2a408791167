package operator_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/internal/operator"
)

func TestNodeOptions(t *testing.T) {
	for _, test := range []struct {
		reason string
		change func(o *operator.NodeOptions)
		want   string
	}{
		{"no node", func(o *operator.NodeOptions) { o.NodeName = "" }, "--node-name is empty"},
		{"no address", func(o *operator.NodeOptions) { o.MetricsBind = "8080" }, `--metrics-bind is "8080"`},
		{"no port", func(o *operator.NodeOptions) { o.HealthBind = "127.0.0.1:http" }, "--health-bind"},
		{"a level that is not known", func(o *operator.NodeOptions) { o.LogLevel = "loud" }, "--log-level"},
		{"a format that is not known", func(o *operator.NodeOptions) { o.LogFormat = "xml" }, "--log-format"},
		{"no socket", func(o *operator.NodeOptions) { o.RuntimeEndpoint = "/run/x.sock" }, "--runtime-endpoint"},
		{"a node without a runtime", func(o *operator.NodeOptions) { o.HostRoot = t.TempDir() }, "no container runtime listens"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			o := operator.NodeDefaults()
			o.NodeName = "n1"
			test.change(&o)
			err := operator.RunNode(t.Context(), o, &bytes.Buffer{})
			var misuse *operator.Misuse
			if !errors.As(err, &misuse) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want that it names %q as a mistake", err, test.want)
			}
		})
	}
}
