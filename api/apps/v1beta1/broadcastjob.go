package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// BroadcastJob runs one pod to its end on every node that its template fits.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:path=broadcastjobs,singular=broadcastjob,shortName=bcj,categories=all
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Desired",type=integer,JSONPath=".status.desired",description="Nodes that should run a pod"
// +kubebuilder:printcolumn:name="Active",type=integer,JSONPath=".status.active",description="Pods that have not ended"
// +kubebuilder:printcolumn:name="Succeeded",type=integer,JSONPath=".status.succeeded",description="Nodes whose pod has succeeded"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=".status.failed",description="Nodes whose pod has failed"
// +kubebuilder:printcolumn:name="AGE",type=date,JSONPath=".metadata.creationTimestamp",description="Time since creation"
// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || size(self.metadata.name) <= 63",optionalOldSelf=true,message="metadata.name must have at most 63 characters: it is the value of the label broadcastjob-name of the pods, and Kubernetes allows no longer ones; choose a shorter name"
type BroadcastJob struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what is wanted.
	//
	// +optional
	Spec BroadcastJobSpec `json:"spec,omitempty"`

	// Status is what was seen last. It is written by Holdfast alone.
	//
	// +optional
	Status BroadcastJobStatus `json:"status,omitempty"`
}

// BroadcastJobList is a list of BroadcastJobs.
//
// +kubebuilder:object:root=true
type BroadcastJobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	// Items are the BroadcastJobs.
	Items []BroadcastJob `json:"items"`
}

// Labels of the pods of a BroadcastJob.
const (
	// BroadcastJobName is the name of the pod's job.
	BroadcastJobName = "broadcastjob-name"
	// BroadcastJobControllerUID is the UID of the pod's job; it is what the job finds its pods by.
	BroadcastJobControllerUID = "broadcastjob-controller-uid"
)

// BroadcastJobSpec is what is wanted of a BroadcastJob.
type BroadcastJobSpec struct {
	// Parallelism is how many pods may run at a time: a whole number of 0 or more, or a percentage of the nodes (rounded up).
	// Pods that are terminating count. 0 starts none. Default: unset, all at once.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9]?[0-9])%$') : (type(self) == int ? self >= 0 : false)",message="must be a whole number of 0 or more, or a percentage from \"0%\" to \"100%\""
	Parallelism *intstr.IntOrString `json:"parallelism,omitempty"`

	// Template is the pod to be made. Its nodeSelector, required node affinity, nodeName and tolerations say which nodes get
	// one. restartPolicy is Never or OnFailure; default: OnFailure. A change of the template counts for pods made from then on.
	//
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Schemaless
	Template corev1.PodTemplateSpec `json:"template"`

	// CompletionPolicy says whether the job ends, and what becomes of it then.
	//
	// +optional
	CompletionPolicy CompletionPolicy `json:"completionPolicy,omitempty"`

	// Paused starts no further pods; those that run go on. activeDeadlineSeconds goes on, too. Default: false.
	//
	// +optional
	Paused bool `json:"paused,omitempty"`

	// FailurePolicy says what a failed pod means for the job.
	//
	// +optional
	FailurePolicy FailurePolicy `json:"failurePolicy,omitempty"`
}

// CompletionPolicyType says whether a job ends.
//
// +kubebuilder:validation:Enum=Always;Never
type CompletionPolicyType string

// Whether a job ends.
const (
	// CompletionPolicyAlways ends the job once a pod has ended on every node.
	CompletionPolicyAlways CompletionPolicyType = "Always"
	// CompletionPolicyNever does not end the job: nodes that join later run a pod, too.
	CompletionPolicyNever CompletionPolicyType = "Never"
)

// CompletionPolicy says whether a job ends, and what becomes of it then.
type CompletionPolicy struct {
	// Type is Always: the job ends once a pod has ended on every node; or Never: it goes on for ever, and nodes that join
	// later run a pod, too. Default: Always.
	//
	// +optional
	Type CompletionPolicyType `json:"type,omitempty"`

	// ActiveDeadlineSeconds is how long, in seconds from status.startTime, the job may take; then its running pods are deleted
	// and it has failed, with the reason DeadlineExceeded. Default: unset, no deadline. It means nothing with the type Never.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// TTLSecondsAfterFinished is how long, in seconds from status.completionTime, the job is kept after its end; then it is
	// deleted with its pods. 0: at once. Default: unset, it is kept. It means nothing with the type Never.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`
}

// FailurePolicyType says what a failed pod means for the job.
//
// +kubebuilder:validation:Enum=FailFast;Continue;Pause
type FailurePolicyType string

// What a failed pod means for the job.
const (
	// FailurePolicyFailFast ends the job: its running pods are deleted, and it has failed.
	FailurePolicyFailFast FailurePolicyType = "FailFast"
	// FailurePolicyContinue goes on with the other nodes.
	FailurePolicyContinue FailurePolicyType = "Continue"
	// FailurePolicyPause starts no further pods until the failed one is deleted or the policy is changed.
	FailurePolicyPause FailurePolicyType = "Pause"
)

// FailurePolicy says what a failed pod means for the job.
type FailurePolicy struct {
	// Type is FailFast: the job's running pods are deleted, and it has failed; Continue: the job goes on with the other nodes,
	// and completes; or Pause: no further pods are started until the failed pod is deleted, whose node then runs a new one, or
	// the policy is changed. With the completion policy Never, FailFast stops the running pods and starts no more, but the job
	// is not marked as failed. Default: FailFast.
	//
	// +optional
	Type FailurePolicyType `json:"type,omitempty"`

	// RestartLimit is how often the containers of one pod may be restarted in all, with the restartPolicy OnFailure, before
	// the pod counts as failed and is stopped. Default: 0, the first failure counts.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	RestartLimit int32 `json:"restartLimit,omitempty"`
}

// BroadcastJobPhase is a job's state in one word.
type BroadcastJobPhase string

// The phases of a job.
const (
	// BroadcastJobPhaseRunning: pods are running, or about to.
	BroadcastJobPhaseRunning BroadcastJobPhase = "running"
	// BroadcastJobPhasePaused: no further pods are started, by the spec or by the failure policy.
	BroadcastJobPhasePaused BroadcastJobPhase = "paused"
	// BroadcastJobPhaseCompleted: a pod has ended on every node.
	BroadcastJobPhaseCompleted BroadcastJobPhase = "completed"
	// BroadcastJobPhaseFailed: the job was ended by a failed pod or by its deadline.
	BroadcastJobPhaseFailed BroadcastJobPhase = "failed"
)

// BroadcastJobStatus is what was seen of a BroadcastJob last.
type BroadcastJobStatus struct {
	// ObservedGeneration is the generation of the spec that this status speaks of. While it is lower than
	// metadata.generation, the status is about an older spec.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions say how the job is doing: Complete and Failed, as a Kubernetes Job has them, and Ready, Reconciling and
	// Stalled, which follow kstatus (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus).
	//
	// +optional
	// +listType=atomic
	Conditions []JobCondition `json:"conditions,omitempty"`

	// StartTime is when the job was seen first.
	//
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// CompletionTime is when the job ended, be it well or not.
	//
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`

	// Active is how many pods have not ended.
	//
	// +optional
	Active int32 `json:"active"`

	// Succeeded is on how many nodes the pod has succeeded.
	//
	// +optional
	Succeeded int32 `json:"succeeded"`

	// Failed is on how many nodes the pod has failed.
	//
	// +optional
	Failed int32 `json:"failed"`

	// Desired is how many nodes should run a pod, or have run one.
	//
	// +optional
	Desired int32 `json:"desired"`

	// Phase is the job's state in one word: running, paused, completed or failed.
	//
	// +optional
	Phase BroadcastJobPhase `json:"phase,omitempty"`

	// Held says why pods are not made, or do not run, one entry per reason. Empty: nothing waits.
	//
	// +optional
	// +listType=atomic
	Held []HeldChange `json:"held,omitempty"`
}

// JobConditionType names a condition of a job.
type JobConditionType string

// The conditions of a job beside Ready, Reconciling and Stalled.
const (
	// JobComplete is True when a pod has ended on every node.
	JobComplete JobConditionType = "Complete"
	// JobFailed is True when the job was ended by a failed pod or by its deadline.
	JobFailed JobConditionType = "Failed"
	// JobFailedScale is True when pods could not be created or deleted.
	JobFailedScale JobConditionType = "FailedScale"
	// JobNoMatchingNodes is True while no node of the cluster fits the template; the message says what the nodes lack.
	JobNoMatchingNodes JobConditionType = "NoMatchingNodes"
)

// JobCondition is one thing that is true, false or unknown about a job.
type JobCondition struct {
	// Type names the condition.
	Type JobConditionType `json:"type"`

	// Status is True, False or Unknown.
	Status corev1.ConditionStatus `json:"status"`

	// LastProbeTime is when the condition was last written with a new status, reason or message.
	//
	// +optional
	LastProbeTime metav1.Time `json:"lastProbeTime,omitzero"`

	// LastTransitionTime is when the status last changed.
	//
	// +optional
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitzero"`

	// Reason is one word for programs.
	//
	// +optional
	Reason string `json:"reason,omitempty"`

	// Message is one sentence for people: what is the matter, and what they can do.
	//
	// +optional
	Message string `json:"message,omitempty"`
}
