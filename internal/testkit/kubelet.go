package testkit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Transition is one thing that a pretended node does to a pod, or to a claim.
type Transition string

// The transitions of a pod's life, in the order in which they are due.
const (
	BindClaim Transition = "bind claim" // a volume is found for a claim, or grown to what it asks
	Bind      Transition = "bind"       // the pod gets a node
	Start     Transition = "start"      // its containers run for the first time
	Kill      Transition = "kill"       // a container whose image changed is stopped
	Restart   Transition = "restart"    // a stopped container runs again, with the image of the spec
	Resize    Transition = "resize"     // changed resources are given to running containers
	Ready     Transition = "ready"      // readiness follows the containers and the readiness gates
	Observe   Transition = "observe"    // the generation is reported as seen, with nothing else to do
	Finish    Transition = "finish"     // a deleted pod is gone
)

// Kubelet pretends the scheduler, the nodes and the volume binder for one namespace of an API server that has none. It is
// a fake, of exactly what cannot be had in that tier: what a node does to a pod's status is copied from a real kubelet's
// behaviour, and the end-to-end tests hold the real one against the same expectations. Nothing happens between two calls
// of Step: there is no goroutine and no waiting in it.
type Kubelet struct {
	// Client reads and writes without a cache.
	Client client.Client
	// Namespace is where the pods are.
	Namespace string
	// Nodes are the names that pods are spread over, one after the other; none means node-1 to node-3. A pod whose affinity
	// names a node gets that one. Their Node objects are made as they are needed, and shared by all tests of the binary.
	Nodes []string
	// Hold keeps a pod from a transition for as long as it returns true. nil holds nothing back. For BindClaim, pod is nil.
	Hold func(pod *corev1.Pod, next Transition) bool
	// Digest returns the image id of an image; nil means ImageID.
	Digest func(image string) string
	// Clock dates what it writes; nil means the real one.
	Clock clock.PassiveClock

	bound int // pods given a node so far, for the round robin
}

// settleLimit is how many steps a pod may need at the very most until nothing is left to do for it.
const settleLimit = 40

// Settle steps until no pod has a transition left, and fails when that does not come to an end.
func (k *Kubelet) Settle(ctx context.Context) error {
	for range settleLimit {
		made, err := k.Step(ctx)
		if err != nil {
			return err
		}
		if made == 0 {
			return nil
		}
	}
	return fmt.Errorf("the pods of %s still change after %d steps", k.Namespace, settleLimit)
}

// Step makes at most one transition for each claim and each pod, and returns how many it made.
func (k *Kubelet) Step(ctx context.Context) (int, error) {
	made, err := k.stepClaims(ctx)
	if err != nil {
		return made, err
	}
	var pods corev1.PodList
	if err := k.Client.List(ctx, &pods, client.InNamespace(k.Namespace)); err != nil {
		return made, fmt.Errorf("kubelet: list the pods of %s: %w", k.Namespace, err)
	}
	for i := range pods.Items {
		next, act := k.next(&pods.Items[i])
		if act == nil || (k.Hold != nil && k.Hold(&pods.Items[i], next)) {
			continue
		}
		switch err := act(ctx); {
		case err == nil:
			made++
		case apierrors.IsConflict(err) || apierrors.IsNotFound(err): // somebody else was faster: look again next time
		default:
			return made, fmt.Errorf("kubelet: %s pod %s: %w", next, pods.Items[i].Name, err)
		}
	}
	return made, nil
}

// next returns the transition that is due for a pod, or nothing.
func (k *Kubelet) next(pod *corev1.Pod) (Transition, func(context.Context) error) {
	switch {
	case pod.DeletionTimestamp != nil:
		return k.nextOfDeleted(pod)
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return "", nil
	case pod.Spec.NodeName == "":
		if len(pod.Spec.SchedulingGates) > 0 {
			return "", nil
		}
		return Bind, func(ctx context.Context) error { return k.bind(ctx, pod) }
	}
	changed := pod.DeepCopy()
	next := k.advance(changed)
	if next == "" {
		return "", nil
	}
	return next, func(ctx context.Context) error {
		return k.Client.Status().Patch(ctx, changed, client.StrategicMergeFrom(pod, client.MergeFromWithOptimisticLock{}))
	}
}

// nextOfDeleted finishes a graceful deletion. Finalizers are left to their owners: the server then keeps the object.
func (k *Kubelet) nextOfDeleted(pod *corev1.Pod) (Transition, func(context.Context) error) {
	if grace := pod.DeletionGracePeriodSeconds; grace != nil && *grace == 0 {
		return "", nil
	}
	return Finish, func(ctx context.Context) error {
		return k.Client.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID})
	}
}

// bind gives a pod the next node, once all its claims are bound. A claim that is not there yet is a NotFound, which means
// later to the caller.
func (k *Kubelet) bind(ctx context.Context, pod *corev1.Pod) error {
	for _, volume := range pod.Spec.Volumes {
		if volume.PersistentVolumeClaim == nil {
			continue
		}
		var claim corev1.PersistentVolumeClaim
		key := client.ObjectKey{Namespace: k.Namespace, Name: volume.PersistentVolumeClaim.ClaimName}
		if err := k.Client.Get(ctx, key, &claim); err != nil {
			return fmt.Errorf("find its claim %s: %w", key.Name, err)
		}
		if claim.Status.Phase != corev1.ClaimBound {
			return apierrors.NewConflict(corev1.Resource("persistentvolumeclaims"), claim.Name, errors.New("it is not bound"))
		}
	}
	nodes := k.Nodes
	if len(nodes) == 0 {
		nodes = []string{"node-1", "node-2", "node-3"}
	}
	name := nodes[k.bound%len(nodes)]
	if only := pinnedTo(pod); only != "" {
		name = only
	}
	if err := k.makeNode(ctx, name); err != nil {
		return err
	}
	target := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: name}}
	if err := k.Client.SubResource("binding").Create(ctx, pod, target); err != nil {
		return fmt.Errorf("bind it to %s: %w", name, err)
	}
	k.bound++
	return nil
}

// pinnedTo is the node that the pod's affinity names; "" where it leaves a choice.
func pinnedTo(pod *corev1.Pod) string {
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, field := range term.MatchFields {
				return field.Values[0]
			}
		}
	}
	return ""
}

// makeNode makes a Node, if it is not there: admission looks at it before it lets a pod be resized.
func (k *Kubelet) makeNode(ctx context.Context, name string) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	node.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("1Ti"),
		corev1.ResourcePods: resource.MustParse("1000000"),
	}
	node.Status.Capacity = node.Status.Allocatable
	if err := client.IgnoreAlreadyExists(k.Client.Create(ctx, node)); err != nil {
		return fmt.Errorf("make node %s: %w", name, err)
	}
	return nil
}

// unpullable says of which images a node cannot get a copy: their name holds "does-not-exist", or their registry is in the
// domain that never exists (.invalid, RFC 2606). Simulated nodes follow the same rule.
func unpullable(image string) bool {
	registry, _, _ := strings.Cut(image, "/")
	host, _, _ := strings.Cut(registry, ":")
	return strings.Contains(image, "does-not-exist") || strings.HasSuffix(host, ".invalid")
}

func (k *Kubelet) digest(image string) string {
	if k.Digest != nil {
		return k.Digest(image)
	}
	return ImageID(image)
}

func (k *Kubelet) now() metav1.Time {
	if k.Clock == nil {
		return metav1.Now()
	}
	return metav1.NewTime(k.Clock.Now())
}
