// Package addon keeps the objects that every cluster of ours holds beside what its user made.
package addon

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

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

// CoreDNSReady returns once names are answered. What the API server remembers of a container that began before since,
// told for its node, is of an earlier run.
func CoreDNSReady(ctx context.Context, client kubernetes.Interface, since func(node string) time.Time) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		pods, err := client.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
		if err == nil && slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return serves(&p, since(p.Spec.NodeName)) }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("coredns is not ready (see `kubectl -n kube-system describe pod -l k8s-app=kube-dns`): %w",
				errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// serves says whether the pod is Ready with containers that began at since or later.
func serves(pod *corev1.Pod, since time.Time) bool {
	for _, container := range pod.Status.ContainerStatuses {
		running := container.State.Running
		if running == nil || running.StartedAt.Time.Before(since.Truncate(time.Second)) { // the API knows whole seconds
			return false
		}
	}
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}
