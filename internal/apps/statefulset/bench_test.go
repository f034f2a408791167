package statefulset

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// BenchmarkPass is what one pass over 1,000 pods with claims costs, apart from reading and writing.
func BenchmarkPass(b *testing.B) {
	set := setWith(1000, parallel, away("10%"), withClaims(testkit.ClaimTemplate("data", "1Gi")), grows)
	state := workload.NewState(set)
	state.Update, state.Current = revisions()
	var pods []*corev1.Pod
	who := identityOf(set)
	for i := range 1000 {
		key := fmt.Sprint(i)
		p := testkit.Pod(func(p *corev1.Pod) {
			p.Name = "web-" + key
			p.Labels["controller-revision-hash"] = "v2"
			p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-web-" + key},
			}}}
		})
		who.shape(p, key)
		pods = append(pods, p)
		c := testkit.ClaimTemplate("data-web-"+key, "1Gi")
		c.Status.Phase = corev1.ClaimBound
		c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		state.Claims = append(state.Claims, &c)
	}
	state.Divide(pods, func(p *corev1.Pod) (workload.Member, bool) { return workload.NewMember(p, 0, later(0)), true })
	known := state.Claims
	r := &Reconciler{}
	for b.Loop() {
		var err error
		if state.Claims, err = inUse(set, state); err != nil {
			b.Fatal(err)
		}
		plan, err := decide(set, state, later(0))
		if err != nil {
			b.Fatal(err)
		}
		if changed := ownerships(set, known, state, plan.Set.Slots); len(changed) > 0 {
			b.Fatalf("%d claims are not as they should be", len(changed))
		}
		if err := r.grow(b.Context(), set, state, &plan); err != nil {
			b.Fatal(err)
		}
		if err := r.identify(b.Context(), set, state, &plan); err != nil || len(plan.Steps)+len(plan.Births) > 0 {
			b.Fatalf("%d steps, %d births (%v)", len(plan.Steps), len(plan.Births), err)
		}
		fillStatus(set, state, plan, nil, later(time.Minute))
	}
}
