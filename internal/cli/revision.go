package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

const (
	changeCause          = "kubernetes.io/change-cause"
	deploymentRevision   = "deployment.kubernetes.io/revision"
	podTemplateHashLabel = appsv1.DefaultDeploymentUniqueLabelKey
)

// Revision is a template that a workload has had.
type Revision struct {
	Name     string
	Hash     string // the name less the workload's, as pods of most kinds carry it
	Number   int64
	Created  metav1.Time
	Cause    string // what the user wrote about the change
	Template map[string]any
	Current  bool // the revision that pods come from
	Update   bool // the revision that pods go to
}

// fromControllerRevision reads the template that a ControllerRevision keeps.
func fromControllerRevision(w Workload, cr *appsv1.ControllerRevision) (Revision, error) {
	if w.Kind.Injects {
		return fromContainers(w, cr)
	}
	var data struct {
		Spec struct {
			Template map[string]any `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(cr.Data.Raw, &data); err != nil {
		return Revision{}, fmt.Errorf("read the template in controllerrevision/%s: %w", cr.Name, err)
	}
	delete(data.Spec.Template, "$patch") // says how to apply the template, and is no part of it
	return Revision{
		Name: cr.Name, Hash: strings.TrimPrefix(cr.Name, w.Object.GetName()+"-"), Number: cr.Revision,
		Created: cr.CreationTimestamp, Cause: cr.Annotations[changeCause], Template: data.Spec.Template,
	}, nil
}

// fromReplicaSet reads the template of a Deployment's ReplicaSet.
func fromReplicaSet(w Workload, rs *appsv1.ReplicaSet) (Revision, error) {
	template := rs.Spec.Template.DeepCopy()
	delete(template.Labels, podTemplateHashLabel)
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(template)
	if err != nil {
		return Revision{}, fmt.Errorf("read the template of replicaset/%s: %w", rs.Name, err)
	}
	number, _ := strconv.ParseInt(rs.Annotations[deploymentRevision], 10, 64) // 0 until the controller numbers it
	return Revision{
		Name: rs.Name, Hash: strings.TrimPrefix(rs.Name, w.Object.GetName()+"-"), Number: number,
		Created: rs.CreationTimestamp, Cause: rs.Annotations[changeCause], Template: object,
	}, nil
}

// mark sorts revisions by number, and finds those that pods come from and go to.
func mark(w Workload, revisions []Revision) []Revision {
	sort.SliceStable(revisions, func(i, j int) bool { return revisions[i].Number < revisions[j].Number })
	update := cmp.Or(w.text("status.updateRevision"), w.text("status.latestRevision"))
	if update == "" && len(revisions) > 0 && w.Kind.History == replicaSets {
		for _, r := range revisions {
			if strconv.FormatInt(r.Number, 10) == w.Object.GetAnnotations()[deploymentRevision] {
				update = r.Name
			}
		}
	}
	if update == "" && len(revisions) > 0 && w.observed() {
		update = revisions[len(revisions)-1].Name // the newest is the one in force for kinds that do not name it
	}
	current := w.text("status.currentRevision")
	for i := range revisions {
		revisions[i].Update = update != "" && revisions[i].is(update)
		revisions[i].Current = current != "" && revisions[i].is(current)
	}
	return revisions
}

// is tells whether id, a name or a hash, means this revision.
func (r Revision) is(id string) bool {
	return id != "" && (id == r.Name || id == r.Hash || strings.HasSuffix(id, "-"+r.Hash) && strings.HasSuffix(r.Name, id))
}

// images lists what the template runs: web=nginx:1.27.
func (r Revision) images() []string { return templateImages(r.Template) }

// templateImages lists the images of a template's containers, in their order.
func templateImages(template map[string]any) []string {
	template = podTemplate(template)
	spec, _ := template["spec"].(map[string]any)
	containers, _ := spec["containers"].([]any)
	var images []string
	for _, c := range containers {
		container, _ := c.(map[string]any)
		images = append(images, fmt.Sprintf("%v=%v", container["name"], container["image"]))
	}
	return images
}

// revisionOf finds the revision that a pod's labels name.
func revisionOf(pod *corev1.Pod, revisions []Revision) (Revision, bool) {
	for _, key := range []string{appsv1.ControllerRevisionHashLabelKey, v1beta1.ControllerRevisionHash, podTemplateHashLabel} {
		for _, r := range revisions {
			if r.is(pod.Labels[key]) {
				return r, true
			}
		}
	}
	return Revision{}, false
}

// revisionNumbered finds a revision by its number.
func revisionNumbered(revisions []Revision, number int64) (Revision, bool) {
	for _, r := range revisions {
		if r.Number == number {
			return r, true
		}
	}
	return Revision{}, false
}

// updateRevision is the revision that pods go to.
func updateRevision(revisions []Revision) (Revision, bool) {
	for _, r := range revisions {
		if r.Update {
			return r, true
		}
	}
	return Revision{}, false
}

// before is the newest revision older than r.
func before(revisions []Revision, r Revision) (Revision, bool) {
	var found Revision
	for _, other := range revisions {
		if other.Number < r.Number {
			found = other
		}
	}
	return found, found.Name != ""
}
