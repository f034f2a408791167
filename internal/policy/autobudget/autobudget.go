// Package autobudget makes and keeps a PodUnavailableBudget and a PodDisruptionBudget for each workload that asks for one,
// or that the cluster's configuration wants one for. Budgets that people made are left alone, and win.
package autobudget

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
)

// What making budgets takes. These lines stand apart: controller-gen does not see them in the comment of a declaration.

// +kubebuilder:rbac:groups=policy.kruise.io,resources=podunavailablebudgets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps.kruise.io,resources=clonesets;statefulsets;uniteddeployments,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",namespace=holdfast-system,resources=configmaps,verbs=get

// Deps are what the room needs from the operator.
type Deps struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Config is what the cluster wants by default.
	Config *Config
}

// Reconciler makes the budgets of one kind of workload.
type Reconciler[T client.Object] struct {
	deps Deps
	kind Kind[T]

	mu sync.Mutex
	// told is what was last said of a workload's budgets, so that it is said once.
	told map[types.NamespacedName]map[string]string
}

// New makes the reconciler of a kind.
func New[T client.Object](d Deps, kind Kind[T]) *Reconciler[T] {
	return &Reconciler[T]{deps: d, kind: kind, told: map[types.NamespacedName]map[string]string{}}
}

// Forget drops what is remembered of a workload that is gone.
func (r *Reconciler[T]) Forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told, key)
}

// Reconcile is one pass: what is wanted, what is there, and what makes the one the other. It never touches the workload.
func (r *Reconciler[T]) Reconcile(ctx context.Context, workload T) (reconcile.Result, error) {
	if workload.GetDeletionTimestamp() != nil {
		return reconcile.Result{}, nil // the garbage collector takes the budgets
	}
	defaults, err := r.defaults(ctx, workload)
	if err != nil {
		return reconcile.Result{}, err
	}
	facts := r.facts(workload)
	for _, family := range families() {
		if err := r.keep(ctx, workload, facts, family, wish(facts, family, defaults)); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{}, nil
}

func (r *Reconciler[T]) facts(workload T) facts {
	f := r.kind.Facts(workload)
	f.kind, f.name, f.namespace = r.kind.GVK, workload.GetName(), workload.GetNamespace()
	f.annotations = workload.GetAnnotations()
	return f
}

// defaults is what the configuration wants for the workload. Those that another workload keeps get nothing by default:
// their owner does.
func (r *Reconciler[T]) defaults(ctx context.Context, workload T) (Rule, error) {
	if metav1.GetControllerOfNoCopy(workload) != nil {
		return Rule{}, nil
	}
	rules := r.deps.Config.Rules()
	if len(rules) == 0 {
		return Rule{}, nil
	}
	namespace := &corev1.Namespace{}
	if err := r.deps.Client.Get(ctx, types.NamespacedName{Name: workload.GetNamespace()}, namespace); err != nil {
		return Rule{}, fmt.Errorf("read namespace %s, for which there may be budgets by default: %w", workload.GetNamespace(), err)
	}
	return first(rules, r.kind.Title, namespace), nil
}

// keep brings one budget of a workload to what is wished.
func (r *Reconciler[T]) keep(ctx context.Context, workload T, f facts, family family, w verdict) error {
	if w.mistake != "" {
		r.tell(ctx, f, family.kind+"/mistake", w.mistake, corev1.EventTypeWarning, "InvalidBudgetAnnotation", w.mistake)
	} else {
		r.forgetTold(f, family.kind+"/mistake")
	}
	made, own, err := r.look(ctx, workload, f, family)
	if err != nil {
		return err
	}
	if w.limits != nil && own != "" {
		message := fmt.Sprintf("no %s is made: %s guards the same pods, and whoever made it knows better; delete it to get one made",
			family.kind, own)
		if made != nil {
			message = fmt.Sprintf("%s %s was withdrawn: %s guards the same pods, and whoever made it knows better", family.kind, made.GetName(), own)
		}
		r.tell(ctx, f, family.kind+"/own", own, corev1.EventTypeNormal, "OwnBudgetWins", message)
		w.limits = nil
	} else {
		r.forgetTold(f, family.kind+"/own")
	}
	switch {
	case w.limits == nil && made == nil:
		return nil
	case w.limits == nil:
		return r.withdraw(ctx, family, made, own)
	case made == nil:
		return r.create(ctx, workload, f, family, w)
	default:
		return r.update(ctx, workload, f, family, made, w)
	}
}

// look finds the budget that was made for the workload, and one that somebody else made for its pods.
func (r *Reconciler[T]) look(ctx context.Context, workload T, f facts, family family) (made client.Object, own string, err error) {
	list := family.list()
	if err := r.deps.Client.List(ctx, list, client.InNamespace(f.namespace)); err != nil {
		if meta.IsNoMatchError(err) {
			return nil, "", reconcile.Stalled("KindMissing", fmt.Errorf("the cluster does not serve %ss; install its definition", family.kind))
		}
		return nil, "", fmt.Errorf("list the %ss of namespace %s: %w", family.kind, f.namespace, err)
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return nil, "", fmt.Errorf("list the %ss: %w", family.kind, err)
	}
	for _, item := range items {
		budget, ok := item.(client.Object)
		if !ok || budget.GetDeletionTimestamp() != nil {
			continue
		}
		if metav1.IsControlledBy(budget, workload) && generated(budget) {
			made = budget
			continue
		}
		if !generated(budget) && family.guards(budget, f) && own == "" {
			own = family.kind + " " + budget.GetName()
		}
	}
	return made, own, nil
}

func generated(budget client.Object) bool {
	_, label := budget.GetLabels()[policyv1beta1.GeneratedFor]
	return label
}

func (r *Reconciler[T]) withdraw(ctx context.Context, family family, made client.Object, own string) error {
	uid := made.GetUID()
	if err := r.deps.Client.Delete(ctx, made, client.Preconditions{UID: &uid}); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("withdraw %s %s/%s: %w", family.kind, made.GetNamespace(), made.GetName(), err)
	}
	if own == "" {
		reconcile.Event(ctx, corev1.EventTypeNormal, "BudgetWithdrawn", "%s %s was withdrawn: nothing asks for it any more",
			family.kind, made.GetName())
	}
	return nil
}

func (r *Reconciler[T]) create(ctx context.Context, workload T, f facts, family family, w verdict) error {
	budget := family.make(f, *w.limits)
	budget.SetNamespace(f.namespace)
	budget.SetName(f.budgetName(r.kind.Title))
	r.sign(budget, workload)
	err := r.deps.Client.Create(ctx, budget)
	switch {
	case apierrors.IsAlreadyExists(err):
		return r.taken(ctx, f, family, budget)
	case err != nil:
		return fmt.Errorf("make %s %s/%s: %w", family.kind, f.namespace, budget.GetName(), err)
	}
	reconcile.Event(ctx, corev1.EventTypeNormal, "BudgetMade", "made %s %s with %s: %s", family.kind, budget.GetName(), w.limits, w.why)
	return nil
}

// taken tells a name that somebody else took from a budget that will be seen or gone in a moment: our own, which the cache
// does not show yet, or that of a forerunner of the workload, which the garbage collector is about to take.
func (r *Reconciler[T]) taken(ctx context.Context, f facts, family family, budget client.Object) error {
	err := r.deps.Client.Get(ctx, client.ObjectKeyFromObject(budget), budget)
	if err == nil && !generated(budget) {
		r.tell(ctx, f, family.kind+"/name", budget.GetName(), corev1.EventTypeWarning, "BudgetNameTaken", fmt.Sprintf(
			"no %s could be made: the name %s is taken by one that is not for this workload; rename that one, or set it up for this workload",
			family.kind, budget.GetName()))
		return nil
	}
	return reconcile.Wait(cacheInterval, "the cache does not show the budget that exists")
}

// sign marks a budget as made for the workload.
func (r *Reconciler[T]) sign(budget client.Object, workload T) {
	labels := budget.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[policyv1beta1.GeneratedFor] = r.kind.Title
	budget.SetLabels(labels)
	budget.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: r.kind.GVK.GroupVersion().String(), Kind: r.kind.GVK.Kind,
		Name: workload.GetName(), UID: workload.GetUID(), Controller: ptr.To(true),
	}})
}

func (r *Reconciler[T]) update(ctx context.Context, workload T, f facts, family family, made client.Object, w verdict) error {
	wanted, ok := made.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("copy %s %s: not an API object", family.kind, made.GetName())
	}
	family.fill(wanted, family.make(f, *w.limits))
	r.sign(wanted, workload)
	if apiequality.Semantic.DeepEqual(made, wanted) {
		return nil
	}
	if err := r.deps.Client.Update(ctx, wanted); err != nil {
		return fmt.Errorf("change %s %s/%s: %w", family.kind, f.namespace, made.GetName(), err)
	}
	reconcile.Event(ctx, corev1.EventTypeNormal, "BudgetChanged", "changed %s %s to %s: %s", family.kind, made.GetName(), w.limits, w.why)
	return nil
}

// tell says something once, until what it is about becomes something else.
func (r *Reconciler[T]) tell(ctx context.Context, f facts, about, what, eventType, reason, message string) {
	key := types.NamespacedName{Namespace: f.namespace, Name: f.name}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[key][about] == what {
		return
	}
	if r.told[key] == nil {
		r.told[key] = map[string]string{}
	}
	r.told[key][about] = what
	reconcile.Event(ctx, eventType, reason, "%s", message)
}

func (r *Reconciler[T]) forgetTold(f facts, about string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.told[types.NamespacedName{Namespace: f.namespace, Name: f.name}], about)
}
