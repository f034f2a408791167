package cli

import (
	"encoding/json"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

func TestAWorkloadOfSubsets(t *testing.T) {
	s := newShell(t)
	create := func(object client.Object) {
		t.Helper()
		object.SetNamespace(s.namespace)
		if err := s.env.Client.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	labels := map[string]string{"app": "shop"}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.local/shop:v2"}}},
	}
	ud := &v1beta1.UnitedDeployment{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	ud.Spec.Replicas, ud.Spec.Selector = ptr.To[int32](1), selector
	ud.Spec.Topology.Subsets = []v1beta1.Subset{{Name: "a"}}
	ud.Spec.Template.CloneSetTemplate = &v1beta1.CloneSetTemplateSpec{Spec: v1beta1.CloneSetSpec{Selector: selector, Template: template}}
	create(ud)
	owner := func(object client.Object, kind string) []metav1.OwnerReference {
		return []metav1.OwnerReference{*metav1.NewControllerRef(object, v1beta1.SchemeGroupVersion.WithKind(kind))}
	}
	for number, image := range map[int64]string{1: "v1", 2: "v2"} {
		old := ud.Spec.Template.DeepCopy()
		old.CloneSetTemplate.Spec.Template.Spec.Containers[0].Image = "registry.local/shop:" + image
		raw, err := json.Marshal(map[string]any{"spec": map[string]any{"template": old}})
		if err != nil {
			t.Fatal(err)
		}
		create(&appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{Name: "shop-" + image, Labels: labels, OwnerReferences: owner(ud, "UnitedDeployment")},
			Revision:   number, Data: runtime.RawExtension{Raw: raw},
		})
	}
	set := &v1beta1.CloneSet{ObjectMeta: metav1.ObjectMeta{
		Name: "shop-a", OwnerReferences: owner(ud, "UnitedDeployment"),
		Labels: map[string]string{v1beta1.SubsetName: "a", v1beta1.ControllerRevisionHash: "shop-v2"},
	}, Spec: ud.Spec.Template.CloneSetTemplate.Spec}
	create(set)
	create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shop-a-x", Labels: labels, OwnerReferences: owner(set, "CloneSet")}, Spec: template.Spec})
	ud.Status = v1beta1.UnitedDeploymentStatus{
		ObservedGeneration: ud.Generation, Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1, CurrentRevision: "shop-v1", UpdatedRevision: "shop-v2",
	}
	if err := s.env.Client.Status().Update(t.Context(), ud); err != nil {
		t.Fatal(err)
	}
	s.says(s.run(CodeOK, "get", "ud/shop"), "1 of 1 pods updated, all available", "revision 2 shop-v2  (update)  main=registry.local/shop:v2", "└─ shop-a-x")
	s.says(s.run(CodeOK, "rollout", "history", "ud/shop"), "registry.local/shop:v1")
	s.says(s.run(CodeOK, "rollout", "undo", "ud/shop"), "goes back to revision 1")
	if err := s.env.Client.Get(t.Context(), client.ObjectKeyFromObject(ud), ud); err != nil {
		t.Fatal(err)
	}
	if image := ud.Spec.Template.CloneSetTemplate.Spec.Template.Spec.Containers[0].Image; image != "registry.local/shop:v1" {
		t.Errorf("after the undo it has %s", image)
	}
	s.says(s.run(CodeOK, "rollout", "restart", "ud/shop"), "uniteddeployment/shop restarts")
	s.says(s.run(CodeOK, "set", "image", "ud/shop", "main=registry.local/shop:v3"), "registry.local/shop:v1 -> registry.local/shop:v3")
	s.says(s.run(CodeUsage, "rollout", "pause", "ud/shop"), "spec.updateStrategy.manualUpdate.partitions")
	if err := s.env.Client.Get(t.Context(), client.ObjectKeyFromObject(ud), ud); err != nil {
		t.Fatal(err)
	}
	tmpl := ud.Spec.Template.CloneSetTemplate.Spec.Template
	if image := tmpl.Spec.Containers[0].Image; image != "registry.local/shop:v3" || tmpl.Annotations[v1beta1.RestartedAt] == "" {
		t.Errorf("after a restart and another image it has %s and the annotations %v", image, tmpl.Annotations)
	}
}
