package claim_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload/claim"
)

func refs(list []metav1.OwnerReference) string {
	var words []string
	for _, ref := range list {
		words = append(words, fmt.Sprintf("%s %s/%s", ref.Kind, ref.Name, ref.UID))
	}
	return strings.Join(words, ", ")
}

func TestOwners(t *testing.T) {
	kind := appsv1beta1.SchemeGroupVersion.WithKind("StatefulSet")
	set := &metav1.ObjectMeta{Name: "web", UID: "set"}
	leaving := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1", UID: "pod"}}
	ref := func(kind, version, name, uid string, controls bool) metav1.OwnerReference {
		return metav1.OwnerReference{Kind: kind, APIVersion: version, Name: name, UID: types.UID(uid), Controller: ptr.To(controls)}
	}
	ours := ref("StatefulSet", "apps.kruise.io/v1beta1", "web", "set", true)
	pods := ref("Pod", "v1", "web-1", "pod", true)
	keep, withSet, withPod := claim.Retention{}, claim.Retention{WithSet: true}, claim.Retention{WithPod: true}
	both := claim.Retention{WithSet: true, WithPod: true}
	for _, test := range []struct {
		reason  string
		policy  claim.Retention
		has     []metav1.OwnerReference
		leaving *corev1.Pod
		want    string
		changed bool
	}{
		{"kept: nobody's", keep, nil, nil, "", false},
		{"kept from now on: no more the set's", keep, []metav1.OwnerReference{ours}, nil, "", true},
		{"kept, though its pod goes", keep, nil, leaving, "", false},
		{"kept after all, while its pod is going", keep, []metav1.OwnerReference{pods}, leaving, "", true},
		{"it goes with the set", withSet, nil, nil, "StatefulSet web/set", true},
		{"as before", withSet, []metav1.OwnerReference{ours}, nil, "StatefulSet web/set", false},
		{"with the set alone, though its pod goes", withSet, nil, leaving, "StatefulSet web/set", true},
		{"it goes with a pod that goes for good", withPod, nil, leaving, "Pod web-1/pod", true},
		{"as before", withPod, []metav1.OwnerReference{pods}, leaving, "Pod web-1/pod", false},
		{"not with a pod that stays", withPod, nil, nil, "", false},
		{"the number is wanted again before the pod is gone", withPod, []metav1.OwnerReference{pods}, nil, "", true},
		{"with either", both, []metav1.OwnerReference{ours}, leaving, "Pod web-1/pod", true},
		{"with either, while the number is wanted", both, []metav1.OwnerReference{pods}, nil, "StatefulSet web/set", true},
		{
			"what a forerunner of the set has left", keep,
			[]metav1.OwnerReference{ref("StatefulSet", "apps.kruise.io/v1beta1", "web", "old", true)},
			nil, "", true,
		},
		{
			"the same, where it goes with the set", withSet,
			[]metav1.OwnerReference{ref("StatefulSet", "apps.kruise.io/v1beta1", "web", "old", true)},
			nil, "StatefulSet web/set", true,
		},
		{
			"a reference that does not control becomes one that does", withSet,
			[]metav1.OwnerReference{ref("StatefulSet", "apps.kruise.io/v1beta1", "web", "set", false)},
			nil, "StatefulSet web/set", true,
		},
		{
			"others that own it stay", withSet,
			[]metav1.OwnerReference{ref("Backup", "example.com/v1", "daily", "b", false)},
			nil,
			"Backup daily/b, StatefulSet web/set", true,
		},
		{
			"somebody else controls it: hands off", both,
			[]metav1.OwnerReference{ref("Database", "example.com/v1", "db", "d", true)},
			leaving,
			"Database db/d", false,
		},
		{
			"a native set of the same name is somebody else", withSet,
			[]metav1.OwnerReference{ref("StatefulSet", "apps/v1", "web", "n", true)},
			nil,
			"StatefulSet web/n", false,
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{OwnerReferences: test.has}}
			got, changed := test.policy.Owners(c, set, kind, test.leaving)
			if refs(got) != test.want || changed != test.changed {
				t.Errorf("got %q, changed %v; want %q, %v", refs(got), changed, test.want, test.changed)
			}
		})
	}
}

// sized is a bound claim that asks for so much and has so much.
func sized(name, asks, has string, changes ...func(*corev1.PersistentVolumeClaim)) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(asks)}
	c.Status.Phase = corev1.ClaimBound
	c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(has)}
	for _, change := range changes {
		change(c)
	}
	return c
}

func TestGrowthInWaves(t *testing.T) {
	templates := []corev1.PersistentVolumeClaim{*sized("data", "2Gi", "0"), *sized("log", "1Gi", "0")}
	logs := func(n int) *corev1.PersistentVolumeClaim { return sized(fmt.Sprintf("log-web-%d", n), "1Gi", "1Gi") }
	pending := func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimPending }
	for _, test := range []struct {
		reason string
		claims []*corev1.PersistentVolumeClaim
		limit  int
		want   string // grow / following / waiting
	}{
		{"the first in the order grows, the others wait", []*corev1.PersistentVolumeClaim{
			sized("data-web-0", "1Gi", "1Gi"), sized("data-web-1", "1Gi", "1Gi"), sized("data-web-2", "1Gi", "1Gi"), logs(0), logs(1), logs(2),
		}, 1, "data-web-2 / 0 / data-web-1 data-web-0"},
		{"its volume follows: nobody else begins", []*corev1.PersistentVolumeClaim{
			sized("data-web-0", "1Gi", "1Gi"), sized("data-web-1", "1Gi", "1Gi"), sized("data-web-2", "2Gi", "1Gi"),
		}, 1, " / 1 / data-web-1 data-web-0"},
		{"it has followed: the next", []*corev1.PersistentVolumeClaim{
			sized("data-web-0", "1Gi", "1Gi"), sized("data-web-1", "1Gi", "1Gi"), sized("data-web-2", "2Gi", "2Gi"),
		}, 1, "data-web-1 / 0 / data-web-0"},
		{"two at a time", []*corev1.PersistentVolumeClaim{
			sized("data-web-0", "1Gi", "1Gi"), sized("data-web-1", "1Gi", "1Gi"), sized("data-web-2", "2Gi", "1Gi"),
		}, 2, "data-web-1 / 1 / data-web-0"},
		{"all claims of one slot together", []*corev1.PersistentVolumeClaim{
			sized("data-web-2", "1Gi", "1Gi"), sized("log-web-2", "500Mi", "500Mi"),
		}, 1, "data-web-2 log-web-2 / 0 / "},
		{"one without a volume cannot grow", []*corev1.PersistentVolumeClaim{sized("data-web-2", "1Gi", "0", pending)}, 1, " / 0 / "},
		{"one that asks for more already is left alone", []*corev1.PersistentVolumeClaim{sized("data-web-2", "3Gi", "3Gi")}, 1, " / 0 / "},
		{"nothing to do", []*corev1.PersistentVolumeClaim{sized("data-web-2", "2Gi", "2Gi"), logs(2)}, 1, " / 0 / "},
	} {
		t.Run(test.reason, func(t *testing.T) {
			byName := map[string]*corev1.PersistentVolumeClaim{}
			for _, c := range test.claims {
				byName[c.Name] = c
			}
			w := claim.Next("web", templates, byName, []string{"2", "1", "0"}, test.limit)
			var grow []string
			for _, g := range w.Grow {
				grow = append(grow, g.Claim.Name)
			}
			got := fmt.Sprintf("%s / %d / %s", strings.Join(grow, " "), len(w.Following), strings.Join(w.Waiting, " "))
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
