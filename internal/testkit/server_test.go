package testkit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// newPod returns a pod as a controller would create it: nothing assigned, nothing reported.
func newPod(namespace, name string, overrides ...func(*corev1.Pod)) *corev1.Pod {
	pod := testkit.Pod(overrides...)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: pod.Labels},
		Spec:       corev1.PodSpec{Containers: pod.Spec.Containers, ReadinessGates: pod.Spec.ReadinessGates, Volumes: pod.Spec.Volumes},
	}
}

func create(t *testing.T, env *testkit.Env, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := env.Client.Create(t.Context(), object); err != nil {
			t.Fatalf("create %s: %v", object.GetName(), err)
		}
	}
}

func fetch(t *testing.T, env *testkit.Env, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	var now corev1.Pod
	if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(pod), &now); err != nil {
		t.Fatalf("get %s: %v", pod.Name, err)
	}
	return &now
}

func settle(t *testing.T, kubelet *testkit.Kubelet) {
	t.Helper()
	if err := kubelet.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func setImage(t *testing.T, env *testkit.Env, pod *corev1.Pod, image string) {
	t.Helper()
	now := fetch(t, env, pod)
	changed := now.DeepCopy()
	changed.Spec.Containers[0].Image = image
	if err := env.Client.Patch(t.Context(), changed, client.StrategicMergeFrom(now)); err != nil {
		t.Fatalf("set the image of %s: %v", pod.Name, err)
	}
}

func TestOurKindsAreServed(t *testing.T) {
	env := testkit.APIServer(t)
	set := testkit.CloneSet()
	set.Namespace = env.Namespace(t)
	create(t, env, set)
	if set.UID == "" || set.Generation != 1 {
		t.Errorf("the server took it without a uid or a generation: %+v", set.ObjectMeta)
	}
}

func TestKubeletRunsAPodAndChangesItsImageInPlace(t *testing.T) {
	env := testkit.APIServer(t)
	kubelet := &testkit.Kubelet{Client: env.Client, Namespace: env.Namespace(t)}
	pod := newPod(kubelet.Namespace, "a")
	create(t, env, pod)
	settle(t, kubelet)
	before := fetch(t, env, pod)
	if !ready(before) || before.Spec.NodeName == "" || before.Status.ContainerStatuses[0].ImageID != testkit.ImageID("registry.local/web:v1") {
		t.Fatalf("the pod does not run: %+v", before.Status)
	}

	setImage(t, env, pod, "registry.local/web:v2")
	if _, err := kubelet.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := fetch(t, env, pod); ready(now) || now.Status.ContainerStatuses[0].State.Terminated == nil {
		t.Errorf("after one step the old container should be stopped: %+v", now.Status)
	}
	settle(t, kubelet)
	after := fetch(t, env, pod)
	old, now := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]
	if !ready(after) || now.ImageID != testkit.ImageID("registry.local/web:v2") || now.RestartCount != 1 || now.ContainerID == old.ContainerID {
		t.Errorf("the container was not restarted with the new image: %+v", now)
	}
	if after.UID != before.UID || after.Status.PodIP != before.Status.PodIP || after.Status.ObservedGeneration != after.Generation {
		t.Errorf("the pod should be the same one, with its generation observed: %+v", after.Status)
	}
}

func TestKubeletObeysReadinessGates(t *testing.T) {
	env := testkit.APIServer(t)
	kubelet := &testkit.Kubelet{Client: env.Client, Namespace: env.Namespace(t)}
	pod := newPod(kubelet.Namespace, "a", func(p *corev1.Pod) {
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}}
	})
	create(t, env, pod)
	settle(t, kubelet)
	for _, status := range []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse} {
		now := fetch(t, env, pod)
		if want := status == corev1.ConditionFalse; ready(now) != want {
			t.Fatalf("before the gate is %s, ready is %v", status, ready(now))
		}
		changed := now.DeepCopy()
		changed.Status.Conditions = append(changed.Status.Conditions[:0:0], corev1.PodCondition{Type: "InPlaceUpdateReady", Status: status})
		if err := env.Client.Status().Patch(t.Context(), changed, client.StrategicMergeFrom(&corev1.Pod{ObjectMeta: now.ObjectMeta})); err != nil {
			t.Fatal(err)
		}
		settle(t, kubelet)
	}
	if ready(fetch(t, env, pod)) {
		t.Error("a gate that is False again leaves the pod ready")
	}
}

func TestKubeletCannotPullWhatIsNotThere(t *testing.T) {
	env := testkit.APIServer(t)
	kubelet := &testkit.Kubelet{Client: env.Client, Namespace: env.Namespace(t)}
	pod := newPod(kubelet.Namespace, "a")
	create(t, env, pod)
	settle(t, kubelet)
	setImage(t, env, pod, "registry.invalid/web:v2")
	settle(t, kubelet)
	now := fetch(t, env, pod).Status.ContainerStatuses[0]
	if now.State.Waiting == nil || now.State.Waiting.Reason != "ErrImagePull" {
		t.Fatalf("the container should wait for its image: %+v", now.State)
	}
	setImage(t, env, pod, "registry.local/web:v3")
	settle(t, kubelet)
	if now := fetch(t, env, pod); !ready(now) || now.Status.ContainerStatuses[0].RestartCount != 1 {
		t.Errorf("an image that can be pulled should run: %+v", now.Status)
	}
}

func TestKubeletRestartsAContainerWhoseEnvironmentChanged(t *testing.T) {
	env := testkit.APIServer(t)
	kubelet := &testkit.Kubelet{Client: env.Client, Namespace: env.Namespace(t)}
	pod := newPod(kubelet.Namespace, "a", func(p *corev1.Pod) {
		source := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['tier']"}}
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "TIER", ValueFrom: source}}
		p.Labels["tier"] = "gold"
	})
	create(t, env, pod)
	settle(t, kubelet)
	for _, test := range []struct {
		reason, key string
		restarts    int32
	}{
		{"a label that no container reads changes nothing", "other", 0},
		{"a label that the container reads restarts it", "tier", 1},
	} {
		now := fetch(t, env, pod)
		changed := now.DeepCopy()
		changed.Labels[test.key] = "silver"
		if err := env.Client.Patch(t.Context(), changed, client.MergeFrom(now)); err != nil {
			t.Fatal(err)
		}
		settle(t, kubelet)
		if got := fetch(t, env, pod).Status.ContainerStatuses[0].RestartCount; got != test.restarts {
			t.Errorf("%s: %d restarts, want %d", test.reason, got, test.restarts)
		}
	}
}

func TestKubeletResizesInPlace(t *testing.T) {
	env := testkit.APIServer(t)
	kubelet := &testkit.Kubelet{Client: env.Client, Namespace: env.Namespace(t)}
	pod := newPod(kubelet.Namespace, "a", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	})
	create(t, env, pod)
	settle(t, kubelet)
	now := fetch(t, env, pod)
	changed := now.DeepCopy()
	changed.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("200m")
	if err := env.Client.SubResource("resize").Patch(t.Context(), changed, client.StrategicMergeFrom(now)); err != nil {
		t.Fatal(err)
	}
	settle(t, kubelet)
	status := fetch(t, env, pod).Status.ContainerStatuses[0]
	if got := status.Resources.Requests[corev1.ResourceCPU]; got.String() != "200m" || status.RestartCount != 0 {
		t.Errorf("granted %s after %d restarts, want 200m after none", got.String(), status.RestartCount)
	}
}

func TestKubeletBindsClaimsAndFinishesDeletions(t *testing.T) {
	env := testkit.APIServer(t)
	held := true
	kubelet := &testkit.Kubelet{Client: env.Client, Namespace: env.Namespace(t)}
	kubelet.Hold = func(_ *corev1.Pod, next testkit.Transition) bool { return held && next == testkit.BindClaim }
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: kubelet.Namespace, Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
	}
	pod := newPod(kubelet.Namespace, "a", func(p *corev1.Pod) {
		source := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: source}}}
	})
	create(t, env, claim, pod)
	settle(t, kubelet)
	if fetch(t, env, pod).Spec.NodeName != "" {
		t.Error("a pod whose claim is not bound got a node")
	}
	held = false
	settle(t, kubelet)
	if !ready(fetch(t, env, pod)) {
		t.Error("the pod does not run though its claim is bound")
	}
	for _, object := range []client.Object{pod, claim} {
		if err := env.Client.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, kubelet)
	for _, object := range []client.Object{pod, claim} {
		err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(object), object)
		if !apierrors.IsNotFound(err) {
			t.Errorf("%s should be gone: %v", object.GetName(), err)
		}
	}
}

func TestLagCacheShowsThePastUntilToldOtherwise(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	lag := testkit.NewLagCache(t, env, namespace, &corev1.Pod{})
	lag.Behind = 2
	create(t, env, newPod(namespace, "a"), newPod(namespace, "b"), newPod(namespace, "c"))
	names := func() string {
		var pods corev1.PodList
		if err := lag.List(t.Context(), &pods, client.InNamespace(namespace), client.MatchingLabels{"app": "web"}); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for i := range pods.Items {
			all.WriteString(pods.Items[i].Name)
		}
		return all.String()
	}
	podKind := corev1.SchemeGroupVersion.WithKind("Pod")
	if err := lag.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	behind, _ := lag.Synced(t.Context(), podKind)
	if names() != "a" || lag.Pending() != 2 {
		t.Errorf("two events behind three creations it shows %q with %d pending", names(), lag.Pending())
	}
	if behind != fetch(t, env, newPod(namespace, "a")).ResourceVersion {
		t.Errorf("it shows pod a and says it has come to %s", behind)
	}
	if lag.Show(1) != 1 || names() != "ab" {
		t.Errorf("one event on it shows %q", names())
	}
	if err := env.Client.Delete(t.Context(), newPod(namespace, "a")); err != nil {
		t.Fatal(err)
	}
	if names() != "ab" {
		t.Errorf("it moved by itself: %q", names())
	}
	if err := lag.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if names() != "bc" || lag.Pending() != 0 {
		t.Errorf("caught up it shows %q", names())
	}
	if _, held := lag.Synced(t.Context(), corev1.SchemeGroupVersion.WithKind("Node")); held {
		t.Error("it claims to hold a kind that it does not")
	}
}

func TestOracleSeesAMomentThatNobodyLookedAt(t *testing.T) {
	env := testkit.APIServer(t)
	kubelet := &testkit.Kubelet{Client: env.Client, Namespace: env.Namespace(t)}
	set := testkit.CloneSet()
	set.Namespace = kubelet.Namespace
	create(t, env, set)
	oracle := testkit.NewOracle(t, env, set, set.Spec.Selector, testkit.Limits{Replicas: 2, MaxUnavailable: 1})
	owner := metav1.NewControllerRef(set, appsv1beta1.SchemeGroupVersion.WithKind("CloneSet"))
	pods := []*corev1.Pod{newPod(kubelet.Namespace, "a"), newPod(kubelet.Namespace, "b")}
	for _, pod := range pods {
		pod.OwnerReferences = []metav1.OwnerReference{*owner}
		create(t, env, pod)
	}
	settle(t, kubelet)
	oracle.Done(t)

	setImage(t, env, pods[0], "registry.local/web:v2")
	oracle.Check(t) // one of two may be away
	setImage(t, env, pods[1], "registry.local/web:v2")
	settle(t, kubelet) // both are ready again before the oracle is asked
	create(t, env, newPod(kubelet.Namespace, "c"))
	if err := oracle.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if crossed := oracle.Crossed(); len(crossed) != 2 {
		t.Errorf("it should have seen b taken away too early, and c made too many; it saw %q", crossed)
	}
}

func TestCacheFollowsTheServer(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	reader := env.NamespaceCache(t, namespace)
	create(t, env, newPod(namespace, "a"))
	testkit.Eventually(t, 10*time.Second, "the cache shows one pod", func(ctx context.Context) error {
		var pods corev1.PodList
		if err := reader.List(ctx, &pods); err != nil {
			return fmt.Errorf("list: %w", err)
		}
		if len(pods.Items) != 1 {
			return errors.New("it shows " + fmt.Sprint(len(pods.Items)))
		}
		return nil
	})
}
