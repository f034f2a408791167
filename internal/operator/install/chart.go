package install

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// PrintChart writes the manifests as the template of the Helm chart, whose definitions are those of api/crds. Parts are
// chosen with --parts of the installer; the chart always has all, and the node daemon by its value.
func PrintChart(w io.Writer) error {
	o := Defaults()
	// Words that no manifest holds by itself, to be replaced with the chart's values.
	o.SystemNamespace, o.Image, o.Replicas = "chart-namespace", "chart-image", 424242
	values := strings.NewReplacer(
		"chart-namespace", "{{ .Release.Namespace }}",
		"chart-image", "{{ .Values.image }}",
		"replicas: 424242", "replicas: {{ .Values.replicas }}",
	)
	var text strings.Builder
	text.WriteString("# Generated from the manifests of `holdfast install`. Do not edit.\n")
	for _, part := range []struct {
		steps         []string
		before, after string
	}{
		{[]string{stepRBAC, stepOperator, stepPolicies, stepWebhooks}, "", ""},
		{[]string{stepNode}, "{{- if .Values.node.enabled }}\n", "{{- end }}\n"},
	} {
		var out bytes.Buffer
		o.Only = part.steps
		if err := Print(&out, o, "yaml"); err != nil {
			return err
		}
		text.WriteString(part.before + values.Replace(out.String()) + part.after)
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return fmt.Errorf("print the chart: %w", err)
	}
	return nil
}
