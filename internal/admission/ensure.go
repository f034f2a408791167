package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The name under which an operator beside the cluster applies what the manifests would hold.
const fieldOwner = "holdfast-operator"

// Ensured are objects that need no bundle, such as admission policies, kept as they should be: for an operator beside the
// cluster, which no manifests came with.
func Ensured(c client.Client, objects []client.Object) []Target {
	targets := make([]Target, 0, len(objects))
	for _, object := range objects {
		targets = append(targets, &ensured{client: c, object: object})
	}
	return targets
}

type ensured struct {
	client client.Client
	object client.Object
}

func (t *ensured) String() string {
	return strings.ToLower(t.object.GetObjectKind().GroupVersionKind().Kind) + " " + t.object.GetName()
}

// Inject applies the object; where it is as it should be, the API server writes nothing.
func (t *ensured) Inject(ctx context.Context, _ []byte) (bool, error) {
	body, err := json.Marshal(t.object)
	if err != nil {
		return false, fmt.Errorf("encode it: %w", err)
	}
	applied, ok := t.object.DeepCopyObject().(client.Object)
	if !ok {
		return false, fmt.Errorf("%T is no object", t.object)
	}
	patch := client.RawPatch(types.ApplyPatchType, body)
	return absent(t.client.Patch(ctx, applied, patch, client.FieldOwner(fieldOwner), client.ForceOwnership))
}
