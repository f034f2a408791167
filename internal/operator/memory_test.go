package operator_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

// The peak memory of an operator that watches 1,000 pods; HOLDFAST_TEST_PODS sets another number.
func TestMemory(t *testing.T) {
	pods, limit := 1000, 80
	if n, err := strconv.Atoi(os.Getenv("HOLDFAST_TEST_PODS")); err == nil {
		pods, limit = n, 80+n*70/4000
	}
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(16)
	for i := range pods {
		group.Go(func() error { return createPod(ctx, env.Client, namespace, i) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	p := start(t, kubeconfig(t, rest.CopyConfig(env.Config)), namespace, "--leader-elect=false")
	p.awaitReady()
	await(t, 30*time.Second, "full cache", func() bool { return p.metric(`holdfast_controller_enabled{controller="cloneset"} 1`) })
	await(t, 30*time.Second, "work", func() bool { return strings.Contains(p.log.String(), "Starting workers") })
	peak, shared := p.memory("VmHWM"), p.memory("RssFile")
	t.Logf("%d pods: peak %d MB, of which %d MB are the program itself", pods, peak, shared)
	if peak > limit {
		t.Errorf("the peak is %d MB, want at most %d", peak, limit)
	}
	p.stop()
	unregister(t, env)
	if err := env.Client.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0)); err != nil {
		t.Errorf("remove the pods: %v", err)
	}
}

func createPod(ctx context.Context, c client.Client, namespace string, i int) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("web-%05d", i),
			Labels: map[string]string{"app": "web", "apps.kruise.io/cloneset-instance-id": fmt.Sprint(i), "controller-revision-hash": "web-6d4cf56db6"},
		},
		Spec: corev1.PodSpec{
			NodeName: fmt.Sprintf("node-%d", i%100),
			Containers: []corev1.Container{{
				Name: "web", Image: "registry.local/nginx:1.27",
				Env:   []corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}},
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
				}},
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}},
				VolumeMounts:   []corev1.VolumeMount{{Name: "conf", MountPath: "/etc/conf"}},
			}},
			Volumes: []corev1.Volume{{Name: "conf", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "conf"},
			}}}},
		},
	}
	if err := c.Create(ctx, pod); err != nil {
		return err
	}
	now := metav1.Now()
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.0.0.1", HostIP: "10.0.0.2", StartTime: &now,
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "web", Image: "registry.local/nginx:1.27", Ready: true, ImageID: "sha256:" + strings.Repeat("a", 64), ContainerID: "containerd://" + strings.Repeat("b", 64),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		}},
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady, "PodReadyToStartContainers"} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	return c.Status().Update(ctx, pod)
}

// memory reads a line of /proc/PID/status, in megabytes.
func (p *process) memory(line string) int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for row := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(row, line+":"); found {
			kb, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				p.t.Fatal(err)
			}
			return kb >> 10
		}
	}
	p.t.Fatalf("/proc does not tell %s", line)
	return 0
}
