// Package advancedcronjob starts the jobs of AdvancedCronJobs: each moment once, and never a storm of those that were missed.
package advancedcronjob

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

func kind() schema.GroupVersionKind {
	return appsv1beta1.SchemeGroupVersion.WithKind("AdvancedCronJob")
}

var errTemplate = errors.New("spec.template: set exactly one of jobTemplate, broadcastJobTemplate and imageListPullJobTemplate")

const (
	// pollImages is how often jobs are asked for that cannot be watched, as the cluster may not serve their kind.
	pollImages = 10 * time.Second
	// pollKind is how often it is tried again to start a job of a kind that the cluster does not serve.
	pollKind = time.Minute
)

// Deps are what the room needs from the operator.
type Deps struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Live reads from the API server.
	Live  client.Reader
	Clock clock.PassiveClock
}

// What keeping AdvancedCronJobs takes.

// +kubebuilder:rbac:groups=apps.kruise.io,resources=advancedcronjobs,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=advancedcronjobs/status,verbs=get;patch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=advancedcronjobs/finalizers,verbs=update
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;delete
// +kubebuilder:rbac:groups=apps.kruise.io,resources=broadcastjobs,verbs=get;list;watch;create;delete
// +kubebuilder:rbac:groups=apps.kruise.io,resources=imagelistpulljobs,verbs=get;list;create;delete
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=advancedcronjobs.apps.kruise.io,verbs=get;patch

// Reconciler starts the jobs of AdvancedCronJobs.
type Reconciler struct{ Deps }

// New makes the reconciler.
func New(d Deps) *Reconciler { return &Reconciler{Deps: d} }

// Watches are the kinds whose events concern an AdvancedCronJob.
func (r *Reconciler) Watches() []reconcile.Watch {
	return []reconcile.Watch{{Object: &batchv1.Job{}}, {Object: &appsv1beta1.BroadcastJob{}}}
}

// Reconcile is one pass: observe, decide, act, report.
func (r *Reconciler) Reconcile(ctx context.Context, acj *appsv1beta1.AdvancedCronJob) (reconcile.Result, error) {
	if acj.DeletionTimestamp != nil {
		return reconcile.Result{}, nil // the garbage collector takes the jobs, or is told to leave them
	}
	now := r.Clock.Now()
	s, err := parse(acj.Spec.Schedule, acj.Spec.TimeZone, acj.CreationTimestamp.Time)
	if err == nil && typeOf(acj) == "" {
		err = errTemplate
	} else if err != nil {
		err = fmt.Errorf("spec.schedule %q: %w", acj.Spec.Schedule, err)
	}
	if err != nil {
		reportStalled(acj, "InvalidSpec", err, now)
		return reconcile.Result{}, reconcile.Stalled("InvalidSpec", err)
	}
	jobs, err := r.jobs(ctx, acj)
	if err != nil {
		return reconcile.Result{}, err
	}
	p := decide(acj, s, jobs, now)
	started, err := r.act(ctx, acj, p)
	fill(ctx, acj, jobs, started, p, err, now)
	if err != nil {
		return reconcile.Result{}, verdict(err)
	}
	again := p.again
	if typeOf(acj) == appsv1beta1.ImageListPullJobCronJobType && len(acj.Status.Active) > 0 {
		again = min(again, pollImages)
	}
	return reconcile.After(again), nil
}

// jobs lists the jobs that belong to the object, in the order of their times. Jobs that the status knows, and the cache does not show
// yet, are asked for: a job that runs must never be overlooked.
func (r *Reconciler) jobs(ctx context.Context, acj *appsv1beta1.AdvancedCronJob) ([]job, error) {
	var plain batchv1.JobList
	var broadcast appsv1beta1.BroadcastJobList
	for _, list := range []client.ObjectList{&plain, &broadcast} {
		if err := r.Client.List(ctx, list, client.InNamespace(acj.Namespace), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list the jobs of AdvancedCronJob %s/%s: %w", acj.Namespace, acj.Name, err)
		}
	}
	jobs := append(owned(acj.UID, jobKind(), pointers(plain.Items)), owned(acj.UID, broadcastKind(), pointers(broadcast.Items))...)
	images, err := r.imageJobs(ctx, acj)
	if err != nil {
		return nil, err
	}
	jobs = append(jobs, images...)
	for _, ref := range acj.Status.Active {
		missing, err := r.unseen(ctx, acj, ref, jobs)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, missing...)
	}
	return sorted(jobs), nil
}

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}

// imageJobs asks the API server itself, and only where there can be any: the kind may not be served.
func (r *Reconciler) imageJobs(ctx context.Context, acj *appsv1beta1.AdvancedCronJob) ([]job, error) {
	const images = appsv1beta1.ImageListPullJobCronJobType
	if acj.Spec.Template.ImageListPullJobTemplate == nil && acj.Status.Type != images {
		return nil, nil
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(imageKind().GroupVersion().WithKind("ImageListPullJobList"))
	err := r.Live.List(ctx, list, client.InNamespace(acj.Namespace))
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil, nil // the kind is not served: the attempt to start one will say so
	}
	if err != nil {
		return nil, fmt.Errorf("list the ImageListPullJobs of AdvancedCronJob %s/%s: %w", acj.Namespace, acj.Name, err)
	}
	return owned(acj.UID, imageKind(), pointers(list.Items)), nil
}

// unseen asks for a job that the status knows and that was not found.
func (r *Reconciler) unseen(
	ctx context.Context, acj *appsv1beta1.AdvancedCronJob, ref corev1.ObjectReference, found []job,
) ([]job, error) {
	for _, j := range found {
		if j.object.GetUID() == ref.UID {
			return nil, nil
		}
	}
	var object client.Object
	gvk := ref.GroupVersionKind()
	switch gvk {
	case jobKind():
		object = &batchv1.Job{}
	case broadcastKind():
		object = &appsv1beta1.BroadcastJob{}
	default:
		return nil, nil // of these, the list is as new as any answer
	}
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: acj.Namespace, Name: ref.Name}, object)
	switch {
	case apierrors.IsNotFound(err), err == nil && object.GetUID() != ref.UID:
		reconcile.Event(ctx, corev1.EventTypeNormal, "MissingJob", "%s %s is gone, although it had not ended", ref.Kind, ref.Name)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read %s %s/%s: %w", ref.Kind, acj.Namespace, ref.Name, err)
	default:
		return []job{newJob(gvk, object)}, nil
	}
}

// act writes: those that are replaced go first, then the job is started, and last the history is trimmed.
func (r *Reconciler) act(ctx context.Context, acj *appsv1beta1.AdvancedCronJob, p plan) (started *job, err error) {
	if p.start.IsZero() {
		return nil, r.remove(ctx, p.expired, "history")
	}
	if err := r.remove(ctx, p.replace, "replaced"); err != nil {
		return nil, err
	}
	started, err = r.start(ctx, acj, p.start)
	return started, errors.Join(err, r.remove(ctx, p.expired, "history"))
}

// start makes the job of a time. A name that is taken by a job of ours is that very job: its answer, or what came after, was lost.
func (r *Reconciler) start(ctx context.Context, acj *appsv1beta1.AdvancedCronJob, at time.Time) (*job, error) {
	object, err := build(acj, at)
	if err != nil {
		return nil, err
	}
	gvk := object.GetObjectKind().GroupVersionKind()
	err = r.Client.Create(ctx, object)
	if apierrors.IsAlreadyExists(err) {
		if object, err = r.existing(ctx, acj, object, gvk); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, &startError{kind: gvk.Kind, name: jobName(acj.Name, at), err: err}
	}
	j := newJob(gvk, object)
	reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulCreate", "started %s for %s", j, at.UTC().Format(time.RFC3339))
	return &j, nil
}

func (r *Reconciler) existing(
	ctx context.Context, acj *appsv1beta1.AdvancedCronJob, object client.Object, gvk schema.GroupVersionKind,
) (client.Object, error) {
	key := client.ObjectKeyFromObject(object)
	if err := r.Live.Get(ctx, key, object); err != nil {
		return nil, fmt.Errorf("read %s %s, whose name is taken: %w", gvk.Kind, key, err)
	}
	if !metav1.IsControlledBy(object, acj) {
		return nil, &startError{kind: gvk.Kind, name: key.Name, err: errForeign}
	}
	return object, nil
}

// remove deletes jobs with their pods.
func (r *Reconciler) remove(ctx context.Context, jobs []job, why string) error {
	for _, j := range jobs {
		if j.leaving {
			continue
		}
		// The uid: a job that was made anew under the name is another one.
		err := r.Client.Delete(ctx, j.object, client.Preconditions{UID: ptr.To(j.object.GetUID())},
			client.PropagationPolicy(metav1.DeletePropagationBackground))
		switch {
		case err == nil:
			reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulDelete", "deleted %s (%s)", j, why)
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("delete %s of namespace %s (%s): %w", j, j.object.GetNamespace(), why, err)
		}
	}
	return nil
}

var errForeign = errors.New("an object of that name exists and belongs to somebody else; rename it, or delete it")

// startError is a job that could not be started.
type startError struct {
	kind, name string
	err        error
}

func (e *startError) Error() string { return fmt.Sprintf("start %s %s: %v", e.kind, e.name, e.err) }
func (e *startError) Unwrap() error { return e.err }

// hopeless reports whether the start will fail again until somebody changes the template, or the cluster.
func hopeless(err error) bool {
	var failed *startError
	return errors.As(err, &failed) && (apierrors.IsInvalid(failed.err) || apierrors.IsBadRequest(failed.err) ||
		meta.IsNoMatchError(failed.err) || apierrors.HasStatusCause(failed.err, corev1.NamespaceTerminatingCause))
}

// verdict says to the frame how a failed pass goes on.
func verdict(err error) error {
	if meta.IsNoMatchError(err) {
		return reconcile.Wait(pollKind, "the cluster does not serve the kind of the job")
	}
	if hopeless(err) {
		return reconcile.Stalled(reasonRefused, fmt.Errorf("spec.template: %w", err))
	}
	return err
}
