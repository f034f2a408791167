package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
	"github.com/holdfast-io/holdfast/internal/pod"
)

//go:embed manifest/sidecar.yaml
var sidecarManifest string

//go:embed manifest/sidecar-apps.yaml
var sidecarApps string

func sidecarScenario() scenario {
	return scenario{
		name: "sidecar", group: workloads, title: "a log shipper and a proxy in pods of others, upgraded in place and hot",
		about: `
On the real nodes a SidecarSet puts a log shipper into the pods of a CloneSet and into a plain pod, and another one a proxy with hot
upgrade. Both get a new image. Then, on simulated nodes, a CloneSet of 20 pods and the SidecarSet of their sidecars upgrade at once,
with limits of 5 and 2 away, and again with 2 and 5: the sidecars begin, and the CloneSet follows as soon as they have.`,
		play: playSidecar,
	}
}

func playSidecar(ctx context.Context, p *play) error {
	if err := p.apply(ctx, strings.ReplaceAll(sidecarManifest, "NAMESPACE", p.namespace)); err != nil {
		return err
	}
	for _, name := range []string{"e2e-log-shipper", "e2e-proxy"} {
		p.atEnd(func(ctx context.Context) error { return p.remove(ctx, p.sidecarSet(name)) })
	}
	if err := p.apply(ctx, sidecarApps); err != nil {
		return err
	}
	for _, act := range []func(context.Context) error{p.injected, p.shipperUpgrade, p.hotUpgrade} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	if err := p.bothUpgrade(ctx, "pods", 5, 2); err != nil {
		return err
	}
	return p.bothUpgrade(ctx, "sidecars", 2, 5)
}

// sidecarSet names a SidecarSet.
func (p *play) sidecarSet(name string) *unstructured.Unstructured {
	u := p.ref("apps.kruise.io/v1beta1", "SidecarSet", name)
	u.SetNamespace("")
	return u
}

// injected claims that the containers are in the pods and do their work.
func (p *play) injected(ctx context.Context) error {
	if err := p.ready(ctx, 2*time.Minute, p.ref("apps.kruise.io/v1beta1", "CloneSet", "app")); err != nil {
		return err
	}
	for _, name := range []string{"plain", "hot"} {
		if err := p.reaches(ctx, name, corev1.PodRunning); err != nil {
			return err
		}
	}
	shipped, err := p.pods(ctx, map[string]string{"logs": "shipped"})
	if err != nil {
		return err
	}
	with := 0
	for _, one := range shipped {
		if pod.Container(one, "shipper") != nil && len(one.Spec.Containers) == 2 {
			with++
		}
	}
	p.claim(with == 4 && len(shipped) == 4,
		"the shipper is in all 3 pods of the CloneSet and in the plain one (%d of %d)", with, len(shipped))
	return p.ships(ctx, shipped, "shipper 1")
}

// ships claims that the shipper of every pod prints what the application wrote, and its own version.
func (p *play) ships(ctx context.Context, pods []*corev1.Pod, version string) error {
	clientset, err := kubernetes.NewForConfig(p.config)
	if err != nil {
		return fmt.Errorf("make a client for logs: %w", err)
	}
	good := 0
	for _, one := range pods {
		err := p.until(ctx, 20*time.Second, "pod "+one.Name+" ships its log", func(ctx context.Context) (bool, error) {
			logs, err := clientset.CoreV1().Pods(p.namespace).GetLogs(one.Name, &corev1.PodLogOptions{Container: "shipper"}).DoRaw(ctx)
			if err != nil {
				return false, nil //nolint:nilerr // its container may be about to start
			}
			return strings.Contains(string(logs), version) && strings.Contains(string(logs), "line 1\n"), nil
		})
		if err == nil {
			good++
		}
	}
	p.claim(good == len(pods), "the log of the application arrives at the shipper of version %s (%d of %d pods)",
		strings.TrimPrefix(version, "shipper "), good, len(pods))
	return nil
}

// upgrade gives the only container of a SidecarSet another image, and waits until all its pods have it.
func (p *play) upgrade(ctx context.Context, name, image string, pods int64) error {
	set := p.sidecarSet(name)
	err := p.patchJSON(ctx, set, fmt.Sprintf(`[{"op":"replace","path":"/spec/containers/0/image","value":%q}]`, image))
	if err != nil {
		return err
	}
	return p.upgraded(ctx, set, pods)
}

// upgraded waits until all pods of the SidecarSet are at its newest revision, and ready.
func (p *play) upgraded(ctx context.Context, set *unstructured.Unstructured, pods int64) error {
	err := p.until(ctx, 3*time.Minute, "SidecarSet "+set.GetName()+" is done", func(ctx context.Context) (bool, error) {
		if err := p.refresh(ctx, set); err != nil {
			return false, err
		}
		return number(set, "status", "observedGeneration") == set.GetGeneration() &&
			number(set, "status", "matchedPods") == pods && number(set, "status", "updatedReadyPods") == pods, nil
	})
	if err != nil {
		return fmt.Errorf("%w; its status: %v", err, set.Object["status"])
	}
	return nil
}

// shipperUpgrade gives the shipper a new image.
func (p *play) shipperUpgrade(ctx context.Context) error {
	cluster.Say("Upgrading the log shipper in place.")
	labels := map[string]string{"logs": "shipped"}
	before, err := p.pods(ctx, labels)
	if err != nil {
		return err
	}
	there, err := p.follow(ctx, len(before), labels)
	if err != nil {
		return err
	}
	begun := time.Now()
	err = p.upgrade(ctx, "e2e-log-shipper", "registry.local/busybox:2", int64(len(before)))
	mostAway, judged, _ := there.stop()
	if err != nil {
		return err
	}
	p.figure("the upgrade of the shipper in 4 pods", "%.1f s", time.Since(begun).Seconds())
	after, err := p.pods(ctx, labels)
	if err != nil {
		return err
	}
	same := 0
	for i, now := range after {
		main, was := pod.Container(now, "main"), pod.Container(before[i], "main")
		restarted := pod.Container(now, "shipper").RestartCount == pod.Container(before[i], "shipper").RestartCount+1
		if now.UID == before[i].UID && main.ContainerID == was.ContainerID && restarted {
			same++
		}
	}
	p.claim(same == len(before), "only the shipper restarted, once; pods and applications stayed (%d of %d)", same, len(before))
	p.claim(mostAway <= 1, "never more than 1 pod was away (at most %d, at each of %d events)", mostAway, judged)
	return p.ships(ctx, after, "shipper 2")
}

// hotUpgrade gives the proxy a new image while one of its two containers works at every moment.
func (p *play) hotUpgrade(ctx context.Context) error {
	cluster.Say("Upgrading the proxy hot.")
	one, err := p.onePod(ctx, "hot")
	if err != nil {
		return err
	}
	first, second := pod.Container(one, "proxy-1"), pod.Container(one, "proxy-2")
	p.claim(first != nil && second != nil, "the pod holds the proxy twice, as proxy-1 and proxy-2")
	if first == nil || second == nil {
		return nil
	}
	gap := p.watchProxy(ctx, one.Name)
	begun := time.Now()
	err = p.upgrade(ctx, "e2e-proxy", "registry.local/busybox:2", 1)
	took := time.Since(begun)
	without, judged := gap()
	if err != nil {
		return err
	}
	p.figure("the hot upgrade", "%.1f s", took.Seconds())
	p.claim(without == 0, "at every event a proxy was running (%d of %d without one)", without, judged)
	if one, err = p.onePod(ctx, "hot"); err != nil {
		return err
	}
	main := pod.Container(one, "main")
	p.claim(main.RestartCount == 0, "the application was not restarted")
	images := one.Spec.Containers
	working := ""
	for _, c := range images {
		if c.Image == "registry.local/busybox:2" {
			working = c.Name
		}
	}
	p.claim(working == "proxy-2", "proxy-2 works now, with the new image (%q does)", working)
	return nil
}

// watchProxy counts the events at which no container of the proxy runs anything but the empty image.
func (p *play) watchProxy(ctx context.Context, name string) (stop func() (without, judged int)) {
	events, err := p.client.Watch(ctx, &corev1.PodList{}, client.InNamespace(p.namespace), client.MatchingLabels{"app": "hot"})
	if err != nil {
		cluster.Saw("pod %s is not watched: %v", name, err)
		return func() (int, int) { return 1, 0 }
	}
	done := make(chan struct{})
	without, judged := 0, 0
	go func() {
		defer close(done)
		for event := range events.ResultChan() {
			one, ok := event.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			judged++
			if !proxyRuns(one) {
				without++
			}
		}
	}()
	return func() (int, int) {
		events.Stop()
		<-done
		return without, judged
	}
}

// proxyRuns reports whether one of the two containers runs the proxy itself.
func proxyRuns(one *corev1.Pod) bool {
	for _, name := range []string{"proxy-1", "proxy-2"} {
		status := pod.Container(one, name)
		if status != nil && status.State.Running != nil && strings.Contains(status.Image, "busybox") {
			return true
		}
	}
	return false
}

// bothUpgrade upgrades the pods of a CloneSet and their sidecars at once.
func (p *play) bothUpgrade(ctx context.Context, name string, ofSet, ofSidecars int) error {
	cluster.Say("Upgrading 20 pods (%d away at most) and their sidecars (%d away at most) at once.", ofSet, ofSidecars)
	name = "e2e-" + name
	err := p.apply(ctx, fmt.Sprintf(`
apiVersion: apps.kruise.io/v1beta1
kind: SidecarSet
metadata: {name: %[1]s}
spec:
  selector: {matchLabels: {app: %[1]s}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[2]s}}
  containers: [{name: side, image: "registry.local/side:v1"}]
  updateStrategy: {type: RollingUpdate, maxUnavailable: %[4]d}
`, name, p.namespace, ofSet, ofSidecars))
	if err != nil {
		return err
	}
	side := p.sidecarSet(name)
	p.atEnd(func(ctx context.Context) error { return p.remove(ctx, side) })
	if err := p.apply(ctx, cloneSetManifest(name, onSimulated, 20, fmt.Sprint(ofSet))); err != nil {
		return err
	}
	set := p.ref("apps.kruise.io/v1beta1", "CloneSet", name)
	if err := p.ready(ctx, 2*time.Minute, set); err != nil {
		return err
	}
	there, err := p.follow(ctx, 20, map[string]string{"app": name})
	if err != nil {
		return err
	}
	begun := time.Now()
	err = together(
		func() error { return p.upgrade(ctx, name, "registry.local/side:v2", 20) },
		func() error {
			// Both are under way from when the sidecars' has begun: what the CloneSet takes before that, nobody can know of.
			err := p.until(ctx, time.Minute, "the sidecars' upgrade has begun", func(ctx context.Context) (bool, error) {
				begun := p.sidecarSet(name)
				err := p.refresh(ctx, begun)
				updated := number(begun, "status", "updatedPods")
				return begun.GetGeneration() > 1 && number(begun, "status", "observedGeneration") == begun.GetGeneration() &&
					updated > 0 && updated < 20, err
			})
			if err != nil {
				return err
			}
			err = p.patchJSON(ctx, p.ref("apps.kruise.io/v1beta1", "CloneSet", name),
				`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"registry.local/app:v2"}]`)
			if err != nil {
				return err
			}
			return p.ready(ctx, 3*time.Minute, set)
		},
	)
	mostAway, judged, _ := there.stop()
	tighter := min(ofSet, ofSidecars)
	p.claim(mostAway <= tighter,
		"with limits of %d (CloneSet) and %d (SidecarSet) never more than %d of 20 were away (at most %d, at each of %d events)",
		ofSet, ofSidecars, tighter, mostAway, judged)
	p.figure(fmt.Sprintf("both upgrades of 20 pods, limits %d and %d", ofSet, ofSidecars), "%.1f s", time.Since(begun).Seconds())
	return err
}
