package advancedcronjob

import (
	"context"
	"fmt"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
)

// shortDeadline is what a restart of the operator may well take, in seconds.
const shortDeadline = 10

// Hooks are the admission of AdvancedCronJobs. It asks the API server itself what it would say to the jobs.
func Hooks(scheme *runtime.Scheme, c client.Client) []admission.Hook {
	v := &validator{client: c}
	return admission.ForKind(scheme, appsv1beta1.SchemeGroupVersion.WithResource("advancedcronjobs"), nil,
		admission.Kind[*appsv1beta1.AdvancedCronJob]{Default: Default, Validate: v.Validate})
}

// Default fills in what the user left out.
func Default(acj *appsv1beta1.AdvancedCronJob) {
	if acj.Spec.ConcurrencyPolicy == "" {
		acj.Spec.ConcurrencyPolicy = appsv1beta1.AllowConcurrent
	}
	judge.Fill(&acj.Spec.SuccessfulJobsHistoryLimit, defaultSuccessfulHistory)
	judge.Fill(&acj.Spec.FailedJobsHistoryLimit, defaultFailedHistory)
}

// validator judges what the schema cannot.
type validator struct{ client client.Client }

// Validate judges a new or a changed AdvancedCronJob.
func (v *validator) Validate(ctx context.Context, old, acj *appsv1beta1.AdvancedCronJob) (warnings []string, errs field.ErrorList) {
	if acj.DeletionTimestamp != nil {
		return nil, nil // only finalizers can still change; nothing may stand in their way
	}
	if old == nil || line(old) != line(acj) {
		errs = validateSchedule(acj)
	}
	warnings = warn(acj)
	if old != nil && apiequality.Semantic.DeepEqual(old.Spec.Template, acj.Spec.Template) {
		return warnings, errs
	}
	found := v.validateTemplate(acj)
	if len(found) > 0 {
		return warnings, append(errs, found...)
	}
	warned, found := v.jobIsAccepted(ctx, acj)
	return append(warnings, warned...), append(errs, found...)
}

func validateSchedule(acj *appsv1beta1.AdvancedCronJob) field.ErrorList {
	spec := field.NewPath("spec")
	if zone := acj.Spec.TimeZone; zone != nil {
		if _, err := zoneNamed(*zone); err != nil {
			return field.ErrorList{field.Invalid(spec.Child("timeZone"), *zone, err.Error())}
		}
	}
	if _, err := parse(acj.Spec.Schedule, acj.Spec.TimeZone, time.Now()); err != nil {
		return field.ErrorList{field.Invalid(spec.Child("schedule"), acj.Spec.Schedule, err.Error())}
	}
	return nil
}

func warn(acj *appsv1beta1.AdvancedCronJob) (warnings []string) {
	if strings.Contains(acj.Spec.Schedule, "TZ=") {
		warnings = append(warnings, "spec.schedule: the time zone is better written in spec.timeZone")
	}
	if deadline := acj.Spec.StartingDeadlineSeconds; deadline != nil && *deadline < shortDeadline {
		warnings = append(warnings, fmt.Sprintf("spec.startingDeadlineSeconds: a restart of the operator may take longer than %d s, "+
			"and then the job of that time is not started; %d or more is safe", *deadline, shortDeadline))
	}
	return warnings
}

func (v *validator) validateTemplate(acj *appsv1beta1.AdvancedCronJob) field.ErrorList {
	path := field.NewPath("spec", "template")
	if typeOf(acj) == "" {
		return field.ErrorList{field.Invalid(path, field.OmitValueType{},
			"set exactly one of jobTemplate, broadcastJobTemplate and imageListPullJobTemplate")}
	}
	if acj.Spec.Template.ImageListPullJobTemplate == nil {
		return nil
	}
	if _, err := v.client.RESTMapper().RESTMapping(imageKind().GroupKind(), imageKind().Version); meta.IsNoMatchError(err) {
		return field.ErrorList{field.Invalid(path.Child("imageListPullJobTemplate"), field.OmitValueType{},
			"the cluster does not serve ImageListPullJobs (apps.kruise.io/v1beta1), so none could be started; "+
				"install the CustomResourceDefinition, or use jobTemplate or broadcastJobTemplate")}
	}
	return nil
}

// jobIsAccepted asks the API server, in a dry run, whether it would take a job of the template.
func (v *validator) jobIsAccepted(ctx context.Context, acj *appsv1beta1.AdvancedCronJob) ([]string, field.ErrorList) {
	path := field.NewPath("spec", "template").Child(map[appsv1beta1.CronJobType]string{
		appsv1beta1.JobCronJobType:              "jobTemplate",
		appsv1beta1.BroadcastJobCronJobType:     "broadcastJobTemplate",
		appsv1beta1.ImageListPullJobCronJobType: "imageListPullJobTemplate",
	}[typeOf(acj)])
	named := acj
	if acj.Name == "" { // it will be generated
		named = acj.DeepCopy()
		named.Name = "x"
	}
	made, err := build(named, time.Now())
	if err != nil {
		return nil, field.ErrorList{field.InternalError(path, err)}
	}
	made.SetOwnerReferences(nil) // the owner has no uid yet
	return judge.Tried(v.client.Create(ctx, made, client.DryRunAll), path)
}
