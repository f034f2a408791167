package workload

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/pod"
)

// patch is a strategic merge patch of a pod.
type patch struct {
	Metadata patchMeta    `json:"metadata,omitzero"`
	Spec     patchSpec    `json:"spec,omitzero"`
	Status   *patchStatus `json:"status,omitempty"`
}

type patchMeta struct {
	// UID makes sure that it is this pod and not one that was made anew under its name; ResourceVersion that nothing of it
	// changed since it was looked at.
	UID             types.UID          `json:"uid,omitempty"`
	ResourceVersion string             `json:"resourceVersion,omitempty"`
	Labels          map[string]*string `json:"labels,omitempty"`
	Annotations     map[string]*string `json:"annotations,omitempty"`
	OwnerReferences []any              `json:"ownerReferences,omitempty"`
}

type patchSpec struct {
	Containers []patchContainer `json:"containers,omitempty"`
}

type patchContainer struct {
	Name      string                       `json:"name"`
	Image     string                       `json:"image,omitempty"`
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
}

type patchStatus struct {
	Conditions pod.Patched `json:"conditions"`
}

// patchPod writes to a pod or to one of its subresources, and takes note of the write, of its failure to answer too.
func (e *Engine) patchPod(ctx context.Context, m *memory, p *corev1.Pod, body patch, subresource string) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the patch of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	fresh := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}}
	data := client.RawPatch(types.StrategicMergePatchType, raw)
	if subresource == "" {
		err = e.Client.Patch(ctx, fresh, data)
	} else {
		err = e.Client.SubResource(subresource).Patch(ctx, fresh, data)
	}
	if err != nil {
		if Unanswered(err) {
			m.doubt(p.Name, p.UID)
		}
		return err //nolint:wrapcheck // the callers say what it was for
	}
	m.wrote(podKind(), fresh.ResourceVersion)
	if owner := metav1.GetControllerOfNoCopy(p); owner != nil && e.Turns != nil {
		e.Turns.Wrote(owner.UID, fresh.ResourceVersion)
	}
	// The node answers a write of ours at once with one of its own: what follows in the same step must not expect the version
	// that this write left behind. That the pod was as it was looked at, this write has shown, or did not need.
	p.ResourceVersion = ""
	return nil
}

// Unanswered reports whether the API server may have done what was asked although an error came back. An answer of its own
// with a 4xx code says that it did not; client-go returns it bare, and an error that wraps one is ours.
func Unanswered(err error) bool {
	status, ok := err.(apierrors.APIStatus)
	if !ok {
		return true
	}
	code := status.Status().Code
	return code < 400 || code >= 500
}
