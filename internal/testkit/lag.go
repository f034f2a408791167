package testkit

import (
	"context"
	"fmt"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// LagCache is a reader that stays behind the API server by a chosen number of events, as an informer's cache does for a
// moment after each write, and for longer under load. Kinds that it was not told to hold are read live. It answers like an
// informer's cache: by labels, by namespace, and by fields that were indexed; Synced says how far it has come.
//
// It moves only when it is told to, so a test decides what the controller can know in each pass.
type LagCache struct {
	// Behind is how many of the newest events a Refresh leaves out.
	Behind int

	live    client.WithWatch
	feeds   map[schema.GroupVersionKind]*feed
	pending []event // received, not visible yet
	visible map[schema.GroupVersionKind]map[client.ObjectKey]client.Object
	at      map[schema.GroupVersionKind]string
	indexes map[string]client.IndexerFunc
}

// NewLagCache returns a LagCache for the given kinds in one namespace, which shows what is there now. It ends with the test.
func NewLagCache(t testing.TB, env *Env, namespace string, kinds ...client.Object) *LagCache {
	t.Helper()
	l := &LagCache{
		live:    env.Client,
		feeds:   map[schema.GroupVersionKind]*feed{},
		visible: map[schema.GroupVersionKind]map[client.ObjectKey]client.Object{},
		at:      map[schema.GroupVersionKind]string{},
		indexes: map[string]client.IndexerFunc{},
	}
	for _, kind := range kinds {
		gvk, err := apiutil.GVKForObject(kind, env.Scheme)
		if err != nil {
			t.Fatalf("a lagging cache of %T: %v", kind, err)
		}
		f, first, err := newFeed(t.Context(), env.Client, gvk, namespace)
		if err != nil {
			t.Fatalf("a lagging cache: %v", err)
		}
		t.Cleanup(f.stop)
		l.feeds[gvk], l.visible[gvk] = f, map[client.ObjectKey]client.Object{}
		for _, e := range first {
			l.show(e)
		}
		l.at[gvk] = f.at
	}
	return l
}

// Fetch receives every event that the server has committed, without showing it.
func (l *LagCache) Fetch(ctx context.Context) error {
	for _, f := range l.feeds {
		events, err := f.drain(ctx)
		if err != nil {
			return err
		}
		l.pending = append(l.pending, events...)
	}
	slices.SortStableFunc(l.pending, func(a, b event) int {
		if reconcile.Newer(b.object.GetResourceVersion(), a.object.GetResourceVersion()) {
			return -1
		}
		if reconcile.Newer(a.object.GetResourceVersion(), b.object.GetResourceVersion()) {
			return 1
		}
		return 0
	})
	return nil
}

// Show makes the next n received events visible, the oldest first over all kinds, and returns how many there were.
func (l *LagCache) Show(n int) int {
	n = min(max(n, 0), len(l.pending))
	for _, e := range l.pending[:n] {
		l.show(e)
	}
	l.pending = l.pending[n:]
	return n
}

// Refresh fetches, and then shows all but the newest Behind events.
func (l *LagCache) Refresh(ctx context.Context) error {
	if err := l.Fetch(ctx); err != nil {
		return err
	}
	l.Show(len(l.pending) - l.Behind)
	return nil
}

// CatchUp fetches and shows everything: the cache is then as new as the server.
func (l *LagCache) CatchUp(ctx context.Context) error {
	if err := l.Fetch(ctx); err != nil {
		return err
	}
	l.Show(len(l.pending))
	for gvk, f := range l.feeds {
		l.at[gvk] = f.at
	}
	return nil
}

// Pending is the number of events that were fetched and are not visible.
func (l *LagCache) Pending() int { return len(l.pending) }

// Synced returns the resource version up to which the cache has seen a kind, and false for a kind that it does not hold.
func (l *LagCache) Synced(_ context.Context, gvk schema.GroupVersionKind) (resourceVersion string, ok bool) {
	resourceVersion, ok = l.at[gvk]
	return resourceVersion, ok
}

// show makes one event visible.
func (l *LagCache) show(e event) {
	key := client.ObjectKeyFromObject(e.object)
	if e.kind == watch.Deleted {
		delete(l.visible[e.gvk], key)
	} else {
		l.visible[e.gvk][key] = e.object
	}
	l.at[e.gvk] = e.object.GetResourceVersion()
}

// Client returns a client that reads from the cache and writes through c.
func (l *LagCache) Client(c client.Client) client.Client {
	return &splitClient{Client: c, reads: l}
}

// splitClient sends reads to one place and writes to another, as a manager's client does.
type splitClient struct {
	client.Client
	reads client.Reader
}

// Get reads from the cache.
func (s *splitClient) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	return s.reads.Get(ctx, key, into, opts...) //nolint:wrapcheck // it stands for the client, and answers as it does
}

// List reads from the cache.
func (s *splitClient) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	return s.reads.List(ctx, list, opts...) //nolint:wrapcheck // as above
}

// IndexField makes a field usable in List, as a controller-runtime cache wants it.
func (l *LagCache) IndexField(_ context.Context, object client.Object, field string, values client.IndexerFunc) error {
	gvk, err := apiutil.GVKForObject(object, l.live.Scheme())
	if err != nil {
		return fmt.Errorf("index %s: %w", field, err)
	}
	l.indexes[gvk.String()+" "+field] = values
	return nil
}

// Get reads one object as the cache shows it.
func (l *LagCache) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	gvk, err := apiutil.GVKForObject(into, l.live.Scheme())
	if err != nil {
		return fmt.Errorf("get %s: %w", key, err)
	}
	objects, held := l.visible[gvk]
	if !held {
		return l.live.Get(ctx, key, into, opts...) //nolint:wrapcheck // it stands for a cache, and answers as it does
	}
	object, found := objects[key]
	if !found {
		plural, _ := meta.UnsafeGuessKindToResource(gvk)
		return apierrors.NewNotFound(plural.GroupResource(), key.Name)
	}
	return copyInto(object, into)
}

// List reads the objects that the cache shows.
func (l *LagCache) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	gvk, err := apiutil.GVKForObject(into, l.live.Scheme())
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	gvk.Kind = gvk.Kind[:len(gvk.Kind)-len("List")]
	objects, held := l.visible[gvk]
	if !held {
		return l.live.List(ctx, into, opts...) //nolint:wrapcheck // as above
	}
	var options client.ListOptions
	options.ApplyOptions(opts)
	keys := make([]client.ObjectKey, 0, len(objects))
	for key, object := range objects {
		chosen, err := l.chosen(gvk, object, &options)
		if err != nil {
			return err
		}
		if chosen {
			keys = append(keys, key)
		}
	}
	// An informer's cache lists in no order at all; a fixed one keeps tests repeatable.
	slices.SortFunc(keys, func(a, b client.ObjectKey) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	})
	list := make([]runtime.Object, len(keys))
	for i, key := range keys {
		list[i] = objects[key].DeepCopyObject()
	}
	into.SetResourceVersion(l.at[gvk])
	return fill(into, list)
}

// fill puts objects into a list.
func fill(list client.ObjectList, objects []runtime.Object) error {
	if err := meta.SetList(list, objects); err != nil {
		return fmt.Errorf("fill a list: %w", err)
	}
	return nil
}

// chosen reports whether an object fits the options of a List.
func (l *LagCache) chosen(gvk schema.GroupVersionKind, object client.Object, options *client.ListOptions) (bool, error) {
	if options.Namespace != "" && options.Namespace != object.GetNamespace() {
		return false, nil
	}
	if options.LabelSelector != nil && !options.LabelSelector.Matches(labelsOf(object)) {
		return false, nil
	}
	if options.FieldSelector == nil {
		return true, nil
	}
	for _, requirement := range options.FieldSelector.Requirements() {
		values, indexed := l.indexes[gvk.String()+" "+requirement.Field]
		if !indexed {
			return false, fmt.Errorf("list %s by %s: the field was not indexed", gvk.Kind, requirement.Field)
		}
		if !slices.Contains(values(object), requirement.Value) {
			return false, nil
		}
	}
	return true, nil
}

// rawFrom asks for a watch from a version on.
func rawFrom(version string) *metav1.ListOptions {
	return &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: false}
}
