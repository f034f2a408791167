package reconcile

import "k8s.io/apimachinery/pkg/util/resourceversion"

// Newer reports whether resourceVersion a was made after b, which may be empty: the API server hands them out in order.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
func Newer(a, b string) bool {
	if b == "" {
		return a != ""
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
