package sidecarset

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/share"
)

// owner is the workload of pods, as far as it says how many of them may be away.
type owner struct {
	name string
	// uids are those by which pods name it: of a Deployment, its ReplicaSets'.
	uids []types.UID
	// turn is the UID by which turns are taken.
	turn types.UID
	terms

	// available are its pods that serve, and budget how many of them may still be taken.
	available map[types.UID]bool
	budget    int
}

// terms are what a workload promises.
type terms struct {
	desired, unavailable int
	minReady             time.Duration
}

// exhausted says why no pod can be taken.
func (o *owner) exhausted() string {
	if o.unavailable == 0 {
		return fmt.Sprintf("%s allows none of its pods to be unavailable (maxUnavailable is 0); raise it, "+
			"or delete pods so that they are made anew", o.name)
	}
	return fmt.Sprintf("%s has as many of its %d pods unavailable as its maxUnavailable allows (%d); more are taken when others are available",
		o.name, o.desired, o.unavailable)
}

// promised are the terms of a workload with these limits. A percentage that comes to no pod stands for one: it is meant
// to let updates go on, and a sidecar's change has no surge to go on by.
func promised(desired int, unavailable, surge *intstr.IntOrString, otherwise, noSurge intstr.IntOrString, minReady int32) (terms, error) {
	extra, err := share.Of(surge, noSurge, desired, true)
	if err != nil {
		return terms{}, err
	}
	away, err := share.Of(unavailable, otherwise, desired, extra == 0)
	if err != nil {
		return terms{}, err
	}
	if away == 0 && !share.Zero(unavailable, share.Zero(&otherwise, true)) {
		away = 1
	}
	return terms{desired: desired, unavailable: away, minReady: share.Seconds(minReady)}, nil
}

// ownerOf finds the workload of a pod; nil when it has none that says anything.
func (r *Reconciler) ownerOf(ctx context.Context, p *corev1.Pod) (*owner, error) {
	ref := metav1.GetControllerOfNoCopy(p)
	if ref == nil {
		return nil, nil //nolint:nilnil // no workload that says anything
	}
	o := &owner{name: ref.Kind + " " + p.Namespace + "/" + ref.Name, uids: []types.UID{ref.UID}, turn: ref.UID}
	read := r.termsOf(ref)
	if read == nil {
		return nil, nil //nolint:nilnil // no workload that says anything
	}
	found, err := read(ctx, client.ObjectKey{Namespace: p.Namespace, Name: ref.Name}, o)
	switch {
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
		return nil, nil //nolint:nilnil // it is gone, and its pods go, too
	case err != nil:
		return nil, fmt.Errorf("read %s, whose pod %s is to be changed: %w", o.name, p.Name, err)
	case found == nil:
		return nil, nil //nolint:nilnil // no workload that says anything
	}
	o.terms = *found
	return o, nil
}

// What reading the workloads of pods takes.

// +kubebuilder:rbac:groups=apps,resources=deployments;replicasets;statefulsets;daemonsets,verbs=get;list;watch

type termsReader func(ctx context.Context, key client.ObjectKey, o *owner) (*terms, error)

func (r *Reconciler) termsOf(ref *metav1.OwnerReference) termsReader {
	gv := ref.APIVersion
	ours := len(gv) > len(appsv1beta1.GroupName) && gv[:len(appsv1beta1.GroupName)+1] == appsv1beta1.GroupName+"/"
	switch {
	case ours && ref.Kind == "CloneSet":
		return r.cloneSet
	case ours && ref.Kind == "StatefulSet":
		return r.statefulSet
	case ours && ref.Kind == "DaemonSet":
		return r.daemonSet
	case gv == appsv1.SchemeGroupVersion.String() && ref.Kind == "ReplicaSet":
		return r.deployment
	case gv == appsv1.SchemeGroupVersion.String() && ref.Kind == "StatefulSet":
		return r.nativeStatefulSet
	case gv == appsv1.SchemeGroupVersion.String() && ref.Kind == "DaemonSet":
		return r.nativeDaemonSet
	default:
		return nil
	}
}

// The defaults of the workloads where nobody has written them out.
var (
	none       = intstr.FromInt32(0)      //nolint:gochecknoglobals // a constant that Go cannot write as one
	one        = intstr.FromInt32(1)      //nolint:gochecknoglobals // as above
	twenty     = intstr.FromString("20%") //nolint:gochecknoglobals // as above
	twentyFive = intstr.FromString("25%") //nolint:gochecknoglobals // as above
)

const firstReplica int32 = 1

func (r *Reconciler) cloneSet(ctx context.Context, key client.ObjectKey, _ *owner) (*terms, error) {
	var cs appsv1beta1.CloneSet
	if err := r.deps.Client.Get(ctx, key, &cs, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err //nolint:wrapcheck // ownerOf says what for
	}
	rolling := ptr.Deref(cs.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateCloneSetStrategy{})
	replicas := int(ptr.Deref(cs.Spec.Replicas, firstReplica))
	t, err := promised(replicas, rolling.MaxUnavailable, rolling.MaxSurge, twenty, none, cs.Spec.MinReadySeconds)
	return &t, err
}

func (r *Reconciler) statefulSet(ctx context.Context, key client.ObjectKey, _ *owner) (*terms, error) {
	var set appsv1beta1.StatefulSet
	if err := r.deps.Client.Get(ctx, key, &set, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err //nolint:wrapcheck // ownerOf says what for
	}
	rolling := ptr.Deref(set.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateStatefulSetStrategy{})
	most := rolling.MaxUnavailable
	if set.Spec.PodManagementPolicy != appsv1beta1.ParallelPodManagement {
		most = &one
	}
	t, err := promised(int(ptr.Deref(set.Spec.Replicas, firstReplica)), most, nil, one, none, ptr.Deref(rolling.MinReadySeconds, 0))
	return &t, err
}

func (r *Reconciler) daemonSet(ctx context.Context, key client.ObjectKey, _ *owner) (*terms, error) {
	var ds appsv1beta1.DaemonSet
	if err := r.deps.Client.Get(ctx, key, &ds, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err //nolint:wrapcheck // ownerOf says what for
	}
	rolling := ptr.Deref(ds.Spec.UpdateStrategy.RollingUpdate, appsv1beta1.RollingUpdateDaemonSet{})
	t, err := promised(int(ds.Status.DesiredNumberScheduled), rolling.MaxUnavailable, rolling.MaxSurge, one, none, ds.Spec.MinReadySeconds)
	return &t, err
}

func (r *Reconciler) nativeStatefulSet(ctx context.Context, key client.ObjectKey, _ *owner) (*terms, error) {
	var set appsv1.StatefulSet
	if err := r.deps.Client.Get(ctx, key, &set, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err //nolint:wrapcheck // ownerOf says what for
	}
	most := &one
	if rolling := set.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.MaxUnavailable != nil {
		most = rolling.MaxUnavailable
	}
	t, err := promised(int(ptr.Deref(set.Spec.Replicas, firstReplica)), most, nil, one, none, set.Spec.MinReadySeconds)
	return &t, err
}

func (r *Reconciler) nativeDaemonSet(ctx context.Context, key client.ObjectKey, _ *owner) (*terms, error) {
	var ds appsv1.DaemonSet
	if err := r.deps.Client.Get(ctx, key, &ds, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err //nolint:wrapcheck // ownerOf says what for
	}
	rolling := ptr.Deref(ds.Spec.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
	t, err := promised(int(ds.Status.DesiredNumberScheduled), rolling.MaxUnavailable, rolling.MaxSurge, one, none, ds.Spec.MinReadySeconds)
	return &t, err
}

// deployment reads the Deployment behind a ReplicaSet. A ReplicaSet of its own promises nothing about updates.
func (r *Reconciler) deployment(ctx context.Context, key client.ObjectKey, o *owner) (*terms, error) {
	rs := &metav1.PartialObjectMetadata{}
	rs.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))
	if err := r.deps.Client.Get(ctx, key, rs); err != nil {
		return nil, err //nolint:wrapcheck // ownerOf says what for
	}
	ref := metav1.GetControllerOfNoCopy(rs)
	if ref == nil || ref.Kind != "Deployment" {
		return nil, nil //nolint:nilnil // no workload that says anything
	}
	var d appsv1.Deployment
	key.Name = ref.Name
	if err := r.deps.Client.Get(ctx, key, &d, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err //nolint:wrapcheck // ownerOf says what for
	}
	siblings := &metav1.PartialObjectMetadataList{}
	siblings.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("ReplicaSetList"))
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("spec.selector: %w", err)
	}
	err = r.deps.Client.List(ctx, siblings, client.InNamespace(key.Namespace), client.MatchingLabelsSelector{Selector: selector})
	if err != nil {
		return nil, err //nolint:wrapcheck // ownerOf says what for
	}
	o.name, o.turn, o.uids = "Deployment "+key.Namespace+"/"+d.Name, d.UID, nil
	for i := range siblings.Items {
		if metav1.IsControlledBy(&siblings.Items[i], &d) {
			o.uids = append(o.uids, siblings.Items[i].UID)
		}
	}
	rolling := ptr.Deref(d.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
	otherwise := twentyFive
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		otherwise = intstr.FromString("100%")
	}
	replicas := int(ptr.Deref(d.Spec.Replicas, firstReplica))
	t, err := promised(replicas, rolling.MaxUnavailable, rolling.MaxSurge, otherwise, twentyFive, d.Spec.MinReadySeconds)
	return &t, err
}
