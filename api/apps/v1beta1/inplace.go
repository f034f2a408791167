package v1beta1

import "k8s.io/apimachinery/pkg/util/intstr"

// PodUpdatePolicyType says how a pod gets to a new revision.
//
// +kubebuilder:validation:Enum=ReCreate;InPlaceIfPossible;InPlaceOnly
type PodUpdatePolicyType string

// The ways a pod gets to a new revision.
const (
	// RecreatePodUpdatePolicy deletes the old pod and creates a new one.
	RecreatePodUpdatePolicy PodUpdatePolicyType = "ReCreate"
	// InPlaceIfPossiblePodUpdatePolicy changes the running pod where the difference allows it, else recreates it.
	InPlaceIfPossiblePodUpdatePolicy PodUpdatePolicyType = "InPlaceIfPossible"
	// InPlaceOnlyPodUpdatePolicy changes the running pod; a change of the template that cannot be made in place is refused.
	InPlaceOnlyPodUpdatePolicy PodUpdatePolicyType = "InPlaceOnly"
)

// InPlaceUpdateStrategy tunes changes in place.
type InPlaceUpdateStrategy struct {
	// GracePeriodSeconds is how long, in seconds, a pod is kept not ready (readiness gate InPlaceUpdateReady False) before
	// its containers' images change, so that load balancers can take it out first. Default: 0, the change is made at once.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	GracePeriodSeconds int32 `json:"gracePeriodSeconds,omitempty"`

	// ImagePreDownloadParallelism is on how many nodes, or on what part of the nodes with pods of the old revision, the new
	// images are pulled at a time before the pods there are changed: a whole number of 1 or more, or a percentage (rounded
	// up). Default: unset, images are not pulled ahead. In v1alpha1 the annotation
	// apps.kruise.io/image-predownload-parallelism says the same.
	//
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=4
	// +kubebuilder:validation:XValidation:rule="type(self) == string ? self.matches('^(100|[1-9][0-9]?)%$') : (type(self) == int ? self >= 1 : false)",message="must be a whole number of 1 or more, or a percentage from \"1%\" to \"100%\""
	ImagePreDownloadParallelism *intstr.IntOrString `json:"imagePreDownloadParallelism,omitempty"`

	// ImagePreDownloadTimeoutSeconds is how long, in seconds, one node may take to pull one image ahead; then the update
	// goes on without it. Default: 600. In v1alpha1 the annotation
	// apps.kruise.io/image-predownload-timeout-seconds says the same.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	ImagePreDownloadTimeoutSeconds *int32 `json:"imagePreDownloadTimeoutSeconds,omitempty"`

	// ImagePreDownloadMinUpdatedReadyPods is how many pods must already be updated and ready before images are pulled
	// ahead for the others: no node pulls an image that has never worked. Default: 0. In v1alpha1 the annotation
	// apps.kruise.io/image-predownload-min-updated-ready-pods says the same.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	ImagePreDownloadMinUpdatedReadyPods *int32 `json:"imagePreDownloadMinUpdatedReadyPods,omitempty"`
}
