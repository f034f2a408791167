package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Mutating is the configuration of the mutating hooks, with every default of the API server spelled out, so that it can
// be compared with what is stored.
func Mutating(name string, hooks []Hook, endpoint Endpoint, bundle []byte) *admissionregistrationv1.MutatingWebhookConfiguration {
	config := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	config.SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingWebhookConfiguration"))
	for _, h := range sorted(hooks) {
		if !h.Mutating {
			continue
		}
		h = h.withDefaults()
		config.Webhooks = append(config.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name: h.Name, ClientConfig: endpoint.Config(h.Path, bundle), Rules: h.Rules, FailurePolicy: &h.FailurePolicy,
			MatchPolicy: ptr.To(admissionregistrationv1.Equivalent), NamespaceSelector: h.NamespaceSelector,
			ObjectSelector: h.ObjectSelector, SideEffects: &h.SideEffects, TimeoutSeconds: &h.TimeoutSeconds,
			AdmissionReviewVersions: []string{"v1"}, MatchConditions: h.MatchConditions,
			ReinvocationPolicy: ptr.To(admissionregistrationv1.NeverReinvocationPolicy),
		})
	}
	return config
}

// Validating is the configuration of the validating hooks.
func Validating(name string, hooks []Hook, endpoint Endpoint, bundle []byte) *admissionregistrationv1.ValidatingWebhookConfiguration {
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	config.SetGroupVersionKind(admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingWebhookConfiguration"))
	for _, h := range sorted(hooks) {
		if h.Mutating {
			continue
		}
		h = h.withDefaults()
		config.Webhooks = append(config.Webhooks, admissionregistrationv1.ValidatingWebhook{
			Name: h.Name, ClientConfig: endpoint.Config(h.Path, bundle), Rules: h.Rules, FailurePolicy: &h.FailurePolicy,
			MatchPolicy: ptr.To(admissionregistrationv1.Equivalent), NamespaceSelector: h.NamespaceSelector,
			ObjectSelector: h.ObjectSelector, SideEffects: &h.SideEffects, TimeoutSeconds: &h.TimeoutSeconds,
			AdmissionReviewVersions: []string{"v1"}, MatchConditions: h.MatchConditions,
		})
	}
	return config
}

func (h Hook) withDefaults() Hook {
	if h.FailurePolicy == "" {
		h.FailurePolicy = admissionregistrationv1.Fail
	}
	if h.TimeoutSeconds == 0 {
		h.TimeoutSeconds = 10
	}
	if h.SideEffects == "" {
		h.SideEffects = admissionregistrationv1.SideEffectClassNone
	}
	if h.NamespaceSelector == nil {
		h.NamespaceSelector = &metav1.LabelSelector{}
	}
	if h.ObjectSelector == nil {
		h.ObjectSelector = &metav1.LabelSelector{}
	}
	return h
}

func sorted(hooks []Hook) []Hook {
	out := slices.Clone(hooks)
	slices.SortStableFunc(out, func(a, b Hook) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Registered are our webhook configurations, made and kept by ourselves: for an operator beside the cluster, where no
// manifest can know the address.
func Registered(c client.Client, name string, hooks []Hook, endpoint Endpoint) []Target {
	mutating := &registered{client: c, name: name}
	mutating.make = func(bundle []byte) (client.Object, client.Object, int) {
		config := Mutating(name, hooks, endpoint, bundle)
		return config, &admissionregistrationv1.MutatingWebhookConfiguration{}, len(config.Webhooks)
	}
	mutating.adopt = func(want, have client.Object) { adoptScopes(want, have, hooks) }
	validating := &registered{client: c, name: name}
	validating.make = func(bundle []byte) (client.Object, client.Object, int) {
		config := Validating(name, hooks, endpoint, bundle)
		return config, &admissionregistrationv1.ValidatingWebhookConfiguration{}, len(config.Webhooks)
	}
	return []Target{mutating, validating}
}

type registered struct {
	client client.Client
	name   string
	// make answers what should be, an empty object to read into, and how many hooks there are.
	make func(bundle []byte) (want, have client.Object, hooks int)
	// adopt takes over into want what others keep in have; nil: nothing.
	adopt func(want, have client.Object)
}

func (t *registered) String() string { return "webhook configuration " + t.name }

func (t *registered) Inject(ctx context.Context, bundle []byte) (bool, error) {
	want, have, hooks := t.make(bundle)
	if hooks == 0 {
		return false, nil
	}
	err := t.client.Get(ctx, types.NamespacedName{Name: t.name}, have)
	if apierrors.IsNotFound(err) {
		if err := t.client.Create(ctx, want); err != nil && !apierrors.IsAlreadyExists(err) {
			return false, fmt.Errorf("create it: %w", err)
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read it: %w", err)
	}
	if t.adopt != nil {
		t.adopt(want, have)
	}
	if sameWebhooks(have, want) {
		return false, nil
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": have.GetResourceVersion()},
		"webhooks": webhooks(want),
	})
	if err != nil {
		return false, fmt.Errorf("encode the patch: %w", err)
	}
	return absent(t.client.Patch(ctx, have, client.RawPatch(types.MergePatchType, body)))
}

func webhooks(config client.Object) any {
	switch c := config.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		return c.Webhooks
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		return c.Webhooks
	}
	return nil
}

func sameWebhooks(have, want client.Object) bool {
	return equality.Semantic.DeepEqual(webhooks(have), webhooks(want))
}

func splitHostPort(hostport string) (string, string, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", "", fmt.Errorf("read %q as host:port: %w", hostport, err)
	}
	return host, port, nil
}
