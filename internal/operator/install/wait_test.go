package install

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestPollAsksAgainWhereAskingMayHelp(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for _, test := range []struct {
		reason string
		first  error
		wait   bool
	}{
		{"no answer", errors.New("connection refused"), true},
		{"too busy", apierrors.NewTooManyRequests("later", 1), true},
		{"no right", apierrors.NewForbidden(pods, "a", errors.New("no")), false},
		{"nothing there", apierrors.NewNotFound(pods, "a"), false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			var told strings.Builder
			asked := 0
			err := poll(t.Context(), io.Writer(&told), "it", func(context.Context) (bool, string, error) {
				asked++
				if asked == 1 {
					return false, "", test.first
				}
				return true, "ready", nil
			})
			if (err == nil) != test.wait || err != nil && !errors.Is(err, test.first) {
				t.Fatalf("got %v after %d questions", err, asked)
			}
			if test.wait && !strings.Contains(told.String(), test.first.Error()) {
				t.Errorf("nobody is told why it takes longer: %q", told.String())
			}
		})
	}
}
