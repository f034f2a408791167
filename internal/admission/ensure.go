package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The name under which an operator beside the cluster applies what the manifests would hold.
const fieldOwner = "holdfast-operator"

// Ensured are objects that need no bundle, such as admission policies, kept as they should be: for an operator beside the
// cluster, which no manifests came with. What others may write into them, keep takes over from what there is into what is
// wanted.
func Ensured(c client.Client, objects []client.Object, keep func(have, want client.Object)) []Target {
	targets := make([]Target, 0, len(objects))
	for _, object := range objects {
		targets = append(targets, &ensured{client: c, object: object, keep: keep})
	}
	return targets
}

type ensured struct {
	client client.Client
	object client.Object
	keep   func(have, want client.Object)
}

func (t *ensured) String() string {
	return strings.ToLower(t.object.GetObjectKind().GroupVersionKind().Kind) + " " + t.object.GetName()
}

// Inject applies the object, unless it is as it should be: looking is cheaper for everybody than a write that changes nothing.
func (t *ensured) Inject(ctx context.Context, _ []byte) (bool, error) {
	have, hasCopy := t.object.DeepCopyObject().(client.Object)
	want, ok := t.object.DeepCopyObject().(client.Object)
	if !ok || !hasCopy {
		return false, fmt.Errorf("%T is no object", t.object)
	}
	err := t.client.Get(ctx, client.ObjectKeyFromObject(t.object), have)
	if err == nil {
		t.keep(have, want)
		if same, err := says(have, want); err != nil || same {
			return false, err
		}
	}
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read it: %w", err)
	}
	body, err := json.Marshal(want)
	if err != nil {
		return false, fmt.Errorf("encode it: %w", err)
	}
	patch := client.RawPatch(types.ApplyPatchType, body)
	return absent(t.client.Patch(ctx, have, patch, client.FieldOwner(fieldOwner), client.ForceOwnership))
}

// says reports whether an object says all that another one does. What it says beyond that, such as the API server's defaults,
// an apply would not change either.
func says(have, want client.Object) (bool, error) {
	have.GetObjectKind().SetGroupVersionKind(want.GetObjectKind().GroupVersionKind()) // a client leaves it out
	is, err := runtime.DefaultUnstructuredConverter.ToUnstructured(have)
	if err != nil {
		return false, fmt.Errorf("compare it: %w", err)
	}
	should, err := runtime.DefaultUnstructuredConverter.ToUnstructured(want)
	if err != nil {
		return false, fmt.Errorf("compare it: %w", err)
	}
	return within(should, is), nil
}

// within reports whether all of want is found in have. Lists must be alike: a condition more may turn a policy into its opposite.
func within(want, have any) bool {
	switch want := want.(type) {
	case nil:
		return true
	case map[string]any:
		fields, _ := have.(map[string]any)
		for key, value := range want {
			if !within(value, fields[key]) {
				return false
			}
		}
		return true
	case []any:
		items, _ := have.([]any)
		return slices.EqualFunc(want, items, within)
	}
	return want == have
}
