package workload_test

import (
	"cmp"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// The shortcut past the client relies on how controller-runtime names its indexes.
func TestCachePositionHandsOutWhatTheClientLists(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	for name, owner := range map[string]types.UID{"a": "one", "b": "one", "c": "two", "d": ""} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "x"}}},
		}
		if owner != "" {
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "X", Name: "x", UID: owner, Controller: ptr.To(true)}}
		}
		if err := env.Client.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	kept := env.Cache(t, cache.Options{})
	if err := workload.Index(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	position := &workload.CachePosition{Cache: kept}
	for owner, want := range map[string]int{"one": 2, "two": 1, "none": 1, "three": 0} {
		var list corev1.PodList
		err := kept.List(t.Context(), &list, client.InNamespace(namespace), client.MatchingFields{workload.OwnerIndex: owner})
		if err != nil {
			t.Fatal(err)
		}
		listed := make([]string, 0, len(list.Items))
		for i := range list.Items {
			listed = append(listed, list.Items[i].Name)
		}
		found, known := position.Pods(t.Context(), namespace, owner)
		if !known {
			t.Fatalf("owner %s: the index is not found: does the cache give it another name now?", owner)
		}
		slices.SortFunc(found, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
		got := make([]string, 0, len(found))
		for _, pod := range found {
			got = append(got, pod.Name)
		}
		slices.Sort(listed)
		if len(got) != want || !slices.Equal(got, listed) {
			t.Errorf("owner %s: got %v, the client lists %v, want %d", owner, got, listed, want)
		}
	}
}
