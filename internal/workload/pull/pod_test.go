package pull

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/workload"
)

func owner(name string) Owner {
	cs := &appsv1beta1.CloneSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid"}}
	cs.Spec.Template.Labels = map[string]string{"app": "web"}
	cs.Spec.Template.Spec = corev1.PodSpec{
		ServiceAccountName: "shopper", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
		Containers: []corev1.Container{{Name: "main", Image: "web:v2", ImagePullPolicy: corev1.PullAlways}},
	}
	return Owner{Object: cs, Kind: appsv1beta1.SchemeGroupVersion.WithKind("CloneSet"), Template: &cs.Spec.Template}
}

func TestPullPodIsAStranger(t *testing.T) {
	p := build(owner("web"), Pull{Node: "n1", Image: "web:v2"}, time.Minute)
	if got := workload.IndexOwner(p); !slices.Equal(got, []string{workload.PullIndex("uid")}) {
		t.Errorf("the engine finds it under %v: as a pod of a set, or as an orphan to adopt", got)
	}
	if metav1.GetControllerOf(p) != nil || len(p.Labels) != 1 {
		t.Errorf("it has a controller, or labels of others: %+v", p.ObjectMeta)
	}
	set, ours := Set(p, appsv1beta1.SchemeGroupVersion.WithKind("CloneSet").GroupKind())
	if want := (types.NamespacedName{Namespace: "shop", Name: "web"}); !ours || set != want {
		t.Errorf("its events go to %v, want %v", set, want)
	}
	if _, ours := Set(p, appsv1beta1.SchemeGroupVersion.WithKind("StatefulSet").GroupKind()); ours {
		t.Error("its events go to sets of another kind")
	}
	c := p.Spec.Containers[0]
	if p.Spec.ServiceAccountName != "shopper" || p.Spec.ImagePullSecrets[0].Name != "registry" || c.ImagePullPolicy != corev1.PullAlways {
		t.Errorf("it does not pull as the pods of the set do: %+v", p.Spec)
	}
	if *p.Spec.AutomountServiceAccountToken || *p.Spec.ActiveDeadlineSeconds <= 60 {
		t.Errorf("it gets a token, or ends before we see that it failed: %+v", p.Spec)
	}
}

func TestPullPodNames(t *testing.T) {
	seen := map[string]bool{}
	for _, set := range []string{"web", strings.Repeat("a", 253), strings.Repeat("a", maxPrefix-1) + ".b"} {
		for _, at := range []Pull{{Node: "n1", Image: "web:v1"}, {Node: "n1", Image: "web:v2"}, {Node: "n2", Image: "web:v1"}} {
			n := name(owner(set).Object, at)
			if n != name(owner(set).Object, at) {
				t.Errorf("%v has two names", at)
			}
			if errs := validation.IsDNS1123Subdomain(n); len(errs) > 0 || seen[n] {
				t.Errorf("bad name %q (seen before: %v): %v", n, seen[n], errs)
			}
			seen[n] = true
		}
	}
}
