package v1beta1

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AdvancedCronJob starts a Job, a BroadcastJob or an ImageListPullJob at the times of a cron line.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=advancedcronjobs,singular=advancedcronjob,shortName=acj,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Schedule",type=string,JSONPath=".spec.schedule",description="Cron line"
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=".status.type",description="Kind of the jobs"
// +kubebuilder:printcolumn:name="LastScheduleTime",type=date,JSONPath=".status.lastScheduleTime",description="Time for which the last job was started"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || size(self.metadata.name) <= 52",optionalOldSelf=true,message="metadata.name must have at most 52 characters: a job is named <name>-<time>, which Kubernetes allows 63 characters; choose a shorter name"
type AdvancedCronJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	//
	// +optional
	Spec AdvancedCronJobSpec `json:"spec,omitempty"`

	// Status is what was seen last. It is written by Holdfast alone.
	//
	// +optional
	Status AdvancedCronJobStatus `json:"status,omitempty"`
}

// AdvancedCronJobList is a list of AdvancedCronJobs.
//
// +kubebuilder:object:root=true
type AdvancedCronJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the AdvancedCronJobs.
	Items []AdvancedCronJob `json:"items"`
}

// ConcurrencyPolicy says what happens when a job is due while an earlier one still runs.
//
// +kubebuilder:validation:Enum=Allow;Forbid;Replace
type ConcurrencyPolicy string

// What happens when a job is due while an earlier one still runs.
const (
	// AllowConcurrent starts it beside the earlier one.
	AllowConcurrent ConcurrencyPolicy = "Allow"
	// ForbidConcurrent waits until the earlier one has ended.
	ForbidConcurrent ConcurrencyPolicy = "Forbid"
	// ReplaceConcurrent deletes the earlier one first.
	ReplaceConcurrent ConcurrencyPolicy = "Replace"
)

// AdvancedCronJobSpec is what is wanted of an AdvancedCronJob.
type AdvancedCronJobSpec struct {
	// Schedule is a cron line of five fields (minute, hour, day of the month, the month, day of the week;
	// https://en.wikipedia.org/wiki/Cron), or one of @hourly, @daily, @weekly, @monthly, @yearly, or "@every 90m", which
	// counts from the object's creation. A line that never fires, such as "0 0 30 2 *", is refused. A line may begin with
	// "TZ=Europe/Berlin "; timeZone says the same, and is preferred.
	//
	// When clocks change, a line with a fixed hour fires once on each day: a time that does not exist is made up for as soon as
	// the clock has jumped, one that comes twice is taken once. A line for every hour goes on in real time.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Schedule string `json:"schedule"`

	// TimeZone is the zone in which schedule is read, by its name in the IANA database (https://www.iana.org/time-zones), such
	// as Europe/Berlin. Default: Etc/UTC, on whatever machine Holdfast runs. "Local" is refused.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	TimeZone *string `json:"timeZone,omitempty"`

	// StartingDeadlineSeconds is how long, in seconds after its time, a job that could not be started may still be started.
	// Default: unset, no limit. If several times were missed, while Holdfast was down or the object paused, only the latest is made
	// up for.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`

	// ConcurrencyPolicy is Allow: a job is started although an earlier one still runs; Forbid: it waits for the earlier one to
	// end; or Replace: the earlier one is deleted first. Default: Allow.
	//
	// +optional
	ConcurrencyPolicy ConcurrencyPolicy `json:"concurrencyPolicy,omitempty"`

	// Paused starts no further jobs; those that run go on. Times that pass meanwhile count as missed. Default: false.
	//
	// +optional
	Paused *bool `json:"paused,omitempty"`

	// SuccessfulJobsHistoryLimit is how many jobs that ended well are kept. Default: 3. 0 keeps none.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	SuccessfulJobsHistoryLimit *int32 `json:"successfulJobsHistoryLimit,omitempty"`

	// FailedJobsHistoryLimit is how many jobs that failed are kept. Default: 1. 0 keeps none.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	FailedJobsHistoryLimit *int32 `json:"failedJobsHistoryLimit,omitempty"`

	// Template is the job to be started. A change of it counts for jobs started from then on.
	Template CronJobTemplate `json:"template"`
}

// CronJobTemplate is the job to be started: exactly one of its fields is set.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type CronJobTemplate struct {
	// JobTemplate is a Job of Kubernetes (https://kubernetes.io/docs/concepts/workloads/controllers/job/).
	//
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	JobTemplate *batchv1.JobTemplateSpec `json:"jobTemplate,omitempty"`

	// BroadcastJobTemplate is a BroadcastJob: one pod on every node that it fits.
	//
	// +optional
	BroadcastJobTemplate *BroadcastJobTemplateSpec `json:"broadcastJobTemplate,omitempty"`

	// ImageListPullJobTemplate is an ImageListPullJob: images are pulled to nodes. It is refused while the cluster does not
	// serve that kind. It has no place in v1alpha1.
	//
	// +optional
	ImageListPullJobTemplate *ImageListPullJobTemplateSpec `json:"imageListPullJobTemplate,omitempty"`
}

// TemplateMeta are the labels and annotations of an object that is made from a template. Its name follows from the time.
type TemplateMeta struct {
	// Labels of the object.
	//
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations of the object.
	//
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// BroadcastJobTemplateSpec is a BroadcastJob to be made.
type BroadcastJobTemplateSpec struct {
	// TemplateMeta are the labels and annotations of the BroadcastJob.
	//
	// +optional
	TemplateMeta `json:"metadata,omitzero"`

	// Spec is what is wanted of the BroadcastJob.
	//
	// +optional
	Spec BroadcastJobSpec `json:"spec,omitzero"`
}

// ImageListPullJobTemplateSpec is an ImageListPullJob to be made.
type ImageListPullJobTemplateSpec struct {
	// TemplateMeta are the labels and annotations of the ImageListPullJob.
	//
	// +optional
	TemplateMeta `json:"metadata,omitzero"`

	// Spec is what is wanted of the ImageListPullJob.
	//
	// +optional
	Spec ImageListPullJobSpec `json:"spec,omitzero"`
}

// CronJobType is the kind of the jobs that an AdvancedCronJob starts.
type CronJobType string

// The kinds of jobs.
const (
	// JobCronJobType starts Jobs.
	JobCronJobType CronJobType = "Job"
	// BroadcastJobCronJobType starts BroadcastJobs.
	BroadcastJobCronJobType CronJobType = "BroadcastJob"
	// ImageListPullJobCronJobType starts ImageListPullJobs.
	ImageListPullJobCronJobType CronJobType = "ImageListPullJob"
)

// AdvancedCronJobStatus is what was seen of an AdvancedCronJob last.
type AdvancedCronJobStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Type is the kind of the jobs: Job, BroadcastJob or ImageListPullJob.
	//
	// +optional
	Type CronJobType `json:"type,omitempty"`

	// Active are the jobs that have not ended, the oldest first, a hundred of them at the most.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Active []corev1.ObjectReference `json:"active,omitempty"`

	// LastScheduleTime is the time, by the schedule, for which a job was started last.
	//
	// +optional
	LastScheduleTime *metav1.Time `json:"lastScheduleTime,omitempty"`

	// NextScheduleTime is the next time of the schedule. Unset while paused.
	//
	// +optional
	NextScheduleTime *metav1.Time `json:"nextScheduleTime,omitempty"`

	// SettledTime is up to when the times of the schedule are settled: a job was started for them, or they were missed for good,
	// or the schedule was another one then.
	//
	// +optional
	SettledTime *metav1.Time `json:"settledTime,omitempty"`

	// ObservedSchedule is the schedule, with its time zone, that the times above speak of. When it changes, times that are over are
	// settled: they were not times of the new schedule when they passed.
	//
	// +optional
	ObservedSchedule string `json:"observedSchedule,omitempty"`

	// Conditions say how the object is doing: Ready, Reconciling and Stalled, which follow kstatus
	// (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus).
	//
	// +optional
	// +listType=atomic
	Conditions []WorkloadCondition `json:"conditions,omitempty"`

	// Held says why a job that is due waits: Paused, or Concurrency. Empty: nothing waits.
	//
	// +optional
	// +listType=atomic
	Held []HeldChange `json:"held,omitempty"`
}
