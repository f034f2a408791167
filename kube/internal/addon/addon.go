// Package addon keeps the objects that every cluster of ours holds beside what its user made.
package addon

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const fieldManager = "holdfast-kube"

// StorageClass is the default class, served by package volume.
//
//go:embed storageclass.yaml
var storageClass []byte

//go:embed coredns.yaml
var coreDNS []byte

// StorageClass applies the default storage class.
func StorageClass(ctx context.Context, config *rest.Config) error {
	return apply(ctx, config, storageClass)
}

// CoreDNS applies the cluster's name server, which needs a real node.
func CoreDNS(ctx context.Context, config *rest.Config) error { return apply(ctx, config, coreDNS) }

// apply gives the objects of a manifest their fields and leaves to others what others set.
func apply(ctx context.Context, config *rest.Config, manifest []byte) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("apply add-ons: %w", err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		var object unstructured.Unstructured
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read an add-on: %w", err)
		}
		resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind()) // right for all kinds used here
		var target dynamic.ResourceInterface = client.Resource(resource)
		if namespace := object.GetNamespace(); namespace != "" {
			target = client.Resource(resource).Namespace(namespace)
		}
		_, err = target.Apply(ctx, object.GetName(), &object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		if err != nil {
			return fmt.Errorf("apply %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

// CoreDNSReady returns once names are answered.
func CoreDNSReady(ctx context.Context, client kubernetes.Interface) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		deployment, err := client.AppsV1().Deployments(metav1.NamespaceSystem).Get(ctx, "coredns", metav1.GetOptions{})
		if err == nil && available(deployment) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("coredns is not ready (see `kubectl -n kube-system describe pod -l k8s-app=kube-dns`): %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func available(deployment *appsv1.Deployment) bool {
	for _, condition := range deployment.Status.Conditions {
		if condition.Type == appsv1.DeploymentAvailable {
			return condition.Status == corev1.ConditionTrue && deployment.Status.ObservedGeneration >= deployment.Generation &&
				deployment.Status.AvailableReplicas > 0
		}
	}
	return false
}
