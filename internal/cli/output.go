package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// checkOutput refuses a value of -o that the verb does not print.
func checkOutput(output string, more ...string) error {
	known := slices.Concat(more, []string{"json", "yaml"})
	if output == "" || slices.Contains(known, output) {
		return nil
	}
	return usage("-o %s: the formats are %s", output, strings.Join(known, ", "))
}

// printObject prints a view for a program to read.
func printObject(out io.Writer, format string, view any) error {
	raw, err := json.MarshalIndent(view, "", "  ")
	if err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	if format == "yaml" {
		if raw, err = yaml.JSONToYAML(raw); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
		raw = raw[:len(raw)-1]
	}
	if _, err = fmt.Fprintln(out, string(raw)); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}
