package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
)

const (
	zoneLabel    = "topology.kubernetes.io/zone"
	zoneCapacity = 20 // pods
)

func unitedScenario() scenario {
	return scenario{
		name: "zones", group: workloads, title: "one application over three zones, one of which becomes full and is then drained",
		about: `
A UnitedDeployment of 9 pods over three simulated zones with room for 20 pods each. Zone b is filled up by others; then the
application grows to 24, of which zone b cannot take its share. Then zone b is drained, as kubectl drain does it.`,
		play: playUnited,
	}
}

func playUnited(ctx context.Context, p *play) error {
	for _, zone := range []string{"a", "b", "c"} {
		if err := p.makeZone(ctx, zone); err != nil {
			return err
		}
	}
	if err := p.apply(ctx, unitedManifest()); err != nil {
		return err
	}
	united := p.ref("apps.kruise.io/v1beta1", "UnitedDeployment", "shop")
	if err := p.ready(ctx, time.Minute, united); err != nil {
		return err
	}
	zones, err := p.perZone(ctx)
	if err != nil {
		return err
	}
	p.claim(zones == "a 3, b 3, c 3", "9 pods are spread evenly (%s)", zones)
	if err := p.zoneFull(ctx); err != nil {
		return err
	}
	return p.zoneDrained(ctx)
}

// makeZone makes a simulated node that is a zone of its own.
func (p *play) makeZone(ctx context.Context, zone string) error {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-zone-" + zone, Labels: map[string]string{
			"holdfast.io/simulated": "true", "e2e": "zones", zoneLabel: zone, corev1.LabelHostname: "e2e-zone-" + zone,
		}},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "holdfast.io/simulated", Value: "true", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{Capacity: corev1.ResourceList{
			corev1.ResourcePods: *resource.NewQuantity(zoneCapacity, resource.DecimalSI),
			corev1.ResourceCPU:  resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		}},
	}
	node.Status.Allocatable = node.Status.Capacity
	if err := p.client.Create(ctx, node); err != nil {
		return fmt.Errorf("make zone %s: %w", zone, err)
	}
	p.atEnd(func(ctx context.Context) error { return p.remove(ctx, node) })
	return nil
}

// unitedManifest is one application over the zones.
func unitedManifest() string {
	var subsets strings.Builder
	for _, zone := range []string{"a", "b", "c"} {
		fmt.Fprintf(&subsets, `
    - name: %[1]s
      nodeSelectorTerm: {matchExpressions: [{key: %[2]s, operator: In, values: [%[1]s]}]}
      tolerations: [{key: holdfast.io/simulated, operator: Exists}]`, zone, zoneLabel)
	}
	return `
apiVersion: apps.kruise.io/v1beta1
kind: UnitedDeployment
metadata: {name: shop}
spec:
  replicas: 9
  selector: {matchLabels: {app: shop}}
  template:
    cloneSetTemplate:
      metadata: {labels: {app: shop}}
      spec:
        selector: {matchLabels: {app: shop}}
        template:
          metadata: {labels: {app: shop}}
          spec: {containers: [{name: main, image: "registry.local/app:v1"}]}
  topology:
    scheduleStrategy: {type: Adaptive, adaptive: {rescheduleCriticalSeconds: 5, unschedulableDuration: 60}}
    subsets:` + subsets.String() + "\n"
}

// perZone tells how many ready pods of the application are in which zone.
func (p *play) perZone(ctx context.Context) (string, error) {
	pods, err := p.pods(ctx, map[string]string{"app": "shop"})
	if err != nil {
		return "", err
	}
	count := map[string]int{}
	for _, one := range pods {
		if one.Spec.NodeName != "" {
			count[strings.TrimPrefix(one.Spec.NodeName, "e2e-zone-")]++
		}
	}
	var words []string
	for _, zone := range []string{"a", "b", "c"} {
		words = append(words, fmt.Sprintf("%s %d", zone, count[zone]))
	}
	return strings.Join(words, ", "), nil
}

// zoneFull fills zone b with pods of somebody else, and lets the application grow.
func (p *play) zoneFull(ctx context.Context) error {
	cluster.Say("Zone b becomes full, and the application grows from 9 to 24.")
	const others = zoneCapacity - 3 - 1 // room for one more is left
	for i := range others {
		other := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: fmt.Sprintf("other-%02d", i), Labels: map[string]string{"app": "other"}},
			Spec: corev1.PodSpec{
				NodeName: "e2e-zone-b", Containers: []corev1.Container{{Name: "main", Image: "registry.local/other:v1"}},
				Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			},
		}
		if err := p.client.Create(ctx, other); err != nil {
			return fmt.Errorf("fill zone b: %w", err)
		}
	}
	begun := time.Now()
	if err := p.merge(ctx, p.united(), `{"spec":{"replicas":24}}`); err != nil {
		return err
	}
	if err := p.allRun(ctx, 24); err != nil {
		return err
	}
	zones, err := p.perZone(ctx)
	if err != nil {
		return err
	}
	p.figure("24 pods ran, with zone b full, after", "%.1f s (a pod is moved when it has found no node for 5 s)", time.Since(begun).Seconds())
	full := strings.Contains(zones, "b 3") || strings.Contains(zones, "b 4")
	p.claim(full, "zone b, with room for one more, keeps its 3 pods or takes a fourth, and the other zones take the rest (%s)", zones)
	return nil
}

func (p *play) united() client.Object {
	return p.ref("apps.kruise.io/v1beta1", "UnitedDeployment", "shop")
}

// allRun waits until exactly n pods of the application are there and ready.
func (p *play) allRun(ctx context.Context, n int) error {
	last := ""
	err := p.until(ctx, 2*time.Minute, fmt.Sprintf("%d pods of the application are ready", n), func(ctx context.Context) (bool, error) {
		pods, err := p.pods(ctx, map[string]string{"app": "shop"})
		if err != nil {
			return false, err
		}
		running := 0
		for _, one := range pods {
			if one.Status.Phase == corev1.PodRunning {
				running++
			}
		}
		last = fmt.Sprintf("%d pods, %d running", len(pods), running)
		return len(pods) == n && running == n, nil
	})
	if err != nil {
		u := p.ref("apps.kruise.io/v1beta1", "UnitedDeployment", "shop")
		_ = p.refresh(ctx, u) // the error says more with the status than without
		return fmt.Errorf("%w; last seen: %s; status: %v", err, last, u.Object["status"])
	}
	return nil
}

// zoneDrained drains zone b.
func (p *play) zoneDrained(ctx context.Context) error {
	cluster.Say("Draining zone b.")
	before, err := p.pods(ctx, map[string]string{"app": "shop"})
	if err != nil {
		return err
	}
	begun := time.Now()
	met, err := p.drain(ctx, "e2e-zone-b")
	if err != nil {
		return err
	}
	p.figure("the drain of zone b", "%d evictions, %.1f s", met.done, time.Since(begun).Seconds())
	if err := p.allRun(ctx, 24); err != nil {
		return err
	}
	p.figure("24 pods ran again after", "%.1f s", time.Since(begun).Seconds())
	zones, err := p.perZone(ctx)
	if err != nil {
		return err
	}
	p.claim(strings.Contains(zones, "b 0"), "all 24 pods run in the zones that are left (%s)", zones)
	after, err := p.pods(ctx, map[string]string{"app": "shop"})
	if err != nil {
		return err
	}
	elsewhere, kept := 0, 0
	for _, one := range before {
		if one.Spec.NodeName == "e2e-zone-b" {
			continue
		}
		elsewhere++
		if slices.ContainsFunc(after, func(now *corev1.Pod) bool { return now.UID == one.UID }) {
			kept++
		}
	}
	p.claim(kept == elsewhere, "the pods of the other zones stayed (%d of %d)", kept, elsewhere)
	return nil
}
