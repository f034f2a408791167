package podunavailablebudget

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption/budget"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// guarded are the pods of a budget at one moment.
type guarded struct {
	view budget.View
	// active are those that hold a place in their workload.
	active []*corev1.Pod
	// ignored is how many are left out.
	ignored int
	// newest is the resourceVersion of the pod that changed last, position that up to which everything is shown: only the
	// latter proves that a pod is gone, but it may be ahead of other caches that lack nothing.
	newest, position string
}

// evidence is the resourceVersion of pods that a ledger rests on once what this view shows to be over is struck out.
func (g *guarded) evidence(grants []policyv1beta1.PodGrant) string {
	for i := range grants {
		if _, there := g.view.Find(grants[i].UID); !there {
			return newest(g.newest, g.position)
		}
	}
	return g.newest
}

// look tells whether a pod serves, and whether it can be counted on.
//
// What only seems to be away does not pass for free: a pod whose change in place is under way while it still answers is not
// counted on, but taking it is no matter of course either.
func look(p *corev1.Pod) budget.Seen {
	serving, _ := pod.Available(p, 0, time.Time{})
	serving = serving && passesGates(p) && !free(p)
	phase, _ := inplace.Progress(p)
	return budget.Seen{Pod: p, Serving: serving, Available: serving && phase == inplace.Idle && pod.Observed(p)}
}

// passesGates looks at the readiness gates themselves: the kubelet draws its conclusion from them only a moment later.
func passesGates(p *corev1.Pod) bool {
	for _, gate := range p.Spec.ReadinessGates {
		if c := pod.Condition(p, gate.ConditionType); c != nil && c.Status == corev1.ConditionFalse {
			return false
		}
	}
	return true
}

// free reports whether the pod is marked as one that may go at any time. It cannot be counted on then.
func free(p *corev1.Pod) bool {
	return p.Labels[appsv1beta1.NoProtect] == "true" || p.Annotations[appsv1beta1.NoProtect] == "true"
}

// shows reports whether the cache shows pods up to a version.
func (k *Keeper) shows(ctx context.Context, version string) bool {
	position, known := k.position(ctx)
	return version == "" || known && !reconcile.Newer(version, position)
}

func (k *Keeper) position(ctx context.Context) (string, bool) {
	return k.deps.Position.Synced(ctx, corev1.SchemeGroupVersion.WithKind("Pod"))
}

// observed returns the budget's pods, at least as new as what the ledger rests on: from the cache if it gets there soon,
// else from the API server.
func (k *Keeper) observed(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, sc scope) (guarded, error) {
	if _, known := k.position(ctx); !known {
		return k.live(ctx, pub, sc) // nobody can tell when it gets there
	}
	deadline := time.NewTimer(k.patience)
	defer deadline.Stop()
	for !k.shows(ctx, pub.Status.PodsVersion) {
		timer := time.NewTimer(tick)
		select {
		case <-timer.C:
			continue
		case <-deadline.C:
			timer.Stop()
			return k.live(ctx, pub, sc)
		case <-ctx.Done():
			timer.Stop()
			return guarded{}, fmt.Errorf("wait for the pods of PodUnavailableBudget %s/%s: %w", pub.Namespace, pub.Name, ctx.Err())
		}
	}
	return k.cached(ctx, pub, sc)
}

// cached reads from the cache. Its position is what the cache had got to afterwards: the view rests on no more than that.
func (k *Keeper) cached(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, sc scope) (guarded, error) {
	pods, err := list(ctx, k.deps.Client, pub, sc, client.UnsafeDisableDeepCopy)
	if err != nil {
		return guarded{}, err
	}
	position, _ := k.position(ctx)
	return k.decide.sort(ctx, sc, pods.Items, position)
}

func (k *Keeper) live(ctx context.Context, pub *policyv1beta1.PodUnavailableBudget, sc scope) (guarded, error) {
	pods, err := list(ctx, k.deps.Admission, pub, sc)
	if err != nil {
		return guarded{}, err
	}
	return k.decide.sort(ctx, sc, pods.Items, pods.ResourceVersion)
}

func list(
	ctx context.Context, from client.Reader, pub *policyv1beta1.PodUnavailableBudget, sc scope, more ...client.ListOption,
) (*corev1.PodList, error) {
	var pods corev1.PodList
	options := append([]client.ListOption{client.InNamespace(pub.Namespace)}, more...)
	if sc.selector != nil {
		options = append(options, client.MatchingLabelsSelector{Selector: sc.selector})
	}
	if err := from.List(ctx, &pods, options...); err != nil {
		return nil, fmt.Errorf("list the pods of PodUnavailableBudget %s/%s: %w", pub.Namespace, pub.Name, err)
	}
	return &pods, nil
}

// sort keeps the guarded ones.
func (s source) sort(ctx context.Context, sc scope, pods []corev1.Pod, position string) (guarded, error) {
	g := guarded{position: position}
	seen := make([]budget.Seen, 0, len(pods))
	for i := range pods {
		p := &pods[i]
		yes, ignored, err := s.guards(ctx, sc, p)
		if err != nil {
			return g, err
		}
		if ignored {
			g.ignored++
		}
		if !yes {
			continue
		}
		seen = append(seen, look(p))
		g.newest = newest(g.newest, p.ResourceVersion)
		if pod.Active(p) {
			g.active = append(g.active, p)
		}
	}
	g.view = budget.NewView(seen)
	return g, nil
}

func newest(a, b string) string {
	if reconcile.Newer(b, a) {
		return b
	}
	return a
}

func selectorOf(fields map[string]any) (labels.Selector, error) {
	var selector metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &selector); err != nil {
		return nil, fmt.Errorf("read spec.selector: %w", err)
	}
	return metav1.LabelSelectorAsSelector(&selector) //nolint:wrapcheck // its message names the requirement
}
