package install_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/operator"
	"github.com/holdfast-io/holdfast/internal/operator/install"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

const crdName = "clonesets.apps.kruise.io"

func newClient(t *testing.T) client.Client {
	t.Helper()
	scheme, err := operator.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(testkit.APIServer(t).Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// await polls what the API server does by itself.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); !ok(); {
		select {
		case <-deadline:
			t.Fatalf("no %s within 30s", what)
		case <-tick.C:
		}
	}
}

func cloneSet() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet", "metadata": map[string]any{"namespace": "default", "name": "precious"},
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"app": "a"}},
			"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"app": "a"}},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "registry.local/pause:1"}}},
			},
		},
	}}
}

// The life of an installation on a cluster without nodes: nothing waits for the Deployment.
func TestLife(t *testing.T) {
	c := newClient(t)
	ctx := t.Context()
	o := install.Defaults()
	o.Wait = false
	var out bytes.Buffer

	dry := o
	dry.DryRun = true
	if err := install.Apply(ctx, c, dry, &out); err != nil {
		t.Fatalf("dry run: %v", err)
	}
	if err := c.Get(ctx, types.NamespacedName{Name: o.SystemNamespace}, &corev1.Namespace{}); !apierrors.IsNotFound(err) {
		t.Fatalf("the dry run changed something: %v", err)
	}
	if err := install.Apply(ctx, c, o, &out); err != nil {
		t.Fatal(err)
	}

	// The operator puts its certificates in; applying again must not take them away.
	secretKey := types.NamespacedName{Namespace: o.SystemNamespace, Name: operator.SecretName}
	secret := &corev1.Secret{}
	if err := c.Get(ctx, secretKey, secret); err != nil {
		t.Fatal(err)
	}
	secret.Data = map[string][]byte{"ca.crt": []byte("certificate")}
	if err := c.Update(ctx, secret); err != nil {
		t.Fatal(err)
	}
	hooks := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := c.Get(ctx, types.NamespacedName{Name: operator.ConfigurationName}, hooks); err != nil {
		t.Fatal(err)
	}
	hooks.Webhooks[0].ClientConfig.CABundle = bundle(t)
	if err := c.Update(ctx, hooks); err != nil {
		t.Fatal(err)
	}
	o.Image = "registry.local/holdfast:next"
	if err := install.Apply(ctx, c, o, &out); err != nil {
		t.Fatalf("upgrade: %v", err)
	}
	if err := c.Get(ctx, secretKey, secret); err != nil || string(secret.Data["ca.crt"]) != "certificate" {
		t.Errorf("after an upgrade the secret holds %d keys, %v", len(secret.Data), err)
	}
	if err := c.Get(ctx, types.NamespacedName{Name: operator.ConfigurationName}, hooks); err != nil || len(hooks.Webhooks[0].ClientConfig.CABundle) == 0 {
		t.Errorf("after an upgrade the webhooks hold no bundle, %v", err)
	}
	deployment := &appsv1.Deployment{}
	if err := c.Get(ctx, types.NamespacedName{Namespace: o.SystemNamespace, Name: "holdfast-operator"}, deployment); err != nil {
		t.Fatal(err)
	}
	if got := deployment.Spec.Template.Spec.Containers[0].Image; got != o.Image {
		t.Errorf("after an upgrade the image is %s", got)
	}
	removal(t, c, &out)
}

func removal(t *testing.T, c client.Client, out *bytes.Buffer) {
	t.Helper()
	ctx := t.Context()
	// Nobody answers the webhooks here: they stand in the way of the object below, as they would of a user's.
	for _, config := range []client.Object{&admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}} {
		config.SetName(operator.ConfigurationName)
		if err := c.Delete(ctx, config); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "CloneSet", func() bool { return c.Create(ctx, cloneSet()) == nil })

	r := install.RemoveDefaults()
	r.DeleteCRDs = true
	err := install.Remove(ctx, c, r, out)
	if err == nil || !strings.Contains(err.Error(), "1 "+crdName) || !strings.Contains(err.Error(), "--delete-objects") {
		t.Errorf("deleting definitions with objects: %v", err)
	}
	if err := c.Get(ctx, types.NamespacedName{Namespace: r.SystemNamespace, Name: "holdfast-operator"}, &appsv1.Deployment{}); err != nil {
		t.Errorf("a refused removal removed something: %v", err)
	}

	out.Reset()
	if err := install.Remove(ctx, c, install.RemoveDefaults(), out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "what remains: 1 "+crdName) {
		t.Errorf("it does not say what remains:\n%s", out)
	}
	if err := c.Get(ctx, types.NamespacedName{Namespace: "default", Name: "precious"}, cloneSet()); err != nil {
		t.Errorf("the user's object is gone: %v", err)
	}
	if err := c.Get(ctx, types.NamespacedName{Namespace: r.SystemNamespace, Name: "holdfast-operator"}, &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("the operator is still there: %v", err)
	}

	r.DeleteObjects = true
	if err := install.Remove(ctx, c, r, out); err != nil {
		t.Fatal(err)
	}
	await(t, "end of the definition", func() bool {
		return apierrors.IsNotFound(c.Get(ctx, types.NamespacedName{Name: crdName}, &apiextensionsv1.CustomResourceDefinition{}))
	})
}

func bundle(t *testing.T) []byte {
	t.Helper()
	config := testkit.APIServer(t).Config
	if len(config.CAData) == 0 {
		t.Fatal("the API server's authority is not known")
	}
	return config.CAData
}

func TestForeignDefinitions(t *testing.T) {
	c := newClient(t)
	for _, tc := range []struct {
		name   string
		change func(crd *apiextensionsv1.CustomResourceDefinition)
		stored []string
		want   []string // of the error; none: it is taken
		after  string   // of the error with --take-over
	}{
		{
			name: "one of another Helm release",
			change: func(crd *apiextensionsv1.CustomResourceDefinition) {
				crd.Annotations = map[string]string{"meta.helm.sh/release-name": "kruise", "meta.helm.sh/release-namespace": "kruise-system"}
			},
			want: []string{crdName, "the Helm release kruise-system/kruise", "--take-over"},
		},
		{
			name:   "one with objects in a version that we do not know",
			stored: []string{"v1beta1", "v2"},
			want:   []string{crdName, "version v2", "status.storedVersions"}, after: "version v2",
		},
		{name: "one that nobody claims"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := t.Context()
			crd := foreign()
			if tc.change != nil {
				tc.change(crd)
			}
			await(t, "room for the definition", func() bool {
				err := c.Create(ctx, crd.DeepCopy())
				if apierrors.IsAlreadyExists(err) {
					_ = c.Delete(ctx, crd.DeepCopy())
				}
				return err == nil
			})
			if tc.stored != nil {
				have := &apiextensionsv1.CustomResourceDefinition{}
				if err := c.Get(ctx, types.NamespacedName{Name: crdName}, have); err != nil {
					t.Fatal(err)
				}
				patch := client.MergeFrom(have.DeepCopy())
				have.Status.StoredVersions = tc.stored
				if err := c.Status().Patch(ctx, have, patch); err != nil {
					t.Fatal(err)
				}
			}
			o := install.Defaults()
			o.Wait, o.Only, o.DryRun = false, []string{"crds"}, true
			check(t, install.Apply(ctx, c, o, &bytes.Buffer{}), tc.want...)
			o.TakeOver = true
			if tc.after != "" {
				check(t, install.Apply(ctx, c, o, &bytes.Buffer{}), tc.after)
			} else {
				check(t, install.Apply(ctx, c, o, &bytes.Buffer{}))
			}
		})
	}
}

func check(t *testing.T, err error, want ...string) {
	t.Helper()
	if len(want) == 0 {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("taken, want an error with %q", want)
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q lacks %q", err, part)
		}
	}
}

// foreign is a definition of our kind that another project made.
func foreign() *apiextensionsv1.CustomResourceDefinition {
	preserve := true
	schema := &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
		Type: "object", XPreserveUnknownFields: &preserve,
	}}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: crdName},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "apps.kruise.io", Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "clonesets", Singular: "cloneset", Kind: "CloneSet", ListKind: "CloneSetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1beta1", Served: true, Storage: true, Schema: schema}},
		},
	}
}
