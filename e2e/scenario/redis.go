package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/e2e/cluster"
	"github.com/holdfast-io/holdfast/internal/pod"
)

//go:embed manifest/redis.yaml
var redisManifest string

const redisKeys = 1000

func redisScenario() scenario {
	return scenario{
		name: "redis", group: workloads, title: "a Redis pair whose data survives what happens to its pods, and the loss of a node",
		about: `
An Advanced StatefulSet of two Redis pods (the second replicates the first, which it finds by DNS), one on each real node, with
claims on volumes that both nodes reach. 1,000 keys are written. Then: an update in place, one by recreation, a scale to 1 and back,
and the loss of the node of redis-0 (its kubelet, containers and network end at once, like a power cut), which is then declared
out of service as Kubernetes asks for.`,
		play: playRedis,
	}
}

// pair is the two pods, and what must stay.
type pair struct {
	play   *play
	pods   [2]*corev1.Pod
	claims [2]types.UID
}

func playRedis(ctx context.Context, p *play) error {
	if err := p.sharedVolumes(ctx, 2); err != nil {
		return err
	}
	begun := time.Now()
	if err := p.apply(ctx, redisManifest); err != nil {
		return err
	}
	r := &pair{play: p}
	if err := r.settle(ctx); err != nil {
		return err
	}
	p.figure("the pair was ready after", "%.1f s", time.Since(begun).Seconds())
	if err := r.start(ctx); err != nil {
		return err
	}
	for _, act := range []func(context.Context) error{r.inPlace, r.recreate, r.scale, r.loseNode} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sharedVolumes makes volumes that every real node reaches, as storage in the network is: the nodes share the machine's disk.
func (p *play) sharedVolumes(ctx context.Context, n int) error {
	for i := range n {
		path := filepath.Join(p.Dir, "shared", fmt.Sprint(i))
		if err := os.MkdirAll(path, 0o777); err != nil { //nolint:gosec // containers of any user write there
			return fmt.Errorf("make the folder of a volume: %w", err)
		}
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("e2e-shared-%d", i)},
			Spec: corev1.PersistentVolumeSpec{
				StorageClassName: "e2e-shared", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("100Mi")},
				PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
				PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}},
			},
		}
		if err := p.client.Create(ctx, volume); err != nil {
			return fmt.Errorf("make a volume: %w", err)
		}
		p.atEnd(func(ctx context.Context) error { return client.IgnoreNotFound(p.client.Delete(ctx, volume)) })
	}
	return nil
}

// settle waits until the set is as its spec asks, and notes its pods.
func (r *pair) settle(ctx context.Context) error {
	p := r.play
	if err := p.ready(ctx, 2*time.Minute, p.ref("apps.kruise.io/v1beta1", "StatefulSet", "redis")); err != nil {
		return err
	}
	for i := range r.pods {
		one := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: fmt.Sprintf("redis-%d", i)}}
		if err := p.client.Get(ctx, client.ObjectKeyFromObject(one), one); err != nil {
			return fmt.Errorf("read pod %s: %w", one.Name, err)
		}
		r.pods[i] = one
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "data-" + one.Name}}
		if err := p.client.Get(ctx, client.ObjectKeyFromObject(claim), claim); err != nil {
			return fmt.Errorf("read claim %s: %w", claim.Name, err)
		}
		if r.claims[i] == "" {
			r.claims[i] = claim.UID
		}
		if claim.UID != r.claims[i] {
			p.claim(false, "pod %s keeps its claim", one.Name)
		}
	}
	return nil
}

// start claims names, order and places, and writes the data.
func (r *pair) start(ctx context.Context) error {
	p := r.play
	first, second := r.pods[0], r.pods[1]
	readySince := pod.ReadySince(first)
	p.claim(!second.CreationTimestamp.Time.Before(readySince.Truncate(time.Second)), "redis-1 is made once redis-0 is ready")
	p.claim(first.Spec.NodeName != second.Spec.NodeName, "they run on two nodes (%s, %s)", first.Spec.NodeName, second.Spec.NodeName)
	if err := r.resolves(ctx); err != nil {
		return err
	}
	for i := range redisKeys {
		if _, err := redis(ctx, first.Status.PodIP, fmt.Sprintf("SET key:%d value:%d", i, i)); err != nil {
			return err
		}
	}
	return r.holdsData(ctx, "at the start")
}

// resolves claims that the stable names lead to the pods as they are now.
func (r *pair) resolves(ctx context.Context) error {
	p := r.play
	resolver, err := p.resolver(ctx)
	if err != nil {
		return err
	}
	for _, one := range r.pods {
		host := fmt.Sprintf("%s.redis.%s.svc.cluster.local", one.Name, p.namespace)
		var found []string
		err := p.until(ctx, 45*time.Second, host+" resolves to "+one.Status.PodIP, func(ctx context.Context) (bool, error) {
			found, _ = resolver.LookupHost(ctx, host) // a name that is not known yet is asked for again
			return len(found) == 1 && found[0] == one.Status.PodIP, nil
		})
		p.claim(err == nil, "%s.redis resolves to its pod%s", one.Name, unless(err))
	}
	return nil
}

// holdsData claims that both pods know all keys.
func (r *pair) holdsData(ctx context.Context, when string) error {
	p := r.play
	for _, one := range r.pods {
		err := p.until(ctx, 30*time.Second, one.Name+" has all keys", func(ctx context.Context) (bool, error) {
			size, err := redis(ctx, one.Status.PodIP, "DBSIZE")
			return err == nil && size == fmt.Sprint(redisKeys), nil
		})
		last, readErr := redis(ctx, one.Status.PodIP, fmt.Sprintf("GET key:%d", redisKeys-1))
		p.claim(err == nil && readErr == nil && last == fmt.Sprintf("value:%d", redisKeys-1), "%s has all %d keys %s%s",
			one.Name, redisKeys, when, unless(err))
	}
	return nil
}

// inPlace changes the image: the pods stay.
func (r *pair) inPlace(ctx context.Context) error {
	p := r.play
	cluster.Say("Updating redis in place.")
	before := r.pods
	there, err := p.follow(ctx, 2, map[string]string{"app": "redis"})
	if err != nil {
		return err
	}
	begun := time.Now()
	err = p.patchJSON(ctx, r.set(), `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"registry.local/redis:2"}]`)
	if err == nil {
		err = r.settle(ctx)
	}
	mostAway, judged, _ := there.stop()
	if err != nil {
		return err
	}
	p.figure("the update in place", "%.1f s", time.Since(begun).Seconds())
	for i, now := range r.pods {
		same := now.UID == before[i].UID && now.Status.PodIP == before[i].Status.PodIP
		restarted := pod.Container(now, "redis").RestartCount == pod.Container(before[i], "redis").RestartCount+1
		p.claim(same && restarted, "%s is the same pod, with its address, and its container restarted once", now.Name)
	}
	p.claim(mostAway <= 1, "never more than one was away (at each of %d events)", judged)
	return r.holdsData(ctx, "after an update in place")
}

// recreate changes what cannot be changed in place.
func (r *pair) recreate(ctx context.Context) error {
	p := r.play
	cluster.Say("Updating redis by recreation.")
	before := r.pods
	begun := time.Now()
	err := p.patchJSON(ctx, r.set(),
		`[{"op":"add","path":"/spec/template/spec/containers/0/env","value":[{"name":"GENERATION","value":"2"}]}]`)
	if err == nil {
		err = r.settle(ctx)
	}
	if err != nil {
		return err
	}
	p.figure("the update by recreation", "%.1f s", time.Since(begun).Seconds())
	p.claim(r.pods[0].UID != before[0].UID && r.pods[1].UID != before[1].UID, "both pods were made anew, under their names")
	p.claim(!r.pods[0].CreationTimestamp.Time.Before(r.pods[1].CreationTimestamp.Time), "redis-1 was made anew before redis-0")
	if err := r.resolves(ctx); err != nil {
		return err
	}
	return r.holdsData(ctx, "after a recreation")
}

// scale takes redis-1 away and brings it back.
func (r *pair) scale(ctx context.Context) error {
	p := r.play
	cluster.Say("Scaling redis to 1 and back to 2.")
	first, second := r.pods[0].UID, r.pods[1]
	if err := p.merge(ctx, r.set(), `{"spec":{"replicas":1}}`); err != nil {
		return err
	}
	if err := p.gone(ctx, second); err != nil {
		return err
	}
	if err := p.merge(ctx, r.set(), `{"spec":{"replicas":2}}`); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	p.claim(r.pods[0].UID == first && r.pods[1].UID != second.UID, "redis-1 went and came back with its claim, redis-0 stayed")
	return r.holdsData(ctx, "after a scale to 1 and back")
}

func (r *pair) set() client.Object {
	return r.play.ref("apps.kruise.io/v1beta1", "StatefulSet", "redis")
}

// loseNode ends the node of redis-0.
func (r *pair) loseNode(ctx context.Context) error {
	p := r.play
	lost := r.pods[0]
	node := lost.Spec.NodeName
	cluster.Say("Losing %s, with redis-0 on it.", node)
	if err := p.killNode(node); err != nil {
		return err
	}
	begun := time.Now()
	err := p.until(ctx, 2*time.Minute, "the node is not ready", func(ctx context.Context) (bool, error) {
		n := p.ref("v1", "Node", node)
		n.SetNamespace("")
		err := p.refresh(ctx, n)
		return condition(n, "Ready") == "Unknown", err
	})
	if err != nil {
		return err
	}
	p.figure("Kubernetes noticed the loss after", "%.1f s", time.Since(begun).Seconds())
	value, err := redis(ctx, r.pods[1].Status.PodIP, "GET key:7")
	p.claim(err == nil && value == "value:7", "redis-1 goes on serving what it has%s", unless(err))
	pods, err := p.pods(ctx, map[string]string{"app": "redis"})
	if err != nil {
		return err
	}
	same := len(pods) == 2 && pods[0].UID == lost.UID
	p.claim(same, "no second redis-0 is made while nobody knows whether the first one still writes")

	outOfService := client.RawPatch(types.StrategicMergePatchType, []byte(
		`{"spec":{"taints":[{"key":"node.kubernetes.io/out-of-service","value":"nodeshutdown","effect":"NoExecute"}]}}`))
	if err := p.client.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, outOfService); err != nil {
		return fmt.Errorf("declare node %s out of service: %w", node, err)
	}
	begun = time.Now()
	if err := p.gone(ctx, lost); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	p.figure("redis-0 was ready on the other node after", "%.1f s, from when the node was declared out of service",
		time.Since(begun).Seconds())
	p.claim(r.pods[0].Spec.NodeName != node, "redis-0 runs on %s, with the same claim and volume", r.pods[0].Spec.NodeName)
	if err := r.resolves(ctx); err != nil {
		return err
	}
	return r.holdsData(ctx, "after the loss of a node")
}

// killNode ends a real node at once.
func (p *play) killNode(name string) error {
	content, err := os.ReadFile(filepath.Join(p.Dir, "nodes", name, "pid.json"))
	if err != nil {
		return fmt.Errorf("find the process of node %s: %w", name, err)
	}
	var process struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal(content, &process); err != nil || process.PID <= 1 {
		return fmt.Errorf("find the process of node %s in %q: %w", name, content, err)
	}
	if err := syscall.Kill(process.PID, syscall.SIGKILL); err != nil {
		return fmt.Errorf("end node %s: %w", name, err)
	}
	return nil
}
