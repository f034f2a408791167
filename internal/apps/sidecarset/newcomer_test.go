package sidecarset_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset"
)

// Get knows no namespace: the cache is behind.
func (s stored) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(corev1.Resource("namespaces"), key.Name)
}

// answered answers the question of an API server about a pod, as text.
func answered(t *testing.T, sets []appsv1beta1.SidecarSet, live client.Client, p *corev1.Pod) (admission.Answer, bool) {
	t.Helper()
	hooks := sidecarset.Hooks(sidecarset.AdmissionDeps{
		Scheme: runtime.NewScheme(), Cache: stored{sets: sets}, Client: live, Clock: clock.RealClock{}, SystemNamespace: "x",
	})
	direct, ok := hooks[0].Handler.(admission.Direct)
	if !ok {
		t.Fatal("the hook does not read questions itself")
	}
	return direct.HandleReview(t.Context(), question(t, p))
}

// A namespace and its first pods are often made in one breath.
func TestANamespaceThatTheCacheDoesNotShowYet(t *testing.T) {
	set := shipper("web")
	set.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "shop"}}
	for _, tc := range []struct {
		reason, team string
		given        bool
	}{{"selected", "shop", true}, {"not selected", "mail", false}} {
		live := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(&corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"team": tc.team}},
		}).Build()
		a, ok := answered(t, []appsv1beta1.SidecarSet{set}, live, newcomer())
		if !ok || !a.Allowed || len(a.Patches) > 0 != tc.given {
			t.Errorf("%s: got %+v", tc.reason, a.Response)
		}
	}
}

// The cache is behind in the moments after a start, and while the definition changes.
func TestASetThatTheCacheDoesNotShowYet(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := appsv1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	set, other := shipper("web"), shipper("db")
	live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(&set, &other).Build()
	for reason, cached := range map[string][]appsv1beta1.SidecarSet{"none is shown": nil, "another one is shown": {other}} {
		a, ok := answered(t, cached, live, newcomer())
		if !ok || !a.Allowed || len(a.Patches) == 0 {
			t.Errorf("%s: got %+v", reason, a.Response)
		}
	}
}

// What is read of a pod is all that injection looks at.
func TestAPodIsReadAsFarAsIsNeeded(t *testing.T) {
	set := shipper("web")
	set.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "shop"}}
	set.Spec.Volumes = []corev1.Volume{{Name: "data"}, {Name: "more"}}
	set.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "a"}, {Name: "b"}}
	p := newcomer()
	p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "a"}}
	always := corev1.ContainerRestartPolicyAlways
	p.Spec.InitContainers = []corev1.Container{{
		Name: "side", Image: "side", RestartPolicy: &always, VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/side"}},
	}}
	a, ok := answered(t, []appsv1beta1.SidecarSet{set}, nil, p)
	if err := a.Complete(a.To); !ok || err != nil || !a.Allowed {
		t.Fatalf("got %+v (%v)", a.Response, err)
	}
	patch := string(a.Patch)
	for _, want := range []string{
		`{"op":"add","path":"/spec/containers/0","value":{"name":"shipper"`, `"name":"APP_9","value":"value"`, `"mountPath":"/data"`, `"mountPath":"/side"`,
		`{"op":"add","path":"/spec/volumes/-","value":{"name":"more"`, `{"op":"add","path":"/spec/imagePullSecrets/-","value":{"name":"b"}}`,
		`{"op":"add","path":"/metadata/annotations/kruise.io~1sidecarset-injected-list","value":"shipper-web"}`,
	} {
		if !strings.Contains(patch, want) {
			t.Errorf("%s is not in %s", want, patch)
		}
	}
	for _, not := range []string{`"name":"data"}}`, `"value":{"name":"a"}`} {
		if strings.Contains(patch, not) {
			t.Errorf("%s is in %s", not, patch)
		}
	}
}

func TestQuestionsThatCannotBeRead(t *testing.T) {
	direct, ok := sidecarset.Hooks(sidecarset.AdmissionDeps{
		Scheme: runtime.NewScheme(), Cache: stored{}, Clock: clock.RealClock{}, SystemNamespace: "x",
	})[0].Handler.(admission.Direct)
	if !ok {
		t.Fatal("the hook does not read questions itself")
	}
	for _, body := range []string{"", "{", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`} {
		if _, read := direct.HandleReview(t.Context(), []byte(body)); read {
			t.Errorf("%q was answered", body)
		}
	}
}
