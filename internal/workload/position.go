package workload

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
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
	informer := p.informer(ctx, kind)
	if informer == nil {
		return "", false
	}
	return informer.GetStore().LastStoreSyncResourceVersion(), true
}

// Pods reads OwnerIndex as the client does, but without copying every pod into a list.
func (p *CachePosition) Pods(ctx context.Context, namespace, owner string) ([]*corev1.Pod, bool) {
	informer := p.informer(ctx, podKind())
	if informer == nil || !informer.HasSynced() {
		return nil, false
	}
	found, err := informer.GetIndexer().ByIndex("field:"+OwnerIndex, namespace+"/"+owner)
	if err != nil {
		return nil, false // the index is not there, or has another name now
	}
	pods := make([]*corev1.Pod, 0, len(found))
	for _, o := range found {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			return nil, false
		}
		pods = append(pods, pod)
	}
	return pods, true
}

// informer of a kind, nil while there is none.
func (p *CachePosition) informer(ctx context.Context, kind schema.GroupVersionKind) toolscache.SharedIndexInformer {
	if informer, known := p.informers.Load(kind); known {
		return informer.(toolscache.SharedIndexInformer) //nolint:forcetypeassert // only such are stored
	}
	// The informer runs already: the engine has read the kind before it asks. So this does not wait.
	found, err := p.Cache.GetInformerForKind(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return nil
	}
	informer, ok := found.(toolscache.SharedIndexInformer)
	if !ok {
		return nil
	}
	p.informers.Store(kind, informer)
	return informer
}
