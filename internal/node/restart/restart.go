// Package restart has containers start again whose environment comes from labels or annotations that their workload has
// changed in place, and tells what each of them really runs with. Everything follows from what the API server and the container
// runtime say at the moment: a daemon that was killed goes on where it was.
package restart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/node/cri"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// What the node daemon may do; the policy holdfast-node keeps it to the pods of its own node, and to its annotation.

// +kubebuilder:rbac:roleName=holdfast-node,groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:roleName=holdfast-node,groups="",resources=events,verbs=create;patch

// settle is how long a container runs at least before it is stopped: it may have been started by a kubelet that had not heard of
// the new labels yet, and must not be stopped over and over before it has.
const settle = 2 * time.Second

// Runtime is the container runtime of the node.
type Runtime interface {
	Inspect(ctx context.Context, id string, names ...string) (cri.Container, error)
	Stop(ctx context.Context, id string, grace time.Duration) error
	Exec(ctx context.Context, id string, command []string, limit time.Duration) error
}

// Reconciler looks after the pods of one node.
type Reconciler struct {
	client  client.Client
	runtime Runtime
	web     *http.Client
	clock   clock.WithTicker
	metrics *Metrics

	mu sync.Mutex
	// known are the containers that were looked at, by pod and by the id that the kubelet reports: what one was started with
	// never changes.
	known map[types.NamespacedName]map[string]inplace.RuntimeHashes
}

// New makes the reconciler.
func New(c client.Client, runtime Runtime, clock clock.WithTicker, metrics *Metrics) *Reconciler {
	return &Reconciler{
		client: c, runtime: runtime, web: hookClient(), clock: clock, metrics: metrics,
		known: map[types.NamespacedName]map[string]inplace.RuntimeHashes{},
	}
}

// Forget drops what is remembered of a pod that is gone.
func (r *Reconciler) Forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, key)
}

// Reconcile is one pass over a pod: look at its containers, report, restart those that are due.
func (r *Reconciler) Reconcile(ctx context.Context, p *corev1.Pod) (reconcile.Result, error) {
	containers := watched(p)
	if len(containers) == 0 {
		r.Forget(client.ObjectKeyFromObject(p))
		return reconcile.Result{}, nil
	}
	report, lookErr := r.look(ctx, p, containers)
	if err := r.report(ctx, p, report); err != nil {
		return reconcile.Result{}, errors.Join(lookErr, err)
	}
	again, err := r.restart(ctx, p, inplace.Due(p))
	return reconcile.After(again), errors.Join(lookErr, err)
}

// watched are the containers of a pod that take values from its metadata, and that start again when they are stopped. Pods of
// others than our workloads have none: nobody has asked for anything there.
func watched(p *corev1.Pod) []*corev1.Container {
	if !pod.Active(p) || !ours(p) {
		return nil
	}
	var all []*corev1.Container
	for c := range pod.Running(p) {
		if inplace.Restartable(p, c) && len(inplace.MetadataEnv(c)) > 0 {
			all = append(all, c)
		}
	}
	return all
}

// ours reports whether a workload of ours controls the pod. Static pods belong to their node.
func ours(p *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(p)
	return owner != nil && strings.HasPrefix(owner.APIVersion, appsv1beta1.SchemeGroupVersion.Group+"/")
}

// look tells what the containers run with. Of one that cannot be looked at, what was reported before is kept.
func (r *Reconciler) look(ctx context.Context, p *corev1.Pod, containers []*corev1.Container) (inplace.Runtime, error) {
	before := inplace.ReadRuntime(p)
	key := client.ObjectKeyFromObject(p)
	r.mu.Lock()
	known := r.known[key]
	r.mu.Unlock()

	var report inplace.Runtime
	var errs []error
	seen := map[string]inplace.RuntimeHashes{}
	for _, c := range containers {
		status := pod.Container(p, c.Name)
		if status == nil || status.ContainerID == "" {
			continue
		}
		hashes, is := known[status.ContainerID]
		if !is {
			var err error
			switch hashes, err = r.inspect(ctx, status.ContainerID, c); {
			case errors.Is(err, cri.ErrNotFound): // it ended, and the kubelet is about to tell of the next one
			case err != nil:
				errs = append(errs, fmt.Errorf("container %s: %w", c.Name, err))
			default:
				is = true
			}
		}
		switch former := before.Container(c.Name); {
		case is:
			seen[status.ContainerID] = hashes
			report.Containers = append(report.Containers, inplace.RuntimeContainer{
				Name: c.Name, ContainerID: status.ContainerID, RestartCount: status.RestartCount, Hashes: hashes,
			})
		case former != nil:
			report.Containers = append(report.Containers, *former)
		}
	}
	r.mu.Lock()
	r.known[key] = seen
	r.mu.Unlock()
	return report, errors.Join(errs...)
}

func (r *Reconciler) inspect(ctx context.Context, id string, c *corev1.Container) (inplace.RuntimeHashes, error) {
	var names []string
	for _, env := range inplace.MetadataEnv(c) {
		names = append(names, env.Name)
	}
	is, err := r.runtime.Inspect(ctx, bare(id), names...)
	if err != nil {
		return inplace.RuntimeHashes{}, err
	}
	return inplace.RuntimeHashes{PlainHash: is.KubeletHash, ExtractedEnvFromMetadataHash: inplace.EnvHash(is.Env)}, nil
}

// bare is a container's id without the name of the runtime before it.
func bare(id string) string {
	_, after, _ := strings.Cut(id, "://")
	return after
}

// report writes what the containers run with on the pod, where it does not say so already.
func (r *Reconciler) report(ctx context.Context, p *corev1.Pod, report inplace.Runtime) error {
	if len(report.Containers) == 0 {
		return nil // nothing has started yet
	}
	raw, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("encode what the containers of pod %s/%s run with: %w", p.Namespace, p.Name, err)
	}
	if p.Annotations[appsv1beta1.RuntimeContainersMeta] == string(raw) {
		return nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": p.UID, "annotations": map[string]string{appsv1beta1.RuntimeContainersMeta: string(raw)},
	}})
	if err != nil {
		return fmt.Errorf("encode the patch of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	target := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
	err = r.client.Patch(ctx, target, client.RawPatch(types.MergePatchType, body))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("tell what the containers of pod %s/%s run with: %w", p.Namespace, p.Name, err)
	}
	metav1.SetMetaDataAnnotation(&p.ObjectMeta, appsv1beta1.RuntimeContainersMeta, string(raw))
	return nil
}

// restart stops the containers that are due, all at once as the kubelet does, and tells when to come again for those that have
// only just started.
func (r *Reconciler) restart(ctx context.Context, p *corev1.Pod, due []string) (time.Duration, error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var again time.Duration
	var errs []error
	for _, name := range due {
		wg.Go(func() {
			wait, err := r.stop(ctx, p, name)
			mu.Lock()
			defer mu.Unlock()
			again = max(again, wait)
			if err != nil {
				r.metrics.failed()
				reconcile.Event(ctx, corev1.EventTypeWarning, "FailedRestart", "container %s: %v", name, err)
				errs = append(errs, fmt.Errorf("restart container %s of pod %s/%s: %w", name, p.Namespace, p.Name, err))
			}
		})
	}
	wg.Wait()
	return again, errors.Join(errs...)
}

// stop ends the run of a container that the kubelet reports, and no other: a run that has begun since has an id of its own.
func (r *Reconciler) stop(ctx context.Context, p *corev1.Pod, name string) (time.Duration, error) {
	c, id := pod.SpecOf(p, name), bare(pod.Container(p, name).ContainerID)
	is, err := r.runtime.Inspect(ctx, id)
	switch {
	case errors.Is(err, cri.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case !is.Running:
		return 0, nil // the kubelet starts it again
	case is.Image != "" && is.Image != c.Image:
		return 0, nil // the kubelet restarts it for its new image
	}
	if young := settle - r.clock.Since(is.StartedAt); young > 0 {
		return young, nil
	}
	grace := 30 * time.Second // the API server's own default
	if seconds := p.Spec.TerminationGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	logf.FromContext(ctx).Info("restarting a container for its environment", "container", name, "id", id, "grace", grace.String())
	left := r.preStop(ctx, p, c, id, grace)
	if err := r.runtime.Stop(ctx, id, left); err != nil {
		return 0, err
	}
	r.metrics.done()
	reconcile.Event(ctx, corev1.EventTypeNormal, "RestartedForEnv",
		"stopped container %s, which starts again with the new values of its labels and annotations", name)
	return 0, nil
}
