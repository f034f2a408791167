package broadcastjob

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
	"github.com/holdfast-io/holdfast/internal/workload/node"
)

// Hooks are the admission of BroadcastJobs. It asks the API server itself what it would say to the pods.
func Hooks(scheme *runtime.Scheme, c client.Client, live client.Reader) []admission.Hook {
	v := &validator{server: judge.Server{Client: c, Live: live}}
	return admission.ForKind(scheme, appsv1beta1.SchemeGroupVersion.WithResource("broadcastjobs"), nil,
		admission.Kind[*appsv1beta1.BroadcastJob]{Default: Default, Validate: v.Validate})
}

// Default fills in what the user left out.
func Default(job *appsv1beta1.BroadcastJob) {
	if job.Spec.CompletionPolicy.Type == "" {
		job.Spec.CompletionPolicy.Type = appsv1beta1.CompletionPolicyAlways
	}
	if job.Spec.FailurePolicy.Type == "" {
		job.Spec.FailurePolicy.Type = appsv1beta1.FailurePolicyFailFast
	}
	if job.Spec.Template.Spec.RestartPolicy == "" {
		job.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	}
}

// validator judges what the schema cannot.
type validator struct {
	server judge.Server
}

// Validate judges a new or a changed BroadcastJob.
func (v *validator) Validate(ctx context.Context, old, job *appsv1beta1.BroadcastJob) (warnings []string, errs field.ErrorList) {
	if job.DeletionTimestamp != nil {
		return nil, nil // only finalizers can still change; nothing may stand in their way
	}
	if errs = validateTemplate(job); len(errs) > 0 {
		return nil, errs
	}
	warnings = warn(old, job)
	var before *judge.Workload
	if old != nil {
		before = ptr.To(judged(old))
	}
	warned, errs := v.server.Accepts(ctx, before, judged(job))
	return append(warnings, warned...), errs
}

func judged(job *appsv1beta1.BroadcastJob) judge.Workload {
	return judge.Workload{Kind: kind().Kind, Namespace: job.Namespace, Name: job.Name, Template: &job.Spec.Template}
}

// validateTemplate refuses pods that never end, and what is asked of nodes that cannot be read.
func validateTemplate(job *appsv1beta1.BroadcastJob) (errs field.ErrorList) {
	path := field.NewPath("spec", "template", "spec")
	spec := &job.Spec.Template.Spec
	allowed := []corev1.RestartPolicy{corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure}
	if spec.RestartPolicy == corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("restartPolicy"), spec.RestartPolicy, allowed))
	}
	if _, err := node.NewTemplate(&job.Spec.Template); err != nil {
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, err.Error()))
	}
	for _, key := range []string{appsv1beta1.BroadcastJobName, appsv1beta1.BroadcastJobControllerUID} {
		if _, taken := job.Spec.Template.Labels[key]; taken {
			errs = append(errs, field.Forbidden(field.NewPath("spec", "template", "metadata", "labels").Key(key),
				"the job sets it, to find its pods by; leave it out"))
		}
	}
	return errs
}

// warn tells of settings that have less effect than they seem to.
func warn(old, job *appsv1beta1.BroadcastJob) (warnings []string) {
	completion, failure := &job.Spec.CompletionPolicy, &job.Spec.FailurePolicy
	if completion.Type == appsv1beta1.CompletionPolicyNever {
		if completion.ActiveDeadlineSeconds != nil {
			warnings = append(warnings, "spec.completionPolicy.activeDeadlineSeconds has no effect while its type is Never")
		}
		if completion.TTLSecondsAfterFinished != nil {
			warnings = append(warnings, "spec.completionPolicy.ttlSecondsAfterFinished has no effect while its type is Never")
		}
	}
	if failure.RestartLimit > 0 && job.Spec.Template.Spec.RestartPolicy == corev1.RestartPolicyNever {
		warnings = append(warnings, "spec.failurePolicy.restartLimit has no effect while spec.template.spec.restartPolicy is Never")
	}
	if old == nil {
		return warnings
	}
	if _, finished := already(old); finished && !apiequality.Semantic.DeepEqual(old.Spec, job.Spec) {
		warnings = append(warnings, "the job has ended: of its spec only completionPolicy.ttlSecondsAfterFinished still counts")
	} else if !apiequality.Semantic.DeepEqual(old.Spec.Template, job.Spec.Template) {
		warnings = append(warnings, "spec.template counts for pods made from now on; nodes whose pod has begun or ended keep it")
	}
	return warnings
}
