package policy_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/policy"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func decisions(from, n int) []policy.Decision {
	out := make([]policy.Decision, n)
	for i := range out {
		out[i] = policy.NewDecision(testkit.Epoch.Add(time.Duration(from+i)*time.Second), authenticationv1.UserInfo{Username: "alice"})
		out[i].Kind, out[i].Namespace, out[i].Name = "Pod", "shop", fmt.Sprintf("web-%d", from+i)
	}
	return out
}

// Several replicas write at the same time, and lose nothing that there is room for.
func TestStoreOfManyReplicas(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	const replicas, batches, size = 3, 8, 100
	var wg sync.WaitGroup
	for r := range replicas {
		wg.Go(func() {
			store := policy.NewStore(env.Client, ns)
			for b := range batches {
				if err := store.Append(t.Context(), decisions((r*batches+b)*size, size)); err != nil {
					t.Errorf("replica %d: %v", r, err)
				}
			}
		})
	}
	wg.Wait()
	all, err := policy.Read(t.Context(), env.Client, ns)
	if err != nil || len(all) != replicas*batches*size {
		t.Fatalf("%d decisions are there, %v", len(all), err)
	}
	seen := map[string]bool{}
	for i, d := range all {
		if seen[d.Name] || (i > 0 && d.Time.After(all[i-1].Time)) {
			t.Fatalf("decision %s is there twice, or not in its order", d.Name)
		}
		seen[d.Name] = true
	}
}

// The ring is bounded: the oldest page goes, the newest decisions stay, and another process goes on where this one ended.
func TestStoreIsBounded(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	const total = 20500
	for from := 0; from < total; from += 2050 {
		if err := policy.NewStore(env.Client, ns).Append(t.Context(), decisions(from, 2050)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := policy.Read(t.Context(), env.Client, ns)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 15000 || len(all) > 16000 || all[0].Name != "web-20499" || all[len(all)-1].Name != fmt.Sprintf("web-%d", total-len(all)) {
		t.Errorf("%d decisions are left, from %s to %s", len(all), all[len(all)-1].Name, all[0].Name)
	}
	configs := &corev1.ConfigMapList{}
	if err := env.Client.List(t.Context(), configs, client.InNamespace(ns), client.MatchingLabels{"holdfast.io/decisions": "true"}); err != nil {
		t.Fatal(err)
	}
	bytes := 0
	for _, config := range configs.Items {
		for _, value := range config.BinaryData {
			bytes += len(value)
		}
	}
	t.Logf("%d decisions take %d ConfigMaps and %d bytes", len(all), len(configs.Items), bytes)
	if len(configs.Items) > 16 || bytes > 4<<20 {
		t.Errorf("the ring has %d pages and %d bytes", len(configs.Items), bytes)
	}
}

// Somebody's rubbish in a page is written over, and breaks nothing.
func TestStoreWithRubbish(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	rubbish := &corev1.ConfigMap{BinaryData: map[string][]byte{"decisions.jsonl.gz": []byte("rubbish")}}
	rubbish.Namespace, rubbish.Name = ns, "holdfast-decisions-00"
	if err := env.Client.Create(t.Context(), rubbish); err != nil {
		t.Fatal(err)
	}
	if err := policy.NewStore(env.Client, ns).Append(t.Context(), decisions(0, 3)); err != nil {
		t.Fatal(err)
	}
	if all, err := policy.Read(t.Context(), env.Client, ns); err != nil || len(all) != 3 {
		t.Errorf("%d decisions are there, %v", len(all), err)
	}
}
