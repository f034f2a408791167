package policy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	testclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/policy"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// stub is a guard with one answer, which counts what is taken.
type stub struct {
	name  string
	says  disruption.Verdict
	err   error
	asked []disruption.Request
}

func (s *stub) Name() string { return s.name }
func (s *stub) Check(context.Context, disruption.Request) disruption.Verdict {
	return disruption.Verdict{}
}

func (s *stub) Take(_ context.Context, r disruption.Request) (disruption.Verdict, error) {
	s.asked = append(s.asked, r)
	return s.says, s.err
}
func (s *stub) Release(context.Context, disruption.Request) {}

func denies(guard string) *stub {
	kind, _, _ := strings.Cut(guard, " ")
	return &stub{name: kind, says: disruption.Verdict{
		Outcome: disruption.Deny, Guard: guard, Reason: "BudgetExhausted", Message: "one pod is away already", After: time.Minute,
		Notes: map[string]string{"count": "1/1", "odd key!": "x"},
	}}
}

// memory is a sink that keeps what it gets.
type memory struct {
	all []policy.Decision
	err error
}

func (m *memory) Append(_ context.Context, decisions []policy.Decision) error {
	if m.err != nil {
		return m.err
	}
	m.all = append(m.all, decisions...)
	return nil
}

type openers map[string]string

func (o openers) Opens(_ context.Context, w policy.Wish) (string, error) {
	if w.User.Username == "" {
		return "", errors.New("nobody")
	}
	return o[w.User.Username+" "+w.Guard], nil
}

type kit struct {
	gate    *policy.Gate
	journal *policy.Journal
	sink    *memory
	clock   *testclock.FakeClock
	live    client.Reader
}

func newKit(guards ...disruption.Guard) *kit {
	k := &kit{sink: &memory{}, clock: testclock.NewFakeClock(testkit.Epoch)}
	k.journal = policy.NewJournal(k.sink, nil, k.clock, logr.Discard(), "replica-a")
	k.gate = &policy.Gate{Guards: guards, Journal: k.journal, Clock: k.clock}
	return k
}

func (k *kit) handler(t testing.TB) http.Handler {
	t.Helper()
	pods := &policy.Pods{Gate: k.gate, Live: k.live}
	server := &admission.Server{
		Hooks: pods.Hooks(policy.Scope{SystemNamespace: "holdfast-system", Account: "system:serviceaccount:holdfast-system:holdfast-operator"}),
		Clock: k.clock, Log: logr.Discard(),
	}
	handler, err := server.Handler()
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func ask(t testing.TB, h http.Handler, path string, body []byte) (int, *admissionv1.AdmissionResponse) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request)
	review := admissionv1.AdmissionReview{}
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil {
		return w.Code, nil
	}
	return w.Code, review.Response
}

func raw(t testing.TB, obj any) runtime.RawExtension {
	t.Helper()
	text, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.RawExtension{Raw: text}
}

func review(t testing.TB, operation admissionv1.Operation, subresource string, change func(*admissionv1.AdmissionRequest)) []byte {
	t.Helper()
	r := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "1", Operation: operation, Namespace: "default", Name: "pod", SubResource: subresource,
			Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			UserInfo: authenticationv1.UserInfo{Username: "alice", Groups: []string{"dev", "system:authenticated"}},
		},
	}
	change(r.Request)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestPods(t *testing.T) {
	t.Parallel()
	pod := testkit.Pod()
	ended := testkit.Pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	going := testkit.Pod(func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) })
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod"}}
	dry := eviction.DeepCopy()
	dry.DeleteOptions = &metav1.DeleteOptions{DryRun: []string{"All"}}
	of := func(object, old any) func(*admissionv1.AdmissionRequest) {
		return func(r *admissionv1.AdmissionRequest) {
			if object != nil {
				r.Object = raw(t, object)
			}
			if old != nil {
				r.OldObject = raw(t, old)
			}
		}
	}
	full := denies("PodUnavailableBudget default/web")
	tests := []struct {
		reason, path, sub string
		operation         admissionv1.Operation
		request           func(*admissionv1.AdmissionRequest)
		guard             *stub
		live              []client.Object
		liveErr           error
		allowed           bool
		code              int32
		asked             bool
		recorded          int
	}{
		{reason: "no guard has a say", path: "delete", operation: "DELETE", request: of(nil, pod), guard: &stub{name: "A"}, allowed: true, asked: true, recorded: 1},
		{reason: "a denied deletion is forbidden", path: "delete", operation: "DELETE", request: of(nil, pod), guard: full, code: 403, asked: true, recorded: 1},
		{
			reason: "a collection has no name", path: "delete", operation: "DELETE", guard: full, code: 403, asked: true, recorded: 1,
			request: func(r *admissionv1.AdmissionRequest) { r.Name = ""; r.OldObject = raw(t, pod) },
		},
		{
			reason: "a dry run is judged and leaves no trace", path: "delete", operation: "DELETE", guard: full, code: 403, asked: true,
			request: func(r *admissionv1.AdmissionRequest) { r.DryRun = ptr.To(true); r.OldObject = raw(t, pod) },
		},
		{reason: "a pod that goes already", path: "delete", operation: "DELETE", request: of(nil, going), guard: full, allowed: true},
		{reason: "a pod that has ended", path: "delete", operation: "DELETE", request: of(nil, ended), guard: full, allowed: true},
		{reason: "no object", path: "delete", operation: "DELETE", request: of(nil, nil), guard: &stub{name: "A"}, code: 400},
		{reason: "an object that is no pod", path: "delete", operation: "DELETE", request: of(nil, []string{"x"}), guard: &stub{name: "A"}, code: 400},
		{reason: "null", path: "delete", operation: "DELETE", request: of(nil, json.RawMessage("null")), guard: &stub{name: "A"}, code: 400},
		{
			reason: "another pod than the request names", path: "delete", operation: "DELETE", guard: &stub{name: "A"}, code: 400,
			request: func(r *admissionv1.AdmissionRequest) { r.Name = "other"; r.OldObject = raw(t, pod) },
		},
		{
			reason: "a guard that fails", path: "delete", operation: "DELETE", request: of(nil, pod), code: 500, asked: true, recorded: 1,
			guard: &stub{name: "A", err: errors.New("the ledger is away")},
		},
		{
			reason: "a denied eviction is tried again by drains", path: "evict", sub: "eviction", operation: "CREATE", request: of(eviction, nil),
			guard: full, live: []client.Object{pod}, code: 429, asked: true, recorded: 1,
		},
		{
			reason: "an eviction that names its dry run itself", path: "evict", sub: "eviction", operation: "CREATE", request: of(dry, nil),
			guard: full, live: []client.Object{pod}, code: 429, asked: true,
		},
		{
			reason: "the eviction of a pod that is gone", path: "evict", sub: "eviction", operation: "CREATE", request: of(eviction, nil),
			guard: full, allowed: true,
		},
		{
			reason: "the eviction of a pod that cannot be read", path: "evict", sub: "eviction", operation: "CREATE", request: of(eviction, nil),
			guard: &stub{name: "A"}, liveErr: errors.New("no answer"), code: 429,
		},
		{
			reason: "a guard that fails about an eviction", path: "evict", sub: "eviction", operation: "CREATE", request: of(eviction, nil),
			guard: &stub{name: "A", err: errors.New("away")}, live: []client.Object{pod}, code: 429, asked: true, recorded: 1,
		},
		{reason: "a denied update", path: "update", operation: "UPDATE", request: of(pod, pod), guard: full, code: 403, asked: true, recorded: 1},
		{reason: "a denied resize", path: "resize", sub: "resize", operation: "UPDATE", request: of(pod, pod), guard: full, code: 403, asked: true, recorded: 1},
		{reason: "an update without the former pod", path: "update", operation: "UPDATE", request: of(pod, nil), guard: &stub{name: "A"}, code: 400},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			guard := *test.guard
			k := newKit(&guard)
			k.live = interceptor.NewClient(fake.NewClientBuilder().WithObjects(test.live...).Build(), interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
					if test.liveErr != nil {
						return test.liveErr
					}
					return c.Get(ctx, key, obj, opts...)
				},
			})
			_, got := ask(t, k.handler(t), "/guard/pods/"+test.path, review(t, test.operation, test.sub, test.request))
			if got == nil || got.Allowed != test.allowed || (!test.allowed && got.Result.Code != test.code) {
				t.Fatalf("got %+v", got)
			}
			if !test.allowed && (got.Result.Message == "" || got.Result.Details != nil && got.Result.Details.RetryAfterSeconds != 0) {
				t.Errorf("the denial has no message, or tells when to come again: %+v", got.Result)
			}
			if asked := len(guard.asked) > 0; asked != test.asked {
				t.Errorf("the guard was asked: %v", asked)
			}
			for _, r := range guard.asked {
				if r.User.Username != "alice" || r.Pod.Name != "pod" {
					t.Errorf("asked about %s by %s", r, r.User.Username)
				}
			}
			k.journal.Flush(t.Context())
			if len(k.sink.all) != test.recorded {
				t.Errorf("%d decisions are written down, want %d", len(k.sink.all), test.recorded)
			}
			if test.asked && got.AuditAnnotations["decision"] == "" {
				t.Errorf("the audit log gets no decision: %v", got.AuditAnnotations)
			}
			for _, d := range k.sink.all {
				if d.ID != got.AuditAnnotations["decision"] || d.User != "alice" || d.Name != "pod" || strings.Join(d.Groups, ",") != "dev" {
					t.Errorf("written down is %+v; the audit log says %v", d, got.AuditAnnotations)
				}
			}
		})
	}
}

// Nothing that comes in breaks the server, and nothing that cannot be read is let through. The guard here denies whatever
// it is asked; only a pod that is gone or going passes it.
func holds(t *testing.T, path string, body []byte) {
	t.Helper()
	guard := denies("PodUnavailableBudget default/web")
	k := newKit(guard)
	k.live = livePod()
	_, got := ask(t, k.handler(t), "/guard/pods/"+path, body)
	if got == nil || !got.Allowed {
		return
	}
	in := admissionv1.AdmissionReview{}
	if err := json.Unmarshal(body, &in); err != nil || in.Request == nil {
		t.Fatalf("let through without being read: %s", body)
	}
	if path == "evict" {
		return // of a pod that is not there
	}
	old := &corev1.Pod{}
	if err := json.Unmarshal(in.Request.OldObject.Raw, old); err != nil || old.Name == "" {
		t.Fatalf("let through without a pod: %s", body)
	}
	if old.DeletionTimestamp == nil && old.Status.Phase != corev1.PodSucceeded && old.Status.Phase != corev1.PodFailed {
		t.Fatalf("let through although the guard denies: %s", body)
	}
}

func livePod() client.Reader { return fake.NewClientBuilder().WithObjects(testkit.Pod()).Build() }

func paths() []string { return []string{"delete", "evict", "update", "resize"} }

// seeds are requests to begin with, good and bad.
func seeds(t testing.TB) [][]byte {
	t.Helper()
	pod := testkit.Pod()
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod"}}
	return [][]byte{
		review(t, "DELETE", "", func(r *admissionv1.AdmissionRequest) { r.OldObject = raw(t, pod) }),
		review(t, "UPDATE", "", func(r *admissionv1.AdmissionRequest) { r.OldObject, r.Object = raw(t, pod), raw(t, pod) }),
		review(t, "CREATE", "eviction", func(r *admissionv1.AdmissionRequest) { r.Object = raw(t, eviction) }),
		[]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`),
		[]byte(`{"request":{"uid":"1","oldObject":{"metadata":{"deletionTimestamp":7}}}}`),
		[]byte(`null`),
	}
}

func FuzzPods(f *testing.F) {
	for _, path := range paths() {
		for _, seed := range seeds(f) {
			f.Add(path, seed)
		}
	}
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if !slices.Contains(paths(), path) {
			t.Skip()
		}
		holds(t, path, body)
	})
}

// The same with requests that were changed at random: always the same ones, so that what fails fails again.
func TestPodsWithDamagedRequests(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(42, 42)) //nolint:gosec // repeatable on purpose
	all := seeds(t)
	for range 4000 {
		body := slices.Clone(all[random.IntN(len(all))])
		for range 1 + random.IntN(4) {
			body = damage(random, body)
		}
		holds(t, paths()[random.IntN(4)], body)
	}
}

// damage changes, cuts, repeats or swaps a piece of a request.
func damage(random *rand.Rand, body []byte) []byte {
	if len(body) < 2 {
		return append(body, '{')
	}
	from := random.IntN(len(body))
	to := min(from+1+random.IntN(40), len(body))
	words := []string{"null", "{}", "[]", `""`, "0", "1e999", "true", `"deletionTimestamp":null,`, `"phase":"Failed",`}
	switch random.IntN(5) {
	case 0:
		body[from] ^= byte(1 << random.IntN(8))
		return body
	case 1:
		return slices.Delete(body, from, to)
	case 2:
		return slices.Insert(body, from, slices.Clone(body[from:to])...)
	case 3:
		return body[:from]
	default:
		return slices.Concat(body[:from], []byte(words[random.IntN(len(words))]), body[from:])
	}
}
