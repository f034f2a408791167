package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/operator"
)

// Config is the administrator's way to the cluster, with no limit of the client's own.
func (c *Local) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig %s: %w", c.Kubeconfig(), err)
	}
	config.QPS = -1
	return config, nil
}

// NewClient makes a client that knows every kind of ours.
func NewClient(config *rest.Config) (client.WithWatch, error) {
	scheme, err := operator.NewScheme()
	if err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make the client: %w", err)
	}
	return c, nil
}

// Client is the administrator's client.
func (c *Local) Client() (client.WithWatch, error) {
	config, err := c.Config()
	if err != nil {
		return nil, err
	}
	return NewClient(config)
}

// RealNodes lists the nodes that a kubelet runs, by name.
func RealNodes(ctx context.Context, c client.Reader) ([]corev1.Node, error) {
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	found := slices.DeleteFunc(nodes.Items, func(n corev1.Node) bool {
		return !strings.HasPrefix(n.Status.NodeInfo.ContainerRuntimeVersion, "containerd://")
	})
	slices.SortFunc(found, func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// Until looks again and again, four times a second, until done; hint tells the user where to look when it never is.
func Until(ctx context.Context, what, hint string, done func() (bool, error)) error {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("wait until %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w%s", what, ctx.Err(), hint)
		case <-ticker.C:
		}
	}
}

// Pods are the pods of a namespace with these labels that are not on their way out.
func Pods(ctx context.Context, c client.Reader, namespace string, labels map[string]string) (map[types.UID]*corev1.Pod, error) {
	var list corev1.PodList
	if err := c.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels(labels)); err != nil {
		return nil, fmt.Errorf("list the pods: %w", err)
	}
	pods := map[types.UID]*corev1.Pod{}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			pods[list.Items[i].UID] = &list.Items[i]
		}
	}
	return pods, nil
}

// Sorted returns the pods by name.
func Sorted(pods map[types.UID]*corev1.Pod) []*corev1.Pod {
	return slices.SortedFunc(maps.Values(pods), func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
}

// Since is the time from t to now, as precise as a reader cares for.
func Since(t time.Time) time.Duration { return time.Since(t).Round(100 * time.Millisecond) }
