package simnode

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// A node's turn to renew its lease follows from its place in the list. Were the list in any order, some node would be passed
// over for longer than the controller-manager waits, and its pods would be called not ready.
func TestNodesAreListedInOneOrder(t *testing.T) {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	for i := range 100 {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s%d", namePrefix, i), Labels: map[string]string{Label: "true"}}}
		if err := indexer.Add(node); err != nil {
			t.Fatal(err)
		}
	}
	s := &Simulator{nodes: corelisters.NewNodeLister(indexer)}
	names := func() (names []string) {
		nodes, err := s.labelled()
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range nodes {
			names = append(names, node.Name)
		}
		return names
	}
	first := names()
	if len(first) != 100 {
		t.Fatalf("%d nodes, want 100", len(first))
	}
	for range 5 {
		if again := names(); !slices.Equal(first, again) {
			t.Fatalf("listed as %v, then as %v", first, again)
		}
	}
}
