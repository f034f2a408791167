package testkit_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

// countingServer accepts every write and counts what reaches it.
func countingServer(t *testing.T) (*rest.Config, *atomic.Int32) {
	t.Helper()
	var reached atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			reached.Add(1)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}`)) // a broken pipe shows in the client
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, QPS: -1}, &reached
}

func TestEachFaultReachesTheControllerAsItWouldInPractice(t *testing.T) {
	for _, test := range []struct {
		fault     testkit.Fault
		reason    string
		is        func(error) bool
		committed int32
		dead      bool
	}{
		{testkit.Refused, "a 500 that changes nothing", apierrors.IsInternalError, 0, false},
		{testkit.Reset, "no answer, nothing sent", notFromServer, 0, false},
		{testkit.Lost, "no answer, yet committed", notFromServer, 1, false},
		{testkit.Conflict, "a conflict", apierrors.IsConflict, 0, false},
		{testkit.Throttled, "a 429 that says when to come back", isThrottled, 0, false},
		{testkit.KillBefore, "dead before the write", isDead, 0, true},
		{testkit.KillAfter, "dead after the write", isDead, 1, true},
	} {
		t.Run(string(test.fault), func(t *testing.T) {
			config, reached := countingServer(t)
			faults := testkit.NewFaults(map[int]testkit.Fault{1: test.fault})
			pods := kubernetes.NewForConfigOrDie(faults.Config(config)).CoreV1().Pods("default")
			create := func() error {
				if _, err := pods.Create(t.Context(), &corev1.Pod{}, metav1.CreateOptions{}); err != nil {
					return fmt.Errorf("create: %w", err)
				}
				return nil
			}
			if err := create(); err != nil {
				t.Fatalf("the write before the fault: %v", err)
			}
			if err := create(); err == nil || !test.is(err) {
				t.Errorf("the fault should be %s; the controller sees %v", test.reason, err)
			}
			if got := reached.Load() - 1; got != test.committed {
				t.Errorf("%s: %d writes reached the server, want %d", test.reason, got, test.committed)
			}
			if faults.Dead() != test.dead {
				t.Errorf("dead: %v, want %v", faults.Dead(), test.dead)
			}
			if _, err := pods.Get(t.Context(), "a", metav1.GetOptions{}); (err != nil) != test.dead {
				t.Errorf("a read after the fault: %v; only a dead controller cannot read", err)
			}
			faults.Revive()
			if err := create(); err != nil {
				t.Errorf("the write after the fault: %v", err)
			}
		})
	}
}

func TestRandomFaultsRepeatWithTheirSeed(t *testing.T) {
	struck := func(seed uint64) []string {
		config, _ := countingServer(t)
		faults := testkit.RandomFaults(seed, 0.3)
		pods := kubernetes.NewForConfigOrDie(faults.Config(config)).CoreV1().Pods("default")
		for range 40 {
			if _, err := pods.Create(t.Context(), &corev1.Pod{}, metav1.CreateOptions{}); err != nil {
				faults.Revive()
			}
		}
		return faults.Struck()
	}
	a, b, other := struck(7), struck(7), struck(8)
	if len(a) == 0 || !equal(a, b) {
		t.Errorf("seed 7 gave %q, then %q", a, b)
	}
	if equal(a, other) {
		t.Errorf("seeds 7 and 8 both gave %q", a)
	}
}

func TestMatrixTriesEveryThirdWrite(t *testing.T) {
	if testing.Short() {
		tries(t, 3) // every fifth
		return
	}
	tries(t, 5)
}

func TestMatrixTriesEveryWriteWithEveryFault(t *testing.T) {
	t.Setenv("HOLDFAST_FAULTS", "all")
	tries(t, 15*len(testkit.AllFaults()))
}

// tries runs the matrix over fifteen writes and counts the different faults that struck.
func tries(t *testing.T, want int) {
	t.Helper()
	config, _ := countingServer(t)
	struck := map[string]bool{}
	testkit.Matrix(t, func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		pods := kubernetes.NewForConfigOrDie(f.Config(config)).CoreV1().Pods("default")
		for range 15 {
			if _, err := pods.Create(t.Context(), &corev1.Pod{}, metav1.CreateOptions{}); err != nil {
				f.Revive()
			}
		}
		for _, s := range f.Struck() {
			struck[s] = true
		}
	})
	if len(struck) != want {
		t.Errorf("%d different faults struck, want %d: %v", len(struck), want, struck)
	}
}

func notFromServer(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status)
}

func isThrottled(err error) bool {
	seconds, suggested := apierrors.SuggestsClientDelay(err)
	return apierrors.IsTooManyRequests(err) && suggested && seconds == 1
}

func isDead(err error) bool { return errors.Is(err, testkit.ErrDead) }

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
