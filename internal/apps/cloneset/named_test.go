package cloneset_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// reused gives each pod a claim, which the pod that comes in its place gets, and with it the name.
func reused(cs *appsv1beta1.CloneSet) {
	cs.Spec.ScaleStrategy.EnablePVCReuse = true
	cs.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}}
}

// struck is when the set is settled and its list is the given one.
func struck(left ...string) func(cs *appsv1beta1.CloneSet) error {
	return func(cs *appsv1beta1.CloneSet) error {
		if names := cs.Spec.ScaleStrategy.PodsToDelete; !slices.Equal(names, left) {
			return fmt.Errorf("podsToDelete is %v, want %v", names, left)
		}
		return settled(cs)
	}
}

func TestNamesLeaveTheListWithTheirPods(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason string
		shape  func(*appsv1beta1.CloneSet)
		change func(*appsv1beta1.CloneSet)
		want   int
	}{
		{"replaced by a pod of another name", func(*appsv1beta1.CloneSet) {}, func(*appsv1beta1.CloneSet) {}, 3},
		{"replaced by one of the same name, which nobody named", reused, func(*appsv1beta1.CloneSet) {}, 3},
		{"the number falls as well", reused, replicas(2), 2},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testkit.CloneSet(replicas(3), test.shape), nil)
			w.Settle(settled)
			gone := w.Pods()[1]
			w.change(func(cs *appsv1beta1.CloneSet) {
				cs.Spec.ScaleStrategy.PodsToDelete = []string{"never-was", gone.Name}
				test.change(cs)
			})
			w.Settle(struck())
			pods := w.Pods()
			if len(pods) != test.want || uids(pods)[gone.UID] {
				t.Errorf("got %d pods, want %d without %s: %s", len(pods), test.want, gone.Name, w.describe())
			}
		})
	}
}

// Writes go wrong while pods are named, and the cache shows some late: exactly these pods go, and the list ends empty.
func TestNamesAndFaults(t *testing.T) {
	t.Parallel()
	testkit.RandomMatrix(t, 3, 0.2, func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		w := newWorld(t, testkit.CloneSet(replicas(3), reused), f)
		w.Lag.Behind = 1
		w.Settle(settled)
		before := w.Pods()
		w.change(func(cs *appsv1beta1.CloneSet) {
			cs.Spec.ScaleStrategy.PodsToDelete = []string{before[0].Name, before[2].Name}
		})
		w.Settle(struck())
		f.Stop()
		w.Lag.Behind = 0
		w.Settle(struck())
		after := uids(w.Pods())
		if after[before[0].UID] || !after[before[1].UID] || after[before[2].UID] {
			t.Errorf("other pods went than %s and %s: %s", before[0].Name, before[2].Name, w.describe())
		}
		w.nothingLeftBehind()
	})
}

func TestANameStaysWhileItsPodWaits(t *testing.T) {
	t.Parallel()
	hold := func(cs *appsv1beta1.CloneSet) {
		cs.Spec.Template.Labels["hold"] = "yes"
		cs.Spec.Lifecycle = &appsv1beta1.Lifecycle{PreDelete: &appsv1beta1.LifecycleHook{LabelsHandler: map[string]string{"hold": "yes"}}}
	}
	w := newWorld(t, testkit.CloneSet(replicas(2), hold), nil)
	w.Settle(settled)
	held := w.Pods()[0].Name
	w.change(func(cs *appsv1beta1.CloneSet) { cs.Spec.ScaleStrategy.PodsToDelete = []string{"never-was", held} })
	w.Settle(func(cs *appsv1beta1.CloneSet) error {
		if names := cs.Spec.ScaleStrategy.PodsToDelete; !slices.Equal(names, []string{held}) {
			return fmt.Errorf("podsToDelete is %v, want %s", names, held)
		}
		return nil
	})
}

// Clients of Deployments and ReplicaSets find the revision of a pod by this label; it is there beside the one with the
// whole name of the revision.
func TestPodsNameTheHashOfTheirTemplate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.CloneSet(replicas(2), policy(appsv1beta1.InPlaceIfPossiblePodUpdatePolicy)), nil)
	w.Settle(settled)
	hashes := map[string]bool{}
	look := func() {
		for _, p := range w.Pods() {
			hash := p.Labels["pod-template-hash"]
			if full := p.Labels["controller-revision-hash"]; hash == "" || full != w.Key.Name+"-"+hash {
				t.Errorf("pod %s of revision %s has the hash %q", p.Name, full, hash)
			}
			hashes[hash] = true
		}
	}
	look()
	w.change(image("v2"))
	w.Settle(settled)
	look()
	if len(hashes) != 2 {
		t.Errorf("got the hashes %v, want one before the change in place and one after it", hashes)
	}
}
