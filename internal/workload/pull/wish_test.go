package pull_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
	"github.com/holdfast-io/holdfast/internal/workload/inplace"
	"github.com/holdfast-io/holdfast/internal/workload/pull"
)

// scene reads "n1:v1 n2:v1* n3:v2 n4:v2!": the nodes and revisions of pods; "*": it is changed in this pass; "!": it is not
// ready; "~": it is replaced, not changed in place.
func scene(text string) (workload.State, workload.Plan) {
	state := workload.NewState(&metav1.ObjectMeta{Name: "web", UID: "uid"})
	state.Update = &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: "v2"}}
	state.Paths = map[string]workload.Path{
		"v1": {Delta: inplace.Delta{Images: map[string]string{"main": "web:v2"}}}, "v2": {},
		"meta": {Delta: inplace.Delta{Labels: map[string]*string{"a": nil}}},
	}
	words := strings.Fields(text)
	for _, word := range words {
		node, revision, _ := strings.Cut(strings.TrimRight(word, "*!~"), ":")
		state.Members = append(state.Members, workload.Member{Revision: revision, Ready: !strings.HasSuffix(word, "!"), Pod: &corev1.Pod{
			Spec: corev1.PodSpec{NodeName: strings.TrimSuffix(node, "-"), Containers: []corev1.Container{{Name: "main", Image: "web:" + revision}}},
		}})
	}
	plan := workload.Plan{}
	for i := range state.Members {
		m := &state.Members[i]
		c := workload.Change{Verb: workload.Update, Member: m, Revision: "v2"}
		switch {
		case m.Revision == "v2":
			continue
		case strings.HasSuffix(words[i], "~"):
			c.Verb = workload.Replace
		case strings.HasSuffix(words[i], "*"):
			plan.Steps = append(plan.Steps, workload.Step{Change: c, Update: inplace.Step{Patch: true}})
			continue
		}
		plan.Held = append(plan.Held, workload.Held{Change: c, Reason: appsv1beta1.HeldByBudget})
	}
	return state, plan
}

func TestNewWish(t *testing.T) {
	for _, test := range []struct {
		reason, pods string
		parallelism  *intstr.IntOrString
		minReady     int32
		hold         appsv1beta1.HeldReason
		want         string // parallel: nodes in need
	}{
		{"nobody asked for it", "n1:v1", nil, 0, "", ""},
		{"nodes of pods that wait", "n1:v1* n2:v1 n3:v1", ptr.To(intstr.FromInt32(5)), 0, "", "5: n2 n3"},
		{"all pods can change now", "n1:v1* n2:v1* n3:v2", ptr.To(intstr.FromInt32(5)), 0, "", ""},
		{"nothing to change", "n1:v2 n2:v2", ptr.To(intstr.FromInt32(5)), 0, "", ""},
		{"paused", "n1:v1 n2:v1", ptr.To(intstr.FromInt32(5)), 0, appsv1beta1.HeldByPaused, ""},
		{"the user changes pods by deleting them", "n1:v1 n2:v1", ptr.To(intstr.FromInt32(5)), 0, appsv1beta1.HeldByOnDelete, ""},
		{"pods that are made anew", "n1:v1~ n2:v1~", ptr.To(intstr.FromInt32(5)), 0, "", ""},
		{"pods that are made anew where they were", "n1:v1~ n2:v1", ptr.To(intstr.FromInt32(5)), 0, "", "5: n1 n2"},
		{"a change of labels needs no image", "n1:meta n2:meta", ptr.To(intstr.FromInt32(5)), 0, "", ""},
		{"one pull for the pods of a node", "n1:v1 n1:v1 n2:v1*", ptr.To(intstr.FromInt32(5)), 0, "", "5: n1"},
		{"a pod of the node runs the image", "n1:v1 n1:v2 n2:v1", ptr.To(intstr.FromInt32(5)), 0, "", "5: n2"},
		{"a pod of the node is about to pull it", "n1:v1 n1:v1* n2:v1", ptr.To(intstr.FromInt32(5)), 0, "", "5: n2"},
		{"a pod without a node", "-:v1 n2:v1", ptr.To(intstr.FromInt32(5)), 0, "", "5: n2"},
		{"a part of the nodes with old pods, rounded up", "n1:v1* n2:v1 n3:v1 n3:v1 n4:v2", ptr.To(intstr.FromString("50%")), 0, "", "2: n2 n3"},
		{"a small part is one node", "n1:v1* n2:v1 n3:v1", ptr.To(intstr.FromString("1%")), 0, "", "1: n2 n3"},
		{"too few are updated and ready", "n1:v1 n2:v1 n3:v2 n4:v2!", ptr.To(intstr.FromInt32(5)), 2, "", "0: n1 n2"},
		{"enough are updated and ready", "n1:v1 n2:v1 n3:v2 n4:v2", ptr.To(intstr.FromInt32(5)), 2, "", "5: n1 n2"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			state, plan := scene(test.pods)
			plan.Set.Hold = test.hold
			w := pull.NewWish(&appsv1beta1.InPlaceUpdateStrategy{
				ImagePreDownloadParallelism:         test.parallelism,
				ImagePreDownloadMinUpdatedReadyPods: &test.minReady,
			}, state, plan, strings.Contains(test.reason, "where they were"))
			got := ""
			if len(w.Images) > 0 {
				got = fmt.Sprintf("%d:", w.Parallel)
			}
			for _, need := range w.Needs {
				got += " " + need.Node
				if need.Image != "web:v2" {
					t.Errorf("image %s is wanted on %s", need.Image, need.Node)
				}
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if len(w.Images) > 0 && w.Timeout != 600*time.Second {
				t.Errorf("the timeout is %s, want ten minutes", w.Timeout)
			}
		})
	}
}
