package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

// seedSidecars makes a SidecarSet in the middle of an update, as its controller would have left it: one pod at each of two
// revisions, one that cannot follow, and one without the containers, in two namespaces.
func (s *shell) seedSidecars() *v1beta1.SidecarSet {
	s.t.Helper()
	ctx, other, system := s.t.Context(), s.env.Namespace(s.t), s.env.Namespace(s.t)
	set := &v1beta1.SidecarSet{ObjectMeta: metav1.ObjectMeta{Name: "log-" + s.namespace}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	set.Spec.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: []string{s.namespace, other}},
	}}
	set.Spec.Containers = []v1beta1.SidecarContainer{{Container: corev1.Container{Name: "log", Image: "log:2"}}}
	set.Spec.Volumes = []corev1.Volume{{Name: "logs", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	set.Spec.CustomVersion = "two"
	s.must(s.env.Client.Create(ctx, set))
	s.t.Cleanup(func() { _ = s.env.Client.Delete(ctx, set) })
	for i, version := range []string{"one", "two"} {
		revision := &appsv1.ControllerRevision{Revision: int64(i + 1)}
		revision.Namespace, revision.Name = system, fmt.Sprintf("%s-r%d", set.Name, i+1)
		revision.Labels = map[string]string{v1beta1.SidecarSetName: set.Name, v1beta1.SidecarSetCustomVersion: version}
		revision.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, v1beta1.SchemeGroupVersion.WithKind("SidecarSet"))}
		revision.Data.Raw = fmt.Appendf(nil, `{"spec":{"$patch":"replace","containers":[{"name":"log","image":"log:%d","resources":{}}]}}`, i+1)
		s.must(s.env.Client.Create(ctx, revision))
	}
	given := func(revision int) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Annotations = map[string]string{
				v1beta1.SidecarSetInjectedList: set.Name,
				v1beta1.SidecarSetHash:         fmt.Sprintf(`{%q:{"hash":"x","sidecarSetName":%q,"controllerRevision":"%s-r%d"}}`, set.Name, set.Name, set.Name, revision),
			}
		}
	}
	for _, pod := range []struct {
		namespace string
		pod       corev1.Pod
	}{
		{s.namespace, podOf("web-1", "bbb", given(2))},
		{s.namespace, podOf("web-2", "aaa", given(1))},
		{other, podOf("web-3", "aaa", given(1), condition(v1beta1.SidecarSetUpgradable, corev1.ConditionFalse, v1beta1.UpdateImmutableField,
			fmt.Sprintf(`{%q:false}`, set.Name)))},
		{other, podOf("web-4", "aaa")},
		{other, podOf("web-5", "aaa", label("app", "db"))},
		{system, podOf("web-6", "aaa")},
	} {
		p, status := &pod.pod, pod.pod.Status
		p.Namespace, p.UID, p.CreationTimestamp, p.OwnerReferences = pod.namespace, "", metav1.Time{}, nil
		s.must(s.env.Client.Create(ctx, p))
		p.Status = status
		s.must(s.env.Client.Status().Update(ctx, p))
	}
	set.Status = v1beta1.SidecarSetStatus{
		ObservedGeneration: set.Generation, MatchedPods: 3, UpdatedPods: 1, ReadyPods: 3, UpdatedReadyPods: 1, LatestRevision: set.Name + "-r2",
		Held: []v1beta1.HeldChange{
			{Reason: v1beta1.HeldByBudget, Message: "maxUnavailable is 1", Count: 1, Pods: []string{"web-2"}},
			{Reason: v1beta1.HeldByInPlaceOnly, Message: "only images can change in a pod that is there: volumes changed", Count: 1, Pods: []string{"web-3"}},
		},
		Conditions: []v1beta1.WorkloadCondition{{
			Type: "Ready", Status: corev1.ConditionFalse, Reason: "Updating", Message: "1 of 3 pods updated", LastTransitionTime: metav1.Now(),
		}},
	}
	s.must(s.env.Client.Status().Update(ctx, set))
	return set
}

func (s *shell) sidecars(name string) *v1beta1.SidecarSet {
	s.t.Helper()
	set := &v1beta1.SidecarSet{}
	s.must(s.env.Client.Get(s.t.Context(), client.ObjectKey{Name: name}, set))
	return set
}

func TestGetASidecarSet(t *testing.T) {
	s := newShell(t)
	set := s.seedSidecars()
	ref := "sidecarset/" + set.Name
	text := s.run(CodeOK, "get", ref)
	s.says(text, ref+": 1 of 3 pods updated", "revision 2 "+set.Name+"-r2  (update)  log=log:2", "└─ "+s.namespace+"/web-1", "waiting: budget",
		"waiting: inPlaceOnly", "pods without its containers", "/web-4", "not injected: ")
	for _, other := range []string{"web-5", "web-6", "in namespace"} {
		if strings.Contains(text, other) {
			t.Errorf("%q is shown:\n%s", other, text)
		}
	}
	var tree Tree
	if err := json.Unmarshal([]byte(s.run(CodeOK, "get", ref, "-o", "json")), &tree); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range tree.Revisions {
		for _, p := range r.Pods {
			got = append(got, fmt.Sprintf("%d %s %s", r.Number, p.Name, p.Change.State))
		}
	}
	slices.Sort(got) // the names of the namespaces are chance
	if want := []string{"0 web-4 Waiting", "1 web-2 Waiting", "1 web-3 Waiting", "2 web-1 Created"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	s.says(s.run(CodeOK, "get", "sidecarset"), ref)
	s.says(s.run(CodeNotFound, "get", "sidecarset/none"), `there is no sidecarset "none"`, "there are: ")
}

func TestTheRolloutOfASidecarSet(t *testing.T) {
	s := newShell(t)
	set := s.seedSidecars()
	ref := "sidecarset/" + set.Name
	s.says(s.run(CodeOngoing, "rollout", "status", ref, "--watch=false"), "1 of 3 pods updated")
	s.says(s.run(CodeTimeout, "rollout", "status", ref, "--timeout", "300ms"), "is not done after 300ms")
	s.says(s.run(CodeOK, "rollout", "history", ref), "[log].image: log:1 -> log:2", set.Name+"-r1", "update")
	s.says(s.run(CodeOK, "rollout", "history", ref, "--revision", "1"), "image: log:1", "customVersion: one")
	s.says(s.run(CodeOK, "rollout", "pause", ref), "paused")
	if !s.sidecars(set.Name).Spec.UpdateStrategy.Paused {
		t.Error("it is not paused")
	}
	s.says(s.run(CodeOK, "rollout", "resume", ref), "resumed")
	s.says(s.run(CodeUsage, "rollout", "restart", ref), "a SidecarSet has no pods of its own to restart")
	s.says(s.run(CodeUsage, "scale", ref, "--replicas", "3"))
	s.says(s.run(CodeOK, "rollout", "undo", ref, "--dry-run=server"), "would go back to revision 1", "log:2 -> log:1")
	s.says(s.run(CodeOK, "rollout", "undo", ref), "goes back to revision 1", "- spec.volumes")
	spec := s.sidecars(set.Name).Spec
	if spec.Containers[0].Image != "log:1" || len(spec.Volumes) > 0 || spec.CustomVersion != "one" || spec.Selector == nil {
		t.Errorf("got %+v", spec)
	}
	s.says(s.run(CodeOK, "rollout", "undo", ref, "--to-revision", "1"), "nothing to undo")
}

func TestWhyASidecarSetWaits(t *testing.T) {
	s := newShell(t)
	set := s.seedSidecars()
	s.says(s.run(CodeOK, "why", "sidecarset/"+set.Name), "notInjected: pod ", "/web-4: it lacks the containers", "delete the pods",
		"inPlaceOnly: pod ", "volumes changed", "budget: pod "+s.namespace+"/web-2", "maxUnavailable is 1")
}
