package cli

import (
	"fmt"
	"io"
	"net/http"
	"sync"
)

// outage tells the user when the server is lost, and when it is back: what
// watches it tries again by itself, and says nothing.
type outage struct {
	next http.RoundTripper
	host string
	out  io.Writer

	mu   sync.Mutex
	lost bool
}

// RoundTrip sends the request on, and notes whether it got an answer.
func (o *outage) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := o.next.RoundTrip(request)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case err == nil && o.lost:
		o.lost = false
		fmt.Fprintf(o.out, "%s is back\n", o.host)
	case err != nil && !o.lost && request.Context().Err() == nil:
		o.lost = true
		fmt.Fprintf(o.out, "warning: lost %s (%s); trying again until interrupted\n", o.host, rootCause(err))
	}
	return response, err //nolint:wrapcheck // the answer is passed on as it came
}
