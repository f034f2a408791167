package install

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// PrintChart writes the manifests as the template of the Helm chart, whose definitions are those of api/crds. Parts are
// chosen with --parts of the installer; the chart always has all.
func PrintChart(w io.Writer) error {
	o := Defaults()
	// Words that no manifest holds by itself, to be replaced with the chart's values.
	o.SystemNamespace, o.Image, o.Replicas = "chart-namespace", "chart-image", 424242
	o.Only = []string{stepRBAC, stepOperator, stepPolicies, stepWebhooks}
	var out bytes.Buffer
	if err := Print(&out, o, "yaml"); err != nil {
		return err
	}
	text := strings.NewReplacer(
		"chart-namespace", "{{ .Release.Namespace }}",
		"chart-image", "{{ .Values.image }}",
		"replicas: 424242", "replicas: {{ .Values.replicas }}",
	).Replace(out.String())
	if _, err := fmt.Fprintf(w, "# Generated from the manifests of `holdfast install`. Do not edit.\n%s", text); err != nil {
		return fmt.Errorf("print the chart: %w", err)
	}
	return nil
}
