package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Endpoint is where API servers find our server: a Service in the cluster, or a URL when we run beside it.
type Endpoint struct {
	// Service and its port; used when Host is empty.
	Service types.NamespacedName
	Port    int32
	// Host is "host:port" of an operator beside the cluster.
	Host string
}

// Config is the client configuration of a webhook at path.
func (e Endpoint) Config(path string, bundle []byte) admissionregistrationv1.WebhookClientConfig {
	if e.Host != "" {
		return admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://" + e.Host + path), CABundle: bundle}
	}
	return admissionregistrationv1.WebhookClientConfig{
		Service: &admissionregistrationv1.ServiceReference{
			Namespace: e.Service.Namespace, Name: e.Service.Name, Path: ptr.To(path), Port: ptr.To(e.Port),
		},
		CABundle: bundle,
	}
}

// Names that the serving certificate must be good for.
func (e Endpoint) Names() []string {
	if e.Host != "" {
		host, _, err := splitHostPort(e.Host)
		if err != nil {
			return []string{e.Host}
		}
		return []string{host}
	}
	base := e.Service.Name + "." + e.Service.Namespace
	return []string{base + ".svc", base + ".svc.cluster.local", base}
}

// Configured are our webhook configurations of the given name, as the manifests hold them: only the bundle is put in.
func Configured(c client.Client, name string) []Target {
	return []Target{&mutatingBundle{c, name}, &validatingBundle{c, name}}
}

type mutatingBundle struct {
	client client.Client
	name   string
}

func (t *mutatingBundle) String() string { return "mutatingwebhookconfiguration " + t.name }

func (t *mutatingBundle) Inject(ctx context.Context, bundle []byte) (bool, error) {
	config := &admissionregistrationv1.MutatingWebhookConfiguration{}
	return inject(ctx, t.client, t.name, config, func() (changed bool) {
		for i := range config.Webhooks {
			changed = setBundle(&config.Webhooks[i].ClientConfig, bundle) || changed
		}
		return changed
	})
}

type validatingBundle struct {
	client client.Client
	name   string
}

func (t *validatingBundle) String() string { return "validatingwebhookconfiguration " + t.name }

func (t *validatingBundle) Inject(ctx context.Context, bundle []byte) (bool, error) {
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	return inject(ctx, t.client, t.name, config, func() (changed bool) {
		for i := range config.Webhooks {
			changed = setBundle(&config.Webhooks[i].ClientConfig, bundle) || changed
		}
		return changed
	})
}

// inject reads a configuration, lets set put the bundle in, and writes what that changed.
func inject(ctx context.Context, c client.Client, name string, config client.Object, set func() bool) (bool, error) {
	if err := c.Get(ctx, types.NamespacedName{Name: name}, config); err != nil {
		return absent(err)
	}
	before, ok := config.DeepCopyObject().(client.Object)
	if !ok || !set() {
		return false, nil
	}
	return absent(c.Patch(ctx, config, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})))
}

func setBundle(config *admissionregistrationv1.WebhookClientConfig, bundle []byte) bool {
	if bytes.Equal(config.CABundle, bundle) {
		return false
	}
	config.CABundle = bundle
	return true
}

// Converted is a CustomResourceDefinition whose versions our server converts into each other.
func Converted(c client.Client, endpoint Endpoint, crd string) Target {
	return &conversion{client: c, endpoint: endpoint, crd: crd}
}

type conversion struct {
	client   client.Client
	endpoint Endpoint
	crd      string

	// The version of the definition that was found right for bundle: a definition is large, and hardly ever changes.
	right  string
	bundle []byte
}

func (t *conversion) String() string { return "customresourcedefinition " + t.crd }

func (t *conversion) Inject(ctx context.Context, bundle []byte) (bool, error) {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	if err := t.client.Get(ctx, types.NamespacedName{Name: t.crd}, meta); err != nil {
		return absent(err)
	}
	if meta.ResourceVersion == t.right && bytes.Equal(bundle, t.bundle) {
		return false, nil
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := t.client.Get(ctx, types.NamespacedName{Name: t.crd}, crd); err != nil {
		return absent(err)
	}
	if want := t.want(bundle); len(crd.Spec.Versions) > 1 && !sameConversion(crd.Spec.Conversion, want) {
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": crd.ResourceVersion},
			"spec":     map[string]any{"conversion": replacing(want)},
		})
		if err != nil {
			return false, fmt.Errorf("encode the patch: %w", err)
		}
		if err := t.client.Patch(ctx, crd, client.RawPatch(types.MergePatchType, patch)); err != nil {
			return absent(err)
		}
	}
	t.right, t.bundle = crd.ResourceVersion, bundle
	return false, nil
}

// replacing spells out what must go when an operator beside the cluster follows one within it, or the other way round.
func replacing(c *apiextensionsv1.CustomResourceConversion) map[string]any {
	config := map[string]any{"url": nil, "service": nil, "caBundle": c.Webhook.ClientConfig.CABundle}
	if c.Webhook.ClientConfig.URL != nil {
		config["url"] = *c.Webhook.ClientConfig.URL
	}
	if c.Webhook.ClientConfig.Service != nil {
		config["service"] = c.Webhook.ClientConfig.Service
	}
	return map[string]any{
		"strategy": c.Strategy,
		"webhook":  map[string]any{"clientConfig": config, "conversionReviewVersions": c.Webhook.ConversionReviewVersions},
	}
}

func (t *conversion) want(bundle []byte) *apiextensionsv1.CustomResourceConversion {
	from := t.endpoint.Config(ConvertPath, bundle)
	config := &apiextensionsv1.WebhookClientConfig{URL: from.URL, CABundle: bundle}
	if from.Service != nil {
		config.Service = &apiextensionsv1.ServiceReference{
			Namespace: from.Service.Namespace, Name: from.Service.Name, Path: from.Service.Path, Port: from.Service.Port,
		}
	}
	return &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook:  &apiextensionsv1.WebhookConversion{ClientConfig: config, ConversionReviewVersions: []string{"v1"}},
	}
}

func sameConversion(have, want *apiextensionsv1.CustomResourceConversion) bool {
	if have == nil || have.Strategy != want.Strategy || have.Webhook == nil || have.Webhook.ClientConfig == nil {
		return false
	}
	a, b := have.Webhook.ClientConfig, want.Webhook.ClientConfig
	return bytes.Equal(a.CABundle, b.CABundle) && ptr.Equal(a.URL, b.URL) && sameService(a.Service, b.Service)
}

func sameService(a, b *apiextensionsv1.ServiceReference) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Namespace == b.Namespace && a.Name == b.Name && ptr.Equal(a.Path, b.Path) && ptr.Equal(a.Port, b.Port)
}

// absent reads an error of a target: one that does not exist is missing, and another replica that was faster is none.
func absent(err error) (bool, error) {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w", err)
	}
	return false, nil
}
