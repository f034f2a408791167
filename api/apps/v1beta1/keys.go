package v1beta1

import corev1 "k8s.io/api/core/v1"

// Keys on a CloneSet.
const (
	// CloneSetScalingExcludePreparingDelete is a label of a v1alpha1 CloneSet: "true" leaves pods in the state PreparingDelete
	// out of the count. At v1beta1 it is spec.scaleStrategy.excludePreparingDelete.
	CloneSetScalingExcludePreparingDelete = "apps.kruise.io/cloneset-scaling-exclude-preparing-delete"

	// ImagePreDownloadParallelism is an annotation of a v1alpha1 workload: on how many nodes images are pulled ahead at a
	// time. At v1beta1 it is a field of inPlaceUpdateStrategy, as are the next two.
	ImagePreDownloadParallelism = "apps.kruise.io/image-predownload-parallelism"
	// ImagePreDownloadTimeoutSeconds is an annotation of a v1alpha1 workload: how long one node may take to pull ahead.
	ImagePreDownloadTimeoutSeconds = "apps.kruise.io/image-predownload-timeout-seconds"
	// ImagePreDownloadMinUpdatedReadyPods is an annotation of a v1alpha1 workload: how many pods must be updated and ready
	// before images are pulled ahead.
	ImagePreDownloadMinUpdatedReadyPods = "apps.kruise.io/image-predownload-min-updated-ready-pods"
)

// Labels on pods, and on the claims that belong to them.
const (
	// SpecifiedDelete asks for exactly this pod to go, whatever its value; its workload replaces it where the number says so.
	SpecifiedDelete = "apps.kruise.io/specified-delete"

	// CloneSetInstanceID is one id for a pod and its claims: a claim is reused by the pod that gets the same id.
	CloneSetInstanceID = "apps.kruise.io/cloneset-instance-id"

	// ControllerRevisionHash is the revision of a pod, beside Kubernetes's own label controller-revision-hash.
	ControllerRevisionHash = "apps.kruise.io/controller-revision-hash"

	// VolumeClaimTemplateHash, on pods and claims, is the hash of the claim templates they were made from.
	VolumeClaimTemplateHash = "kruise.io/cloneset-volumeclaimtemplate-hash"

	// LifecycleStateKey is where the pod stands in its life; its values are the LifecycleState constants.
	LifecycleStateKey = "lifecycle.apps.kruise.io/state"

	// UnavailablePodPrefix starts labels, with any suffix and value, that make a pod count as unavailable.
	UnavailablePodPrefix = "unavailable-pod.kruise.io/"

	// NoProtect, with the value "true", takes a pod out of every PodUnavailableBudget.
	NoProtect = "pub.kruise.io/no-protect"
)

// Annotations on pods.
const (
	// LifecycleTimestamp is when the pod got to its state, as RFC 3339.
	LifecycleTimestamp = "lifecycle.apps.kruise.io/timestamp"

	// InPlaceUpdateState is what is known of the change in place that is under way, or was the last, as JSON.
	InPlaceUpdateState = "apps.kruise.io/inplace-update-state"

	// InPlaceUpdateGrace is what will be written when the grace period of a change in place ends, as JSON.
	InPlaceUpdateGrace = "apps.kruise.io/inplace-update-grace"

	// RuntimeContainersMeta is what the node daemon saw of the containers: ids, restarts and hashes, as JSON.
	RuntimeContainersMeta = "apps.kruise.io/runtime-containers-meta"

	// ContainerLaunchPriority, with the value "Ordered", starts containers in their listed order.
	ContainerLaunchPriority = "apps.kruise.io/container-launch-priority"

	// ContainerLaunchPriorityCompleted is "true" once all containers were started in their order.
	ContainerLaunchPriorityCompleted = "apps.kruise.io/container-launch-priority-completed"

	// RelatedPub is the name of the PodUnavailableBudget that guards the pod, for those who look. No decision reads it: a pod
	// that was made before its budget, or whose labels changed, would be unguarded for a moment.
	RelatedPub = "kruise.io/related-pub"

	// PodDeletionCost makes pods with a lower number go first when the set is scaled down
	// (https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#pod-deletion-cost).
	PodDeletionCost = "controller.kubernetes.io/pod-deletion-cost"
)

// RestartedAt is an annotation of a pod template that asks for a restart of all pods; its value is the time it was asked
// for, as `kubectl rollout restart` writes it.
const RestartedAt = "kubectl.kubernetes.io/restartedAt"

// Labels that protect an object against deletion.
const (
	// DeleteProtection is Always, or Cascading: only while something depends on the object.
	DeleteProtection = "policy.kruise.io/delete-protection"
	// DisableCascadingDeletion, with the value "true", is an older spelling of DeleteProtection: Cascading.
	DisableCascadingDeletion = "policy.kruise.io/disable-cascading-deletion"
)

// Container environment.
const (
	// ContainerPriorityEnv orders containers: a container with a higher number starts, and is changed in place, earlier.
	ContainerPriorityEnv = "KRUISE_CONTAINER_PRIORITY"
	// ContainerBarrierEnv holds a container until those of higher priority are ready.
	ContainerBarrierEnv = "KRUISE_CONTAINER_BARRIER"
)

// Readiness gates and conditions of pods.
const (
	// InPlaceUpdateReady is False while a pod is changed in place.
	InPlaceUpdateReady corev1.PodConditionType = "InPlaceUpdateReady"
	// KruisePodReady is False while anybody holds the pod out of service; its message is a JSON list of {userAgent, key},
	// and it is True only when that list is empty.
	KruisePodReady corev1.PodConditionType = "KruisePodReady"
)

// ConversionData is an annotation that carries what the object's other versions hold and this one has no place for, or
// would spell otherwise, so that converting there and back loses nothing. It is written by conversion alone.
const ConversionData = "holdfast.io/conversion-data"
