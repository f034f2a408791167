package autobudget

import (
	"strings"
	"testing"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// scene is a workload in a namespace of its own, and the controllers of both kinds that the tests use.
type scene struct {
	t          *testing.T
	env        *testkit.Env
	namespace  string
	config     *Config
	events     *record.FakeRecorder
	deployment *reconcile.Frame[*appsv1.Deployment]
	cloneSet   *reconcile.Frame[*appsv1beta1.CloneSet]
}

func newScene(t *testing.T) *scene {
	t.Helper()
	env := testkit.APIServer(t)
	s := &scene{t: t, env: env, namespace: env.Namespace(t), events: record.NewFakeRecorder(100)}
	s.config = &Config{Live: env.Client, Namespace: s.namespace, Log: logr.Discard(), Recorder: s.events}
	s.restart(env.Client)
	return s
}

// restart starts the controllers with an empty memory.
func (s *scene) restart(c client.Client) {
	deps := Deps{Client: c, Config: s.config}
	options := reconcile.Options{Name: "autobudget", Recorder: s.events}
	s.deployment = reconcile.New(c, New(deps, Deployments()), options)
	s.cloneSet = reconcile.New(c, New(deps, CloneSets()), options)
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) pass(name string) {
	s.t.Helper()
	request := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: s.namespace, Name: name}}
	_, err := s.deployment.Reconcile(s.t.Context(), request)
	s.must(err)
	_, err = s.cloneSet.Reconcile(s.t.Context(), request)
	s.must(err)
}

// told returns the reasons of the events since the last call.
func (s *scene) told() string {
	var reasons []string
	for {
		select {
		case event := <-s.events.Events:
			reasons = append(reasons, strings.Fields(event)[1])
		default:
			return strings.Join(reasons, " ")
		}
	}
}

func (s *scene) pubs() map[string]policyv1beta1.PodUnavailableBudgetSpec {
	s.t.Helper()
	var list policyv1beta1.PodUnavailableBudgetList
	s.must(s.env.Client.List(s.t.Context(), &list, client.InNamespace(s.namespace)))
	all := map[string]policyv1beta1.PodUnavailableBudgetSpec{}
	for i := range list.Items {
		all[list.Items[i].Name] = list.Items[i].Spec
	}
	return all
}

func (s *scene) make(annotations map[string]string) *appsv1.Deployment {
	s.t.Helper()
	labels := map[string]string{"app": "web"}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web", Annotations: annotations},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}}},
			},
		},
	}
	s.must(s.env.Client.Create(s.t.Context(), d))
	return d
}

func (s *scene) annotate(o client.Object, annotations map[string]string) {
	s.t.Helper()
	before, ok := o.DeepCopyObject().(client.Object)
	if !ok {
		s.t.Fatal("not an object")
	}
	o.SetAnnotations(annotations)
	s.must(s.env.Client.Patch(s.t.Context(), o, client.MergeFrom(before)))
}

// talk is the manifest of the talk, with a container that it leaves out there.
const talk = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx
  annotations:
    policy.kruise.io/generate-pub-maxUnavailable: "20%"
spec:
  replicas: 5
  selector:
    matchLabels: {app: nginx}
  template:
    metadata:
      labels: {app: nginx}
    spec:
      containers:
      - {name: nginx, image: "registry.local/nginx:1"}
`

func TestManifestOfTheTalk(t *testing.T) {
	s := newScene(t)
	d := &appsv1.Deployment{}
	s.must(yaml.UnmarshalStrict([]byte(talk), d))
	d.Namespace = s.namespace
	s.must(s.env.Client.Create(t.Context(), d))
	s.pass("nginx")
	spec := s.pubs()["nginx-deployment"]
	if spec.TargetRef == nil || *spec.TargetRef != (policyv1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "nginx"}) ||
		spec.MaxUnavailable == nil || spec.MaxUnavailable.String() != "20%" {
		t.Errorf("budgets: %+v", s.pubs())
	}
	if got := s.told(); got != "BudgetMade" {
		t.Errorf("events: %s", got)
	}
}

func TestLifeOfABudget(t *testing.T) {
	s := newScene(t)
	d := s.make(map[string]string{"policy.kruise.io/generate-pub": "true"})
	s.pass("web")
	s.pass("web")
	made := &policyv1beta1.PodUnavailableBudget{}
	key := types.NamespacedName{Namespace: s.namespace, Name: "web-deployment"}
	s.must(s.env.Client.Get(t.Context(), key, made))
	if made.Spec.MaxUnavailable.String() != "25%" || !metav1.IsControlledBy(made, d) || made.Labels[policyv1beta1.GeneratedFor] != "Deployment" {
		t.Errorf("made %+v", made)
	}

	s.annotate(d, map[string]string{"policy.kruise.io/generate-pub-minAvailable": "2"})
	s.pass("web")
	if spec := s.pubs()["web-deployment"]; spec.MinAvailable == nil || spec.MinAvailable.String() != "2" || spec.MaxUnavailable != nil {
		t.Errorf("after the annotation changed: %+v", spec)
	}

	// Somebody edits it: it is ours.
	s.must(s.env.Client.Get(t.Context(), key, made))
	five := intstr.FromInt32(5)
	made.Spec.MinAvailable = &five
	s.must(s.env.Client.Update(t.Context(), made))
	s.pass("web")
	if spec := s.pubs()["web-deployment"]; spec.MinAvailable.String() != "2" {
		t.Errorf("after somebody edited it: %+v", spec)
	}

	s.annotate(d, nil)
	s.pass("web")
	if all := s.pubs(); len(all) != 0 {
		t.Errorf("nothing asks for it any more: %+v", all)
	}
	if got := s.told(); got != "BudgetMade BudgetChanged BudgetChanged BudgetWithdrawn" {
		t.Errorf("events: %s", got)
	}
}

func TestOwnBudgetWins(t *testing.T) {
	s := newScene(t)
	s.make(map[string]string{"policy.kruise.io/generate-pub": "true", "policy.kruise.io/generate-pdb": "true"})
	s.pass("web")
	var pdbs policyv1.PodDisruptionBudgetList
	count := func() int {
		s.must(s.env.Client.List(t.Context(), &pdbs, client.InNamespace(s.namespace)))
		return len(pdbs.Items)
	}
	if len(s.pubs()) != 1 || count() != 1 || pdbs.Items[0].Spec.Selector.MatchLabels["app"] != "web" {
		t.Fatalf("made %+v and %+v", s.pubs(), pdbs.Items)
	}
	one := intstr.FromInt32(1)
	own := &policyv1beta1.PodUnavailableBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "mine"},
		Spec: policyv1beta1.PodUnavailableBudgetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, MaxUnavailable: &one,
		},
	}
	s.must(s.env.Client.Create(t.Context(), own))
	s.told()
	s.pass("web")
	s.pass("web")
	if all := s.pubs(); len(all) != 1 || all["mine"].MaxUnavailable == nil {
		t.Errorf("the user's own is to be left alone: %+v", all)
	}
	if count() != 1 {
		t.Error("the other family has no budget of the user's")
	}
	if got := s.told(); got != "OwnBudgetWins" {
		t.Errorf("events: %s", got)
	}
	s.must(s.env.Client.Delete(t.Context(), own))
	s.pass("web")
	if _, back := s.pubs()["web-deployment"]; !back {
		t.Error("the user's own is gone")
	}
}

func TestDefaultsOfTheCluster(t *testing.T) {
	s := newScene(t)
	s.make(nil)
	cs := testkit.CloneSet(func(cs *appsv1beta1.CloneSet) { cs.Namespace, cs.Name = s.namespace, "web" })
	s.must(s.env.Client.Create(t.Context(), cs))
	read := func(text string) bool {
		t.Helper()
		stored := &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: ConfigName}, Data: map[string]string{ConfigKey: text},
		}
		if err := s.env.Client.Create(t.Context(), stored); err != nil {
			s.must(s.env.Client.Update(t.Context(), stored))
		}
		changed, err := s.config.Read(t.Context())
		s.must(err)
		return changed
	}
	if changed, err := s.config.Read(t.Context()); err != nil || !changed {
		t.Errorf("no configuration is one, too: %v %v", changed, err)
	}
	s.pass("web")
	if all := s.pubs(); len(all) != 0 {
		t.Fatalf("nothing asks for one: %+v", all)
	}
	// The operator's own namespace is this one here: only a rule that names it counts.
	read("rules: [{pub: {}}]")
	s.pass("web")
	if all := s.pubs(); len(all) != 0 {
		t.Fatalf("the operator's namespace is left out: %+v", all)
	}
	here := "rules: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: " + s.namespace + "}}, kinds: [CloneSet], pub: {maxUnavailable: 3}}]"
	if !read(here) {
		t.Error("the configuration changed")
	}
	s.pass("web")
	if all := s.pubs(); len(all) != 1 || all["web-cloneset"].MaxUnavailable.String() != "3" {
		t.Errorf("by the rule: %+v", all)
	}
	if read("rules: nonsense"); len(s.config.Rules()) != 1 {
		t.Error("what makes no sense changes nothing")
	}
	s.annotate(cs, map[string]string{"policy.kruise.io/generate-pub": "false"})
	s.pass("web")
	if all := s.pubs(); len(all) != 0 {
		t.Errorf("the workload refuses it: %+v", all)
	}
	if got := s.told(); got != "BudgetMade InvalidBudgetDefaults BudgetWithdrawn" {
		t.Errorf("events: %s", got)
	}
}

func TestMistakesAreToldOnce(t *testing.T) {
	s := newScene(t)
	s.make(map[string]string{"policy.kruise.io/generate-pub-maxUnavailable": "a few"})
	s.pass("web")
	s.pass("web")
	if got := s.told(); got != "InvalidBudgetAnnotation BudgetMade" {
		t.Errorf("events: %s", got)
	}
	if spec := s.pubs()["web-deployment"]; spec.MaxUnavailable == nil || spec.MaxUnavailable.String() != "25%" {
		t.Errorf("the workload wants protection: %+v", spec)
	}
}

func TestNameThatIsTaken(t *testing.T) {
	s := newScene(t)
	one := intstr.FromInt32(1)
	s.must(s.env.Client.Create(t.Context(), &policyv1beta1.PodUnavailableBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web-deployment"},
		Spec: policyv1beta1.PodUnavailableBudgetSpec{
			TargetRef: &policyv1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "other"}, MaxUnavailable: &one,
		},
	}))
	s.make(map[string]string{"policy.kruise.io/generate-pub": "true"})
	s.pass("web")
	if got := s.told(); got != "BudgetNameTaken" {
		t.Errorf("events: %s", got)
	}
}

// TestFaults: whatever becomes of a write, there is one budget in the end, and it is the right one.
func TestFaults(t *testing.T) {
	testkit.Matrix(t, func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		s := newScene(t)
		faulty := s.env.Through(t, f)
		s.restart(faulty)
		d := s.make(map[string]string{"policy.kruise.io/generate-pub": "true", "policy.kruise.io/generate-pdb-minAvailable": "1"})
		request := ctrl.Request{NamespacedName: client.ObjectKeyFromObject(d)}
		try := func() {
			for range 3 {
				if _, err := s.deployment.Reconcile(t.Context(), request); err != nil && f.Dead() {
					f.Revive()
					s.restart(faulty)
				}
			}
		}
		try()
		s.annotate(d, map[string]string{"policy.kruise.io/generate-pub-maxUnavailable": "2"})
		try()
		var pdbs policyv1.PodDisruptionBudgetList
		s.must(s.env.Client.List(t.Context(), &pdbs, client.InNamespace(s.namespace)))
		all := s.pubs()
		if len(all) != 1 || all["web-deployment"].MaxUnavailable.String() != "2" || len(pdbs.Items) != 0 {
			t.Errorf("in the end: %+v, %d PodDisruptionBudgets", all, len(pdbs.Items))
		}
	})
}
