package claim

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-io/holdfast/internal/testkit"
)

func template(name, size string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"tier": "fast"}, Annotations: map[string]string{"note": "x"}},
		Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
		}},
	}
}

// made are the claims of an instance, bound.
func made(id string, templates ...corev1.PersistentVolumeClaim) []*corev1.PersistentVolumeClaim {
	owner := &metav1.ObjectMeta{Name: "web", Namespace: "ns", UID: "uid"}
	kind := schema.GroupVersionKind{Group: "apps.kruise.io", Version: "v1beta1", Kind: "CloneSet"}
	claims := New(owner, kind, map[string]string{"app": "web"}, templates, id)
	for _, c := range claims {
		c.Status.Phase = corev1.ClaimBound
	}
	return claims
}

func TestNew(t *testing.T) {
	tmpl := template("data", "1Gi")
	c := made("abcde", tmpl)[0]
	if c.Name != "data-web-abcde" || c.Namespace != "ns" {
		t.Errorf("it is called %s/%s", c.Namespace, c.Name)
	}
	if c.Labels["app"] != "web" || c.Labels["tier"] != "fast" || c.Labels["apps.kruise.io/cloneset-instance-id"] != "abcde" || Instance(c) != "abcde" {
		t.Errorf("labels %v", c.Labels)
	}
	one, other := Hash([]corev1.PersistentVolumeClaim{tmpl}), Hash([]corev1.PersistentVolumeClaim{template("data", "2Gi")})
	if one == "" || one == other || c.Labels["kruise.io/cloneset-volumeclaimtemplate-hash"] != one {
		t.Errorf("the claim says that its templates are %q; they are %q, others %q", c.Labels["kruise.io/cloneset-volumeclaimtemplate-hash"], one, other)
	}
	if ref := metav1.GetControllerOf(c); ref == nil || ref.Kind != "CloneSet" || ref.UID != "uid" {
		t.Errorf("owned by %v", ref)
	}
	if len(tmpl.Labels) != 1 {
		t.Errorf("the template was changed: %v", tmpl.Labels)
	}
	if bare := made("x", corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "data"}})[0]; Instance(bare) != "x" {
		t.Errorf("a template without labels: %v", bare.Labels)
	}
}

func TestMount(t *testing.T) {
	spec := corev1.PodSpec{Volumes: []corev1.Volume{
		{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
		{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}}
	Mount(&spec, "web", []corev1.PersistentVolumeClaim{template("data", "1Gi"), template("log", "1Gi")}, "id")
	var got []string
	for _, v := range spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			got = append(got, v.Name+"="+v.PersistentVolumeClaim.ClaimName)
		} else {
			got = append(got, v.Name)
		}
	}
	if want := "data=data-web-id log=log-web-id tmp"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
	untouched := corev1.PodSpec{}
	if Mount(&untouched, "web", nil, "id"); untouched.Volumes != nil {
		t.Error("without templates there is nothing to mount")
	}
}

func TestMissing(t *testing.T) {
	wanted := made("a", template("data", "1Gi"), template("log", "1Gi"))
	if got := Missing(wanted, wanted[:1]); len(got) != 1 || got[0].Name != "log-web-a" {
		t.Errorf("got %v", got)
	}
	if got := Missing(wanted, wanted); got != nil {
		t.Errorf("got %v, all are there", got)
	}
}

func TestByInstance(t *testing.T) {
	claims := append(made("a", template("data", "1Gi"), template("log", "1Gi")), made("b", template("data", "1Gi"))...)
	claims = append(claims, &corev1.PersistentVolumeClaim{})
	if got := ByInstance(claims); len(got) != 2 || len(got["a"]) != 2 || len(got["b"]) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestGrown(t *testing.T) {
	for _, test := range []struct {
		reason, was, is string
		change          func(c *corev1.PersistentVolumeClaim)
		want            bool
	}{
		{"the same size", "1Gi", "1Gi", nil, false},
		{"the same size in other units", "1Gi", "1024Mi", nil, false},
		{"larger", "1Gi", "2Gi", nil, true},
		{"a claim never shrinks", "2Gi", "1Gi", nil, false},
		{"no volume yet: the API server would refuse it", "1Gi", "2Gi", func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimPending }, false},
		{"on its way out", "1Gi", "2Gi", func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{} }, false},
		{"of another template", "1Gi", "2Gi", func(c *corev1.PersistentVolumeClaim) { c.Name = "log-web-a" }, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			claims := made("a", template("data", test.was))
			if test.change != nil {
				test.change(claims[0])
			}
			got := Grown("web", []corev1.PersistentVolumeClaim{template("data", test.is)}, claims)
			if (len(got) == 1) != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if test.want && got[0].Size.String() != test.is {
				t.Errorf("grows to %s, want %s", got[0].Size.String(), test.is)
			}
		})
	}
}

func TestWaiting(t *testing.T) {
	fast := "fast"
	for _, test := range []struct {
		reason string
		change func(c *corev1.PersistentVolumeClaim)
		want   string
	}{
		{"bound", func(*corev1.PersistentVolumeClaim) {}, ""},
		{
			"not bound", func(c *corev1.PersistentVolumeClaim) {
				c.Status.Phase, c.Spec.StorageClassName = corev1.ClaimPending, &fast
			},
			`claim data-web-a is not bound to a volume (storage class "fast")`,
		},
		{"not bound, default class", func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimPending }, "the default one"},
		{"lost", func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimLost }, "has lost its volume"},
		{"going", func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &metav1.Time{Time: testkit.Epoch} }, "still being deleted"},
		{"grows when its pod starts again", func(c *corev1.PersistentVolumeClaim) {
			c.Status.Conditions = []corev1.PersistentVolumeClaimCondition{
				{Type: corev1.PersistentVolumeClaimResizing, Status: corev1.ConditionTrue},
				{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: corev1.ConditionTrue},
			}
		}, "grows when its pod starts again"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			c := made("a", template("data", "1Gi"))[0]
			test.change(c)
			if got := Waiting(c); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
