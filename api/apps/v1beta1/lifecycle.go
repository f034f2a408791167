package v1beta1

// Lifecycle holds a pod back at the doors of its life until somebody else says that it may pass. While a pod waits, its
// label lifecycle.apps.kruise.io/state tells for what: PreparingNormal, PreparingUpdate, Updated or PreparingDelete. In
// every state but Normal, Updating among them, a pod counts as unavailable, whether it is ready or not, and so uses up
// maxUnavailable.
type Lifecycle struct {
	// PreDelete is asked before a pod is deleted by its workload: the pod waits in the state PreparingDelete while any of the
	// hook's labels or finalizers is on it. Deletions by other means (kubectl delete, eviction) do not ask; only
	// finalizers hold a pod against those.
	//
	// +optional
	PreDelete *LifecycleHook `json:"preDelete,omitempty"`

	// InPlaceUpdate is asked before a pod is changed in place: the pod waits in the state PreparingUpdate while any of the
	// hook's labels or finalizers is on it. It is asked again when the change is done: the pod waits in the state Updated until
	// all of them are on it again, and returns to Normal.
	//
	// +optional
	InPlaceUpdate *LifecycleHook `json:"inPlaceUpdate,omitempty"`

	// PreNormal is asked after a pod is created: it waits in the state PreparingNormal until all of the hook's labels and
	// finalizers are on it.
	//
	// +optional
	PreNormal *LifecycleHook `json:"preNormal,omitempty"`
}

// LifecycleHook is the sign by which a pod is held. For preDelete, and before a change in place, a pod is held while any of
// the labels or finalizers listed is on it; whoever holds it takes all of them off to let it pass. For preNormal, and at the
// end of a change in place, it is held until all of them are on it. A hook with neither labels nor finalizers holds nothing.
type LifecycleHook struct {
	// LabelsHandler are the labels, with their exact values, that hold a pod. They are usually part of the template's labels.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	LabelsHandler map[string]string `json:"labelsHandler,omitempty"`

	// FinalizersHandler are the finalizers that hold a pod. Prefer finalizers when the pod must be held against everybody:
	// Kubernetes itself does not remove a pod that carries one.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	FinalizersHandler []string `json:"finalizersHandler,omitempty"`

	// MarkPodNotReady makes a held pod not ready, so that Services send it nothing, by setting its readiness gate
	// KruisePodReady to False until the hook lets it pass. Default: false. It works for pods that have the gate, which the
	// workload adds to the pods it creates when a hook asks for it.
	//
	// +optional
	MarkPodNotReady bool `json:"markPodNotReady,omitempty"`
}

// LifecycleState is where a pod stands in its life, written in the label lifecycle.apps.kruise.io/state.
type LifecycleState string

// The states of a pod's life, in their order.
const (
	// LifecycleStatePreparingNormal: created, held by the hook preNormal.
	LifecycleStatePreparingNormal LifecycleState = "PreparingNormal"
	// LifecycleStateNormal: at work; nothing is being done to the pod.
	LifecycleStateNormal LifecycleState = "Normal"
	// LifecycleStatePreparingUpdate: chosen for a change in place, held by the hook inPlaceUpdate.
	LifecycleStatePreparingUpdate LifecycleState = "PreparingUpdate"
	// LifecycleStateUpdating: the change in place is being made.
	LifecycleStateUpdating LifecycleState = "Updating"
	// LifecycleStateUpdated: the change is done, held until all labels and finalizers of the hook inPlaceUpdate are on it again.
	LifecycleStateUpdated LifecycleState = "Updated"
	// LifecycleStatePreparingDelete: chosen to go, held by the hook preDelete.
	LifecycleStatePreparingDelete LifecycleState = "PreparingDelete"
)
