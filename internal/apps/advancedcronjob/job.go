package advancedcronjob

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

func jobKind() schema.GroupVersionKind { return batchv1.SchemeGroupVersion.WithKind("Job") }
func broadcastKind() schema.GroupVersionKind {
	return appsv1beta1.SchemeGroupVersion.WithKind("BroadcastJob")
}

// imageKind is served by no release yet: its jobs are read and written without a type, and followed by asking for them.
func imageKind() schema.GroupVersionKind {
	return appsv1beta1.SchemeGroupVersion.WithKind("ImageListPullJob")
}

// outcome is how a job ended.
type outcome string

const (
	running   outcome = "Running"
	succeeded outcome = "Complete"
	failed    outcome = "Failed"
)

// job is what is known of one job that was started.
type job struct {
	kind      schema.GroupVersionKind
	object    client.Object
	scheduled time.Time
	outcome   outcome
	// leaving: it is being deleted.
	leaving bool
}

func (j job) name() string { return j.object.GetName() }

func (j job) String() string { return j.kind.Kind + " " + j.object.GetName() }

func (j job) ref() corev1.ObjectReference {
	apiVersion, kind := j.kind.ToAPIVersionAndKind()
	return corev1.ObjectReference{
		APIVersion: apiVersion, Kind: kind, Namespace: j.object.GetNamespace(), Name: j.object.GetName(), UID: j.object.GetUID(),
	}
}

// newJob reads the facts of a job.
func newJob(kind schema.GroupVersionKind, object client.Object) job {
	j := job{kind: kind, object: object, outcome: running, leaving: object.GetDeletionTimestamp() != nil}
	j.scheduled = object.GetCreationTimestamp().UTC()
	if at, err := time.Parse(time.RFC3339, object.GetAnnotations()[appsv1beta1.ScheduledAt]); err == nil {
		j.scheduled = at.UTC()
	}
	switch object := object.(type) {
	case *batchv1.Job:
		j.outcome = outcomeOfJob(object)
	case *appsv1beta1.BroadcastJob:
		j.outcome = outcomeOfBroadcast(object)
	case *unstructured.Unstructured:
		j.outcome = outcomeOfImages(object)
	}
	return j
}

func outcomeOfJob(object *batchv1.Job) outcome {
	for _, c := range object.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete:
			return succeeded
		case c.Type == batchv1.JobFailed:
			return failed
		}
	}
	return running
}

func outcomeOfBroadcast(object *appsv1beta1.BroadcastJob) outcome {
	ended := running
	for _, c := range object.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == appsv1beta1.JobFailed:
			return failed
		case c.Type == appsv1beta1.JobComplete:
			ended = succeeded
		}
	}
	return ended
}

func outcomeOfImages(object *unstructured.Unstructured) outcome {
	if _, ended, err := unstructured.NestedString(object.Object, "status", "completionTime"); err != nil || !ended {
		return running
	}
	if bad, _, err := unstructured.NestedSlice(object.Object, "status", "failedImageStatuses"); err != nil || len(bad) > 0 {
		return failed
	}
	return succeeded
}

// sorted puts jobs in the order of their times.
func sorted(jobs []job) []job {
	slices.SortFunc(jobs, func(a, b job) int { return cmp.Or(a.scheduled.Compare(b.scheduled), cmp.Compare(a.name(), b.name())) })
	return jobs
}

// typeOf is the kind of the jobs that an object starts, or empty when its template holds none or several.
func typeOf(acj *appsv1beta1.AdvancedCronJob) appsv1beta1.CronJobType {
	t := acj.Spec.Template
	var found appsv1beta1.CronJobType
	count := 0
	for kind, set := range map[appsv1beta1.CronJobType]bool{
		appsv1beta1.JobCronJobType:              t.JobTemplate != nil,
		appsv1beta1.BroadcastJobCronJobType:     t.BroadcastJobTemplate != nil,
		appsv1beta1.ImageListPullJobCronJobType: t.ImageListPullJobTemplate != nil,
	} {
		if set {
			found, count = kind, count+1
		}
	}
	if count != 1 {
		return ""
	}
	return found
}

// jobName follows from the time alone: whoever starts the job of that time, and however often, asks for the same object.
func jobName(owner string, at time.Time) string { return fmt.Sprintf("%s-%d", owner, at.Unix()) }

// build makes the job of a time.
func build(acj *appsv1beta1.AdvancedCronJob, at time.Time) (client.Object, error) {
	t := acj.Spec.Template
	switch typeOf(acj) {
	case appsv1beta1.JobCronJobType:
		made := &batchv1.Job{Spec: *t.JobTemplate.Spec.DeepCopy()}
		made.SetGroupVersionKind(jobKind())
		// A cached template shares its maps with everybody who reads it.
		meta := t.JobTemplate.ObjectMeta.DeepCopy()
		made.Finalizers = meta.Finalizers
		return dressed(made, acj, at, meta.Labels, meta.Annotations), nil
	case appsv1beta1.BroadcastJobCronJobType:
		made := &appsv1beta1.BroadcastJob{Spec: *t.BroadcastJobTemplate.Spec.DeepCopy()}
		made.SetGroupVersionKind(broadcastKind())
		return dressed(made, acj, at, t.BroadcastJobTemplate.Labels, t.BroadcastJobTemplate.Annotations), nil
	case appsv1beta1.ImageListPullJobCronJobType:
		spec, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&t.ImageListPullJobTemplate.Spec)
		if err != nil {
			return nil, fmt.Errorf("encode spec.template.imageListPullJobTemplate.spec: %w", err)
		}
		made := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		made.SetGroupVersionKind(imageKind())
		return dressed(made, acj, at, t.ImageListPullJobTemplate.Labels, t.ImageListPullJobTemplate.Annotations), nil
	default:
		return nil, errTemplate
	}
}

// dressed gives a job its name, its owner and its time.
func dressed(
	made client.Object, acj *appsv1beta1.AdvancedCronJob, at time.Time, labels, annotations map[string]string,
) client.Object {
	made.SetNamespace(acj.Namespace)
	made.SetName(jobName(acj.Name, at))
	made.SetLabels(maps.Clone(labels))
	annotations = maps.Clone(annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[appsv1beta1.ScheduledAt] = at.UTC().Format(time.RFC3339)
	made.SetAnnotations(annotations)
	made.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(acj, kind())})
	return made
}

// owned picks the jobs that belong to an object.
func owned[T client.Object](uid types.UID, kind schema.GroupVersionKind, all []T) []job {
	var mine []job
	for _, object := range all {
		if owner := metav1.GetControllerOfNoCopy(object); owner != nil && owner.UID == uid {
			mine = append(mine, newJob(kind, object))
		}
	}
	return mine
}
