package revision

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-io/holdfast/internal/pod"
)

func owner() *metav1.ObjectMeta { return &metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "uid"} }

func kind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "apps.kruise.io", Version: "v1beta1", Kind: "CloneSet"}
}

func podTemplate(image string) *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image, Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1500m")},
		}}}},
	}
}

func made(t *testing.T, image string, number int64, collisions int32) *appsv1.ControllerRevision {
	t.Helper()
	rev, err := New(owner(), kind(), podTemplate(image), map[string]string{"app": "web"}, collisions)
	if err != nil {
		t.Fatal(err)
	}
	rev.Revision = number
	return rev
}

// foreign is a revision as another controller would have written it.
func foreign(name, raw string, number int64) *appsv1.ControllerRevision {
	return &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name}, Revision: number, Data: runtime.RawExtension{Raw: []byte(raw)}}
}

func TestNew(t *testing.T) {
	rev := made(t, "web:v1", 1, 0)
	if !strings.HasPrefix(rev.Name, "web-") || rev.Namespace != "ns" || rev.Labels["app"] != "web" || !metav1.IsControlledBy(rev, owner()) {
		t.Errorf("got %+v", rev.ObjectMeta)
	}
	var patch struct {
		Spec struct {
			Template map[string]any `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(rev.Data.Raw, &patch); err != nil || patch.Spec.Template["$patch"] != "replace" || patch.Spec.Template["spec"] == nil {
		t.Errorf("clients patch a set with it: %s (%v)", rev.Data.Raw, err)
	}
	back, err := Template(rev)
	if err != nil || back.Spec.Containers[0].Image != "web:v1" {
		t.Errorf("read back %+v (%v)", back, err)
	}
}

func TestNames(t *testing.T) {
	same, other, collided := made(t, "web:v1", 2, 0), made(t, "web:v2", 1, 0), made(t, "web:v1", 1, 1)
	if name := made(t, "web:v1", 1, 0).Name; name != same.Name || name == other.Name || name == collided.Name {
		t.Errorf("same template %s and %s, another %s, after a collision %s", name, same.Name, other.Name, collided.Name)
	}
	if made(t, "web:v1", 1, 2).Name == collided.Name {
		t.Error("the second collision gets a third name")
	}
}

func TestTemplateThatCannotBeRead(t *testing.T) {
	if _, err := Template(foreign("web-x", "{", 1)); err == nil || !strings.Contains(err.Error(), "web-x") {
		t.Errorf("got %v", err)
	}
}

func TestFind(t *testing.T) {
	const otherOrder = `{"spec":{"template":{"spec":{"containers":[{"resources":{"requests":{"cpu":"1.5"}},"image":"web:v1","args":[],"name":"main"}]},` +
		`"metadata":{"labels":{"app":"web"},"creationTimestamp":null},"$patch":"replace"}}}`
	full, err := New(owner(), kind(), pod.Defaulted(podTemplate("web:v1")), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	full.Revision = 4
	for _, test := range []struct {
		reason  string
		history []*appsv1.ControllerRevision
		want    int64
	}{
		{"no history", nil, 0},
		{"with all that the API server fills in", []*appsv1.ControllerRevision{full}, 4},
		{"another template", []*appsv1.ControllerRevision{made(t, "web:v2", 1, 0)}, 0},
		{"this template", []*appsv1.ControllerRevision{made(t, "web:v2", 1, 0), made(t, "web:v1", 2, 0)}, 2},
		{"written by another controller: other order, other spelling", []*appsv1.ControllerRevision{foreign("web-1", otherOrder, 5)}, 5},
		{"the newest of two that mean the same", []*appsv1.ControllerRevision{made(t, "web:v1", 7, 0), foreign("web-1", otherOrder, 5)}, 7},
		{"one that cannot be read is passed over", []*appsv1.ControllerRevision{foreign("web-1", "{", 9), made(t, "web:v1", 2, 0)}, 2},
	} {
		t.Run(test.reason, func(t *testing.T) {
			got := int64(0)
			if rev := Find(test.history, podTemplate("web:v1")); rev != nil {
				got = rev.Revision
			}
			if got != test.want {
				t.Errorf("got revision %d, want %d", got, test.want)
			}
		})
	}
}

func TestNextNumber(t *testing.T) {
	if got := Next(nil); got != 1 {
		t.Errorf("the first is %d", got)
	}
	if got := Next([]*appsv1.ControllerRevision{foreign("a", "", 7), foreign("b", "", 3)}); got != 8 {
		t.Errorf("after 7 and 3 comes %d", got)
	}
}

func TestOutdated(t *testing.T) {
	history := []*appsv1.ControllerRevision{foreign("d", "", 4), foreign("a", "", 1), foreign("c", "", 3), foreign("b", "", 2)}
	for _, test := range []struct {
		reason string
		used   string
		limit  int
		want   string
	}{
		{"within the limit", "d", 3, ""},
		{"the oldest goes", "d", 2, "a"},
		{"a revision in use stays, however old, and does not count", "a d", 1, "b"},
		{"none is kept", "d", 0, "a b c"},
		{"a limit above all", "", 10, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			used := map[string]bool{}
			for name := range strings.FieldsSeq(test.used) {
				used[name] = true
			}
			var got []string
			for _, rev := range Outdated(slices.Clone(history), used, test.limit) {
				got = append(got, rev.Name)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

// The garbage collector patches a revision's owners, and the API server then encodes its data with sorted keys; data is
// immutable, so it must be so from the beginning.
func TestDataIsEncodedAsTheAPIServerDoes(t *testing.T) {
	tmpl := &corev1.PodTemplateSpec{}
	tmpl.Labels = map[string]string{"b": "1", "a": "<2>"}
	tmpl.Spec.Containers = []corev1.Container{{Name: "main", Image: "image"}}
	rev, err := New(owner(), kind(), tmpl, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var plain any
	if err := json.Unmarshal(rev.Data.Raw, &plain); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.Marshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(rev.Data.Raw, sorted) {
		t.Errorf("data is\n%s, sorted it is\n%s", rev.Data.Raw, sorted)
	}
}
