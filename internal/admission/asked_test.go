package admission_test

import (
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/holdfast-io/holdfast/internal/admission"
)

func TestAsked(t *testing.T) {
	deletion := admission.Concern{Operation: admissionregistrationv1.Delete, Resource: "pods"}
	hook := func(policy admissionregistrationv1.FailurePolicyType, resources ...string) client.Object {
		return admission.Validating("ours", []admission.Hook{{
			Name: "delete.pods.holdfast.io", Path: "/x", FailurePolicy: policy,
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: resources},
			}},
		}}, admission.Endpoint{Host: "127.0.0.1:1"}, nil)
	}
	for _, tc := range []struct {
		name   string
		stored client.Object
		want   string
	}{
		{"it asks", hook(admissionregistrationv1.Fail, "pods"), ""},
		{"it asks about everything", hook(admissionregistrationv1.Fail, "*"), ""},
		{"there is no configuration", nil, "does not ask about DELETE of pods"},
		{"it asks about something else", hook(admissionregistrationv1.Fail, "pods/eviction"), "does not ask about DELETE of pods"},
		{"somebody lets pass what gets no answer", hook(admissionregistrationv1.Ignore, "pods"), "has failurePolicy Ignore"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			builder := fake.NewClientBuilder().WithScheme(testScheme(t))
			if tc.stored != nil {
				builder = builder.WithObjects(tc.stored)
			}
			c, clock := builder.Build(), testclock.NewFakePassiveClock(time.Unix(1_900_000_000, 0))
			asked := &admission.Asked{Reader: c, Name: "ours", Clock: clock}
			got, err := asked.Missing(t.Context(), deletion)
			if err != nil || tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
			if tc.stored == nil {
				return
			}
			if err := c.Delete(t.Context(), tc.stored); err != nil {
				t.Fatal(err)
			}
			if again, err := asked.Missing(t.Context(), deletion); err != nil || again != got {
				t.Errorf("at once: %q, %v", again, err)
			}
			clock.SetTime(clock.Now().Add(time.Minute))
			if later, err := asked.Missing(t.Context(), deletion); err != nil || !strings.Contains(later, "does not ask") {
				t.Errorf("later: %q, %v", later, err)
			}
		})
	}
	if got, err := (&admission.Asked{Name: "ours", Off: "it is off"}).Missing(t.Context(), deletion); err != nil || got != "it is off" {
		t.Errorf("a part that is switched off: %q, %v", got, err)
	}
	if got, err := (*admission.Asked)(nil).Missing(t.Context(), deletion); err != nil || got != "" {
		t.Errorf("nobody looks: %q, %v", got, err)
	}
}
