package cli

import (
	"context"
	"fmt"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// settle is how long changes are gathered before they are shown: one change of
// a rollout is several events.
const settle = 150 * time.Millisecond

// subject is what is followed: objects of a kind, all or some.
type subject struct {
	object client.Object
	only   cache.ByObject
}

// workloadSubject follows one workload, or all of its kind when it has no name.
func workloadSubject(f found) subject {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(f.GVK)
	s := subject{object: object}
	if f.Key.Name != "" {
		s.only.Field = fields.OneTermEqualSelector("metadata.name", f.Key.Name)
	}
	return s
}

// partSubjects follows what belongs to a workload: its pods and revisions.
func partSubjects(w Workload) ([]subject, error) {
	selector, err := w.selector()
	if err != nil {
		return nil, err
	}
	revision := subject{object: &appsv1.ControllerRevision{}, only: cache.ByObject{Label: w.revisionSelector()}}
	if w.Kind.History == replicaSets {
		revision = subject{object: &appsv1.ReplicaSet{}}
	}
	parts := []subject{{object: &corev1.Pod{}, only: cache.ByObject{Label: selector}}, revision}
	if w.Kind.Injects {
		parts = append(parts, subject{object: &corev1.Namespace{}})
	}
	return parts, nil
}

// follow keeps a cache of the subjects, and calls show at once and after each
// change until it says that it is done, or ctx ends. With refresh above 0 it
// also calls show that often, so that ages stay true.
func (s *session) follow(ctx context.Context, namespace string, subjects []subject, refresh time.Duration,
	show func(context.Context, client.Reader) (done bool, err error),
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	store, err := s.newCache(namespace, subjects, cancel)
	if err != nil {
		return err
	}
	changed, err := subscribe(ctx, store, subjects)
	if err != nil {
		return err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- store.Start(ctx) }()
	defer func() { cancel(nil); <-stopped }()
	if !store.WaitForCacheSync(ctx) {
		return ended(ctx)
	}
	var tick <-chan time.Time
	if refresh > 0 {
		ticker := time.NewTicker(refresh)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		if done, err := show(ctx, store); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ended(ctx)
		case <-tick:
			continue
		case <-changed:
		}
		select { // let the events of one change come together
		case <-ctx.Done():
			return ended(ctx)
		case <-time.After(settle):
		}
	}
}

// newCache makes the cache; an answer that will not change by trying again ends the following.
func (s *session) newCache(namespace string, subjects []subject, end context.CancelCauseFunc) (cache.Cache, error) {
	config := rest.CopyConfig(s.config)
	config.Timeout = 0 // a watch lasts
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &outage{next: next, host: s.host(), out: s.ErrOut}
	})
	options := cache.Options{
		Scheme: clientgoscheme.Scheme, Mapper: s.mapper, ByObject: map[client.Object]cache.ByObject{},
		DefaultWatchErrorHandler: func(_ context.Context, _ *toolscache.Reflector, err error) {
			if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) {
				end(fmt.Errorf("watch: %w", err))
			}
		},
	}
	if namespace != "" {
		options.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	}
	for _, subject := range subjects {
		options.ByObject[subject.object] = subject.only
	}
	store, err := cache.New(config, options)
	if err != nil {
		return nil, fmt.Errorf("prepare to watch: %w", err)
	}
	return store, nil
}

// subscribe returns a channel that has a value after any number of changes.
func subscribe(ctx context.Context, store cache.Cache, subjects []subject) (<-chan struct{}, error) {
	changed := make(chan struct{}, 1)
	notice := func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already, and stands for all
		}
	}
	for _, subject := range subjects {
		informer, err := store.GetInformer(ctx, subject.object, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("prepare to watch: %w", err)
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { notice() },
			UpdateFunc: func(before, after any) {
				if version(before) != version(after) {
					notice()
				}
			},
			DeleteFunc: func(any) { notice() },
		})
		if err != nil {
			return nil, fmt.Errorf("prepare to watch: %w", err)
		}
	}
	return changed, nil
}

func version(object any) string {
	if o, ok := object.(metav1.Object); ok {
		return o.GetResourceVersion()
	}
	return ""
}

// ended is nil when the user ended the following, else why it ended.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && !isCanceled(cause) {
		return cause
	}
	return nil
}
