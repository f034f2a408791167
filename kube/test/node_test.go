package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/holdfast-io/holdfast/kube/internal/node"
)

// TestRealNode is one node's life: a pod that is changed in place, the deaths of a kubelet and of a control plane, a
// restart on the same data, and an end without a trace.
func TestRealNode(t *testing.T) {
	if err := node.Preflight(); err != nil {
		t.Skip(err)
	}
	if archives, _ := filepath.Glob(filepath.Join(filepath.Dir(program(t)), "images", "*.tar")); len(archives) == 0 {
		t.Skip("no images beside the program: run `make images`")
	}
	dir := t.TempDir()
	t.Cleanup(func() { // a failed test must not leave a node either
		if err := node.Clean(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	c := up(t, dir, "--nodes", "1")
	first := webPod(t, c)
	serves(t, first, "1")
	throughService(t, c)

	killKubelet(t, c)
	same(t, "after the kubelet's death", first, c.awaitReady(t, "web"), 0)

	c.setImage(t, "web", "registry.local/nginx:2")
	changed := c.awaitPod(t, "web", func(p *corev1.Pod) bool { return ready(p) && status(p, "main").RestartCount == 1 })
	serves(t, changed, "2")
	same(t, "after the change in place", first, changed, 1)
	if before, after := status(first, "side").ContainerID, status(changed, "side").ContainerID; before != after {
		t.Errorf("the other container was restarted: %s, then %s", before, after)
	}

	c.kill()
	serves(t, changed, "2") // the node goes on without its control plane
	c = up(t, dir, "--nodes", "1")
	same(t, "after the control plane's death", changed, c.awaitReady(t, "web"), 1)

	c.stop()
	nothingLeft(t, dir)
	c = up(t, dir, "--nodes", "1")
	again := c.awaitPod(t, "web", func(p *corev1.Pod) bool { return ready(p) && status(p, "main").RestartCount == 2 })
	if again.UID != first.UID {
		t.Errorf("the pod was replaced by a restart on the same data: %s, then %s", first.UID, again.UID)
	}
	serves(t, again, "2")

	loseNode(t, c)
	c.awaitLine(t, "node node-0 is lost")
	c.stop()
	nothingLeft(t, dir)
}

// loseNode kills the node's first process, and so all of it.
func loseNode(t *testing.T, c *cluster) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.dir, "nodes", "node-0", "pid.json"))
	if err != nil {
		t.Fatal(err)
	}
	var init struct{ Pid int }
	if err := json.Unmarshal(raw, &init); err != nil || init.Pid == 0 {
		t.Fatalf("read %s: %v", raw, err)
	}
	if err := syscall.Kill(init.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// webPod makes a pod of nginx with a second container beside it, and a Service in front of it.
func webPod(t *testing.T, c *cluster) *corev1.Pod {
	t.Helper()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}},
	}}
	if _, err := c.CoreV1().Services("default").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.createPod(t, "web", "registry.local/nginx:1", func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web"}
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(80)},
		}}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{
			Name: "side", Image: "registry.local/busybox:1", Command: []string{"sh", "-c", "trap exit TERM; while true; do sleep 1; done"},
		})
	})
	return c.awaitReady(t, "web")
}

// throughService reads the page by the Service's name, from another pod, and that pod's log through the API server.
func throughService(t *testing.T, c *cluster) {
	t.Helper()
	c.createPod(t, "client", "registry.local/busybox:1", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		p.Spec.Containers[0].Command = []string{"wget", "-qO-", "http://web.default.svc.cluster.local/version"}
	})
	c.awaitPod(t, "client", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	log, err := c.CoreV1().Pods("default").GetLogs("client", &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil || strings.TrimSpace(string(log)) != "1" {
		t.Errorf("through the Service: %q, %v; want version 1", log, err)
	}
}

// serves asks the pod itself, from the machine: pods are reachable there.
func serves(t *testing.T, p *corev1.Pod, want string) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second}
	eventually(t, "the page of "+p.Name, func(ctx context.Context) string {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Status.PodIP+"/version", nil)
		if err != nil {
			return err.Error()
		}
		resp, err := client.Do(req)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if got := strings.TrimSpace(string(body)); err != nil || got != want {
			return fmt.Sprintf("version %q, %v; want %s", got, err, want)
		}
		return ""
	})
}

func same(t *testing.T, when string, before, after *corev1.Pod, restarts int32) {
	t.Helper()
	if before.UID != after.UID || before.Status.PodIP != after.Status.PodIP {
		t.Errorf("%s the pod is %s at %s, was %s at %s", when, after.UID, after.Status.PodIP, before.UID, before.Status.PodIP)
	}
	if got := status(after, "main").RestartCount; got != restarts {
		t.Errorf("%s the container was restarted %d times, want %d", when, got, restarts)
	}
	sameImage := status(before, "main").ImageID == status(after, "main").ImageID
	sameContainer := status(before, "main").ContainerID == status(after, "main").ContainerID
	if sameImage != sameContainer {
		t.Errorf("%s: same image %t, same container %t", when, sameImage, sameContainer)
	}
}

func status(p *corev1.Pod, container string) corev1.ContainerStatus {
	for _, s := range p.Status.ContainerStatuses {
		if s.Name == container {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

// killKubelet kills the node's kubelet as a crash would, and waits for its successor.
func killKubelet(t *testing.T, c *cluster) {
	t.Helper()
	find := func() (pid int) {
		config := "--config=" + filepath.Join(c.dir, "nodes", "node-0", "kubelet.yaml")
		for p, line := range processes(t) {
			if strings.Contains(line, config) {
				pid = p
			}
		}
		return pid
	}
	old := find()
	if old == 0 {
		t.Fatal("no kubelet runs")
	}
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new kubelet", func(context.Context) string {
		now := find()
		raw, err := os.ReadFile(filepath.Join(c.dir, "nodes", "node-0", "status.json"))
		var s struct{ Kubelet bool }
		if now == 0 || now == old || err != nil || json.Unmarshal(raw, &s) != nil || !s.Kubelet {
			return fmt.Sprintf("pid %d, was %d; status %s", now, old, raw)
		}
		return ""
	})
}

// processes are the command lines of all processes by their pid.
func processes(t *testing.T) map[int]string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]string{}
	for _, file := range files {
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/cmdline", &pid); err != nil {
			continue
		}
		if raw, err := os.ReadFile(file); err == nil { // else it ended meanwhile
			all[pid] = strings.ReplaceAll(string(raw), "\x00", " ")
		}
	}
	return all
}

// nothingLeft holds a stopped cluster to its promise: no process, mount, namespace, link or cgroup of its own.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	for pid, line := range processes(t) {
		if strings.Contains(line, dir) {
			t.Errorf("process %d is left: %s", pid, line)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("mounts of %s are left:\n%s", dir, mounts)
	}
	id, err := node.ID(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{
		"/run/netns/hf-" + id + "-*", "/sys/class/net/hf" + id,
		"/sys/fs/cgroup/holdfast-" + id, "/sys/fs/cgroup/*/holdfast-" + id,
	} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}
