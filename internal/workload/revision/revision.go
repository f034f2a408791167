// Package revision keeps the history of a workload's pod template as ControllerRevisions: one for each different template,
// numbered, and never two for the same.
package revision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/holdfast-io/holdfast/internal/pod"
)

// DefaultHistoryLimit is how many revisions without a pod are kept when the user says nothing.
const DefaultHistoryLimit = 10

// data is what a ControllerRevision of a workload holds; clients read it as a patch of the workload.
type data struct {
	Spec struct {
		Template template `json:"template"`
	} `json:"spec"`
}

type template struct {
	corev1.PodTemplateSpec `json:",inline"`

	Patch string `json:"$patch"`
}

// New makes the revision of a template. collisions is how often the name was found taken by another template.
func New(
	owner metav1.Object, kind schema.GroupVersionKind, tmpl *corev1.PodTemplateSpec, selector map[string]string, collisions int32,
) (*appsv1.ControllerRevision, error) {
	var d data
	d.Spec.Template = template{PodTemplateSpec: *tmpl, Patch: "replace"}
	return Of(owner, kind, owner.GetNamespace(), d, selector, collisions)
}

// Of makes a revision of any content, which clients read as a patch of the owner. An owner without a namespace keeps its
// revisions in one that it chooses.
func Of(
	owner metav1.Object, kind schema.GroupVersionKind, namespace string, content any, labels map[string]string, collisions int32,
) (*appsv1.ControllerRevision, error) {
	raw, err := encode(content)
	if err != nil {
		return nil, fmt.Errorf("encode the revision of %s %s: %w", kind.Kind, owner.GetName(), err)
	}
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Name:            prefix(owner.GetName()) + "-" + hash(raw, collisions),
			Namespace:       namespace,
			Labels:          labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)},
		},
		Data: runtime.RawExtension{Raw: raw},
	}, nil
}

// longestPrefix leaves room for the hash in the 63 characters of a label value: pods carry the name of their revision.
const longestPrefix = 52

// prefix is what the names of a workload's revisions begin with: its own name, as far as that fits.
func prefix(name string) string { return name[:min(len(name), longestPrefix)] }

// encode sorts the keys. The API server does so itself when it patches a revision's owners, as the garbage collector asks,
// and then finds that data, which is immutable and compared by its bytes, has changed if it was not sorted before.
func encode(content any) ([]byte, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, err //nolint:wrapcheck // New says whose template it is
	}
	var plain any
	if err := json.Unmarshal(raw, &plain); err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	return json.Marshal(plain) //nolint:wrapcheck // as above
}

func hash(raw []byte, collisions int32) string {
	sum := fnv.New32a()
	_, _ = sum.Write(raw) // a hash never fails to take bytes
	if collisions > 0 {
		_, _ = fmt.Fprint(sum, collisions)
	}
	return rand.SafeEncodeString(fmt.Sprint(sum.Sum32()))
}

// Template reads the pod template that a revision holds.
func Template(rev *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var d data
	if err := json.Unmarshal(rev.Data.Raw, &d); err != nil {
		return nil, fmt.Errorf("read the pod template of ControllerRevision %s/%s: %w", rev.Namespace, rev.Name, err)
	}
	return &d.Spec.Template.PodTemplateSpec, nil
}

// Find returns the newest revision that holds this template, or nil. It compares what the templates mean, not their bytes, and
// with what the API server fills in, so that a history written by another controller is taken over without a rollout.
func Find(history []*appsv1.ControllerRevision, tmpl *corev1.PodTemplateSpec) *appsv1.ControllerRevision {
	var found *appsv1.ControllerRevision
	wanted := pod.Defaulted(tmpl)
	for _, rev := range history {
		held, err := Template(rev)
		if err != nil || !apiequality.Semantic.DeepEqual(pod.Defaulted(held), wanted) {
			continue
		}
		if found == nil || rev.Revision > found.Revision {
			found = rev
		}
	}
	return found
}

// Same returns the newest revision whose content is that of rev, or nil.
func Same(history []*appsv1.ControllerRevision, rev *appsv1.ControllerRevision) *appsv1.ControllerRevision {
	var found *appsv1.ControllerRevision
	for _, held := range history {
		if sameContent(held.Data.Raw, rev.Data.Raw) && (found == nil || held.Revision > found.Revision) {
			found = held
		}
	}
	return found
}

func sameContent(a, b []byte) bool {
	var left, right any
	return bytes.Equal(a, b) || json.Unmarshal(a, &left) == nil && json.Unmarshal(b, &right) == nil && reflect.DeepEqual(left, right)
}

// Next returns the number that follows every number in the history.
func Next(history []*appsv1.ControllerRevision) int64 {
	newest := int64(0)
	for _, rev := range history {
		newest = max(newest, rev.Revision)
	}
	return newest + 1
}

// Outdated returns the oldest revisions beyond the limit that are neither live nor run by any pod.
func Outdated(history []*appsv1.ControllerRevision, used map[string]bool, limit int) []*appsv1.ControllerRevision {
	var unused []*appsv1.ControllerRevision
	for _, rev := range history {
		if !used[rev.Name] {
			unused = append(unused, rev)
		}
	}
	slices.SortFunc(unused, func(a, b *appsv1.ControllerRevision) int { return int(a.Revision - b.Revision) })
	return unused[:max(0, len(unused)-limit)]
}
