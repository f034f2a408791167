package judge_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/holdfast-io/holdfast/internal/workload/judge"
)

// texts of errors and warnings, one a line.
func texts(warnings []string, errs field.ErrorList) string {
	var lines []string
	for _, err := range errs {
		lines = append(lines, err.Error())
	}
	for _, warning := range warnings {
		lines = append(lines, "warning: "+warning)
	}
	return strings.Join(lines, "\n")
}

func said(t *testing.T, got string, want []string) {
	t.Helper()
	if len(want) == 0 && got != "" {
		t.Errorf("got %q, want nothing", got)
	}
	for _, part := range want {
		if !strings.Contains(got, part) {
			t.Errorf("got %q, want it to say %q", got, part)
		}
	}
}

func TestOverlap(t *testing.T) {
	labelled := func(selector, labels map[string]string) judge.Workload {
		tmpl := &corev1.PodTemplateSpec{}
		tmpl.Labels = labels
		return judge.Workload{Kind: "CloneSet", Selector: &metav1.LabelSelector{MatchLabels: selector}, Template: tmpl}
	}
	app, both, other := map[string]string{"app": "web"}, map[string]string{"app": "web", "tier": "x"}, map[string]string{"app": "other"}
	for _, test := range []struct {
		reason string
		a, b   judge.Workload
		want   bool
	}{
		{"the same selector", labelled(app, app), labelled(app, app), true},
		{"one selects the other's pods", labelled(app, app), labelled(both, both), true},
		{"the other way round", labelled(both, both), labelled(app, app), true},
		{"different labels", labelled(app, app), labelled(other, other), false},
		{"an empty selector is refused elsewhere", labelled(nil, app), labelled(other, other), false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			test.b.Name = "other"
			list := func() ([]judge.Workload, error) { return []judge.Workload{test.a, test.b}, nil }
			if got := judge.Overlap(nil, test.a, list); (len(got) > 0) != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if got := judge.Overlap(&test.a, test.a, list); len(got) > 0 {
				t.Errorf("its labels are as they were, but %v", got)
			}
		})
	}
}

func TestAnswersOfADryRun(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "web-", nil)
	because := func(field string, kind metav1.CauseType, message string) error {
		err := apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "web-", nil)
		err.ErrStatus.Details.Causes = []metav1.StatusCause{{Field: field, Type: kind, Message: message}}
		return err
	}
	for _, test := range []struct {
		reason string
		err    error
		want   []string
	}{
		{"taken", nil, nil},
		{
			"refused for a field", because("spec.containers[0].image", metav1.CauseTypeFieldValueRequired, "Required value: name one"),
			[]string{"spec.template.spec.containers[0].image: Required value: name one"},
		},
		{
			"refused by a webhook that does not say how", because("spec.hostNetwork", "", "not here"),
			[]string{"spec.template.spec.hostNetwork: Invalid value: not here"},
		},
		{"refused without a cause", invalid, []string{"spec.template: Invalid value"}},
		{"refused for the name that was made up", because("metadata.generateName", metav1.CauseTypeFieldValueInvalid, "too long"), nil},
		{"a quota", apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "web-", nil), []string{"warning: spec.template: as things are"}},
		{"a webhook that cannot be tried", apierrors.NewBadRequest(`admission webhook "x" does not support dry run`), nil},
		{"a webhook that says no", apierrors.NewBadRequest(`admission webhook "x" denied the request`), []string{"warning: spec.template"}},
		{"an API server that is busy", apierrors.NewTooManyRequests("busy", 1), nil},
	} {
		t.Run(test.reason, func(t *testing.T) {
			said(t, texts(judge.Tried(test.err, field.NewPath("spec", "template"))), test.want)
		})
	}
}
