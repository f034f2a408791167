package test

import (
	"context"
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestSimulatedNodes shares one cluster between its parts: each works on objects of its own.
func TestSimulatedNodes(t *testing.T) { //nolint:tparallel // what follows the parts waits for them
	t.Parallel()
	dir := t.TempDir()
	c := up(t, dir, "--simulated", "3", "--simulated-restart-delay", "10ms-50ms")
	t.Run("parts", func(t *testing.T) {
		for name, part := range map[string]func(*testing.T, *cluster){
			"image in place": imageInPlace, "unpullable": unpullable, "readiness gate": readinessGate,
			"resize": resize, "job": job, "claim": claim, "environment": environment,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				part(t, c)
			})
		}
	})

	pod := c.createPod(t, "kept", "nginx:1", func(p *corev1.Pod) { p.Spec.NodeName = "sim-0" }) // sim-2 will go, with its pods
	before := c.awaitReady(t, pod.Name)
	c.kill()
	c = up(t, dir, "--simulated", "2", "--simulated-restart-delay", "10ms")
	c.setImage(t, before.Name, "nginx:2")
	after := c.awaitReady(t, before.Name)
	if after.UID != before.UID || after.Status.PodIP != before.Status.PodIP {
		t.Errorf("pod after a restart: uid %s, address %s; before %s, %s", after.UID, after.Status.PodIP, before.UID, before.Status.PodIP)
	}
	eventually(t, "nodes that were taken away", func(ctx context.Context) string {
		nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "holdfast.io/simulated=true"})
		if err != nil || len(nodes.Items) != 2 {
			return fmt.Sprintf("%d nodes, %v", len(nodes.Items), err)
		}
		return ""
	})
}

func imageInPlace(t *testing.T, c *cluster) {
	t.Helper()
	old := c.awaitReady(t, c.createPod(t, "image", "nginx:1", nil).Name).Status.ContainerStatuses[0]
	c.setImage(t, "image", "nginx:2")
	pod := c.awaitPod(t, "image", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && ready(p) })
	now := pod.Status.ContainerStatuses[0]
	switch {
	case now.ImageID == old.ImageID || now.ContainerID == old.ContainerID || now.Image != "nginx:2":
		t.Errorf("image %s, imageID %s, containerID %s are not all new", now.Image, now.ImageID, now.ContainerID)
	case now.LastTerminationState.Terminated == nil || now.LastTerminationState.Terminated.ContainerID != old.ContainerID:
		t.Errorf("last state is %+v, want the end of %s", now.LastTerminationState, old.ContainerID)
	case pod.Status.ObservedGeneration != pod.Generation:
		t.Errorf("observed generation %d of %d", pod.Status.ObservedGeneration, pod.Generation)
	}
	c.setImage(t, "image", "nginx:2-same")
	pod = c.awaitPod(t, "image", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 2 && ready(p) })
	if got := pod.Status.ContainerStatuses[0].ImageID; got != now.ImageID {
		t.Errorf("imageID %s under another name of the same image, want %s", got, now.ImageID)
	}
}

func unpullable(t *testing.T, c *cluster) {
	t.Helper()
	waits := func(p *corev1.Pod) bool {
		if len(p.Status.ContainerStatuses) == 0 {
			return false
		}
		w := p.Status.ContainerStatuses[0].State.Waiting
		return w != nil && w.Reason == "ImagePullBackOff"
	}
	c.createPod(t, "unpullable", "registry.invalid/nginx:1", nil)
	pod := c.awaitPod(t, "unpullable", waits)
	if pod.Status.Phase != corev1.PodPending || ready(pod) {
		t.Errorf("phase %s, ready %t of a pod that never started", pod.Status.Phase, ready(pod))
	}
	c.setImage(t, "unpullable", "nginx:1")
	pod = c.awaitReady(t, "unpullable")
	if got := pod.Status.ContainerStatuses[0].RestartCount; got != 0 {
		t.Errorf("restart count %d after the first start", got)
	}
	c.setImage(t, "unpullable", "nginx:does-not-exist")
	pod = c.awaitPod(t, "unpullable", waits)
	if pod.Status.Phase != corev1.PodRunning || ready(pod) || pod.Status.ContainerStatuses[0].ImageID != "" {
		t.Errorf("phase %s, ready %t, %+v of a pod whose container cannot start again", pod.Status.Phase, ready(pod), pod.Status.ContainerStatuses[0])
	}
	c.setImage(t, "unpullable", "nginx:2")
	if pod = c.awaitReady(t, "unpullable"); pod.Status.ContainerStatuses[0].RestartCount != 1 {
		t.Errorf("restart count %d, want 1", pod.Status.ContainerStatuses[0].RestartCount)
	}
}

func readinessGate(t *testing.T, c *cluster) {
	t.Helper()
	const gate = "example.com/open"
	c.createPod(t, "gate", "nginx:1", func(p *corev1.Pod) {
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
	})
	pod := c.awaitPod(t, "gate", func(p *corev1.Pod) bool { return condition(p, corev1.ContainersReady) == corev1.ConditionTrue })
	if ready(pod) {
		t.Error("ready while its gate is closed")
	}
	open := func(status string) {
		patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q}]}}`, gate, status)
		if _, err := c.CoreV1().Pods("default").Patch(t.Context(), "gate", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	open("True")
	c.awaitReady(t, "gate")
	open("False")
	pod = c.awaitPod(t, "gate", func(p *corev1.Pod) bool { return !ready(p) })
	if condition(pod, gate) != corev1.ConditionFalse || condition(pod, corev1.PodScheduled) != corev1.ConditionTrue {
		t.Errorf("conditions of others were changed: %+v", pod.Status.Conditions)
	}
}

func resize(t *testing.T, c *cluster) {
	t.Helper()
	c.createPod(t, "resize", "nginx:1", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	})
	c.awaitReady(t, "resize")
	patch := `{"spec":{"containers":[{"name":"main","resources":{"requests":{"cpu":"250m"}}}]}}`
	if _, err := c.CoreV1().Pods("default").Patch(t.Context(), "resize", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "resize"); err != nil {
		t.Fatal(err)
	}
	pod := c.awaitPod(t, "resize", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses[0]
		return s.Resources != nil && s.Resources.Requests.Cpu().String() == "250m" && s.AllocatedResources.Cpu().String() == "250m"
	})
	if pod.Status.ContainerStatuses[0].RestartCount != 0 || !ready(pod) {
		t.Errorf("a resize restarted the container: %+v", pod.Status.ContainerStatuses[0])
	}
}

func environment(t *testing.T, c *cluster) {
	t.Helper()
	c.createPod(t, "environment", "nginx:1", func(p *corev1.Pod) {
		p.Labels = map[string]string{"colour": "red"}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{
			Name:      "COLOUR",
			ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['colour']"}},
		}}
	})
	c.awaitReady(t, "environment")
	patch := `{"metadata":{"labels":{"colour":"blue"}}}`
	if _, err := c.CoreV1().Pods("default").Patch(t.Context(), "environment", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	c.awaitPod(t, "environment", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && ready(p) })
}

func job(t *testing.T, c *cluster) {
	t.Helper()
	_, err := c.BatchV1().Jobs("default").Create(t.Context(), &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "job"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "busybox:1"}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "job", func(ctx context.Context) string {
		got, err := c.BatchV1().Jobs("default").Get(ctx, "job", metav1.GetOptions{})
		if err != nil || got.Status.Succeeded != 1 {
			return fmt.Sprintf("%+v, %v", got.Status, err)
		}
		return ""
	})
}

func claim(t *testing.T, c *cluster) {
	t.Helper()
	ctx := t.Context()
	claims := c.CoreV1().PersistentVolumeClaims("default")
	_, err := claims.Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.createPod(t, "claim", "nginx:1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
		}}}
	})
	c.awaitReady(t, "claim")
	patch := `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`
	bound, err := claims.Patch(ctx, "data", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the claim's new size", func(ctx context.Context) string {
		got, err := claims.Get(ctx, "data", metav1.GetOptions{})
		if err != nil || got.Status.Capacity.Storage().String() != "2Gi" {
			return fmt.Sprintf("%+v, %v", got.Status, err)
		}
		return ""
	})
	if err := c.CoreV1().Pods("default").Delete(ctx, "claim", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := claims.Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the volume's end", func(ctx context.Context) string {
		if _, err := c.CoreV1().PersistentVolumes().Get(ctx, bound.Spec.VolumeName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Sprintf("volume %s is still there, %v", bound.Spec.VolumeName, err)
		}
		return ""
	})
}

func (c *cluster) createPod(t *testing.T, name, image string, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}},
	}
	if change != nil {
		change(pod)
	}
	var made *corev1.Pod
	eventually(t, "create pod "+name, func(ctx context.Context) string { // a new namespace gets its service account a moment later
		var err error
		if made, err = c.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
	return made
}

func (c *cluster) setImage(t *testing.T, name, image string) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"containers":[{"name":"main","image":%q}]}}`, image)
	if _, err := c.CoreV1().Pods("default").Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitReady returns the pod once it is Ready as it is now.
func (c *cluster) awaitReady(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	return c.awaitPod(t, name, func(p *corev1.Pod) bool {
		return ready(p) && p.Status.ObservedGeneration == p.Generation && p.Status.ContainerStatuses[0].Image == p.Spec.Containers[0].Image
	})
}

func (c *cluster) awaitPod(t *testing.T, name string, want func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, "pod "+name, func(ctx context.Context) string {
		var err error
		if pod, err = c.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err.Error()
		}
		if !want(pod) {
			return fmt.Sprintf("%+v", pod.Status)
		}
		return ""
	})
	return pod
}

func ready(pod *corev1.Pod) bool { return condition(pod, corev1.PodReady) == corev1.ConditionTrue }

func condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return corev1.ConditionUnknown
}
