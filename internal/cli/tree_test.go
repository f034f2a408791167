package cli

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTree(t *testing.T) {
	heldOne := "status.held: [{reason: Budget, message: 3 pods are available, count: 1, pods: [web-3]}]"
	for _, c := range []struct {
		name string
		sets []string
		pods []corev1.Pod
		want string
	}{
		{
			name: "in place: done, under way, and held back by the controller",
			sets: []string{"status.updatedReplicas: 2", "status.availableReplicas: 2", heldOne},
			pods: []corev1.Pod{
				podOf("web-1", "bbb", inPlaceSince(90*time.Second, "bbb", "sha256:aaa")),
				podOf("web-2", "bbb", notReady, inPlaceSince(4*time.Second, "bbb", "sha256:bbb"), func(p *corev1.Pod) {
					p.Status.ContainerStatuses[0].Image = "nginx:1"
				}),
				podOf("web-3", "aaa"),
			},
			want: `
cloneset/web in namespace shop: 2 of 3 pods updated
  pods      desired 3, updated 2 of 3, ready 3, available 2, total 3
  strategy  RollingUpdate, InPlaceIfPossible, maxUnavailable 1
  waits for budget 1: 3 pods are available

NAME      READY  STATUS   RESTARTS  AGE  NODE    CHANGE
revision 2 web-bbb  (update)  web=nginx:2  60m old  2 pods
├─ web-1  1/1    Running  0         12m  node-0  updated in place 90s ago
└─ web-2  0/1    Running  0         12m  node-0  updating in place: container web has not started with its new image yet, for 4s
revision 1 web-aaa  (current)  web=nginx:1  120m old  1 pod
└─ web-3  1/1    Running  0         12m  node-0  waiting: budget`,
		},
		{
			name: "partition reached, one pod unschedulable, one being deleted",
			sets: []string{"spec.updateStrategy.rollingUpdate.partition: 2", "status.expectedUpdatedReplicas: 1", "status.availableReplicas: 2"},
			pods: []corev1.Pod{
				podOf("web-1", "bbb", unscheduled("Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.")),
				podOf("web-2", "aaa"),
				podOf("web-3", "aaa", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: at} }),
			},
			want: `
cloneset/web in namespace shop: 2 of 3 pods available
  pods      desired 3, updated 1 of 1, ready 3, available 2, total 3
  strategy  RollingUpdate, InPlaceIfPossible, maxUnavailable 1, partition 2 (keeps 2)

NAME      READY  STATUS         RESTARTS  AGE  NODE    CHANGE
revision 2 web-bbb  (update)  web=nginx:2  60m old  1 pod
└─ web-1  0/1    Unschedulable  0         12m  -       created
revision 1 web-aaa  (current)  web=nginx:1  120m old  2 pods
├─ web-2  1/1    Running        0         12m  node-0  kept: partition (keeps 2 at their old revision)
└─ web-3  1/1    Terminating    0         12m  node-0  being deleted`,
		},
		{
			name: "a pod whose revision is gone",
			sets: []string{"status.updatedReplicas: 3"},
			pods: []corev1.Pod{podOf("web-1", "zzz")},
			want: `
cloneset/web in namespace shop: done, 3 of 3 pods updated, all available
  pods      desired 3, updated 3 of 3, ready 3, available 3, total 3
  strategy  RollingUpdate, InPlaceIfPossible, maxUnavailable 1

NAME      READY  STATUS   RESTARTS  AGE  NODE    CHANGE
revision 2 web-bbb  (update)  web=nginx:2  60m old  0 pods
revision 1 web-aaa  (current)  web=nginx:1  120m old  0 pods
pods whose revision is not known
└─ web-1  1/1    Running  0         12m  node-0  created`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := web(t, c.sets...)
			tree := viewTree(Snapshot{Workload: w, Revisions: twoRevisions(t, w), Pods: c.pods}, at)
			same(t, strings.Join(tree.text(false, at), "\n"), c.want)
		})
	}
}

// TestChange holds the reasons for which a pod is where it is, one line each.
func TestChange(t *testing.T) {
	hook := "spec.lifecycle: {preDelete: {labelsHandler: {hold: yes-please}}, inPlaceUpdate: {finalizersHandler: [a.io/hold]}}"
	for _, c := range []struct {
		name  string
		sets  []string
		pod   corev1.Pod
		state string
		want  string
	}{
		{"created", nil, podOf("p", "bbb"), ChangeCreated, "created"},
		{"in place long ago, to an older revision", nil, podOf("p", "bbb", inPlaceSince(time.Hour, "aaa", "sha256:0")), ChangeCreated, "created"},
		{"in place done", nil, podOf("p", "bbb", inPlaceSince(time.Hour, "bbb", "sha256:0")), ChangeInPlace, "updated in place"},
		{"paused", []string{"spec.updateStrategy.rollingUpdate.paused: true"}, podOf("p", "aaa"), ChangeWaiting, "waiting: paused"},
		{
			"OnDelete",
			[]string{"spec.updateStrategy.type: OnDelete"},
			podOf("p", "aaa"), ChangeWaiting,
			"waiting: OnDelete, until somebody deletes it",
		},
		{
			"budget",
			[]string{"status.availableReplicas: 2"},
			podOf("p", "aaa"), ChangeWaiting,
			"waiting: budget (maxUnavailable 1, 1 unavailable)",
		},
		{"its turn", nil, podOf("p", "aaa"), ChangeWaiting, "waiting: its turn"},
		{
			"partition as a percentage keeps at most all but one",
			[]string{"spec.updateStrategy.rollingUpdate.partition: 99%"},
			podOf("p", "aaa"), ChangeKept, "kept: partition (keeps 2 at their old revision)",
		},
		{
			"hook before an update",
			[]string{hook},
			podOf("p", "aaa", label("lifecycle.apps.kruise.io/state", "PreparingUpdate")),
			ChangeWaiting, "waiting: hook inPlaceUpdate (finalizer a.io/hold)",
		},
		{"hook after an update", []string{hook}, podOf("p", "bbb", inPlaceSince(time.Hour, "bbb", "sha256:0"),
			label("lifecycle.apps.kruise.io/state", "Updated")), ChangeWaiting, "updated in place, waiting: hook inPlaceUpdate (finalizer a.io/hold)"},
		{
			"hook before a deletion",
			[]string{hook},
			podOf("p", "bbb", label("lifecycle.apps.kruise.io/state", "PreparingDelete")),
			ChangeDeleting, "to be deleted, waiting: hook preDelete (label hold=yes-please)",
		},
		{
			"named for deletion", nil, podOf("p", "bbb", label("apps.kruise.io/specified-delete", "true")), ChangeDeleting,
			"to be deleted, as asked by its label apps.kruise.io/specified-delete",
		},
		{"grace", nil, podOf("p", "bbb", func(p *corev1.Pod) {
			p.Annotations = map[string]string{"apps.kruise.io/inplace-update-grace": "{}"}
		}), ChangeUpdating, "updating in place: taken out of traffic before the change"},
		{
			"a status older than the pod",
			[]string{"status.held: [{reason: Image, message: old, pods: [p]}, {reason: Update, pods: [p]}]"},
			podOf("p", "bbb"), ChangeCreated, "created",
		},
		{
			"a pod that cannot start",
			[]string{"status.held: [{reason: Image, message: none, pods: [p]}]"},
			podOf("p", "bbb", waiting("ErrImagePull", "")), ChangeWaiting, "waiting: image",
		},
		{
			"the controller's words for a pod it does not name",
			[]string{"status.availableReplicas: 2", "status.held: [{reason: Budget, message: so it is, count: 7, pods: [other]}]"},
			podOf("p", "aaa"), ChangeWaiting, "waiting: budget",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := web(t, c.sets...)
			got := changeOf(Snapshot{Workload: w, Revisions: twoRevisions(t, w)}, &c.pod)
			if got.State != c.state || got.text(time.Time{}) != c.want {
				t.Errorf("got %s %q, want %s %q", got.State, got.text(time.Time{}), c.state, c.want)
			}
		})
	}
}

func TestPodStatus(t *testing.T) {
	initRunning := func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "a"}, {Name: "b"}}
		p.Status.Phase = corev1.PodPending
		p.Status.InitContainerStatuses = []corev1.ContainerStatus{
			{Name: "a", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 0, Reason: "Completed"}}},
			{Name: "b", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		}
	}
	for want, p := range map[string]corev1.Pod{
		"Running":          podOf("p", "aaa"),
		"ImagePullBackOff": podOf("p", "aaa", waiting("ImagePullBackOff", "")),
		"Unschedulable":    podOf("p", "aaa", unscheduled("Unschedulable", "")),
		"Pending":          podOf("p", "aaa", unscheduled("", "")),
		"Init:1/2":         podOf("p", "aaa", initRunning),
		"Evicted": podOf("p", "aaa", func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted"
		}),
		"OOMKilled": podOf("p", "aaa", notReady, func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}}
		}),
	} {
		if got := podStatus(&p); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
