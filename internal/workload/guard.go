package workload

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
)

// How long until a guard is asked again that does not know when its answer will change. The event that changes it - a pod
// that gets ready - mostly wakes the workload earlier.
const guardInterval = 5 * time.Second

// guarded asks the guards whether a step may take its pod away. When they say no, or do not answer, the step is not made.
func (p *pass) guarded(ctx context.Context, s Step, target *corev1.Pod) bool {
	if p.engine.Guard == nil {
		return false
	}
	for _, operation := range p.operations(s) {
		r := disruption.Request{Operation: operation, Pod: s.Change.Member.Pod, Cause: p.cause(s)}
		if !operation.Removes() {
			r.Changed = p.changed(s, target)
		}
		switch v, err := p.engine.Guard.Ask(ctx, r); {
		case err != nil:
			p.failed(operation.Removes(), err)
			return true
		case v.Outcome == disruption.Deny:
			p.kept(s, v)
			return true
		}
	}
	return false
}

// operations are the ways in which a step takes its pod away: none when it only writes metadata.
func (p *pass) operations(s Step) []disruption.Operation {
	removal := s.Change.Verb == Delete || s.Change.Verb == Replace
	if removal && s.Mark == "" {
		return []disruption.Operation{disruption.Delete}
	}
	var operations []disruption.Operation
	if s.Change.Verb == Update && (s.Update.Patch || s.Update.Unready) {
		delta := p.state.Paths[s.Change.Member.Revision].Delta
		if len(delta.Images) > 0 || len(delta.Env) > 0 || s.Change.Member.Phase == inplace.NextBatch {
			operations = append(operations, disruption.Update)
		}
		if len(delta.Resources) > 0 {
			operations = append(operations, disruption.Resize)
		}
	}
	// A pod that a hook takes out of service is away, too, long before it changes or goes.
	unready := func(c corev1.PodCondition) bool { return c.Status == corev1.ConditionFalse }
	if len(operations) == 0 && s.Change.Verb != Refresh && slices.ContainsFunc(s.Conditions, unready) {
		operations = append(operations, disruption.Update)
	}
	return operations
}

func (p *pass) cause(s Step) string {
	return fmt.Sprintf("%s by %s %s/%s: %s", s.Change.Verb, p.src.Kind.Kind, p.src.Owner.GetNamespace(), p.src.Owner.GetName(), s.Change.Why)
}

// changed is the pod as it will be.
func (p *pass) changed(s Step, target *corev1.Pod) *corev1.Pod {
	after := target.DeepCopy()
	delta := p.state.Paths[s.Change.Member.Revision].Delta
	for i := range after.Spec.Containers {
		c := &after.Spec.Containers[i]
		if image, changes := delta.Images[c.Name]; changes {
			c.Image = image
		}
		if resources, changes := delta.Resources[c.Name]; changes {
			c.Resources = resources
		}
	}
	return after
}

// kept notes that a guard keeps a pod for now.
func (p *pass) kept(s Step, v disruption.Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan.Held = append(p.plan.Held, Held{
		Change: s.Change, Reason: appsv1beta1.HeldByGuard, Message: v.Message, Throttled: v.Throttled,
	})
	after := v.After
	if after <= 0 {
		after = guardInterval
	}
	if p.plan.Again == 0 || after < p.plan.Again {
		p.plan.Again = after
	}
}

// Throttled returns the message of the first change that waits because too many pods went lately; "" when none does.
func Throttled(held []Held) string {
	for i := range held {
		if held[i].Throttled {
			return held[i].Message
		}
	}
	return ""
}
