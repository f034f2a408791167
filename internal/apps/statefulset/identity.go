package statefulset

import (
	"context"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
)

// identity is what a pod keeps for as long as its number exists: its name, its DNS name, its labels, its volumes.
// https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#pod-identity
type identity struct {
	set     string
	service string
	claims  []corev1.PersistentVolumeClaim
}

func identityOf(set *appsv1beta1.StatefulSet) identity {
	return identity{set: set.Name, service: set.Spec.ServiceName, claims: set.Spec.VolumeClaimTemplates}
}

// place is the number of a pod.
func (i identity) place(p *corev1.Pod) string { return ordinal(i.set, p.Name) }

// name of the pod with that number.
func (i identity) name(key string) string { return i.set + "-" + key }

// adopts reports whether a pod without an owner may be one of the set's: only its name can say so.
func (i identity) adopts(p *corev1.Pod) bool { return i.place(p) != "" }

// labels that tell who a pod is.
func (i identity) labels(key string) map[string]string {
	return map[string]string{appsv1.StatefulSetPodNameLabel: i.name(key), appsv1.PodIndexLabel: key}
}

// shape gives a new pod its identity; its volumes it has already.
func (i identity) shape(p *corev1.Pod, key string) {
	p.Spec.Hostname, p.Spec.Subdomain = i.name(key), i.service
	maps.Copy(p.Labels, i.labels(key))
}

// lost are the labels that somebody has taken from a pod, or changed.
func (i identity) lost(p *corev1.Pod) map[string]string {
	key := i.place(p)
	if key == "" || p.Labels[appsv1.StatefulSetPodNameLabel] == p.Name && p.Labels[appsv1.PodIndexLabel] == key {
		return nil
	}
	lost := i.labels(key)
	for name, value := range p.Labels {
		if lost[name] == value {
			delete(lost, name)
		}
	}
	return lost
}

// strange says what is not as it should be with the volumes of a pod that was adopted; "" when they are its own. The volumes of
// a pod cannot be changed.
func (i identity) strange(p *corev1.Pod) string {
	key := i.place(p)
	for k := range i.claims {
		name := i.claims[k].Name
		if claimOrdinal(name, i.set, mounted(p, name)) != key {
			return fmt.Sprintf("pod %s was adopted and does not use claim %s; delete the pod to have it made anew with its volumes",
				p.Name, claim.Name(name, i.set, key))
		}
	}
	return ""
}

// mounted is the claim behind a volume of the pod; "" when there is none.
func mounted(p *corev1.Pod, volume string) string {
	for k := range p.Spec.Volumes {
		if v := &p.Spec.Volumes[k]; v.Name == volume && v.PersistentVolumeClaim != nil {
			return v.PersistentVolumeClaim.ClaimName
		}
	}
	return ""
}

// identify gives the pods back what was taken from their identity, and adds to the plan what cannot be given back.
func (r *Reconciler) identify(ctx context.Context, set *appsv1beta1.StatefulSet, state workload.State, plan *workload.Plan) error {
	who := identityOf(set)
	for i := range state.Members {
		m := &state.Members[i]
		if lost := who.lost(m.Pod); len(lost) > 0 {
			if err := r.engine.LabelPod(ctx, set, m.Pod, lost); err != nil {
				return err
			}
		}
		if text := who.strange(m.Pod); text != "" {
			plan.Held = append(plan.Held, workload.Held{
				Change: workload.Change{Verb: workload.Refresh, Member: m}, Reason: appsv1beta1.HeldByPVC, Message: text,
			})
		}
	}
	return nil
}
