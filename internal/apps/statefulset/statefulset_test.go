package statefulset_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestPodsHaveAnIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, claims("1Gi"))
	w.run()
	if got := w.names(); got != "web-0 web-1 web-2" {
		t.Fatalf("got %s", got)
	}
	for name, p := range w.pods() {
		index := strings.TrimPrefix(name, "web-")
		if p.Spec.Hostname != name || p.Spec.Subdomain != "peers" || p.Labels[appsv1.StatefulSetPodNameLabel] != name || p.Labels[appsv1.PodIndexLabel] != index {
			t.Errorf("%s: host %s.%s, labels %v", name, p.Spec.Hostname, p.Spec.Subdomain, p.Labels)
		}
		if v := p.Spec.Volumes[0]; v.Name != "data" || v.PersistentVolumeClaim == nil || v.PersistentVolumeClaim.ClaimName != "data-"+name {
			t.Errorf("%s mounts %+v", name, v)
		}
		c := w.claim("data-" + name)
		if len(c.OwnerReferences) > 0 || c.Labels[appsv1beta1.OwnedByStatefulSet] != "web" || c.Labels["app"] != "web" ||
			c.Labels[appsv1beta1.CloneSetInstanceID] != "" {
			t.Errorf("claim of %s: owners %v, labels %v", name, c.OwnerReferences, c.Labels)
		}
	}
	w.patch(w.pods()["web-1"], `{"metadata":{"labels":{"apps.kubernetes.io/pod-index":"9","statefulset.kubernetes.io/pod-name":null}}}`)
	w.run()
	if p := w.pods()["web-1"]; p.Labels[appsv1.StatefulSetPodNameLabel] != "web-1" || p.Labels[appsv1.PodIndexLabel] != "1" {
		t.Errorf("the identity was not repaired: %v", p.Labels)
	}
}

func TestTheVolumeStaysWithTheNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, claims("1Gi"))
	w.run()
	volume := w.claim("data-web-1").UID
	pod := w.uids()["web-1"]
	w.delete(w.pods()["web-1"])
	w.run()
	if w.uids()["web-1"] == pod || w.claim("data-web-1").UID != volume {
		t.Error("want a new pod on the old claim")
	}
	w.change(replicas(1))
	w.change(replicas(3))
	if w.claim("data-web-1").UID != volume {
		t.Error("scaling down and up made another claim")
	}
	w.change(command)
	if w.claim("data-web-1").UID != volume {
		t.Error("an update made another claim")
	}
}

func TestScalingInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, replicas(4))
	w.run()
	w.change(replicas(1))
	if got := w.names(); got != "web-0" {
		t.Errorf("got %s", got)
	}
	w.Oracle.Done(t)
}

func TestUpdates(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason string
		shape  []edit
		anew   bool
	}{
		{"in order, made anew", nil, true},
		{"in order, in place", []edit{inPlace}, false},
		{"two away, made anew", []edit{parallel, away(2)}, true},
		{"two away, in place", []edit{parallel, away(2), inPlace}, false},
		{"available only after a while", []edit{parallel, away(2), rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) {
			r.MinReadySeconds = ptr.To[int32](5)
		})}, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, 0, append([]edit{replicas(5)}, test.shape...)...)
			w.run()
			before := w.uids()
			w.change(image("v2"))
			for name, p := range w.pods() {
				if (p.UID != before[name]) != test.anew || p.Spec.Containers[0].Image != "registry.local/web:v2" {
					t.Errorf("pod %s: made anew %v, image %s", name, p.UID != before[name], p.Spec.Containers[0].Image)
				}
			}
			if s := w.Get().Status; s.CurrentRevision != s.UpdateRevision || s.UpdatedReplicas != 5 || s.CurrentReplicas != 5 || s.UpdatedAvailableReplicas != 5 {
				t.Errorf("status %+v", s)
			}
			w.Oracle.Done(t)
		})
	}
}

func TestPartition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, partition(2))
	w.run()
	w.change(image("v2"))
	tags := func() (all string) {
		for name := range strings.FieldsSeq(w.names()) {
			all += " " + strings.TrimPrefix(w.pods()[name].Spec.Containers[0].Image, "registry.local/web:")
		}
		return all
	}
	if got := tags(); got != " v1 v1 v2" {
		t.Errorf("got%s", got)
	}
	s := w.Get().Status
	if s.CurrentReplicas != 2 || s.UpdatedReplicas != 1 || s.CurrentRevision == s.UpdateRevision || len(s.Held) != 1 || s.Held[0].Reason != "Partition" {
		t.Errorf("status %+v", s)
	}
	w.delete(w.pods()["web-0"])
	w.run()
	if got := tags(); got != " v1 v1 v2" {
		t.Errorf("a kept pod came back changed:%s", got)
	}
	w.change(partition(0))
	if got := tags(); got != " v2 v2 v2" {
		t.Errorf("got%s", got)
	}
}

func TestReservedNumbers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, parallel, reserving("1"))
	w.run()
	steps := []struct {
		edit edit
		want string
	}{
		{reserving("1", "3-5"), "web-0 web-2 web-6"},
		{reserving(), "web-0 web-1 web-2"},
		{func(s *appsv1beta1.StatefulSet) { s.Spec.Ordinals = &appsv1beta1.StatefulSetOrdinals{Start: 2} }, "web-2 web-3 web-4"},
	}
	if got := w.names(); got != "web-0 web-2 web-3" {
		t.Errorf("got %s", got)
	}
	for _, step := range steps {
		w.Oracle.SetLimits(t, testkit.Limits{Replicas: 3, MaxUnavailable: 3, MaxSurge: 3}) // numbers move, whatever maxUnavailable says
		set := w.Get()
		step.edit(set)
		if err := w.Env.Client.Update(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		w.run()
		if got := w.names(); got != step.want {
			t.Errorf("got %s, want %s", got, step.want)
		}
	}
}

func TestAPodThatEndedIsMadeAnew(t *testing.T) {
	t.Parallel()
	for _, phase := range []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, 0, replicas(2))
			w.run()
			before := w.uids()["web-1"]
			p := w.pods()["web-1"]
			p.Status.Phase = phase
			if err := w.Env.Client.Status().Update(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			w.run()
			if w.uids()["web-1"] == before {
				t.Error("it is still there")
			}
		})
	}
}

func TestANamedPodGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, parallel, partition(3))
	w.run()
	before := w.uids()
	for _, name := range []string{"web-0", "web-2"} {
		w.patch(w.pods()[name], `{"metadata":{"labels":{"apps.kruise.io/specified-delete":"true"}}}`)
	}
	w.Until(func() error {
		after := w.uids()
		if after["web-0"] == before["web-0"] || after["web-2"] == before["web-2"] {
			return fmt.Errorf("they are still there")
		}
		return w.Ready()
	})
	if w.uids()["web-1"] != before["web-1"] {
		t.Error("the other one went, too")
	}
	w.Oracle.Done(t)
}

func TestAMissingClaimIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, replicas(1), claims("1Gi"))
	w.Kubelet.Hold = func(_ *corev1.Pod, next testkit.Transition) bool {
		return next == testkit.BindClaim || next == testkit.Bind
	}
	w.Until(func() error {
		if len(w.pods()) != 1 {
			return fmt.Errorf("no pod yet")
		}
		return nil
	})
	c := w.claim("data-web-0")
	w.delete(c)
	w.patch(c, `{"metadata":{"finalizers":null}}`)
	w.Kubelet.Hold = nil
	w.run()
	if w.claim("data-web-0").UID == c.UID {
		t.Error("it is the old claim")
	}
}

// owners of the claims of the first two pods: S is the set, P a pod.
func (w *world) owners() (text string) {
	for _, name := range []string{"data-web-0", "data-web-1"} {
		word := "-"
		if ref := metav1.GetControllerOf(w.claim(name)); ref != nil {
			word = ref.Kind[:1]
		}
		text += word
	}
	return text
}

func TestRetention(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, parallel, replicas(2), claims("1Gi"))
	w.run()
	for _, step := range []struct {
		reason string
		edit   edit
		want   string
	}{
		{"kept by default", replicas(2), "--"},
		{"they go with the set", retention("Delete", "Retain"), "SS"},
		{"kept again", retention("Retain", "Retain"), "--"},
		{"with a pod that goes for good, but none does", retention("Retain", "Delete"), "--"},
		{"with both", retention("Delete", "Delete"), "SS"},
		{"one pod goes, and its claim is the pod's", replicas(1), "SP"},
	} {
		w.change(step.edit)
		if got := w.owners(); got != step.want {
			t.Errorf("%s: got %s, want %s", step.reason, got, step.want)
		}
	}
	w.change(replicas(2))
	if got := w.owners(); got != "SS" {
		t.Errorf("the number is wanted again, but its claim goes with the pod that is gone: %s", got)
	}
}

func TestClaimsOfFormerNumbersFollowThePolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, parallel, replicas(2), claims("1Gi"), retention("Delete", "Retain"))
	w.run()
	w.change(replicas(1))
	if got := w.owners(); got != "SS" {
		t.Errorf("both go with the set, got %s", got)
	}
	w.change(retention("Retain", "Retain"))
	if got := w.owners(); got != "--" {
		t.Errorf("both are kept, the one without a pod, too; got %s", got)
	}
}

func (w *world) requests() (text string) {
	for n := range *w.Get().Spec.Replicas {
		q := w.claim(fmt.Sprintf("data-web-%d", n)).Spec.Resources.Requests[corev1.ResourceStorage]
		text += " " + q.String()
	}
	return text
}

func volumeGrowth(kind appsv1beta1.VolumeClaimUpdateStrategyType) edit {
	return func(s *appsv1beta1.StatefulSet) {
		s.Spec.VolumeClaimUpdateStrategy = &appsv1beta1.VolumeClaimUpdateStrategy{Type: kind}
	}
}

func TestClaimsGrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, replicas(3), claims("1Gi"), expandable(t), volumeGrowth("OnPodRollingUpdate"), partition(1))
	w.run()
	grown := func(s *appsv1beta1.StatefulSet) {
		s.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests = testkit.ClaimTemplate("", "2Gi").Spec.Resources.Requests
	}
	w.change(grown)
	if got := w.requests(); got != " 1Gi 2Gi 2Gi" {
		t.Errorf("the partition keeps the first: got%s", got)
	}
	if s := w.Get().Status.VolumeClaims; len(s) != 1 || s[0].VolumeClaimName != "data" || s[0].CompatibleReplicas != 2 || s[0].CompatibleReadyReplicas != 2 {
		t.Errorf("status %+v", s)
	}
	w.change(partition(0))
	if got := w.requests(); got != " 2Gi 2Gi 2Gi" {
		t.Errorf("got%s", got)
	}
	if s := w.Get().Status.VolumeClaims[0]; s.CompatibleReplicas != 3 || s.CompatibleReadyReplicas != 3 {
		t.Errorf("status %+v", s)
	}
}

// expandable gives the claims a class whose volumes can grow, for the API server asks.
func expandable(t *testing.T) edit {
	t.Helper()
	env := testkit.APIServer(t)
	name := "grows-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	class := storageClass(name)
	if err := env.Client.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(env.Client.Delete(context.WithoutCancel(t.Context()), class)); err != nil {
			t.Error(err)
		}
	})
	return func(s *appsv1beta1.StatefulSet) { s.Spec.VolumeClaimTemplates[0].Spec.StorageClassName = &name }
}

func TestClaimsGrowOneAfterTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, replicas(2), claims("1Gi"), expandable(t), volumeGrowth("OnPodRollingUpdate"))
	w.run()
	w.Kubelet.Hold = func(_ *corev1.Pod, next testkit.Transition) bool { return next == testkit.BindClaim }
	set := w.Get()
	set.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests = testkit.ClaimTemplate("", "2Gi").Spec.Resources.Requests
	if err := w.Env.Client.Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	w.run()
	if got := w.requests(); got != " 1Gi 2Gi" {
		t.Errorf("the volume of the last does not follow, but got%s", got)
	}
	if held := w.Get().Status.Held; len(held) != 1 || held[0].Reason != "PVC" || held[0].Count != 2 {
		t.Errorf("held %+v", held)
	}
	w.Kubelet.Hold = nil
	w.Until(func() error {
		if got := w.requests(); got != " 2Gi 2Gi" {
			return fmt.Errorf("got%s", got)
		}
		return nil
	})
}

func TestClaimsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, parallel, replicas(2), claims("1Gi"))
	w.run()
	w.change(func(s *appsv1beta1.StatefulSet) {
		s.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests = testkit.ClaimTemplate("", "2Gi").Spec.Resources.Requests
	}, replicas(3))
	if got := w.requests(); got != " 1Gi 1Gi 2Gi" {
		t.Errorf("got%s", got)
	}
	if s := w.Get().Status.VolumeClaims[0]; s.CompatibleReplicas != 1 {
		t.Errorf("status %+v", s)
	}
	w.delete(w.claim("data-web-1"))
	w.delete(w.pods()["web-1"])
	w.run()
	if got := w.requests(); got != " 1Gi 2Gi 2Gi" {
		t.Errorf("a claim that was deleted comes back in the new size; got%s", got)
	}
}

func TestAdoptsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, replicas(1))
	w.Oracle = nil // it would take the other one for a pod of the set, too
	stray := testkit.Pod(func(p *corev1.Pod) {
		p.Namespace, p.Name, p.Labels = w.Namespace, "helper", map[string]string{"app": "web"}
		p.Status = corev1.PodStatus{}
		p.Spec.NodeName = ""
	})
	own := stray.DeepCopy()
	own.Name = "web-0"
	for _, p := range []*corev1.Pod{stray, own} {
		p.UID, p.ResourceVersion, p.CreationTimestamp = "", "", metav1.Time{}
		if err := w.Env.Client.Create(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	w.Until(w.Ready)
	pods := w.pods()
	if metav1.GetControllerOf(pods["helper"]) != nil {
		t.Error("it adopted a pod that has no number of its own")
	}
	if ref := metav1.GetControllerOf(pods["web-0"]); ref == nil || ref.Name != "web" {
		t.Error("it did not adopt the pod of its number")
	}
}

func TestANativeSetOfTheSameName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, replicas(1))
	ours := testkit.StatefulSet()
	theirs := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: w.Namespace},
		Spec:       appsv1.StatefulSetSpec{Replicas: ptr.To[int32](0), Selector: ours.Spec.Selector, Template: ours.Spec.Template},
	}
	if err := w.Env.Client.Create(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	w.run()
	conflict := func() string {
		for _, c := range w.Get().Status.Conditions {
			if c.Type == appsv1beta1.StatefulSetConditionNameConflict {
				return c.Message
			}
		}
		return ""
	}
	if got := conflict(); !strings.Contains(got, "--cascade=orphan") {
		t.Errorf("got %q", got)
	}
	w.delete(theirs)
	w.Clock.Step(time.Minute)
	w.change(replicas(2))
	if got := conflict(); got != "" {
		t.Errorf("it is gone, but %q", got)
	}
}

func TestTheSpecIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, 0, replicas(1), reserving("0"))
	set := w.Get()
	set.Spec.Template.Labels = map[string]string{"app": "other"}
	if err := w.Env.Client.Update(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	if err := w.Pass(t); err != nil {
		t.Errorf("only the user can help, so it must not be tried again: %v", err)
	}
	for _, c := range w.Get().Status.Conditions {
		if c.Type == "Stalled" && c.Status == "True" && c.Reason == "InvalidSelector" && strings.Contains(c.Message, "spec.selector") {
			return
		}
	}
	t.Errorf("the status does not say what is wrong: %+v", w.Get().Status)
}
