package admission_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	testclock "k8s.io/utils/clock/testing"

	"github.com/holdfast-io/holdfast/internal/admission"
)

// configMapKind is a kind with one of every behaviour.
func configMapKind() admission.Kind[*corev1.ConfigMap] {
	return admission.Kind[*corev1.ConfigMap]{
		Default: func(m *corev1.ConfigMap) {
			if m.Data == nil {
				m.Data = map[string]string{}
			}
			if m.Data["level"] == "" {
				m.Data["level"] = "info"
			}
			if m.Data["panic"] == "default" {
				panic("told to")
			}
		},
		Validate: func(_ context.Context, old, m *corev1.ConfigMap) ([]string, field.ErrorList) {
			var errs field.ErrorList
			level := field.NewPath("data", "level")
			switch m.Data["level"] {
			case "loud":
				errs = append(errs, field.NotSupported(level, "loud", []string{"info", "debug"}))
			case "secret":
				errs = append(errs, field.Forbidden(level, "only for administrators"))
			case "panic":
				panic("told to")
			}
			if old != nil && old.Data["level"] != m.Data["level"] && old.Data["fixed"] != "" {
				errs = append(errs, field.Invalid(level, m.Data["level"], "field is immutable"))
			}
			var warnings []string
			if m.Data["old"] != "" {
				warnings = append(warnings, "data.old is deprecated: use data.new")
			}
			return warnings, errs
		},
	}
}

func newHandler(t testing.TB) http.Handler {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	metrics, err := admission.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	server := &admission.Server{
		Hooks:   admission.ForKind(scheme, corev1.SchemeGroupVersion.WithResource("configmaps"), nil, configMapKind()),
		Convert: convert, Metrics: metrics, Clock: testclock.NewFakePassiveClock(time.Unix(0, 0)), Log: logr.Discard(),
		Disabled: []admission.Hook{{Name: "off", Path: "/validate/off"}},
	}
	handler, err := server.Handler()
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func convert(raw []byte, to string) ([]byte, error) {
	var object map[string]any
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	switch object["kind"] {
	case "Panic":
		panic("told to")
	case "Unknown":
		return nil, errors.New("kind Unknown is not converted here")
	}
	object["apiVersion"] = to
	return json.Marshal(object)
}

func review(t testing.TB, operation admissionv1.Operation, object, old string) []byte {
	t.Helper()
	if old == "" {
		old = "null"
	}
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "request-1", Operation: operation, Name: "m", Namespace: "default",
			Resource: metav1.GroupVersionResource{Version: "v1", Resource: "configmaps"},
			Object:   runtime.RawExtension{Raw: []byte(object)}, OldObject: runtime.RawExtension{Raw: []byte(old)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func post(t testing.TB, handler http.Handler, path, contentType string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
	request.Header.Set("Content-Type", contentType)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func answer(t testing.TB, recorder *httptest.ResponseRecorder) *admissionv1.AdmissionResponse {
	t.Helper()
	var out admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &out); err != nil || out.Response == nil {
		t.Fatalf("no AdmissionReview: %v: %s", err, recorder.Body)
	}
	return out.Response
}

func configMap(data string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"unknown":{"kept":true},"data":` + data + `}`
}

func TestAdmissionReview(t *testing.T) {
	const defaulting, validating = "/default/core/configmaps", "/validate/core/configmaps"
	handler := newHandler(t)
	for _, tc := range []struct {
		name      string
		path      string
		operation admissionv1.Operation
		object    string
		old       string
		allowed   bool
		code      int32
		message   string
		cause     string
		patch     string
		warning   string
	}{
		{name: "a good object", path: validating, object: configMap(`{"level":"info"}`), allowed: true, code: 200},
		{
			name: "a bad one names the field and what is allowed", path: validating, object: configMap(`{"level":"loud"}`), code: 422,
			message: `ConfigMap "m" is invalid: data.level: Unsupported value: "loud": supported values: "info", "debug"`, cause: "data.level",
		},
		{name: "a forbidden one", path: validating, object: configMap(`{"level":"secret"}`), code: 403, message: "only for administrators", cause: "data.level"},
		{
			name: "an immutable field", path: validating, operation: admissionv1.Update, object: configMap(`{"level":"debug"}`),
			old: configMap(`{"level":"info","fixed":"yes"}`), code: 422, message: "field is immutable", cause: "data.level",
		},
		{
			name: "a warning is shown although all is well", path: validating, object: configMap(`{"old":"x"}`), allowed: true, code: 200,
			warning: "data.old is deprecated: use data.new",
		},
		{
			name: "an object on its way out is let go", path: validating, operation: admissionv1.Update,
			object: `{"metadata":{"name":"m","deletionTimestamp":"2026-01-01T00:00:00Z"},"data":{"level":"loud"}}`, old: configMap(`{}`), allowed: true, code: 200,
		},
		{name: "an update without the old object", path: validating, operation: admissionv1.Update, object: configMap(`{}`), code: 400, message: "no object"},
		{name: "no object at all", path: validating, object: `null`, code: 400, message: "no object"},
		{name: "an object of the wrong shape", path: validating, object: `{"data":7}`, code: 400, message: "decode the object"},
		{name: "a panic is an error, not an end", path: validating, object: configMap(`{"level":"panic"}`), code: 500, message: "panic: told to"},
		{name: "a panic in a default", path: defaulting, object: configMap(`{"panic":"default"}`), code: 500, message: "panic: told to"},
		{
			name: "a default is a patch of just that", path: defaulting, object: configMap(`{"a":"b"}`), allowed: true, code: 200,
			patch: `[{"op":"add","path":"/data/level","value":"info"}]`,
		},
		{
			name: "a default into nothing", path: defaulting, object: `{"metadata":{"name":"m"}}`, allowed: true, code: 200,
			patch: `[{"op":"add","path":"/data","value":{"level":"info"}}]`,
		},
		{name: "nothing to fill in", path: defaulting, object: configMap(`{"level":"debug"}`), allowed: true, code: 200},
		{name: "a part that is switched off", path: "/validate/off", object: configMap(`{"level":"loud"}`), allowed: true, code: 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.operation == "" {
				tc.operation = admissionv1.Create
			}
			recorder := post(t, handler, tc.path, "application/json", review(t, tc.operation, tc.object, tc.old))
			got := answer(t, recorder)
			if got.Allowed != tc.allowed || got.Result.Code != tc.code || got.UID != "request-1" {
				t.Errorf("allowed %v, code %d, uid %q; want %v, %d: %s", got.Allowed, got.Result.Code, got.UID, tc.allowed, tc.code, recorder.Body)
			}
			if !strings.Contains(got.Result.Message, tc.message) {
				t.Errorf("message %q, want %q in it", got.Result.Message, tc.message)
			}
			if tc.cause != "" && (got.Result.Details == nil || len(got.Result.Details.Causes) != 1 || got.Result.Details.Causes[0].Field != tc.cause) {
				t.Errorf("details %+v, want a cause at %s", got.Result.Details, tc.cause)
			}
			if string(got.Patch) != tc.patch {
				t.Errorf("patch %s, want %s", got.Patch, tc.patch)
			}
			if tc.warning != "" && !slices.Equal(got.Warnings, []string{`unknown field "unknown"`, tc.warning}) {
				t.Errorf("warnings %q, want %q", got.Warnings, tc.warning)
			}
		})
	}
}

func TestBrokenRequests(t *testing.T) {
	handler := newHandler(t)
	for _, tc := range []struct {
		name, path, contentType, body string
		status                        int
		code                          int32
	}{
		{"not JSON", "/validate/core/configmaps", "application/json", "rubbish", 200, 400},
		{"nothing", "/validate/core/configmaps", "application/json", "", 200, 400},
		{"another content type", "/validate/core/configmaps", "application/yaml", "{}", 200, 400},
		{"too much", "/validate/core/configmaps", "application/json", `{"request":{"name":"` + strings.Repeat("x", 8<<20) + `"}}`, 200, 413},
		{"a path that is not served", "/validate/nothing", "application/json", "{}", 404, 0},
		{"a conversion that is not JSON", admission.ConvertPath, "application/json", "rubbish", 400, 0},
		{"an empty conversion", admission.ConvertPath, "application/json", "{}", 400, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			recorder := post(t, handler, tc.path, tc.contentType, []byte(tc.body))
			if recorder.Code != tc.status {
				t.Fatalf("status %d, want %d: %s", recorder.Code, tc.status, recorder.Body)
			}
			if tc.code != 0 {
				if got := answer(t, recorder); got.Allowed || got.Result.Code != tc.code {
					t.Errorf("allowed %v, code %d, want %d", got.Allowed, got.Result.Code, tc.code)
				}
			}
		})
	}
}

func TestConversion(t *testing.T) {
	handler := newHandler(t)
	for _, tc := range []struct {
		name    string
		objects []string
		want    []string
		failure string
	}{
		{
			name: "two objects", objects: []string{`{"kind":"A"}`, `{"kind":"B"}`},
			want: []string{`{"apiVersion":"g/v2","kind":"A"}`, `{"apiVersion":"g/v2","kind":"B"}`},
		},
		{name: "none"},
		{
			name: "one that cannot be converted spoils all", objects: []string{`{"kind":"A"}`, `{"kind":"Unknown"}`},
			failure: "convert object 2 of 2 to g/v2: kind Unknown is not converted here",
		},
		{name: "a panic is an error", objects: []string{`{"kind":"Panic"}`}, failure: "panic: told to"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			request := &apiextensionsv1.ConversionRequest{UID: "request-1", DesiredAPIVersion: "g/v2"}
			for _, object := range tc.objects {
				request.Objects = append(request.Objects, runtime.RawExtension{Raw: []byte(object)})
			}
			body, err := json.Marshal(apiextensionsv1.ConversionReview{Request: request})
			if err != nil {
				t.Fatal(err)
			}
			recorder := post(t, handler, admission.ConvertPath, "application/json", body)
			var got apiextensionsv1.ConversionReview
			if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil || got.Response == nil {
				t.Fatalf("no ConversionReview: %v: %s", err, recorder.Body)
			}
			if failed := got.Response.Result.Status != metav1.StatusSuccess; failed != (tc.failure != "") || !strings.Contains(got.Response.Result.Message, tc.failure) {
				t.Errorf("result %+v, want %q", got.Response.Result, tc.failure)
			}
			var converted []string
			for _, object := range got.Response.ConvertedObjects {
				converted = append(converted, string(object.Raw))
			}
			if diff := cmp.Diff(tc.want, converted); diff != "" || got.Response.UID != "request-1" {
				t.Errorf("uid %q, objects (-want +got):\n%s", got.Response.UID, diff)
			}
		})
	}
}

func TestHooksMustNotMeet(t *testing.T) {
	hook := func(name, path string) admission.Hook { return admission.Hook{Name: name, Path: path} }
	server := &admission.Server{Hooks: []admission.Hook{hook("a", "/same"), hook("b", "/same")}, Clock: testclock.NewFakePassiveClock(time.Unix(0, 0))}
	if _, err := server.Handler(); err == nil || !strings.Contains(err.Error(), "want the same path /same") {
		t.Errorf("got %v", err)
	}
}

func TestHooksOfAKind(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	gvr := schema.GroupVersionResource{Group: "holdfast.io", Version: "v1", Resource: "things"}
	both := admission.ForKind(scheme, gvr, nil, configMapKind())
	var names []string
	for _, hook := range both {
		names = append(names, fmt.Sprint(hook.Name, " ", hook.Path, " ", hook.Mutating))
	}
	want := []string{
		"default.things.holdfast.io /default/holdfast.io/things true",
		"validate.things.holdfast.io /validate/holdfast.io/things false",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
	if none := admission.ForKind(scheme, gvr, nil, admission.Kind[*corev1.ConfigMap]{}); len(none) != 0 {
		t.Errorf("a kind without rules has hooks: %v", none)
	}
}

// Whatever is sent, the server answers, and never lets a request through that it could not read.
func FuzzAdmission(f *testing.F) {
	f.Add(review(f, admissionv1.Create, configMap(`{"level":"info"}`), ""))
	f.Add(review(f, admissionv1.Update, configMap(`{"level":"loud"}`), configMap(`{}`)))
	f.Add([]byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}`))
	f.Add([]byte(`{"request":{"object":{"data":{"a":[{}]}}}}`))
	f.Add([]byte(``))
	handler := newHandler(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{"/validate/core/configmaps", "/default/core/configmaps", admission.ConvertPath} {
			recorder := post(t, handler, path, "application/json", body)
			if recorder.Code == http.StatusInternalServerError {
				t.Errorf("%s: status %d: %s", path, recorder.Code, recorder.Body)
			}
			if path == admission.ConvertPath {
				continue
			}
			got := answer(t, recorder)
			if got.Allowed && !json.Valid(body) {
				t.Errorf("%s let rubbish through: %q", path, body)
			}
			if len(got.Patch) > 0 && !json.Valid(got.Patch) {
				t.Errorf("%s: the patch is no JSON: %q", path, got.Patch)
			}
		}
	})
}
