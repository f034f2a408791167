// Package pull brings images to nodes before the pods that need them change.
package pull

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// How long a node may take to pull an image where the user says nothing.
const defaultTimeout = 600 * time.Second

// Pull is an image that a node is to have.
type Pull struct {
	Node, Image string
}

// Wish is what a set wants on which nodes. One that names no images wants nothing, and what was begun is taken back.
type Wish struct {
	// Revision that the images belong to.
	Revision string
	// Images of that revision that pods will change to. A pull of one of them that has begun goes on to its end.
	Images map[string]bool
	// Needs are the pulls that are not superfluous yet, the most urgent first.
	Needs []Pull
	// Parallel is how many pulls may be under way; 0 begins none.
	Parallel int
	// Timeout of one pull.
	Timeout time.Duration
}

// NewWish finds the images that the changes of a plan will need where its limits, a hook or the partition make them wait.
// returns tells that a pod that is made anew returns to its node, so that the image is needed there as well.
func NewWish(s *appsv1beta1.InPlaceUpdateStrategy, state workload.State, plan workload.Plan, returns bool) Wish {
	if s == nil || s.ImagePreDownloadParallelism == nil || plan.Set.Hold != "" {
		return Wish{}
	}
	w := Wish{Revision: state.Update.Name, Images: map[string]bool{}, Timeout: defaultTimeout}
	if s.ImagePreDownloadTimeoutSeconds != nil {
		w.Timeout = time.Duration(*s.ImagePreDownloadTimeoutSeconds) * time.Second
	}
	nodes, wanted := map[string]bool{}, map[Pull]bool{}
	there := present(state, plan, returns)
	for i := range plan.Held {
		c := &plan.Held[i].Change
		for _, image := range imagesOf(c, state, returns) {
			w.Images[image] = true
			node := c.Member.Pod.Spec.NodeName
			if node == "" {
				continue
			}
			nodes[node] = true
			if p := (Pull{Node: node, Image: image}); !there[p] && !wanted[p] {
				wanted[p] = true
				w.Needs = append(w.Needs, p)
			}
		}
	}
	if len(w.Images) == 0 {
		return Wish{}
	}
	for i := range plan.Steps {
		if c := &plan.Steps[i].Change; len(imagesOf(c, state, returns)) > 0 {
			nodes[c.Member.Pod.Spec.NodeName] = true
		}
	}
	if updatedReady(state) >= int(ptr.Deref(s.ImagePreDownloadMinUpdatedReadyPods, 0)) {
		w.Parallel = parallel(*s.ImagePreDownloadParallelism, len(nodes))
	}
	return w
}

// imagesOf are the images that a change brings to the node of a pod, sorted; none for one that a pod elsewhere follows.
func imagesOf(c *workload.Change, state workload.State, returns bool) []string {
	if c.Member == nil || c.Verb != workload.Update && (c.Verb != workload.Replace || !returns) {
		return nil
	}
	var images []string
	for _, image := range state.Paths[c.Member.Revision].Delta.Images {
		images = append(images, image)
	}
	slices.Sort(images)
	return slices.Compact(images)
}

// present are the images that nodes have, or pull already, for a pod of the set.
func present(state workload.State, plan workload.Plan, returns bool) map[Pull]bool {
	there := map[Pull]bool{}
	for i := range state.Members {
		p := state.Members[i].Pod
		for j := range p.Spec.Containers {
			there[Pull{Node: p.Spec.NodeName, Image: p.Spec.Containers[j].Image}] = true
		}
	}
	for i := range plan.Steps {
		if step := &plan.Steps[i]; step.Update.Patch {
			for _, image := range imagesOf(&step.Change, state, returns) {
				there[Pull{Node: step.Change.Member.Pod.Spec.NodeName, Image: image}] = true
			}
		}
	}
	return there
}

func updatedReady(state workload.State) (count int) {
	for i := range state.Members {
		if m := &state.Members[i]; m.Revision == state.Update.Name && m.Ready {
			count++
		}
	}
	return count
}

// parallel scales the user's number. What is neither a number nor a percentage does not get past the schema.
func parallel(value intstr.IntOrString, nodes int) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, nodes, true)
	if err != nil {
		return 1
	}
	return max(1, n)
}

// policy is how a container of the template gets the image; "" leaves it to the API server.
func policy(spec *corev1.PodSpec, image string) corev1.PullPolicy {
	for i := range spec.Containers {
		if spec.Containers[i].Image == image {
			return spec.Containers[i].ImagePullPolicy
		}
	}
	return ""
}
