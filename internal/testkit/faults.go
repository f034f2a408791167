package testkit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Fault is what goes wrong at one write.
type Fault string

// The faults. Each is something that an API server, a network or a node does to a controller in practice.
const (
	Refused    Fault = "refused"     // the server answers 500 and changes nothing
	Reset      Fault = "reset"       // the connection breaks before the server has read the request
	Lost       Fault = "lost"        // the write is committed, but its answer never arrives
	Conflict   Fault = "conflict"    // the server answers 409: somebody else wrote first
	Throttled  Fault = "throttled"   // the server answers 429: come back in a second
	KillBefore Fault = "kill-before" // the controller dies before the write is sent
	KillAfter  Fault = "kill-after"  // the controller dies after the write was committed
	noFault    Fault = ""            // the write passes
)

// AllFaults lists every fault, in the order in which Matrix tries them.
func AllFaults() []Fault {
	return []Fault{Refused, Reset, Lost, Conflict, Throttled, KillBefore, KillAfter}
}

// ErrDead is what every request of a killed controller returns, until Revive.
var ErrDead = errors.New("the controller was killed by the test")

// Faults stands between a controller and the API server, counts the controller's writes, and lets one or several of them
// go wrong. Reads pass untouched; so do events and leases, whose number depends on time. It is safe for several goroutines.
type Faults struct {
	mu     sync.Mutex
	plan   map[int]Fault // by the number of the write, the first being 0
	random *rand.Rand    // or by chance
	rate   float64
	writes []string
	struck []string
	dead   bool
}

// NewFaults returns Faults that let each planned write go wrong; a nil plan only counts.
func NewFaults(plan map[int]Fault) *Faults {
	return &Faults{plan: plan}
}

// RandomFaults returns Faults that let writes go wrong by chance, at the given rate between 0 and 1. The same seed and the
// same order of writes give the same faults.
func RandomFaults(seed uint64, rate float64) *Faults {
	return &Faults{random: rand.New(rand.NewPCG(seed, seed)), rate: rate} //nolint:gosec // it must be repeatable, not secret
}

// Config returns a copy of a client configuration whose requests pass through f.
func (f *Faults) Config(config *rest.Config) *rest.Config {
	wrapped := rest.CopyConfig(config)
	wrapped.Wrap(func(next http.RoundTripper) http.RoundTripper { return &faultyTransport{faults: f, next: next} })
	return wrapped
}

// Through returns a client that writes through f; nil: straight to the server.
func (e *Env) Through(t testing.TB, f *Faults) client.Client {
	t.Helper()
	if f == nil {
		return e.Client
	}
	faulty, err := client.New(f.Config(e.Config), client.Options{Scheme: e.Scheme})
	if err != nil {
		t.Fatalf("make a client with faults: %v", err)
	}
	return faulty
}

// Writes lists the writes that were tried so far, each as "VERB path".
func (f *Faults) Writes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.writes...)
}

// Struck lists the writes that went wrong so far, each with its number and fault.
func (f *Faults) Struck() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.struck...)
}

// Dead reports whether the controller was killed: its harness must throw it away with all it remembers, call Revive, and
// start a new one.
func (f *Faults) Dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

// Revive lets requests pass again after a kill.
func (f *Faults) Revive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = false
}

// Stop ends all faults, planned or by chance: what follows must converge.
func (f *Faults) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan, f.random, f.dead = nil, nil, false
}

// next counts a write and says what happens to it.
func (f *Faults) next(write string) (Fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return noFault, ErrDead
	}
	n := len(f.writes)
	f.writes = append(f.writes, write)
	fault := f.plan[n]
	if f.random != nil && f.random.Float64() < f.rate {
		all := AllFaults()
		fault = all[f.random.IntN(len(all))]
	}
	if fault != noFault {
		f.struck = append(f.struck, fmt.Sprintf("write %d (%s): %s", n, write, fault))
	}
	if fault == KillBefore || fault == KillAfter {
		f.dead = true
	}
	return fault, nil
}

// faultyTransport carries out what Faults decides.
type faultyTransport struct {
	faults *Faults
	next   http.RoundTripper
}

// RoundTrip sends a request, or lets it go wrong.
func (t *faultyTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if !isCounted(request) {
		if t.faults.Dead() {
			return nil, ErrDead
		}
		return t.next.RoundTrip(request) //nolint:wrapcheck // it stands for the transport below
	}
	fault, err := t.faults.next(request.Method + " " + request.URL.Path)
	if err != nil {
		return nil, err
	}
	switch fault {
	case noFault:
		return t.next.RoundTrip(request) //nolint:wrapcheck // it stands for the transport below
	case Refused:
		return refusal(request, http.StatusInternalServerError, metav1.StatusReasonInternalError, 0), nil
	case Conflict:
		return refusal(request, http.StatusConflict, metav1.StatusReasonConflict, 0), nil
	case Throttled:
		return refusal(request, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, 1), nil
	case Reset:
		return nil, fmt.Errorf("before sending: %w", syscall.ECONNRESET)
	case KillBefore:
		return nil, ErrDead
	case Lost, KillAfter:
		return t.sendAndLose(request, fault)
	default:
		return nil, fmt.Errorf("unknown fault %q", fault)
	}
}

// sendAndLose lets the server commit a write, and hides its answer.
func (t *faultyTransport) sendAndLose(request *http.Request, fault Fault) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return nil, err //nolint:wrapcheck // it stands for the transport below
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if fault == KillAfter {
		return nil, ErrDead
	}
	return nil, fmt.Errorf("after sending: %w", io.ErrUnexpectedEOF)
}

// isCounted reports whether a request is a write that faults apply to.
func isCounted(request *http.Request) bool {
	switch request.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return false
	}
	for _, resource := range []string{"/events", "/leases", "/selfsubjectaccessreviews", "/tokenreviews"} {
		if strings.Contains(request.URL.Path+"/", resource+"/") {
			return false
		}
	}
	return true
}

// refusal is the API server's answer to a write that it does not make. A 429 carries its delay in the body only: with the
// header as well, client-go would sleep and try again by itself, and the controller would never hear of it.
func refusal(request *http.Request, code int32, reason metav1.StatusReason, retryAfter int32) *http.Response {
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: code, Reason: reason,
		Message: fmt.Sprintf("the test let this write fail: %s %s", request.Method, request.URL.Path),
		Details: &metav1.StatusDetails{Name: path.Base(request.URL.Path), RetryAfterSeconds: retryAfter},
	}
	body, err := json.Marshal(status)
	if err != nil {
		panic(err) // a Status of plain strings and numbers always marshals
	}
	if request.Body != nil {
		_ = request.Body.Close() // a transport owns the body, sent or not; there is nothing to lose in it
	}
	return &http.Response{
		Status: http.StatusText(int(code)), StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)), Request: request,
	}
}
