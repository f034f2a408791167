package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/pod"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
	"github.com/holdfast-io/holdfast/internal/workload/hook"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// step makes one change of an existing pod.
func (p *pass) step(ctx context.Context, s Step) {
	target := shallow(s.Change.Member.Pod)
	if p.guarded(ctx, s, target) {
		return
	}
	scale := s.Change.Verb == Delete || s.Change.Verb == Replace
	if err := p.change(ctx, s, target); err != nil {
		p.failed(scale, err)
		if !apierrors.IsConflict(err) {
			reconcile.Event(ctx, corev1.EventTypeWarning, failure(s.Change.Verb), "%v", err)
		}
	}
}

func failure(verb Verb) string {
	switch verb {
	case Delete, Replace:
		return "FailedDelete"
	case Create:
		return "FailedCreate"
	default:
		return "FailedUpdatePodInPlace"
	}
}

// shallow copies the part of a pod that a step changes; the rest stays shared with the cache.
func shallow(p *corev1.Pod) *corev1.Pod {
	c := *p
	return &c
}

func (p *pass) change(ctx context.Context, s Step, target *corev1.Pod) error {
	if len(s.Conditions) > 0 {
		body := patch{Metadata: patchMeta{UID: target.UID}, Status: &patchStatus{Conditions: s.Conditions}}
		if slices.ContainsFunc(s.Conditions, shared) {
			body.Metadata.ResourceVersion = target.ResourceVersion
		}
		if err := p.engine.patchPod(ctx, p.memory, target, body, "status"); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("write the readiness gates of pod %s/%s: %w", target.Namespace, target.Name, err)
		}
	}
	switch s.Change.Verb {
	case Update:
		if s.Update.Patch {
			return p.changeInPlace(ctx, s, target)
		}
		return p.mark(ctx, s, target)
	case Delete, Replace:
		if s.Mark != "" {
			return p.mark(ctx, s, target)
		}
		return p.remove(ctx, s, target)
	case Refresh, Create:
		return p.mark(ctx, s, target)
	}
	return nil
}

// shared conditions have other writers beside us, whose entry must not get lost.
func shared(c corev1.PodCondition) bool { return c.Type == appsv1beta1.KruisePodReady }

// mark moves a pod to a state of its lifecycle.
func (p *pass) mark(ctx context.Context, s Step, target *corev1.Pod) error {
	if s.Mark == "" || s.Mark == s.Change.Member.State {
		return nil
	}
	labels, annotations := hook.Mark(s.Mark, p.engine.Clock.Now())
	body := patch{Metadata: patchMeta{UID: target.UID, Labels: pointers(labels), Annotations: pointers(annotations)}}
	if err := p.engine.patchPod(ctx, p.memory, target, body, ""); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("move pod %s/%s to lifecycle state %s: %w", target.Namespace, target.Name, s.Mark, err)
	}
	return nil
}

func pointers(m map[string]string) map[string]*string {
	all := make(map[string]*string, len(m))
	for key, value := range m {
		all[key] = &value
	}
	return all
}

// changeInPlace changes a pod in place: first its resources, then all else in one write that also says which revision it is, so
// that a crash in between leaves a pod that is simply still to be changed.
func (p *pass) changeInPlace(ctx context.Context, s Step, target *corev1.Pod) error {
	delta := p.state.Paths[s.Change.Member.Revision].Delta
	now := p.engine.Clock.Now()
	var state inplace.State
	var images map[string]string
	if s.Change.Member.Phase == inplace.NextBatch && s.Change.Revision == s.Change.Member.Revision {
		delta = inplace.Delta{}
		state, images = inplace.Continue(target, *inplace.Read(target), now)
	} else {
		state, images = inplace.Begin(target, delta, s.Change.Revision, now)
	}
	if len(delta.Resources) > 0 {
		if err := p.resize(ctx, target, delta); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode the state of pod %s/%s: %w", target.Namespace, target.Name, err)
	}
	text := string(raw)
	body := patch{Metadata: patchMeta{
		UID: target.UID, ResourceVersion: target.ResourceVersion,
		Labels: maps.Clone(delta.Labels), Annotations: maps.Clone(delta.Annotations),
	}}
	set(&body.Metadata.Annotations, appsv1beta1.InPlaceUpdateState, text)
	set(&body.Metadata.Labels, appsv1.ControllerRevisionHashLabelKey, s.Change.Revision)
	if !p.plan.Set.keyed() {
		set(&body.Metadata.Labels, appsv1.DefaultDeploymentUniqueLabelKey, suffix(p.src.Owner.GetName(), s.Change.Revision))
	}
	if s.Mark != "" {
		labels, annotations := hook.Mark(s.Mark, now)
		maps.Copy(body.Metadata.Labels, pointers(labels))
		maps.Copy(body.Metadata.Annotations, pointers(annotations))
	}
	for name, image := range images {
		body.Spec.Containers = append(body.Spec.Containers, patchContainer{Name: name, Image: image})
	}
	switch err := p.engine.patchPod(ctx, p.memory, target, body, ""); {
	case apierrors.IsNotFound(err):
		return nil // somebody deleted it, and its event is on its way
	case err != nil:
		return fmt.Errorf("change pod %s/%s in place: %w", target.Namespace, target.Name, err)
	}
	reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulUpdatePodInPlace", "changed pod %s in place to revision %s",
		target.Name, s.Change.Revision)
	return nil
}

func set(m *map[string]*string, key, value string) {
	if *m == nil {
		*m = map[string]*string{}
	}
	(*m)[key] = &value
}

func (p *pass) resize(ctx context.Context, target *corev1.Pod, delta inplace.Delta) error {
	body := patch{Metadata: patchMeta{UID: target.UID, ResourceVersion: target.ResourceVersion}}
	for name, resources := range delta.Resources {
		body.Spec.Containers = append(body.Spec.Containers, patchContainer{Name: name, Resources: &resources})
	}
	if err := p.engine.patchPod(ctx, p.memory, target, body, "resize"); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("resize pod %s/%s: %w", target.Namespace, target.Name, err)
	}
	return nil
}

// remove deletes a pod, and with it the claims that its place does not keep.
func (p *pass) remove(ctx context.Context, s Step, target *corev1.Pod) error {
	if err := p.delete(ctx, target); err != nil {
		return err
	}
	if s.Change.Verb == Replace && s.Then != "" {
		p.mu.Lock()
		p.born = append(p.born, Birth{ID: s.Then, Revision: s.Change.Revision})
		p.mu.Unlock()
	}
	reason := "SuccessfulDelete"
	if s.Change.Verb == Replace {
		reason = "SuccessfulUpdatePodReCreate"
	}
	reconcile.Event(ctx, corev1.EventTypeNormal, reason, "deleted pod %s: %s", target.Name, s.Change.Why)
	if s.Change.Verb == Replace && p.plan.Set.ReuseClaims || p.plan.Set.keyed() {
		return nil
	}
	for _, c := range claim.ByInstance(p.state.Claims)[claim.Instance(target)] {
		if err := p.engine.Client.Delete(ctx, c, client.Preconditions{UID: &c.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete claim %s/%s of pod %s: %w", c.Namespace, c.Name, target.Name, err)
		}
	}
	return nil
}

func (p *pass) delete(ctx context.Context, target *corev1.Pod) error {
	err := p.engine.Client.Delete(ctx, target, client.Preconditions{UID: &target.UID})
	if err == nil || apierrors.IsNotFound(err) {
		p.memory.gone(target.UID)
		p.engine.left(p.src.Owner.GetUID(), target.UID)
		return nil
	}
	if Unanswered(err) || apierrors.IsConflict(err) { // a conflict: the name may have another pod now
		p.memory.doubt(target.Name, target.UID)
	}
	return fmt.Errorf("delete pod %s/%s: %w", target.Namespace, target.Name, err)
}

// create makes one pod and, before it, its claims.
func (p *pass) create(ctx context.Context, b Birth) error {
	if err := p.ensureClaims(ctx, p.instance(b)); err != nil {
		return err
	}
	fresh, err := p.build(b)
	if err != nil {
		return err
	}
	switch err = p.engine.Client.Create(ctx, fresh); {
	case err == nil:
		p.memory.wrote(podKind(), fresh.ResourceVersion)
		reconcile.Event(ctx, corev1.EventTypeNormal, "SuccessfulCreate", "created pod %s", fresh.Name)
		return nil
	case apierrors.IsAlreadyExists(err):
		return p.taken(ctx, fresh, b.ID)
	case Unanswered(err):
		p.memory.doubt(fresh.Name, "")
	}
	err = fmt.Errorf("create pod %s/%s: %w", fresh.Namespace, fresh.Name, err)
	reconcile.Event(ctx, corev1.EventTypeWarning, failure(Create), "%v", err)
	return err
}

// taken finds out whose pod has the name: our own, which the cache does not show yet, or somebody else's, whose name is
// passed over from then on.
func (p *pass) taken(ctx context.Context, fresh *corev1.Pod, id string) error {
	var existing corev1.Pod
	err := p.engine.Live.Get(ctx, client.ObjectKeyFromObject(fresh), &existing)
	switch {
	case apierrors.IsNotFound(err):
		p.retry("pod " + fresh.Name + " was in the way and is gone now")
	case err != nil:
		return fmt.Errorf("read pod %s/%s, whose name is taken: %w", fresh.Namespace, fresh.Name, err)
	case pod.OwnedBy(&existing, p.src.Owner):
		p.memory.wrote(podKind(), existing.ResourceVersion)
	case p.plan.Set.PodName != nil:
		return fmt.Errorf("create pod %s/%s: there is a pod of this name that is not ours; delete it, or let it be adopted by giving "+
			"it the labels of the selector", fresh.Namespace, fresh.Name)
	default:
		p.memory.passOver(id)
		p.retry("the name " + fresh.Name + " belongs to a pod of somebody else")
	}
	return nil
}

// build makes the pod object of a birth from the template of its revision.
func (p *pass) build(b Birth) (*corev1.Pod, error) {
	rev := p.state.Update
	for _, known := range p.state.History {
		if known.Name == b.Revision {
			rev = known
		}
	}
	tmpl, err := p.memory.template(rev)
	if err != nil {
		return nil, err
	}
	tmpl = tmpl.DeepCopy()
	fresh := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace:       p.src.Owner.GetNamespace(),
		Name:            p.podName(b),
		Labels:          tmpl.Labels,
		Annotations:     tmpl.Annotations,
		Finalizers:      tmpl.Finalizers,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.src.Owner, p.src.Kind)},
	}, Spec: tmpl.Spec}
	if fresh.Labels == nil {
		fresh.Labels = map[string]string{}
	}
	labels, annotations := hook.Mark(hook.First(p.plan.Set.Lifecycle), p.engine.Clock.Now())
	maps.Copy(fresh.Labels, labels)
	fresh.Labels[appsv1.ControllerRevisionHashLabelKey] = rev.Name
	if !p.plan.Set.keyed() {
		fresh.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = suffix(p.src.Owner.GetName(), rev.Name)
		fresh.Labels[appsv1beta1.CloneSetInstanceID] = b.ID
		if hash := claim.Hash(p.src.Claims); hash != "" {
			fresh.Labels[appsv1beta1.VolumeClaimTemplateHash] = hash
		}
	}
	if p.plan.Set.Lifecycle != nil {
		if fresh.Annotations == nil {
			fresh.Annotations = map[string]string{}
		}
		maps.Copy(fresh.Annotations, annotations)
	}
	if b.StandIn {
		if fresh.Annotations == nil {
			fresh.Annotations = map[string]string{}
		}
		fresh.Annotations[StandIn] = rev.Name
	}
	for _, gate := range p.plan.Set.Gates {
		if !pod.HasGate(fresh, gate) {
			fresh.Spec.ReadinessGates = append(fresh.Spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: gate})
		}
	}
	claim.Mount(&fresh.Spec, p.src.Owner.GetName(), p.src.Claims, p.instance(b))
	if p.plan.Set.Shape != nil {
		p.plan.Set.Shape(fresh, b.Key)
	}
	return fresh, nil
}

func (p *pass) podName(b Birth) string {
	if p.plan.Set.PodName != nil {
		return p.plan.Set.PodName(b.Key)
	}
	return p.src.Owner.GetName() + "-" + b.ID
}

// instance is what the claims of a new pod are named by: its slot where that has a key, so that the next pod of the slot
// finds them again.
func (p *pass) instance(b Birth) string {
	if p.plan.Set.keyed() {
		return b.Key
	}
	return b.ID
}
