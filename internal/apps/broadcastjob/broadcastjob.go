// Package broadcastjob runs the pods of a BroadcastJob: one, to its end, on every node that its template fits.
package broadcastjob

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/report"
	"github.com/holdfast-io/holdfast/internal/workload/watch"
)

func kind() schema.GroupVersionKind { return appsv1beta1.SchemeGroupVersion.WithKind("BroadcastJob") }

// GroupKind of the objects that this room keeps.
func GroupKind() schema.GroupKind { return kind().GroupKind() }

// What running BroadcastJobs takes. These lines stand apart: controller-gen does not see them in the comment of a declaration.

// +kubebuilder:rbac:groups=apps.kruise.io,resources=broadcastjobs,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=apps.kruise.io,resources=broadcastjobs/status,verbs=get;patch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=broadcastjobs/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;patch;delete

// Reconciler runs BroadcastJobs.
type Reconciler struct {
	client client.Client
	engine *workload.Engine
	clock  clock.PassiveClock
}

// New makes the reconciler.
func New(d workload.Deps) *Reconciler {
	return &Reconciler{client: d.Client, engine: d.Engine(), clock: d.Clock}
}

// Forget drops what is remembered of a job that is gone.
func (r *Reconciler) Forget(key types.NamespacedName) { r.engine.Forget(key) }

// Reconcile is one pass: observe, decide, act, report.
func (r *Reconciler) Reconcile(ctx context.Context, job *appsv1beta1.BroadcastJob) (reconcile.Result, error) {
	now := r.clock.Now()
	if job.DeletionTimestamp != nil {
		return reconcile.Result{}, nil // the garbage collector takes the pods, or is told to leave them
	}
	if left, finished := lifetime(job, now); finished && left == 0 {
		return reconcile.Result{}, r.expire(ctx, job)
	}
	var nodes corev1.NodeList
	if err := r.client.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list the nodes for BroadcastJob %s/%s: %w", job.Namespace, job.Name, err)
	}
	src := source(job)
	state, err := r.engine.Observe(ctx, src)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("observe BroadcastJob %s/%s: %w", job.Namespace, job.Name, err)
	}
	t, err := look(job, nodes.Items, state, now)
	if err != nil {
		return r.stalled(job, "InvalidTemplate", err)
	}
	if job.Status.StartTime == nil {
		job.Status.StartTime = ptr.To(metav1.NewTime(now))
	}
	o := conclude(job, t, now)
	plan, err := decide(job, state, t, o, now)
	if err != nil {
		return r.stalled(job, "InvalidParallelism", err)
	}
	if err = r.engine.Act(ctx, src, state, &plan); err == nil {
		err = r.halt(ctx, job, t.spent)
	}
	before := standing(job)
	fillStatus(job, state, t, o, plan, err, now)
	if o.reason != "" && o.reason != before {
		tell(ctx, o)
	}
	if err != nil {
		return reconcile.Result{}, report.Verdict(err)
	}
	again := plan.Again
	if left, finished := lifetime(job, now); finished {
		again = report.Sooner(again, max(left, time.Millisecond))
	}
	return reconcile.After(again), nil
}

// lifetime is how long a job that has ended is kept; false: it has not ended, or is kept for good.
func lifetime(job *appsv1beta1.BroadcastJob, now time.Time) (time.Duration, bool) {
	ttl := job.Spec.CompletionPolicy.TTLSecondsAfterFinished
	if _, finished := already(job); !finished || ttl == nil || job.Status.CompletionTime == nil {
		return 0, false
	}
	return max(0, job.Status.CompletionTime.Add(time.Duration(*ttl)*time.Second).Sub(now)), true
}

// expire deletes a job that has been kept long enough, and its pods with it.
func (r *Reconciler) expire(ctx context.Context, job *appsv1beta1.BroadcastJob) error {
	err := r.client.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete BroadcastJob %s/%s, ttlSecondsAfterFinished after its end: %w", job.Namespace, job.Name, err)
	}
	return nil
}

// halted is the annotation of a pod that was stopped because it was restarted too often.
const halted = "holdfast.io/halted"

// halt stops pods that were restarted more often than allowed: the kubelet ends a pod that is past its deadline, and what
// the pod has left behind, its log above all, stays to be looked at.
func (r *Reconciler) halt(ctx context.Context, job *appsv1beta1.BroadcastJob, spent []*workload.Member) error {
	for _, m := range spent {
		if m.Pod.Annotations[halted] != "" {
			continue
		}
		body := fmt.Appendf(nil, `{"metadata":{"uid":%q,"annotations":{%q:"RestartLimit"}},"spec":{"activeDeadlineSeconds":1}}`,
			m.Pod.UID, halted)
		fresh := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: m.Pod.Namespace, Name: m.Pod.Name}}
		if err := r.client.Patch(ctx, fresh, client.RawPatch(types.MergePatchType, body)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("stop pod %s/%s, which was restarted more than spec.failurePolicy.restartLimit (%d) times: %w",
				m.Pod.Namespace, m.Pod.Name, job.Spec.FailurePolicy.RestartLimit, err)
		}
		r.engine.WrotePod(job, fresh.ResourceVersion)
		reconcile.Event(ctx, corev1.EventTypeWarning, "RestartLimit", "stopped pod %s, which was restarted more than restartLimit (%d) times",
			m.Pod.Name, job.Spec.FailurePolicy.RestartLimit)
	}
	return nil
}

// stalled says that nothing goes on until the user acts.
func (r *Reconciler) stalled(job *appsv1beta1.BroadcastJob, reason string, err error) (reconcile.Result, error) {
	all := conditionsOf(&job.Status)
	all.Stall(reason, err, r.clock.Now())
	job.Status.ObservedGeneration, job.Status.Conditions = job.Generation, listOf(all)
	return reconcile.Result{}, reconcile.Stalled(reason, err)
}

// source is what the engine observes a BroadcastJob by. A job finds its pods by labels that it gives them.
func source(job *appsv1beta1.BroadcastJob) workload.Source {
	own := map[string]string{appsv1beta1.BroadcastJobControllerUID: string(job.UID)}
	template := job.Spec.Template.DeepCopy()
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	maps.Copy(template.Labels, own)
	template.Labels[appsv1beta1.BroadcastJobName] = job.Name
	return workload.Source{
		Owner: job, Kind: kind(), Selector: labels.SelectorFromSet(own), Labels: own, Template: template, HistoryLimit: ptr.To[int32](0),
	}
}

// Watches are the kinds whose events concern a BroadcastJob.
func (r *Reconciler) Watches() []reconcile.Watch {
	return []reconcile.Watch{{Object: &corev1.Pod{}}, watch.Nodes(r.placing)}
}

// placing are the jobs that have not ended.
func (r *Reconciler) placing(ctx context.Context) ([]watch.Placing, error) {
	var jobs appsv1beta1.BroadcastJobList
	if err := r.client.List(ctx, &jobs, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list BroadcastJobs: %w", err)
	}
	var all []watch.Placing
	for i := range jobs.Items {
		if _, finished := already(&jobs.Items[i]); !finished {
			all = append(all, watch.Placing{Object: &jobs.Items[i], Template: &jobs.Items[i].Spec.Template})
		}
	}
	return all, nil
}
