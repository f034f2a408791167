package testkit

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// drainLimit is how long the server may take to send an event that it has committed.
const drainLimit = 10 * time.Second

// event is one change of one object, as the server sent it.
type event struct {
	gvk    schema.GroupVersionKind
	kind   watch.EventType
	object client.Object
}

// feed returns the events of one kind in one namespace, all of them and in the server's order, when asked: drain returns
// only after everything committed before it was called has arrived. It has no goroutine of its own.
type feed struct {
	client    client.WithWatch
	gvk       schema.GroupVersionKind
	namespace string

	watch watch.Interface
	seen  map[client.ObjectKey]client.Object // the newest state of each object that is there
	gone  map[string]string                  // uid of a deleted object -> the version of its deletion
	at    string                             // the version up to which everything has been returned
}

// newFeed lists a kind and starts to watch it from there. The objects that exist already come as the first events.
func newFeed(ctx context.Context, c client.WithWatch, gvk schema.GroupVersionKind, namespace string) (*feed, []event, error) {
	f := &feed{client: c, gvk: gvk, namespace: namespace, seen: map[client.ObjectKey]client.Object{}, gone: map[string]string{}}
	objects, version, err := f.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	sort.Slice(objects, func(i, j int) bool {
		return reconcile.Newer(objects[j].GetResourceVersion(), objects[i].GetResourceVersion())
	})
	first := make([]event, 0, len(objects))
	for _, object := range objects {
		f.seen[client.ObjectKeyFromObject(object)] = object
		first = append(first, event{gvk: gvk, kind: watch.Added, object: object})
	}
	list, err := f.newList()
	if err != nil {
		return nil, nil, err
	}
	f.at = version
	f.watch, err = c.Watch(ctx, list, client.InNamespace(namespace), &client.ListOptions{Raw: rawFrom(version)})
	if err != nil {
		return nil, nil, fmt.Errorf("watch %s in %s: %w", gvk.Kind, namespace, err)
	}
	return f, first, nil
}

// stop ends the watch.
func (f *feed) stop() { f.watch.Stop() }

// drain returns the events since the last call.
func (f *feed) drain(ctx context.Context) ([]event, error) {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	objects, version, err := f.list(ctx)
	if err != nil {
		return nil, err
	}
	var events []event
	for !f.reached(objects) {
		select {
		case received, open := <-f.watch.ResultChan():
			if !open {
				return events, fmt.Errorf("the watch of %s in %s ended early", f.gvk.Kind, f.namespace)
			}
			e, err := f.take(received)
			if err != nil {
				return events, err
			}
			events = append(events, e)
		case <-ctx.Done():
			return events, fmt.Errorf("the watch of %s in %s lacks events that a list shows: %w", f.gvk.Kind, f.namespace, ctx.Err())
		}
	}
	if reconcile.Newer(version, f.at) {
		f.at = version
	}
	return events, nil
}

// take notes one event of the watch.
func (f *feed) take(received watch.Event) (event, error) {
	object, ok := received.Object.(client.Object)
	if !ok || received.Type == watch.Error {
		return event{}, fmt.Errorf("the watch of %s in %s failed: %v", f.gvk.Kind, f.namespace, received.Object)
	}
	key := client.ObjectKeyFromObject(object)
	f.at = object.GetResourceVersion()
	if received.Type == watch.Deleted {
		delete(f.seen, key)
		f.gone[string(object.GetUID())] = f.at
	} else {
		f.seen[key] = object
	}
	return event{gvk: f.gvk, kind: received.Type, object: object}, nil
}

// reached reports whether the events so far lead at least to the given objects.
func (f *feed) reached(objects []client.Object) bool {
	there := make(map[client.ObjectKey]bool, len(objects))
	for _, object := range objects {
		key := client.ObjectKeyFromObject(object)
		there[key] = true
		if _, gone := f.gone[string(object.GetUID())]; gone {
			continue // deleted since the list
		}
		if seen := f.seen[key]; seen == nil || reconcile.Newer(object.GetResourceVersion(), seen.GetResourceVersion()) {
			return false
		}
	}
	for key := range f.seen {
		if !there[key] {
			return false // its deletion is still to come
		}
	}
	return true
}

// list reads the kind from the server, past every cache.
func (f *feed) list(ctx context.Context) ([]client.Object, string, error) {
	list, err := f.newList()
	if err != nil {
		return nil, "", err
	}
	if err := f.client.List(ctx, list, client.InNamespace(f.namespace)); err != nil {
		return nil, "", fmt.Errorf("list %s in %s: %w", f.gvk.Kind, f.namespace, err)
	}
	return items(list), list.GetResourceVersion(), nil
}

func (f *feed) newList() (client.ObjectList, error) {
	return newListOf(f.client.Scheme(), f.gvk)
}

// newListOf makes an empty typed list of a kind.
func newListOf(scheme *runtime.Scheme, gvk schema.GroupVersionKind) (client.ObjectList, error) {
	object, err := scheme.New(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	if err != nil {
		return nil, fmt.Errorf("make a list of %s: %w", gvk.Kind, err)
	}
	list, ok := object.(client.ObjectList)
	if !ok {
		return nil, errors.New(gvk.Kind + "List is no list")
	}
	return list, nil
}
