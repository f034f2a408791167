package v1beta1

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersionKind of the workload. A group without a version, as some write it, stands for the version that is current.
func (t *TargetReference) GroupVersionKind() (schema.GroupVersionKind, error) {
	for _, current := range []schema.GroupVersion{{Group: "apps", Version: "v1"}, {Group: "apps.kruise.io", Version: "v1beta1"}} {
		if strings.TrimSuffix(t.APIVersion, "/") == current.Group {
			return current.WithKind(t.Kind), nil
		}
	}
	gv, err := schema.ParseGroupVersion(t.APIVersion)
	if err != nil {
		return schema.GroupVersionKind{}, fmt.Errorf("spec.targetRef.apiVersion: %w", err)
	}
	return gv.WithKind(t.Kind), nil
}
