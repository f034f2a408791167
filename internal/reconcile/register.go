package reconcile

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// How often the cluster is asked again for a kind that it does not serve.
const kindInterval = 5 * time.Second

// Watch is a kind beside the controller's own whose events lead to passes.
type Watch struct {
	// Object of the watched kind. It is watched through the cache.
	Object client.Object
	// Map tells which objects to pass over; nil: the controlling owner.
	Map handler.MapFunc
	// Predicates keep events out.
	Predicates []predicate.Predicate
	// Source is watched instead of Object, for what is no object of the cluster.
	Source source.Source
}

// Owner maps an object to its controlling owner when that is of the kind; no read is needed.
func Owner(kind schema.GroupKind) handler.MapFunc {
	return func(_ context.Context, obj client.Object) []ctrl.Request {
		owner := metav1.GetControllerOfNoCopy(obj)
		if owner == nil || owner.Kind != kind.Kind {
			return nil
		}
		if gv, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || gv.Group != kind.Group {
			return nil
		}
		return []ctrl.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: owner.Name}}}
	}
}

// Register has mgr run f over every object of its kind, once the cluster serves that kind and those it watches: a kind whose
// definition is missing is not an error, its controller starts when the definition appears.
func Register[T client.Object](mgr manager.Manager, f *Frame[T], watches ...Watch) error {
	gvk, err := apiutil.GVKForObject(newObject[T](), mgr.GetScheme())
	if err != nil {
		return fmt.Errorf("register controller %s: %w", f.opts.Name, err)
	}
	served, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("register controller %s: make a discovery client: %w", f.opts.Name, err)
	}
	needed := []schema.GroupVersionKind{gvk}
	for _, w := range watches {
		if w.Source != nil {
			continue
		}
		watched, err := apiutil.GVKForObject(w.Object, mgr.GetScheme())
		if err != nil {
			return fmt.Errorf("register controller %s: watch %T: %w", f.opts.Name, w.Object, err)
		}
		needed = append(needed, watched)
	}
	f.opts.Metrics.setEnabled(f.opts.Name, false)
	err = mgr.Add(&gate{
		wait: func(ctx context.Context) error {
			log := mgr.GetLogger().WithValues("controller", f.opts.Name, "kind", gvk.GroupKind().String(), "version", gvk.Version)
			told := false
			for {
				err := servesAll(served, needed)
				if err == nil {
					break
				}
				if !told {
					told = true
					log.Info("controller not started: the cluster does not serve all its kinds; it starts when the CustomResourceDefinition is installed",
						"error", err.Error())
				}
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(kindInterval):
				}
			}
			if told {
				log.Info("the cluster serves the kinds now: starting its controller")
			}
			f.opts.Metrics.setEnabled(f.opts.Name, true)
			if err := start(mgr, f, gvk, watches); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		},
	})
	if err != nil {
		return fmt.Errorf("register controller %s: %w", f.opts.Name, err)
	}
	return nil
}

// gate runs on every replica, so that the caches of those that do not lead are warm when they take over.
type gate struct {
	wait func(ctx context.Context) error
}

func (g *gate) Start(ctx context.Context) error { return g.wait(ctx) }
func (g *gate) NeedLeaderElection() bool        { return false }

// servesAll says which of the kinds the cluster does not serve, if any.
func servesAll(d discovery.ServerResourcesInterface, kinds []schema.GroupVersionKind) error {
	for _, gvk := range kinds {
		if err := serves(d, gvk); err != nil {
			return err
		}
	}
	return nil
}

// serves asks for one group and version only: it must not depend on the health of other APIs of the cluster.
func serves(d discovery.ServerResourcesInterface, gvk schema.GroupVersionKind) error {
	list, err := d.ServerResourcesForGroupVersion(gvk.GroupVersion().String())
	if err != nil {
		return fmt.Errorf("ask for %s: %w", gvk.GroupVersion(), err)
	}
	for _, r := range list.APIResources {
		if r.Kind == gvk.Kind {
			return nil
		}
	}
	return fmt.Errorf("%s has no kind %s", gvk.GroupVersion(), gvk.Kind)
}

func start[T client.Object](mgr manager.Manager, f *Frame[T], gvk schema.GroupVersionKind, watches []Watch) error {
	c, err := controller.New(f.opts.Name, mgr, controller.Options{
		Reconciler:              f,
		MaxConcurrentReconciles: f.opts.Concurrency,
		NewQueue:                f.opts.queue,
		EnableWarmup:            ptr.To(true),
		RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[ctrl.Request](
			50*time.Millisecond, 2*time.Minute),
		// A manager of a test may hold the same controller twice.
		SkipNameValidation: ptr.To(true),
	})
	if err != nil {
		return fmt.Errorf("start controller %s: %w", f.opts.Name, err)
	}
	sources := []source.Source{source.Kind[client.Object](mgr.GetCache(), newObject[T](), &handler.EnqueueRequestForObject{})}
	for _, w := range watches {
		if w.Source != nil {
			sources = append(sources, w.Source)
			continue
		}
		mapped := w.Map
		if mapped == nil {
			mapped = Owner(gvk.GroupKind())
		}
		sources = append(sources, source.Kind(mgr.GetCache(), w.Object, handler.EnqueueRequestsFromMapFunc(mapped), w.Predicates...))
	}
	for _, s := range sources {
		if err := c.Watch(s); err != nil {
			return fmt.Errorf("start controller %s: watch %v: %w", f.opts.Name, s, err)
		}
	}
	return nil
}
