package admission

import (
	"log"
	"strings"

	"github.com/go-logr/logr"
)

// quietLog keeps what the HTTP server says about broken connections, such as those of port scans and probes, at debug.
func quietLog(l logr.Logger) *log.Logger {
	return log.New(logWriter{l}, "", 0)
}

type logWriter struct{ log logr.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	w.log.V(1).Info("http server", "message", strings.TrimSpace(string(line)))
	return len(line), nil
}
