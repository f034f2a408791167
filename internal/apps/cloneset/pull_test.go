package cloneset_test

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
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// canary is a set in which everything waits for the partition, so that all nodes pull ahead, one at a time.
func canary(r *appsv1beta1.RollingUpdateCloneSetStrategy) {
	r.PodUpdatePolicy = appsv1beta1.InPlaceIfPossiblePodUpdatePolicy
	r.Partition = ptr.To(intstr.FromString("100%"))
	r.InPlaceUpdateStrategy = &appsv1beta1.InPlaceUpdateStrategy{
		ImagePreDownloadParallelism:    ptr.To(intstr.FromInt32(1)),
		ImagePreDownloadTimeoutSeconds: ptr.To[int32](30),
	}
}

// pulls are the pull pods that are not on their way out.
func (w *world) pulls() (all []corev1.Pod) {
	w.T.Helper()
	for _, p := range w.Pods() {
		if p.Labels[workload.PullFor] != "" && p.DeletionTimestamp == nil {
			all = append(all, p)
		}
	}
	return all
}

// watched settles, and notes which nodes got pull pods of which image; more than one at a time is a fault.
func (w *world) watched(done func(cs *appsv1beta1.CloneSet) error) map[string]bool {
	w.T.Helper()
	seen := map[string]bool{}
	w.Each = func() {
		pulls := w.pulls()
		for _, p := range pulls {
			seen[p.Spec.NodeName+" "+p.Spec.Containers[0].Image] = true
		}
		if len(pulls) > 1 {
			w.T.Errorf("%d nodes pull at a time, want one", len(pulls))
		}
	}
	w.Settle(done)
	w.Each = nil
	return seen
}

// quiet is when the controller has seen the spec and no node pulls any more.
func (w *world) quiet(more func(cs *appsv1beta1.CloneSet) bool) func(*appsv1beta1.CloneSet) error {
	return func(cs *appsv1beta1.CloneSet) error {
		if len(w.pulls()) > 0 || cs.Status.ObservedGeneration != cs.Generation || !more(cs) {
			return fmt.Errorf("%d pull pods, held: %v", len(w.pulls()), cs.Status.Held)
		}
		return nil
	}
}

func heldBy(cs *appsv1beta1.CloneSet, reason appsv1beta1.HeldReason) string {
	for _, h := range cs.Status.Held {
		if h.Reason == reason {
			return h.Message
		}
	}
	return ""
}

func TestImagesArePulledAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.CloneSet(replicas(6), rolling(canary)), nil)
	w.Lag.Behind = 2
	w.Settle(settled)
	before := uids(w.Pods())

	w.change(image("v2"))
	seen := w.watched(w.quiet(func(cs *appsv1beta1.CloneSet) bool { return heldBy(cs, appsv1beta1.HeldByPartition) != "" }))
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		if !seen[node+" registry.local/web:v2"] {
			t.Errorf("%s did not pull the image ahead; seen: %v", node, seen)
		}
	}
	if got := len(w.Pods()); got != 6 {
		t.Errorf("%d pods are left, want the 6 of the set: %s", got, w.describe())
	}

	w.change(rolling(func(r *appsv1beta1.RollingUpdateCloneSetStrategy) { r.Partition = ptr.To(intstr.FromInt32(0)) }))
	if again := w.watched(settled); len(again) > 0 {
		t.Errorf("pulled twice: %v", again)
	}
	for _, p := range w.Pods() {
		if !before[p.UID] || p.Spec.Containers[0].Image != "registry.local/web:v2" {
			t.Errorf("pod %s with %s is not one of the first, changed in place", p.Name, p.Spec.Containers[0].Image)
		}
	}
}

func TestImagesThatCannotBePulledAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.CloneSet(replicas(6), rolling(canary)), nil)
	w.Settle(settled)

	w.change(image("does-not-exist"))
	w.watched(w.quiet(func(cs *appsv1beta1.CloneSet) bool {
		return strings.Contains(heldBy(cs, appsv1beta1.HeldByImage), "on node-1, node-2, node-3: failed to pull registry.local/web:does-not-exist: not found")
	}))

	w.change(image("v1"))
	w.watched(w.quiet(func(cs *appsv1beta1.CloneSet) bool { return len(cs.Status.Held) == 0 }))
}

func TestPullsEndWithWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason string
		change func(cs *appsv1beta1.CloneSet)
	}{
		{"taken back", image("v1")},
		{"paused", rolling(func(r *appsv1beta1.RollingUpdateCloneSetStrategy) { r.Paused = true })},
		{"no longer asked for", rolling(func(r *appsv1beta1.RollingUpdateCloneSetStrategy) { r.InPlaceUpdateStrategy = nil })},
		{"recreated after all", rolling(func(r *appsv1beta1.RollingUpdateCloneSetStrategy) {
			r.PodUpdatePolicy = appsv1beta1.RecreatePodUpdatePolicy
		})},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testkit.CloneSet(replicas(3), rolling(canary)), nil)
			w.Settle(settled)
			w.Kubelet.Hold = func(p *corev1.Pod, _ testkit.Transition) bool {
				return p.Labels[workload.PullFor] != "" && p.DeletionTimestamp == nil
			}
			w.change(image("v2"))
			w.Settle(func(*appsv1beta1.CloneSet) error {
				if len(w.pulls()) != 1 {
					return errors.New("nothing is pulled yet")
				}
				return nil
			})
			w.change(test.change)
			w.Settle(w.quiet(func(*appsv1beta1.CloneSet) bool { return true }))
		})
	}
}

func TestPullPodsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.CloneSet(replicas(3), rolling(canary)), nil)
	w.Settle(settled)
	// Whoever asks for less memory than this is refused.
	limit := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "least"}}
	limit.Spec.Limits = []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Min: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")}}}
	if err := w.Env.Client.Create(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, "the API server obeys the limit range", func(ctx context.Context) error {
		p := testkit.Pod(func(p *corev1.Pod) { p.Namespace, p.Name, p.Spec.NodeName = w.Namespace, "probe", "" })
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("0")}
		if err := w.Env.Client.Create(ctx, p, client.DryRunAll); !apierrors.IsForbidden(err) {
			return errors.Join(errors.New("a pod that asks for too little is not refused"), err)
		}
		return nil
	})
	w.change(image("v2"))
	w.watched(w.quiet(func(cs *appsv1beta1.CloneSet) bool {
		return strings.Contains(heldBy(cs, appsv1beta1.HeldByImage), "minimum memory usage per Container is 1Mi")
	}))
	w.change(rolling(func(r *appsv1beta1.RollingUpdateCloneSetStrategy) { r.Partition = ptr.To(intstr.FromInt32(0)) }))
	w.Settle(settled)
}
