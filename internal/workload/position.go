package workload

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// CachePosition reads the position of a controller-runtime cache from its informers.
type CachePosition struct {
	Cache cache.Cache

	informers sync.Map // schema.GroupVersionKind to toolscache.SharedIndexInformer
}

// Synced is what the store behind the kind's informer has got to, not what its watch has received.
func (p *CachePosition) Synced(ctx context.Context, kind schema.GroupVersionKind) (string, bool) {
	if informer, known := p.informers.Load(kind); known {
		store := informer.(toolscache.SharedIndexInformer).GetStore() //nolint:forcetypeassert // only such are stored
		return store.LastStoreSyncResourceVersion(), true
	}
	// The informer runs already: the engine has read the kind before it asks. So this does not wait.
	found, err := p.Cache.GetInformerForKind(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return "", false
	}
	informer, ok := found.(toolscache.SharedIndexInformer)
	if !ok {
		return "", false
	}
	p.informers.Store(kind, informer)
	return informer.GetStore().LastStoreSyncResourceVersion(), true
}
