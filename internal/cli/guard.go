package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/policy/v1alpha1"
	"github.com/holdfast-io/holdfast/api/policy/v1beta1"
)

// GuardView is one guard of a pod, and what it has left.
type GuardView struct {
	Guard string `json:"guard"` // PodUnavailableBudget shop/web
	Left  int64  `json:"left"`  // how many pods may go now, as far as this guard is concerned
	State string `json:"state"` // the figures behind that
	Why   string `json:"why,omitempty"`
}

// guardBook is what was read of the guards of a namespace.
type guardBook struct {
	budgets []v1beta1.PodUnavailableBudget
	flows   []v1alpha1.PodDeletionFlowControl
	glasses []v1alpha1.BreakGlass
	space   labels.Set
}

// guardsOf reads the guards that concern the pods of a namespace. What the cluster does not have guards nothing; what may
// not be read is said, not guessed.
func (s *session) guardsOf(ctx context.Context, namespace string) (guardBook, error) {
	book := guardBook{}
	err := s.listInto(ctx, v1beta1.SchemeGroupVersion.WithKind("PodUnavailableBudget"), namespace, func(raw map[string]any) error {
		budget := v1beta1.PodUnavailableBudget{}
		err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &budget)
		book.budgets = append(book.budgets, budget)
		return err //nolint:wrapcheck // said by listInto
	})
	if err != nil {
		return book, err
	}
	err = s.listInto(ctx, v1alpha1.SchemeGroupVersion.WithKind("PodDeletionFlowControl"), "", func(raw map[string]any) error {
		flow := v1alpha1.PodDeletionFlowControl{}
		err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &flow)
		book.flows = append(book.flows, flow)
		return err //nolint:wrapcheck // said by listInto
	})
	if err != nil {
		return book, err
	}
	err = s.listInto(ctx, v1alpha1.SchemeGroupVersion.WithKind("BreakGlass"), "", func(raw map[string]any) error {
		glass := v1alpha1.BreakGlass{}
		err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &glass)
		if meta.IsStatusConditionTrue(glass.Status.Conditions, v1alpha1.BreakGlassActive) {
			book.glasses = append(book.glasses, glass)
		}
		return err //nolint:wrapcheck // said by listInto
	})
	if err != nil {
		return book, err
	}
	space := &corev1.Namespace{}
	if err := s.client.Get(ctx, client.ObjectKey{Name: namespace}, space); err == nil {
		book.space = space.Labels
	}
	return book, nil
}

// listInto hands every object of a kind to take; a kind that the cluster does not have has none.
func (s *session) listInto(ctx context.Context, gvk schema.GroupVersionKind, namespace string, take func(map[string]any) error) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	err := s.client.List(ctx, list, client.InNamespace(namespace))
	switch {
	case meta.IsNoMatchError(err) || apierrors.IsNotFound(err):
		return nil
	case isForbidden(err):
		fmt.Fprintln(s.ErrOut, "warning: the answer is less complete:", err)
		return nil
	case err != nil:
		return fmt.Errorf("list the objects of kind %s: %w", gvk.Kind, err)
	}
	for i := range list.Items {
		if err := take(list.Items[i].Object); err != nil {
			return fmt.Errorf("read %s %s: %w", gvk.Kind, list.Items[i].GetName(), err)
		}
	}
	return nil
}

// of lists the guards of one pod, with what they have left. owner is the workload that controls it, or "".
func (b guardBook) of(p *corev1.Pod, owner string, now time.Time) []GuardView {
	var views []GuardView
	for i := range b.budgets {
		if budget := &b.budgets[i]; guardsPod(budget, p, owner) {
			views = append(views, viewBudget(budget))
		}
	}
	for i := range b.flows {
		if flow := &b.flows[i]; limitsPod(flow, p, b.space) {
			views = append(views, viewFlow(flow, now))
		}
	}
	return views
}

// guardsPod tells whether a budget guards a pod.
func guardsPod(budget *v1beta1.PodUnavailableBudget, p *corev1.Pod, owner string) bool {
	if budget.Namespace != p.Namespace || p.Labels["pub.kruise.io/no-protect"] == "true" {
		return false
	}
	if ignored := budget.Spec.IgnoredPodSelector; ignored != nil && selects(ignored, p.Labels) {
		return false
	}
	if budget.Status.Selector != "" {
		selector, err := labels.Parse(budget.Status.Selector)
		return err == nil && selector.Matches(labels.Set(p.Labels))
	}
	if target := budget.Spec.TargetRef; target != nil {
		return owner != "" && strings.EqualFold(owner, target.Kind+"/"+target.Name)
	}
	return selects(budget.Spec.Selector, p.Labels)
}

// limitsPod tells whether a limit is about a pod.
func limitsPod(flow *v1alpha1.PodDeletionFlowControl, p *corev1.Pod, space labels.Set) bool {
	spec := &flow.Spec
	switch {
	case p.Namespace == metav1.NamespaceSystem:
		return false
	case spec.WhiteListSelector != nil && selects(spec.WhiteListSelector, p.Labels):
		return false
	case spec.NamespaceSelector != nil && !selects(spec.NamespaceSelector, space):
		return false
	}
	return spec.Selector == nil || selects(spec.Selector, p.Labels)
}

// selects tells whether a selector matches; none, and one that cannot be read, matches nothing.
func selects(selector *metav1.LabelSelector, set labels.Set) bool {
	if selector == nil {
		return false
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(set)
}

func viewBudget(budget *v1beta1.PodUnavailableBudget) GuardView {
	status := &budget.Status
	view := GuardView{
		Guard: "PodUnavailableBudget " + budget.Namespace + "/" + budget.Name,
		Left:  int64(max(status.UnavailableAllowed, 0)),
		State: fmt.Sprintf("%d of %d pods available, %d wanted", status.CurrentAvailable, status.TotalReplicas, status.DesiredAvailable),
	}
	view.Why = notEnforced(status.Conditions, v1beta1.BudgetEnforced)
	return view
}

func viewFlow(flow *v1alpha1.PodDeletionFlowControl, now time.Time) GuardView {
	status := &flow.Status
	view := GuardView{Guard: "PodDeletionFlowControl " + flow.Name, Left: int64(status.Left), State: status.Used}
	var notes []string
	if flow.Spec.Mode == v1alpha1.Observe {
		notes = append(notes, "it only observes")
	}
	if status.Breaker.State == v1alpha1.BreakerOpen {
		view.Left = 0
		note := "its breaker is open"
		if until := status.Breaker.Until; until != nil {
			note += ", for " + age(now, until.Time)
		}
		notes = append(notes, note)
	}
	for _, rule := range status.Rules {
		if rule.Left <= 0 && rule.NextFree != nil {
			notes = append(notes, fmt.Sprintf("the window of %s has room in %s", rule.Interval.Duration, age(now, rule.NextFree.Time)))
		}
	}
	if note := notEnforced(status.Conditions, v1alpha1.FlowControlEnforced); note != "" {
		notes = append(notes, note)
	}
	view.Why = strings.Join(notes, "; ")
	return view
}

// notEnforced says why a guard does not guard, when it says so itself.
func notEnforced(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil && c.Status == metav1.ConditionFalse {
		return "NOT enforced: " + c.Message
	}
	return ""
}

// guardRows tells guards to a person.
func guardRows(views []GuardView) [][]string {
	rows := make([][]string, 0, len(views))
	for _, v := range views {
		text := v.State
		if v.Why != "" {
			text = strings.TrimPrefix(text+"; "+v.Why, "; ")
		}
		rows = append(rows, []string{"  " + v.Guard, fmt.Sprintf("%d may go now", v.Left), text})
	}
	return rows
}
