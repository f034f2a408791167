package admission

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// ConvertPath is where versions are converted.
	ConvertPath = "/convert"
	// A conversion carries a whole list: as much as the API server itself would send.
	maxConvertBody = 64 << 20
)

// ConvertFunc converts one object, as JSON, to another version.
type ConvertFunc func(raw []byte, toAPIVersion string) ([]byte, error)

// converter serves the conversion of versions.
func converter(convert ConvertFunc, observe func(err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxConvertBody))
		if err != nil {
			http.Error(w, fmt.Sprintf("read the conversion request: %v", err), http.StatusRequestEntityTooLarge)
			return
		}
		review := apiextensionsv1.ConversionReview{}
		if err := json.Unmarshal(body, &review); err != nil {
			http.Error(w, fmt.Sprintf("decode the conversion request: %v", err), http.StatusBadRequest)
			return
		}
		if review.Request == nil {
			http.Error(w, "the conversion request is empty", http.StatusBadRequest)
			return
		}
		response, err := convertAll(convert, review.Request)
		observe(err)
		review.Request, review.Response = nil, response
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review) // a lost connection is the caller's to notice
	})
}

func convertAll(convert ConvertFunc, req *apiextensionsv1.ConversionRequest) (*apiextensionsv1.ConversionResponse, error) {
	response := &apiextensionsv1.ConversionResponse{UID: req.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for i, object := range req.Objects {
		raw, err := convertOne(convert, object.Raw, req.DesiredAPIVersion)
		if err != nil {
			err = fmt.Errorf("convert object %d of %d to %s: %w", i+1, len(req.Objects), req.DesiredAPIVersion, err)
			response.ConvertedObjects = nil
			response.Result = metav1.Status{Status: metav1.StatusFailure, Message: err.Error(), Reason: metav1.StatusReasonInvalid}
			return response, err
		}
		response.ConvertedObjects = append(response.ConvertedObjects, runtime.RawExtension{Raw: raw})
	}
	return response, nil
}

// convertOne answers a panic as an error: one broken object must not take the operator down.
func convertOne(convert ConvertFunc, raw []byte, version string) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v [recovered]", r)
		}
	}()
	out, err = convert(raw, version)
	if err == nil && !json.Valid(out) {
		return nil, fmt.Errorf("the result is not JSON")
	}
	return out, err
}
