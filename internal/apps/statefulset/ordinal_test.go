package statefulset

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// reserve reads "1 5-7".
func reserve(text string) []intstr.IntOrString {
	var all []intstr.IntOrString
	for word := range strings.FieldsSeq(text) {
		all = append(all, intstr.Parse(word))
	}
	return all
}

func TestOrdinals(t *testing.T) {
	for _, test := range []struct {
		reason   string
		replicas int32
		start    int32
		reserved string
		want     string // the numbers, or a part of the error
	}{
		{"from 0", 3, 0, "", "[0 1 2]"},
		{"none", 0, 0, "1", "[]"},
		{"from the start", 3, 5, "", "[5 6 7]"},
		{"a reserved one is passed over", 4, 0, "1", "[0 2 3 4]"},
		{"so is a range, both ends included", 4, 0, "2-5 7", "[0 1 6 8]"},
		{"ranges overlap, and come in any order", 3, 0, "4-6 0-4 6-7 9", "[8 10 11]"},
		{"those before the start do not count", 3, 4, "0-2 5", "[4 6 7]"},
		{"a range that begins before the start", 2, 4, "0-4", "[5 6]"},
		{"a huge range costs nothing", 2, 0, "1-2147483646", "[0 2147483647]"},
		{"a range of one", 2, 0, "1-1", "[0 2]"},
		{"as text", 2, 0, "0", "[1 2]"},
		{"reversed", 2, 0, "1 7-5", `spec.reserveOrdinals[1]: the range "7-5" is reversed: write "5-7"`},
		{"words", 2, 0, "a-b", `neither an ordinal of 0 or more nor a range`},
		{"open", 2, 0, "5-", `neither an ordinal`},
		{"too large", 2, 0, "99999999999", `neither an ordinal`},
	} {
		t.Run(test.reason, func(t *testing.T) {
			set := testkit.StatefulSet(func(s *appsv1beta1.StatefulSet) {
				s.Spec.Replicas, s.Spec.ReserveOrdinals = &test.replicas, reserve(test.reserved)
				if test.start > 0 {
					s.Spec.Ordinals = &appsv1beta1.StatefulSetOrdinals{Start: test.start}
				}
			})
			numbers, err := ordinals(set)
			got := fmt.Sprint(numbers)
			if err != nil {
				got = err.Error()
			}
			if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	negative := testkit.StatefulSet(func(s *appsv1beta1.StatefulSet) {
		s.Spec.ReserveOrdinals = []intstr.IntOrString{intstr.FromInt32(-1)}
	})
	if _, err := ordinals(negative); err == nil {
		t.Error("-1 is no ordinal")
	}
}

func TestOrdinalOfAName(t *testing.T) {
	for name, want := range map[string]string{
		"web-0": "0", "web-12": "12", "web-01": "", "web-": "", "web": "", "web-x": "", "other-0": "", "web--1": "", "web-2-0": "",
		"web-9999999999": "", "web-+1": "", "web-2147483647": "2147483647", "web-2147483648": "", "web-12345678901": "", "web1-0": "",
	} {
		if got := ordinal("web", name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestOrdinalOfAClaim(t *testing.T) {
	for name, want := range map[string]string{
		"data-web-0": "0", "data-web-10": "10", "data-web-00": "", "data-web": "", "data-webx-0": "", "log-web-0": "", "data-web-1-0": "", "data": "",
	} {
		if got := claimOrdinal("data", "web", name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}
