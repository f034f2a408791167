package cli

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// answers is a transport that answers, or fails, as it is told.
type answers struct{ err error }

func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, a.err
}

// TestOutage holds that an outage is told once, and its end once.
func TestOutage(t *testing.T) {
	var out strings.Builder
	server := &answers{}
	o := &outage{next: server, host: "the server", out: &out}
	ended, end := context.WithCancel(t.Context())
	end()
	refused := errors.New("connection refused")
	for _, step := range []struct {
		ctx context.Context //nolint:containedctx // a step of the test
		err error
	}{{t.Context(), nil}, {ended, refused}, {t.Context(), refused}, {t.Context(), refused}, {t.Context(), nil}, {t.Context(), nil}} {
		server.err = step.err
		request, err := http.NewRequestWithContext(step.ctx, http.MethodGet, "https://server/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := o.RoundTrip(request)
		if !errors.Is(err, step.err) {
			t.Errorf("got %v, want %v", err, step.err)
		}
		if response != nil {
			_ = response.Body.Close()
		}
	}
	same(t, out.String(), `
warning: lost the server (connection refused); trying again until interrupted
the server is back`)
}
