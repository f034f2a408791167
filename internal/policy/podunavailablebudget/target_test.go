package podunavailablebudget

import (
	"context"
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
)

// noted notes at which versions it is asked.
type noted struct {
	client.Reader

	versions []string
}

func (n *noted) SubResource(string) client.SubResourceClient { return scaleOf{noted: n} }

func (n *noted) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	n.note(o)
	return nil
}

func (n *noted) note(o client.Object) {
	n.versions = append(n.versions, o.GetObjectKind().GroupVersionKind().GroupVersion().String())
}

type scaleOf struct {
	client.SubResourceClient

	noted *noted
}

func (s scaleOf) Get(_ context.Context, o, _ client.Object, _ ...client.SubResourceGetOption) error {
	s.noted.note(o)
	return nil
}

// TestOurOwnWorkloadsNeedNoConversion: a decision about a budget whose target is named at an older version, as most are, does
// not have the API server ask us to convert it.
func TestOurOwnWorkloadsNeedNoConversion(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ reason, version, kind, want string }{
		{"ours", "apps.kruise.io/v1alpha1", "CloneSet", "apps.kruise.io/v1beta1"},
		{"a group alone", "apps.kruise.io", "CloneSet", "apps.kruise.io/v1beta1"},
		{"a group of Kubernetes alone", "apps", "Deployment", "apps/v1"},
		{"ours without a scale", "apps.kruise.io/v1alpha1", "DaemonSet", "apps.kruise.io/v1beta1"},
		{"of our group, and not ours", "apps.kruise.io/v1alpha1", "Gang", "apps.kruise.io/v1alpha1"},
		{"somebody else's", "argoproj.io/v1alpha1", "Rollout", "argoproj.io/v1alpha1"},
		{"a kind of Kubernetes of that name", "apps/v1", "StatefulSet", "apps/v1"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			n := &noted{}
			s := source{reader: n, scales: n}
			ref, err := targetOf(&policyv1beta1.TargetReference{APIVersion: test.version, Kind: test.kind, Name: "web"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.read(t.Context(), "shop", ref); err != nil {
				t.Fatal(err)
			}
			s.leaving(t.Context(), "shop", ref)
			if want := []string{test.want, test.want}; !slices.Equal(n.versions, want) {
				t.Errorf("asked at %v, want %v", n.versions, want)
			}
		})
	}
}
