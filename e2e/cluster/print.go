package cluster

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Say prints one line of the story.
func Say(format string, args ...any) { fmt.Fprintf(os.Stdout, "\n"+format+"\n", args...) }

// Saw prints one thing that was observed.
func Saw(format string, args ...any) { fmt.Fprintf(os.Stdout, "  "+format+"\n", args...) }

// indented puts blanks before each line.
type indented struct {
	to      io.Writer
	midLine bool
}

// Write never says less than it wrote: a short count would end the command.
func (w *indented) Write(text []byte) (int, error) {
	for _, line := range strings.SplitAfter(string(text), "\n") {
		if line == "" {
			continue
		}
		if !w.midLine {
			line = "    " + line
		}
		if _, err := io.WriteString(w.to, line); err != nil {
			return 0, fmt.Errorf("print: %w", err)
		}
		w.midLine = !strings.HasSuffix(line, "\n")
	}
	return len(text), nil
}
