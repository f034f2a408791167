package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	CodeInterrupted = 130 // interrupted before the rollout ended, as shells say it
	CodeTimeout     = 124 // --timeout ran out first, as timeout(1) says it
)

// Failure is an error with an exit code, and what the user can do about it.
type Failure struct { //nolint:errname // the package has one error type, and reads better so
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

// explain turns an error of the API or the network into a failure: one line, with what the user can do.
func (s *session) explain(err error) error {
	var failure *Failure
	switch {
	case err == nil || errors.As(err, &failure):
		return err
	case apierrors.IsUnauthorized(err):
		return &Failure{
			Code: CodeForbidden, Err: err,
			What: fmt.Sprintf("%s does not accept the kubeconfig's credentials", s.host()),
			Fix:  "log in again, or choose another context with --context",
		}
	case apierrors.IsForbidden(err):
		return &Failure{
			Code: CodeForbidden, Err: err, What: err.Error(),
			Fix: "ask an administrator of the cluster for that right",
		}
	case apierrors.IsNotFound(err):
		return &Failure{Code: CodeNotFound, Err: err, What: err.Error()}
	case apierrors.IsConflict(err):
		return &Failure{Code: CodeFailed, Err: err, What: err.Error(), Fix: "somebody changed it meanwhile; try again"}
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		return &Failure{Code: CodeFailed, Err: err, What: err.Error()}
	}
	if why, fix := network(err); why != "" {
		return &Failure{Code: CodeUnreachable, Err: err, What: fmt.Sprintf("cannot reach %s: %s", s.host(), why), Fix: fix}
	}
	return err
}

func (s *session) host() string {
	if s.config == nil {
		return "the server"
	}
	return "the server " + s.config.Host
}

// network says why a request got no answer, and what to do; "" when err is something else.
func network(err error) (why, fix string) {
	var (
		dns       *net.DNSError
		operation *net.OpError
		request   *url.Error
		unknownCA x509.UnknownAuthorityError
		badHost   x509.HostnameError
		badCert   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("no address for %q", dns.Name), "check the server in the kubeconfig, and the network"
	case errors.As(err, &unknownCA), errors.As(err, &badHost), errors.As(err, &badCert):
		return rootCause(err), "the kubeconfig's certificate-authority does not fit this server; fetch the kubeconfig again"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &request) && request.Timeout():
		return "no answer in time", "check the network, or allow more with --request-timeout"
	case errors.As(err, &operation), errors.As(err, &request):
		return rootCause(err), "is the cluster up? The server's address comes from the kubeconfig (--kubeconfig, --context)"
	}
	return "", ""
}

// rootCause is the innermost message: "connection refused" without the wrapping of each layer.
func rootCause(err error) string {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err.Error()
}

func isForbidden(err error) bool { return apierrors.IsForbidden(err) }

func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }
