package install

import (
	"context"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// address is where the API server finds a webhook of ours, and whom it trusts there.
type address struct {
	url    *string
	bundle []byte
}

// addressed reads what the cluster stores of an object with webhooks; nil when it stores none, or the object has none.
func addressed(ctx context.Context, c client.Client, object client.Object) (client.Object, []address, error) {
	var have client.Object
	var addresses func() []address
	switch object.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		config := &admissionregistrationv1.MutatingWebhookConfiguration{}
		have, addresses = config, func() (out []address) {
			for _, hook := range config.Webhooks {
				out = append(out, address{url: hook.ClientConfig.URL, bundle: hook.ClientConfig.CABundle})
			}
			return out
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		config := &admissionregistrationv1.ValidatingWebhookConfiguration{}
		have, addresses = config, func() (out []address) {
			for _, hook := range config.Webhooks {
				out = append(out, address{url: hook.ClientConfig.URL, bundle: hook.ClientConfig.CABundle})
			}
			return out
		}
	case *apiextensionsv1.CustomResourceDefinition:
		crd := &apiextensionsv1.CustomResourceDefinition{}
		have, addresses = crd, func() []address {
			conversion := crd.Spec.Conversion
			if conversion == nil || conversion.Webhook == nil || conversion.Webhook.ClientConfig == nil {
				return nil
			}
			return []address{{url: conversion.Webhook.ClientConfig.URL, bundle: conversion.Webhook.ClientConfig.CABundle}}
		}
	default:
		return nil, nil, nil
	}
	err := c.Get(ctx, client.ObjectKeyFromObject(object), have)
	if apierrors.IsNotFound(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", object.GetName(), err)
	}
	return have, addresses(), nil
}

// freeAddresses clears the URLs of an operator that ran beside the cluster: a webhook has either a URL or a Service, and
// applying our manifests would leave both.
func freeAddresses(ctx context.Context, c client.Client, manifests []Manifest) error {
	for _, m := range manifests {
		have, addresses, err := addressed(ctx, c, m.Object)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(addresses, func(a address) bool { return a.url != nil }) {
			continue
		}
		if crd, ok := have.(*apiextensionsv1.CustomResourceDefinition); ok {
			err = c.Patch(ctx, crd, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"conversion":{"strategy":"None","webhook":null}}}`)))
		} else {
			err = c.Delete(ctx, have)
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("clear the address of an operator beside the cluster from %s: %w", have.GetName(), err)
		}
	}
	return nil
}

// unready tells what an object still lacks; certified: the operator is to put its certificate in.
func unready(ctx context.Context, c client.Client, object client.Object, certified bool) (string, error) {
	have, addresses, err := addressed(ctx, c, object)
	if err != nil {
		return "", err
	}
	if crd, ok := have.(*apiextensionsv1.CustomResourceDefinition); ok && !established(crd) {
		return fmt.Sprintf("definition %s is not served yet", crd.Name), nil
	}
	if certified && slices.ContainsFunc(addresses, func(a address) bool { return len(a.bundle) == 0 }) {
		return fmt.Sprintf("the certificate is not in %s yet", have.GetName()), nil
	}
	return "", nil
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}
