package sidecarset

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// How often pods are looked for that lack the containers: it takes a look at all pods of the cluster.
const missedInterval = time.Minute

// missed are pods that the set selects, younger than the set, that lack its containers: nobody could give them any when they
// were created.
func (r *Reconciler) missed(ctx context.Context, set *appsv1beta1.SidecarSet, e *entry, now time.Time) ([]string, error) {
	m := r.memory(set)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.looked.IsZero() && now.Sub(m.looked) < missedInterval {
		return m.missed, nil
	}
	m.missed, m.looked = nil, now
	if set.Spec.InjectionStrategy.Paused {
		return nil, nil
	}
	var pods corev1.PodList
	if err := r.deps.Client.List(ctx, &pods, client.MatchingLabelsSelector{Selector: e.selector}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list the pods that SidecarSet %s selects: %w", set.Name, err)
	}
	spared := inject.Spared(r.namespace)
	for i := range pods.Items {
		p := &pods.Items[i]
		if !lacks(p, set) || slices.Contains(spared, p.Namespace) {
			continue
		}
		if hit, err := r.book.matches(ctx, e, p, p.Namespace); err == nil && hit {
			m.missed = append(m.missed, p.Namespace+"/"+p.Name)
		}
	}
	slices.Sort(m.missed)
	return m.missed, nil
}

// lacks reports whether a pod was born without the containers that it should have.
func lacks(p *corev1.Pod, set *appsv1beta1.SidecarSet) bool {
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	_, pulls := p.Labels[workload.PullFor]
	return pod.Active(p) && !mirror && !pulls && !inject.Has(p, set.Name) && p.Annotations[appsv1beta1.SidecarSetBase] != set.Name &&
		p.CreationTimestamp.After(set.CreationTimestamp.Time)
}
