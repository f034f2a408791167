// Package judge judges what the specs of all workloads have in common, so that the same mistake gets the same answer from
// every kind.
package judge

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/order"
)

// Workload is what of a workload is judged.
type Workload struct {
	// Kind, such as CloneSet, for messages.
	Kind            string
	Namespace, Name string
	Selector        *metav1.LabelSelector
	Template        *corev1.PodTemplateSpec
	Claims          []corev1.PersistentVolumeClaim
	// Leaving says that the workload is being deleted.
	Leaving bool
}

// Fill gives a field that the user left out its default.
func Fill[T any](value **T, otherwise T) {
	if *value == nil {
		*value = &otherwise
	}
}

// Selector refuses a selector that does not pick the workload's own pods.
func Selector(w Workload) field.ErrorList {
	path := field.NewPath("spec", "selector")
	selector, err := metav1.LabelSelectorAsSelector(w.Selector)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(path, metav1.FormatLabelSelector(w.Selector), err.Error())}
	case selector.Empty():
		return field.ErrorList{field.Invalid(path, "",
			"an empty selector would match every pod of the namespace; name at least one label of spec.template.metadata.labels")}
	case !selector.Matches(labels.Set(w.Template.Labels)):
		return field.ErrorList{field.Invalid(field.NewPath("spec", "template", "metadata", "labels"), w.Template.Labels,
			fmt.Sprintf("spec.selector %q does not match them, so the set would not own its pods; make them agree", selector))}
	}
	return nil
}

// Overlap refuses a workload that would fight with another of its kind over their pods. old is nil when it is new; list
// gives those of the namespace.
func Overlap(old *Workload, w Workload, list func() ([]Workload, error)) field.ErrorList {
	if old != nil && apiequality.Semantic.DeepEqual(old.Template.Labels, w.Template.Labels) {
		return nil
	}
	others, err := list()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, fmt.Errorf("list the %ss of namespace %s: %w", w.Kind, w.Namespace, err))}
	}
	for _, other := range others {
		if other.Name != w.Name && !other.Leaving && (selects(w, other) || selects(other, w)) {
			return field.ErrorList{field.Invalid(field.NewPath("spec", "selector"), metav1.FormatLabelSelector(w.Selector),
				fmt.Sprintf("it and %s %s would select the same pods (its selector is %s); give each set a label of its own",
					other.Kind, other.Name, metav1.FormatLabelSelector(other.Selector)))}
		}
	}
	return nil
}

func selects(w, other Workload) bool {
	selector, err := metav1.LabelSelectorAsSelector(w.Selector)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(other.Template.Labels))
}

// Priority refuses selectors that cannot be read: without an order nothing would be updated.
func Priority(strategy *appsv1beta1.UpdatePriorityStrategy, path *field.Path) field.ErrorList {
	if _, err := order.Priority(strategy); err != nil {
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, err.Error())}
	}
	return nil
}

// InPlaceOnly refuses a change that cannot be made in place, and names the field that prevents it.
func (s Server) InPlaceOnly(ctx context.Context, old, w *Workload) field.ErrorList {
	delta, blocked := inplace.Between(old.Template, w.Template)
	for _, name := range s.withoutDaemon(ctx, w, delta) {
		blocked = append(blocked, fmt.Sprintf("spec.containers[%s].env "+
			"(it follows a label or annotation that changes, and no node daemon restarts the container)", name))
	}
	errs := make(field.ErrorList, 0, len(blocked))
	for _, reason := range blocked {
		path, detail, _ := strings.Cut(reason, " ")
		errs = append(errs, field.Invalid(field.NewPath("spec", "template").Child(path), field.OmitValueType{},
			strings.TrimSpace(detail+" it cannot be changed in place, and spec.updateStrategy.rollingUpdate.podUpdatePolicy is InPlaceOnly; "+
				"take the change back, or set InPlaceIfPossible")))
	}
	return errs
}

// sample is how many pods of a workload are looked at for a node daemon: it runs on all nodes or on none, as a rule, and
// pods that turn out to have none are held back, which the status tells.
const sample = 50

// withoutDaemon names the containers that only a node daemon could restart, where no pod of the workload shows one.
func (s Server) withoutDaemon(ctx context.Context, w *Workload, delta inplace.Delta) []string {
	names := delta.NeedsDaemon(&corev1.Pod{})
	if len(names) == 0 {
		return nil
	}
	selector, err := metav1.LabelSelectorAsSelector(w.Selector)
	if err != nil {
		return names // the selector is refused elsewhere
	}
	var pods corev1.PodList
	err = s.Client.List(ctx, &pods, client.InNamespace(w.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.Limit(sample))
	if err != nil || len(pods.Items) == 0 {
		return nil // what cannot be made in place is held back
	}
	for i := range pods.Items {
		names = slices.DeleteFunc(names, func(name string) bool {
			return inplace.ReadRuntime(&pods.Items[i]).Container(name) != nil
		})
	}
	return names
}

// InPlaceStrategy warns of settings for changes in place that have less effect than they seem to.
func InPlaceStrategy(s *appsv1beta1.InPlaceUpdateStrategy, change appsv1beta1.PodUpdatePolicyType) (warnings []string) {
	if s == nil {
		return nil
	}
	const path = "spec.updateStrategy.rollingUpdate.inPlaceUpdateStrategy."
	recreate := change == appsv1beta1.RecreatePodUpdatePolicy
	switch {
	case s.ImagePreDownloadParallelism != nil && recreate:
		warnings = append(warnings, path+"imagePreDownloadParallelism has no effect while podUpdatePolicy is ReCreate")
	case s.ImagePreDownloadParallelism == nil && (s.ImagePreDownloadTimeoutSeconds != nil || s.ImagePreDownloadMinUpdatedReadyPods != nil):
		warnings = append(warnings, path+
			"imagePreDownloadTimeoutSeconds and imagePreDownloadMinUpdatedReadyPods have no effect without imagePreDownloadParallelism")
	}
	if s.GracePeriodSeconds > 0 && recreate {
		warnings = append(warnings, path+"gracePeriodSeconds has no effect while podUpdatePolicy is ReCreate")
	}
	return warnings
}
