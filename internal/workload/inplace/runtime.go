package inplace

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// Runtime is what a node daemon reports of the containers that it looks after, in the annotation
// apps.kruise.io/runtime-containers-meta.
type Runtime struct {
	Containers []RuntimeContainer `json:"containers"`
}

// RuntimeContainer is what one container really runs with.
type RuntimeContainer struct {
	Name         string        `json:"name"`
	ContainerID  string        `json:"containerID"`
	RestartCount int32         `json:"restartCount"`
	Hashes       RuntimeHashes `json:"hashes"`
}

// RuntimeHashes tell one configuration of a container from another.
type RuntimeHashes struct {
	// PlainHash is the kubelet's own.
	PlainHash uint64 `json:"plainHash"`
	// ExtractedEnvFromMetadataHash is the EnvHash of what the container was started with.
	ExtractedEnvFromMetadataHash uint64 `json:"extractedEnvFromMetadataHash,omitempty"`
}

// ReadRuntime returns what a node daemon reports of the pod; nothing when there is none, or when it cannot be read.
func ReadRuntime(p *corev1.Pod) Runtime {
	var runtime Runtime
	raw, ok := p.Annotations[appsv1beta1.RuntimeContainersMeta]
	if !ok || json.Unmarshal([]byte(raw), &runtime) != nil {
		return Runtime{}
	}
	return runtime
}

// Container returns what is reported of one container, or nil.
func (r Runtime) Container(name string) *RuntimeContainer {
	for i := range r.Containers {
		if r.Containers[i].Name == name {
			return &r.Containers[i]
		}
	}
	return nil
}
