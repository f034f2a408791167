package workload

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// OwnSelector reads the selector of a workload, which must pick the pods of its own template and not all there are.
func OwnSelector(selector *metav1.LabelSelector, tmpl *corev1.PodTemplateSpec) (labels.Selector, error) {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, fmt.Errorf("spec.selector: %w", err)
	}
	if parsed.Empty() || !parsed.Matches(labels.Set(tmpl.Labels)) {
		return nil, fmt.Errorf("spec.selector %q must match spec.template.metadata.labels, and must not be empty", parsed)
	}
	return parsed, nil
}

// Counts are how many pods of a workload are how far; the updated ones are those of the update revision.
type Counts struct {
	All, Ready, Available                   int32
	Updated, UpdatedReady, UpdatedAvailable int32
}

// Count counts the members.
func (s *State) Count() Counts {
	var c Counts
	for i := range s.Members {
		m := &s.Members[i]
		updated := m.Revision == s.Update.Name
		for _, one := range []struct {
			count *int32
			is    bool
		}{
			{&c.All, true},
			{&c.Ready, m.Ready},
			{&c.Available, m.Available},
			{&c.Updated, updated},
			{&c.UpdatedReady, updated && m.Ready},
			{&c.UpdatedAvailable, updated && m.Available},
		} {
			if one.is {
				*one.count++
			}
		}
	}
	return c
}
