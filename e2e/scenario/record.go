package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

// record is what was seen of one scenario.
type record struct {
	scenario scenario
	mu       sync.Mutex // of claims: some scenarios make several at once
	claims   []claim
	figures  []figure
	took     time.Duration
	err      error // why it broke off
}

// claim is one thing that was said of Holdfast, and whether it held.
type claim struct {
	text  string
	holds bool
}

// figure is one thing that was measured.
type figure struct{ name, value string }

// failed counts what did not hold; a scenario that broke off has failed once more.
func (r *record) failed() int {
	n := 0
	for _, c := range r.claims {
		if !c.holds {
			n++
		}
	}
	if r.err != nil {
		n++
	}
	return n
}

// printSummary prints a line for each scenario.
func printSummary(records []*record) {
	cluster.Say("Summary:")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  SCENARIO\tCLAIMS\tFAILED\tTOOK")
	for _, r := range records {
		fmt.Fprintf(w, "  %s\t%d\t%d\t%s\n", r.scenario.name, len(r.claims), r.failed(), r.took.Round(time.Second))
	}
	_ = w.Flush() // standard output
}

// verdict is an error when anything failed.
func verdict(records []*record) error {
	var wrong []error
	for _, r := range records {
		for _, c := range r.claims {
			if !c.holds {
				wrong = append(wrong, fmt.Errorf("%s: this does not hold: %s", r.scenario.name, c.text))
			}
		}
		if r.err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", r.scenario.name, r.err))
		}
	}
	return errors.Join(wrong...)
}

// writeReport writes the page of the figures.
func writeReport(path string, records []*record) error {
	var page strings.Builder
	page.WriteString(intro)
	fmt.Fprintf(&page, "Seen on %d cores, Linux, %s %s/%s.\n", runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, r := range records {
		fmt.Fprintf(&page, "\n## %s: %s\n\n%s\n", r.scenario.name, r.scenario.title, strings.TrimSpace(r.scenario.about))
		page.WriteString("\n| claim | |\n|---|---|\n")
		for _, c := range r.claims {
			fmt.Fprintf(&page, "| %s | %s |\n", c.text, map[bool]string{true: "holds", false: "**does not hold**"}[c.holds])
		}
		if r.err != nil {
			fmt.Fprintf(&page, "| the scenario broke off: %s | **failed** |\n", oneLine(r.err.Error()))
		}
		page.WriteString("\n| figure | |\n|---|---|\n")
		for _, f := range r.figures {
			fmt.Fprintf(&page, "| %s | %s |\n", f.name, f.value)
		}
		fmt.Fprintf(&page, "| all of it took | %s |\n", r.took.Round(time.Second))
	}
	if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil { //nolint:gosec // documentation is for everybody
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func oneLine(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\n", " "), "|", "\\|")
}

const intro = `# Scenarios

What Holdfast is for, played out on the embedded Kubernetes and checked: ` + "`make e2e`" + ` plays the demo and then all of these,
` + "`go run ./e2e/scenario --only NAME`" + ` some. The operator runs as 3 replicas in pods on real nodes. Figures are of one run.
Where a figure speaks of a time, it is that of a machine that also runs all nodes, the control plane and whatever else is on it.
This page is written by ` + "`make e2e ARGS=\"--out docs/scenarios.md\"`" + `.

`
