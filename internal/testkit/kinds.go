package testkit

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/api/crds"
	policyv1alpha1 "github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
)

// newScheme returns a scheme with every kind that a test may touch.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, appsv1beta1.AddToScheme, policyv1alpha1.AddToScheme, policyv1beta1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("build the scheme: %w", err)
		}
	}
	return scheme, nil
}

// installKinds applies our CustomResourceDefinitions, without conversion between versions, and waits until they are served.
func installKinds(ctx context.Context, c client.WithWatch) error {
	definitions, err := crds.All()
	if err != nil {
		return err
	}
	for _, definition := range definitions {
		if err := c.Create(ctx, definition); err != nil {
			return fmt.Errorf("install %s: %w", definition.Name, err)
		}
	}
	for _, definition := range definitions {
		if err := awaitServed(ctx, c, definition); err != nil {
			return err
		}
	}
	return nil
}

// awaitServed waits until a kind can be used: its definition is established, and discovery knows it.
func awaitServed(ctx context.Context, c client.WithWatch, definition *apiextensionsv1.CustomResourceDefinition) error {
	err := wait.PollUntilContextCancel(ctx, tick, true, func(ctx context.Context) (bool, error) {
		for _, version := range definition.Spec.Versions {
			list := &unstructured.UnstructuredList{}
			list.SetGroupVersionKind(schema.GroupVersionKind{
				Group: definition.Spec.Group, Version: version.Name, Kind: definition.Spec.Names.Kind + "List",
			})
			if err := c.List(ctx, list, client.Limit(1)); err != nil {
				return false, nil //nolint:nilerr // not served yet: asked again until the context ends
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s is served: %w", definition.Name, err)
	}
	return nil
}

// disposable lists the kinds that a test leaves behind.
func disposable() []client.ObjectList {
	return []client.ObjectList{
		&corev1.PodList{}, &corev1.PersistentVolumeClaimList{}, &appsv1.ControllerRevisionList{},
		&appsv1beta1.CloneSetList{}, &appsv1beta1.StatefulSetList{}, &appsv1beta1.DaemonSetList{}, &appsv1beta1.BroadcastJobList{},
	}
}

// items returns the objects of a list.
func items(list client.ObjectList) []client.Object {
	var objects []client.Object
	// It fails only for a type that is no list, which the type system has excluded.
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		if object, ok := item.(client.Object); ok {
			objects = append(objects, object)
		}
		return nil
	})
	return objects
}
