package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// maxReview is the longest question that is read: two objects, each of which an API server takes up to 3 MiB of, and the rest.
const maxReview = 7 << 20

// Direct is a Handler that can also take a question whole, with its objects, so that they are decoded once and not copied
// before. It is asked first; what it cannot read, Handle is asked, which then says what is wrong with it.
type Direct interface {
	admission.Handler
	// HandleReview answers an AdmissionReview; false: it cannot read it.
	HandleReview(ctx context.Context, body []byte) (Answer, bool)
}

// Answer is a response and the request that it belongs to.
type Answer struct {
	admission.Response

	To admission.Request
}

// Question is an AdmissionRequest whose objects are decoded with it.
type Question[T any] struct {
	admissionv1.AdmissionRequest

	Object    T `json:"object"`
	OldObject T `json:"oldObject"`
	// Options are not read.
	Options Unread `json:"options"`
}

// Unread is a part of an object that nobody asks for: it is passed over.
type Unread struct{}

// UnmarshalJSON passes over the value.
func (*Unread) UnmarshalJSON([]byte) error { return nil }

// review is an AdmissionReview with its request as R.
type review[R any] struct {
	metav1.TypeMeta

	Request *R `json:"request"`
}

// rawRequest has its objects as they came, as parts of the body.
type rawRequest struct {
	admissionv1.AdmissionRequest

	Object    part `json:"object"`
	OldObject part `json:"oldObject"`
	Options   part `json:"options"`
}

// part is a part of what is decoded, not copied: it lives as long as the whole.
type part []byte

// UnmarshalJSON keeps the value, but for null, which is no object.
func (p *part) UnmarshalJSON(raw []byte) error {
	if string(raw) != "null" {
		*p = raw
	}
	return nil
}

var errNoRequest = errors.New("it is no AdmissionReview of admission.k8s.io/v1 with a request")

func (r *review[R]) read(body []byte) error {
	if err := json.Unmarshal(body, r); err != nil {
		return fmt.Errorf("decode the AdmissionReview: %w", err)
	}
	if r.Request == nil || r.Kind != "AdmissionReview" || r.APIVersion != admissionv1.SchemeGroupVersion.String() {
		return errNoRequest
	}
	return nil
}

// ReadReview decodes a question with its objects as T; false: it is none.
func ReadReview[T any](body []byte) (*Question[T], bool) {
	r := review[Question[T]]{}
	if r.read(body) != nil {
		return nil, false
	}
	return r.Request, true
}

// reviews answers AdmissionReviews by a hook. Whatever is sent, the answer is a review, too: that is all that an API server
// reads.
func (s *Server) reviews(h Hook) http.Handler {
	direct, _ := h.Handler.(Direct)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, code, err := readBody(r)
		if err != nil {
			s.Log.Error(err, "a question could not be read", "webhook", h.Name)
			s.reply(w, h, Answer{Response: admission.Errored(code, err)})
			return
		}
		s.reply(w, h, s.answer(r.Context(), h, direct, body))
	})
}

// answer measures the hook, and turns its panic into an error that names it.
func (s *Server) answer(ctx context.Context, h Hook, direct Direct, body []byte) (answer Answer) {
	begun := s.Clock.Now()
	defer func() {
		if r := recover(); r != nil {
			err := fmt.Errorf("webhook %s: panic: %v [recovered]", h.Name, r)
			logf.FromContext(ctx).Error(err, "a webhook failed; the request is refused")
			answer.Response = admission.Errored(http.StatusInternalServerError, err)
		}
		s.Metrics.observe(h.Name, outcomeOf(&answer.Response), s.Clock.Since(begun))
	}()
	if direct != nil {
		if answer, ok := direct.HandleReview(ctx, body); ok {
			return answer
		}
	}
	question := review[rawRequest]{}
	if err := question.read(body); err != nil {
		return Answer{Response: admission.Errored(http.StatusBadRequest, err)}
	}
	answer.To = admission.Request{AdmissionRequest: question.Request.AdmissionRequest}
	answer.To.Object = runtime.RawExtension{Raw: question.Request.Object}
	answer.To.OldObject = runtime.RawExtension{Raw: question.Request.OldObject}
	answer.To.Options = runtime.RawExtension{Raw: question.Request.Options}
	answer.Response = h.Handler.Handle(ctx, answer.To)
	return answer
}

// readBody reads a question into memory that nobody else uses: objects may stay parts of it.
func readBody(r *http.Request) (body []byte, code int32, err error) {
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		return nil, http.StatusBadRequest, fmt.Errorf("the content type is %q, want application/json", kind)
	}
	if r.ContentLength > maxReview {
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the request has %d bytes, of at most %d", r.ContentLength, maxReview)
	}
	if n := r.ContentLength; n > 0 {
		body = make([]byte, n)
		_, err = io.ReadFull(r.Body, body)
	} else {
		body, err = io.ReadAll(io.LimitReader(r.Body, maxReview+1))
	}
	switch {
	case err != nil:
		return nil, http.StatusBadRequest, fmt.Errorf("read the request: %w", err)
	case len(body) == 0:
		return nil, http.StatusBadRequest, errors.New("the request is empty")
	case len(body) > maxReview:
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the request has more than %d bytes", maxReview)
	}
	return body, 0, nil
}

// reply writes an answer. An API server that has left does not read it: it takes that for an error.
func (s *Server) reply(w http.ResponseWriter, h Hook, a Answer) {
	if err := a.Complete(a.To); err != nil {
		err = fmt.Errorf("webhook %s: encode the patch: %w", h.Name, err)
		a.Response = admission.Errored(http.StatusInternalServerError, err)
		a.UID = a.To.UID
	}
	text, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: &a.AdmissionResponse,
	})
	if err != nil {
		http.Error(w, fmt.Sprintf("webhook %s: encode the answer: %v", h.Name, err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}
