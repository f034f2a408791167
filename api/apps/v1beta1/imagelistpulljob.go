package v1beta1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ImageListPullJobSpec is what is wanted of an ImageListPullJob: images that are pulled to nodes.
type ImageListPullJobSpec struct {
	// Images are the images to be pulled, each of them once.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=255
	// +listType=atomic
	Images []string `json:"images"`

	ImagePullJobTemplate `json:",inline"`
}

// ImagePullJobTemplate is how images are pulled.
type ImagePullJobTemplate struct {
	// PullSecrets are names of secrets, of the job's namespace, with credentials for the registries.
	//
	// +optional
	// +listType=atomic
	PullSecrets []string `json:"pullSecrets,omitempty"`

	// Selector picks the nodes. Default: all nodes.
	//
	// +optional
	Selector *ImagePullJobNodeSelector `json:"selector,omitempty"`

	// PodSelector picks pods, on whose nodes the images are pulled. Not together with selector.
	//
	// +optional
	PodSelector *ImagePullJobPodSelector `json:"podSelector,omitempty"`

	// Parallelism is on how many nodes an image is pulled at a time: a whole number, or a percentage of the nodes. Default: 1.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	Parallelism *intstr.IntOrString `json:"parallelism,omitempty"`

	// PullPolicy is how long a node tries, and how often.
	//
	// +optional
	PullPolicy *PullPolicy `json:"pullPolicy,omitempty"`

	// CompletionPolicy says whether the job ends, and what becomes of it then.
	CompletionPolicy CompletionPolicy `json:"completionPolicy"`

	// SandboxConfig are labels and annotations that the container runtime gets with each pull.
	//
	// +optional
	SandboxConfig *SandboxConfig `json:"sandboxConfig,omitempty"`

	// ImagePullPolicy is Always, or IfNotPresent. Default: IfNotPresent.
	//
	// +optional
	ImagePullPolicy ImagePullPolicy `json:"imagePullPolicy,omitempty"`
}

// ImagePullPolicy says whether an image that is there is pulled again.
//
// +kubebuilder:validation:Enum=Always;IfNotPresent
type ImagePullPolicy corev1.PullPolicy

// ImagePullJobNodeSelector picks nodes, by their names or their labels.
type ImagePullJobNodeSelector struct {
	// Names of nodes.
	//
	// +optional
	// +listType=atomic
	Names []string `json:"names,omitempty"`

	metav1.LabelSelector `json:",inline"`
}

// ImagePullJobPodSelector picks pods by their labels.
type ImagePullJobPodSelector struct {
	metav1.LabelSelector `json:",inline"`
}

// PullPolicy is how long a node tries to pull an image, and how often.
type PullPolicy struct {
	// TimeoutSeconds is how long one try may take. Default: 600.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`

	// BackoffLimit is how often it is tried again. Default: 3.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	BackoffLimit *int32 `json:"backoffLimit,omitempty"`
}

// SandboxConfig are labels and annotations that the container runtime gets with each pull.
type SandboxConfig struct {
	// Labels for the container runtime.
	//
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations for the container runtime.
	//
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}
