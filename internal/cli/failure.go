package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// The exit codes of every verb.
const (
	CodeOK          = 0   // done
	CodeFailed      = 1   // the rollout failed, or the command did
	CodeUsage       = 2   // wrong arguments, flags or an unknown kind
	CodeNotFound    = 3   // no such object, revision or installed kind
	CodeForbidden   = 4   // not authenticated, or not allowed
	CodeUnreachable = 5   // the kubeconfig cannot be used, or the server not reached
	CodeOngoing     = 6   // the rollout is not done yet (rollout status --watch=false)
	CodeTimeout     = 124 // --timeout ran out first, as timeout(1) says it
)

// Failure is an error with an exit code, and what the user can do about it.
type Failure struct {
	Code int
	What string // what went wrong, with what
	Fix  string // what the user can do; may be empty
	Err  error  // the cause, for errors.Is and errors.As; may be nil
}

// Error is one line: what, and the fix.
func (f *Failure) Error() string {
	if f.Fix == "" {
		return f.What
	}
	return f.What + ": " + f.Fix
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Report prints err as one line and returns the exit code it stands for.
func Report(out io.Writer, err error) int {
	if err == nil {
		return CodeOK
	}
	fmt.Fprintln(out, "error:", err)
	var failure *Failure
	if errors.As(err, &failure) {
		return failure.Code
	}
	if strings.HasPrefix(err.Error(), "unknown command") {
		return CodeUsage
	}
	return CodeFailed
}
