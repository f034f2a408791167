package cli

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// warning is an event of a minute ago.
func warning(about types.UID, reason, message string) corev1.Event {
	return corev1.Event{
		InvolvedObject: corev1.ObjectReference{UID: about}, Reason: reason, Message: message,
		LastTimestamp: metav1.NewTime(at.Add(-time.Minute)),
	}
}

func claimed(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}}}
	}
}

// TestCause holds the first thing that keeps a pod from running, for one pod each.
func TestCause(t *testing.T) {
	class := "fast"
	claims := map[string]corev1.PersistentVolumeClaim{
		"classless": {ObjectMeta: metav1.ObjectMeta{Name: "classless", UID: "c1"}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}},
		"wrong": {
			ObjectMeta: metav1.ObjectMeta{Name: "wrong", UID: "c2"}, Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class},
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
		},
	}
	events := []corev1.Event{
		warning("c2", "ProvisioningFailed", `storageclass.storage.k8s.io "fast" not found`),
		warning("mounting", "FailedMount", `configmap "settings" not found`),
		warning("probing", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
	}
	uid := func(uid types.UID) func(*corev1.Pod) { return func(p *corev1.Pod) { p.UID = uid } }
	creating := func(p *corev1.Pod) {
		waiting("ContainerCreating", "")(p)
		p.Status.Phase = corev1.PodPending
	}
	crashed := func(reason string, code int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			waiting("CrashLoopBackOff", "back-off 5m0s")(p)
			p.Status.ContainerStatuses[0].RestartCount = 4
			p.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: reason, ExitCode: code}
		}
	}
	for _, c := range []struct {
		name string
		pod  corev1.Pod
		want string // cause: what | why | do
	}{
		{"healthy", podOf("p", "bbb"), ""},
		{
			"no cpu", podOf("p", "bbb", unscheduled("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.")),
			"Scheduling: no node can take it | 0/3 nodes are available: 3 Insufficient cpu. | lower the pod's requests, free some, or add nodes",
		},
		{
			"taint", podOf("p", "bbb", unscheduled("Unschedulable", "0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.")),
			"Scheduling: no node can take it | 0/1 nodes are available: 1 node(s) had untolerated taint {a: b}. | tolerate the taint in the template, or take it off a node",
		},
		{
			"nobody schedules", podOf("p", "bbb", unscheduled("", "")),
			"Scheduling: no scheduler has looked at it | its schedulerName is - | see whether that scheduler runs",
		},
		{"gated", podOf("p", "bbb", unscheduled("SchedulingGated", ""), func(p *corev1.Pod) {
			p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "quota.io/wait"}}
		}), "Scheduling: it is kept from being scheduled by a gate | quota.io/wait | the controller that set the gate must take it off"},
		{
			"claim missing", podOf("p", "bbb", unscheduled("Unschedulable", `persistentvolumeclaim "gone" not found`), claimed("gone")),
			"Claim: its claim gone does not exist |  | create the PersistentVolumeClaim, or correct the volume data",
		},
		{
			"no default class", podOf("p", "bbb", unscheduled("Unschedulable", "pod has unbound immediate PersistentVolumeClaims"), claimed("classless")),
			"Claim: its claim classless is not bound |  | name a StorageClass in the claim, or make one the default: kubectl get storageclass",
		},
		{
			"class missing", podOf("p", "bbb", unscheduled("Unschedulable", "x"), claimed("wrong")),
			`Claim: its claim wrong is not bound | storageclass.storage.k8s.io "fast" not found | create the StorageClass fast, or name another: kubectl get storageclass`,
		},
		{
			"a claim that waits for its first consumer hides nothing",
			podOf("p", "bbb", unscheduled("Unschedulable", "0/3 nodes are available: 3 Insufficient memory."), claimed("classless")),
			"Scheduling: no node can take it | 0/3 nodes are available: 3 Insufficient memory. | lower the pod's requests, free some, or add nodes",
		},
		{
			"mount", podOf("p", "bbb", creating, uid("mounting")),
			`Volume: a volume cannot be attached or mounted | configmap "settings" not found | see that the ConfigMap, Secret or claim it names exists, and that no other node holds the volume`,
		},
		{
			"starting", podOf("p", "bbb", creating),
			"Start: its containers are being created on node node-0 | scheduled 10m ago | wait; if it stays, kubectl describe pod p",
		},
		{
			"image not found", podOf("p", "bbb", waiting("ErrImagePull", "manifest unknown")),
			"Image: container web cannot get its image nginx:2 | manifest unknown | correct the image's name or tag, or push it",
		},
		{
			"image secret", podOf("p", "bbb", waiting("ErrImagePull", "pull access denied")),
			"Image: container web cannot get its image nginx:2 | pull access denied | correct the name, or give the pod an imagePullSecret for the registry",
		},
		{
			"config", podOf("p", "bbb", waiting("CreateContainerConfigError", `secret "x" not found`)),
			`Config: container web cannot be started: CreateContainerConfigError | secret "x" not found | create or correct what the message names; the kubelet tries again by itself`,
		},
		{
			"out of memory", podOf("p", "bbb", crashed("OOMKilled", 137)),
			"Crash: container web ends after it starts | OOMKilled, exit code 137, 4 restarts | raise the memory limit of container web, or make it need less",
		},
		{"a container that ends because it is changed", podOf("p", "bbb", notReady, inPlaceSince(time.Second, "bbb", "sha256:bbb"), func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].Image = "nginx:1"
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143}}
		}), ""},
		{
			"crash", podOf("p", "bbb", crashed("Error", 1)),
			"Crash: container web ends after it starts | Error, exit code 1, 4 restarts | see its last words: kubectl logs p -c web --previous",
		},
		{
			"probe", podOf("p", "bbb", notReady, uid("probing")),
			"Probe: container web runs and is not ready | Readiness probe failed: HTTP probe failed with statuscode: 503 | see what it does: kubectl logs p -c web; and its probes",
		},
		{"gate", podOf("p", "bbb", condition(corev1.PodReady, corev1.ConditionFalse, "ReadinessGatesNotReady", ""), func(p *corev1.Pod) {
			p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "lb.io/attached"}}
		}), "Gate: its readiness gate lb.io/attached is not True | nobody has set the condition yet | see whether the controller that sets it runs"},
		{"evicted", podOf("p", "bbb", func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, "Evicted", "The node was low on resource: memory."
		}), "Failed: it has failed and will not run again | Evicted The node was low on resource: memory. | a workload replaces it; to see its end: kubectl logs p --all-containers"},
		{"finalizer", podOf("p", "bbb", func(p *corev1.Pod) {
			p.DeletionTimestamp, p.Finalizers = &metav1.Time{Time: at.Add(-time.Minute)}, []string{"a.io/hold"}
		}), "Finalizer: it is deleted, and held by finalizers | a.io/hold | the controller that set a finalizer must take it off; see that it runs"},
		{
			"node down", podOf("p", "bbb", notReady, func(p *corev1.Pod) { p.Spec.NodeName = "dead" }),
			"Node: its node dead is not ready | NodeStatusUnknown Kubelet stopped posting node status. | see the node: kubectl describe node dead",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := Evidence{Claims: claims, Known: true, Events: events, Nodes: map[string]corev1.Node{"dead": {
				ObjectMeta: metav1.ObjectMeta{Name: "dead"},
				Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{
					Type: corev1.NodeReady, Status: corev1.ConditionUnknown,
					Reason: "NodeStatusUnknown", Message: "Kubelet stopped posting node status.",
				}}},
			}}}
			got := ""
			if f, found := running(e, &c.pod, at); found {
				got = f.Cause + ": " + strings.Join([]string{f.What, f.Why, f.Do}, " | ")
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestDiagnose(t *testing.T) {
	for _, c := range []struct {
		name   string
		sets   []string
		pods   []corev1.Pod
		events []corev1.Event
		want   string
	}{
		{
			name: "nothing", sets: []string{"status.updatedReplicas: 3"},
			pods: []corev1.Pod{podOf("web-1", "bbb"), podOf("web-2", "bbb"), podOf("web-3", "bbb")},
			want: `
cloneset/web in namespace shop: done, 3 of 3 pods updated, all available
it waits for nothing`,
		},
		{
			name: "an image that cannot be had holds the rest back by the budget",
			sets: []string{"status.availableReplicas: 2", "status.held: [{reason: Budget, message: 2 pods are available, count: 2, pods: [web-2, web-3]}, {reason: Image, message: bad, count: 1, pods: [web-1]}]"},
			pods: []corev1.Pod{podOf("web-1", "bbb", waiting("ImagePullBackOff", "Back-off pulling image")), podOf("web-2", "aaa"), podOf("web-3", "aaa")},
			events: []corev1.Event{
				warning("uid-x", "Failed", `failed to pull "nginx:2": not found`),
			},
			want: `
cloneset/web in namespace shop: 1 of 3 pods updated; waits for budget 2, image 1

1. image: pod web-1: container web cannot get its image nginx:2
   why  failed to pull "nginx:2": not found
   do   correct the image's name or tag, or push it

2. budget: 2 pods (web-2, web-3): waiting at the old revision
   why  2 pods are available
   do   wait for the unavailable pods, or raise maxUnavailable (or the budget that guards the pods)`,
		},
		{
			name: "quota, and a spec that nobody has seen since",
			sets: []string{"spec.replicas: 5", "status.updatedReplicas: 3"},
			pods: []corev1.Pod{podOf("web-1", "bbb")},
			events: []corev1.Event{
				warning("web-uid", "FailedCreate", `pods "web-x" is forbidden: exceeded quota: small`),
			},
			want: `
cloneset/web in namespace shop: 3 of 5 pods updated

1. create: 4 pods cannot be created
   why  pods "web-x" is forbidden: exceeded quota: small
   do   raise the ResourceQuota, or scale down: kubectl describe quota`,
		},
		{
			name: "the operator does not run",
			sets: []string{"metadata.generation: 3"},
			pods: []corev1.Pod{podOf("web-1", "bbb")},
			want: `
cloneset/web in namespace shop: its controller has not seen generation 3 of the spec yet

1. notObserved: generation 3 of the spec is not seen yet
   why  the controller has seen generation 2
   do   wait some seconds; if it stays, see whether the operator runs: kubectl -n holdfast-system get pods`,
		},
		{
			name: "paused, and partition",
			sets: []string{"spec.updateStrategy.rollingUpdate.paused: true"},
			pods: []corev1.Pod{podOf("web-1", "bbb"), podOf("web-2", "aaa"), podOf("web-3", "aaa")},
			want: `
cloneset/web in namespace shop: 1 of 3 pods updated; paused

1. paused: 2 pods (web-2, web-3): waiting at the old revision
   do   kubectl holdfast rollout resume cloneset/web`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := web(t, c.sets...)
			e := Evidence{Snapshot: Snapshot{Workload: w, Revisions: twoRevisions(t, w), Pods: c.pods}, Events: c.events}
			same(t, strings.Join(diagnose(e, at).text(), "\n"), c.want)
		})
	}
}

// TestFold puts the causes in the order in which one hides the next, whatever order they were found in.
func TestFold(t *testing.T) {
	got := fold([]Finding{
		{Cause: "Turn", What: "w", Pods: []string{"a"}},
		{Cause: "SomethingNew", What: "n"},
		{Cause: "Image", What: "i", Why: "one", Pods: []string{"b"}},
		{Cause: "Image", What: "i", Why: "two", Pods: []string{"c"}},
		{Cause: "Stalled", What: "s"},
	})
	var order []string
	for _, f := range got {
		order = append(order, f.Cause+strings.Join(f.Pods, ""))
	}
	same(t, strings.Join(order, " "), "Stalled Imagebc Turna SomethingNew")
}
