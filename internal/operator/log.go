package operator

import (
	"fmt"
	"io"
	"sync"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// newLog writes one line for each message to w.
func newLog(w io.Writer, format, level string) logr.Logger {
	var mu sync.Mutex
	write := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintln(w, line) // there is nobody left to tell
	}
	// The sources of client-go and controller-runtime use 1 to 5 for debugging, and more for single requests.
	opts := funcr.Options{LogTimestamp: true, TimestampFormat: "2006-01-02T15:04:05.000Z07:00", Verbosity: verbosity(level) * 4}
	if format == "json" {
		return funcr.NewJSON(write, opts)
	}
	return funcr.New(func(prefix, args string) {
		if prefix != "" {
			args = prefix + ": " + args
		}
		write(args)
	}, opts)
}
