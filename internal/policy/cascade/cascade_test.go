package cascade_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/holdfast-io/holdfast/internal/policy"
	"github.com/holdfast-io/holdfast/internal/policy/cascade"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

const (
	newLabel = "policy.kruise.io/delete-protection"
	oldLabel = "policy.kruise.io/disable-cascading-deletion"
)

type memory struct {
	mu  sync.Mutex
	all []policy.Decision
}

func (m *memory) Append(_ context.Context, decisions []policy.Decision) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, decisions...)
	return nil
}

// glass opens the deletion protection for one user.
type glass string

func (g glass) Opens(_ context.Context, w policy.Wish) (string, error) {
	if w.Guard == cascade.Guard && w.User.Username == string(g) {
		return "incident-1", nil
	}
	return "", nil
}

type kit struct {
	*testkit.Env
	ns      string
	journal *policy.Journal
	sink    *memory
	served  *testkit.Served
}

func newKit(t *testing.T) *kit {
	t.Helper()
	env := testkit.APIServer(t)
	heads, err := metadata.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{Env: env, ns: env.Namespace(t), sink: &memory{}}
	k.journal = policy.NewJournal(k.sink, nil, clock.RealClock{}, logr.Discard(), "a")
	keeper := &cascade.Keeper{
		Counter: &cascade.Counter{Metadata: heads, Live: env.Client}, Opener: glass("alice"), Journal: k.journal, Clock: clock.RealClock{},
	}
	k.served = env.ServeHooks(t, "cascade-"+k.ns, keeper.Hooks())
	return k
}

// settle waits until the API server asks the hooks, which it learns about a moment after they are registered.
func (k *kit) settle(t *testing.T) {
	t.Helper()
	probe := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: "probe", Labels: map[string]string{newLabel: "Always"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}},
	}
	if err := k.Client.Create(t.Context(), probe); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, "the hooks are asked", yes(func() (bool, string) {
		err := k.Client.Delete(t.Context(), probe, client.DryRunAll)
		return apierrors.IsForbidden(err), fmt.Sprint(err)
	}))
}

// yes is a look that ends once ok is true.
func yes(look func() (ok bool, said string)) func(context.Context) error {
	return func(context.Context) error {
		if ok, said := look(); !ok {
			return errors.New(said)
		}
		return nil
	}
}

func labelled(label, value string) map[string]string { return map[string]string{label: value} }

func template() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "a"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.local/pause:1"}}},
	}
}

func (k *kit) deployment(name string, replicas int32, labels map[string]string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(replicas), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}, Template: template(),
		},
	}
}

func (k *kit) daemonSet(name string) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: name, Labels: labelled(newLabel, "Cascading")},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}, Template: template(),
		},
	}
}

func (k *kit) pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: name, Labels: map[string]string{"app": "a"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.local/pause:1"}}},
	}
	change(p)
	return p
}

func (k *kit) claim(name string, labels map[string]string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: name, Labels: labels},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			},
		},
	}
}

func (k *kit) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := k.Client.Create(t.Context(), object); err != nil {
			t.Fatalf("create %s: %v", object.GetName(), err)
		}
	}
}

// try deletes an object and answers what the API server said.
func (k *kit) try(t *testing.T, object client.Object, opts ...client.DeleteOption) string {
	t.Helper()
	err := k.Client.Delete(t.Context(), object, opts...)
	if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		t.Errorf("delete %s: %v", object.GetName(), err)
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestDeletions(t *testing.T) {
	k := newKit(t)
	k.settle(t)
	used := k.claim("used", labelled(newLabel, "Cascading"))
	daemon := k.daemonSet("daemon")
	k.create(t, used, daemon, k.pod("reader", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "d", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "used"},
		}}}
	}))
	k.create(t, k.pod("daemon-1", func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(daemon, appsv1.SchemeGroupVersion.WithKind("DaemonSet"))}
	}))
	service := func(name string, labels map[string]string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: name, Labels: labels},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
		}
	}
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: k.ns, Name: "front", Labels: labelled(newLabel, "Always")},
		Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
			Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80},
		}}},
	}
	set := testkit.CloneSet()
	set.Namespace, set.Name, set.Labels = k.ns, "set", labelled(oldLabel, "true")
	for _, test := range []struct {
		reason string
		object client.Object
		made   bool
		want   []string // in the denial; none: it is deleted
	}{
		{reason: "no label", object: k.deployment("plain", 3, nil)},
		{
			reason: "a Deployment with replicas", object: k.deployment("web", 3, labelled(newLabel, "Cascading")),
			want: []string{"forbidden by ResourcesProtectionDeletion", "3 replicas", "scale it to 0", "kubectl label deployments.apps web -n " + k.ns + " policy.kruise.io/delete-protection-"},
		},
		{reason: "a Deployment without replicas", object: k.deployment("none", 0, labelled(newLabel, "Cascading"))},
		{
			reason: "a Deployment labelled Always, without replicas", object: k.deployment("kept", 0, labelled(newLabel, "Always")),
			want: []string{"labelled policy.kruise.io/delete-protection=Always"},
		},
		{
			reason: "the older spelling", object: k.deployment("older", 1, labelled(oldLabel, "true")),
			want: []string{"1 replica,", "policy.kruise.io/disable-cascading-deletion-"},
		},
		{reason: "the older spelling says no", object: k.deployment("olderno", 1, labelled(oldLabel, "false"))},
		{
			reason: "a value that nobody knows protects", object: k.deployment("typo", 0, labelled(newLabel, "cascade")),
			want: []string{`"cascade", which means nothing`},
		},
		{
			reason: "the newer spelling counts when both are there",
			object: k.deployment("both", 0, map[string]string{newLabel: "Always", oldLabel: "true"}), want: []string{"=Always"},
		},
		{reason: "a CloneSet with replicas", object: set, want: []string{"forbidden by", "replica"}},
		{reason: "a DaemonSet with a pod", object: daemon, made: true, want: []string{"1 pod (daemon-1)"}},
		{reason: "a DaemonSet without pods", object: k.daemonSet("idle")},
		{reason: "a claim in use", object: used, made: true, want: []string{"1 pod that uses it (reader)"}},
		{reason: "a claim that nobody uses", object: k.claim("unused", labelled(newLabel, "Cascading"))},
		{reason: "a Service", object: service("web", labelled(newLabel, "Always")), want: []string{"Always"}},
		{reason: "a Service that says Cascading", object: service("odd", labelled(newLabel, "Cascading")), want: []string{"nothing goes with"}},
		{reason: "an Ingress", object: ingress, want: []string{"Always"}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if !test.made {
				k.create(t, test.object)
			}
			got := k.try(t, test.object)
			if (got == "") != (len(test.want) == 0) {
				t.Fatalf("the API server said %q", got)
			}
			for _, part := range test.want {
				if !strings.Contains(got, part) {
					t.Errorf("%q lacks %q", got, part)
				}
			}
		})
	}
	k.journal.Flush(t.Context())
	denied := 0
	for _, d := range k.sink.all {
		if d.Outcome == policy.Denied && d.Guard == cascade.Guard && d.User != "" {
			denied++
		}
	}
	if denied == 0 {
		t.Error("no denial was written down")
	}
}

// What cannot be read is not let through, whatever it is.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	keeper := &cascade.Keeper{Clock: clock.RealClock{}}
	deployments := metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	for _, test := range []struct {
		reason, old string
		resource    metav1.GroupVersionResource
	}{
		{"no object", "", deployments},
		{"null", "null", deployments},
		{"rubbish", "{", deployments},
		{"a list", "[]", deployments},
		{"a text", `"x"`, deployments},
		{"no kind", `{"metadata":{"name":"a"}}`, deployments},
		{"no name", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{}}`, deployments},
		{"labels that are none", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","labels":7}}`, deployments},
		{"replicas that are none", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","labels":{"` + newLabel + `":"Cascading"}},"spec":{"replicas":"x"}}`, deployments},
		{"a spec that is none", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","labels":{"` + newLabel + `":"Cascading"}},"spec":7}`, deployments},
		{"a definition without versions", `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"a","labels":{"` + newLabel + `":"Cascading"}}}`, metav1.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}},
		{"a resource that nobody protects", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}`, metav1.GroupVersionResource{Version: "v1", Resource: "secrets"}},
	} {
		for _, hook := range keeper.Hooks() {
			got := hook.Handler.Handle(t.Context(), ctrl.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				Operation: admissionv1.Delete, Resource: test.resource, OldObject: runtime.RawExtension{Raw: []byte(test.old)},
			}})
			if got.Allowed {
				t.Errorf("%s: let through by %s", test.reason, hook.Name)
			}
		}
	}
}

func TestWaysOut(t *testing.T) {
	k := newKit(t)
	k.settle(t)
	scaled, unlabelled := k.deployment("scaled", 2, labelled(newLabel, "Cascading")), k.deployment("unlabelled", 2, labelled(newLabel, "Always"))
	k.create(t, scaled, unlabelled)
	if k.try(t, scaled) == "" || k.try(t, unlabelled) == "" {
		t.Fatal("they were deleted")
	}
	scaled.Spec.Replicas = ptr.To[int32](0)
	unlabelled.Labels = nil
	for _, d := range []*appsv1.Deployment{scaled, unlabelled} {
		if err := k.Client.Update(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if got := k.try(t, d); got != "" {
			t.Errorf("the way out is closed: %s", got)
		}
	}
}

// A collection is deleted one by one, and its requests carry no name.
func TestCollection(t *testing.T) {
	k := newKit(t)
	k.settle(t)
	k.create(t, k.deployment("a", 1, labelled(newLabel, "Cascading")))
	err := k.Client.DeleteAllOf(t.Context(), &appsv1.Deployment{}, client.InNamespace(k.ns))
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "Deployment.apps a: forbidden by ResourcesProtectionDeletion") {
		t.Errorf("the API server said %v", err)
	}
}

func TestNamespace(t *testing.T) {
	k := newKit(t)
	k.settle(t)
	namespace := &corev1.Namespace{}
	key := client.ObjectKey{Name: k.ns}
	if err := k.Client.Get(t.Context(), key, namespace); err != nil {
		t.Fatal(err)
	}
	namespace.Labels[oldLabel] = "true"
	if err := k.Client.Update(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	bound, pending := k.claim("bound", nil), k.claim("pending", nil)
	ended := k.pod("ended", func(*corev1.Pod) {})
	k.create(t, bound, pending, ended, k.pod("p1", func(*corev1.Pod) {}), k.pod("p2", func(*corev1.Pod) {}))
	bound.Status.Phase = corev1.ClaimBound
	ended.Status.Phase = corev1.PodSucceeded
	for _, object := range []client.Object{bound, ended} {
		if err := k.Client.Status().Update(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	got := k.try(t, namespace)
	for _, want := range []string{"2 active pods (p1, p2)", "1 bound PersistentVolumeClaim (bound)", "forbidden by ResourcesProtectionDeletion"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	for _, name := range []string{"p1", "p2"} {
		if err := k.Client.Delete(t.Context(), k.pod(name, func(*corev1.Pod) {}), client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
	if got := k.try(t, namespace); !strings.Contains(got, "still has 1 bound PersistentVolumeClaim (bound)") {
		t.Errorf("with a claim left: %q", got)
	}
	if err := k.Client.Delete(t.Context(), bound); err != nil {
		t.Fatal(err)
	}
	// Its finalizer stays, as nobody takes it here.
	if got := k.try(t, namespace); got != "" {
		t.Errorf("with nothing left but a claim on its way out: %q", got)
	}
	bare := []byte(`{"metadata":{"finalizers":null}}`)
	if err := k.Client.Patch(t.Context(), bound, client.RawPatch(types.MergePatchType, bare)); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	// It is terminating now: what deletes its contents may ask again.
	if got := k.try(t, namespace); got != "" && !strings.Contains(got, "not found") {
		t.Errorf("the second deletion: %q", got)
	}
}

func definition(group, plural, kind string, labels map[string]string) *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + "." + group, Labels: labels},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: strings.ToLower(kind), Kind: kind, ListKind: kind + "List"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: ptr.To(true),
				}},
			}},
		},
	}
}

func object(kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "guard.test", Version: "v1", Kind: kind})
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// define makes a definition and waits until it is served.
func (k *kit) define(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	k.create(t, crd)
	testkit.Eventually(t, 30*time.Second, "the definition is served", yes(func() (bool, string) {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: crd.Spec.Group, Version: "v1", Kind: crd.Spec.Names.Kind + "List"})
		err := k.Client.List(t.Context(), list, client.Limit(1))
		return err == nil, fmt.Sprint(err)
	}))
}

// A definition with 10,000 objects: the answer names how many, and costs no more than for one.
func TestDefinitionWithManyObjects(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 10,000 objects")
	}
	const many = 10000
	k := newKit(t)
	k.settle(t)
	crd := definition("guard.test", "things", "Thing", labelled(newLabel, "Cascading"))
	k.define(t, crd)
	config := rest.CopyConfig(k.Config)
	config.QPS = -1
	work := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range work {
				if err := k.Client.Create(t.Context(), object("Thing", k.ns, fmt.Sprintf("thing-%05d", i))); err != nil {
					t.Errorf("create an object: %v", err)
				}
			}
		})
	}
	for i := range many {
		work <- i
	}
	close(work)
	wg.Wait()
	testkit.Eventually(t, 30*time.Second, "all of them are counted", yes(func() (bool, string) {
		got := k.try(t, crd, client.DryRunAll)
		return strings.Contains(got, "still has 10000 objects ("+k.ns+"/thing-00000, ...)"), got
	}))
	var worst, sum time.Duration
	const tries = 50
	for range tries {
		begun := time.Now()
		if got := k.try(t, crd); !strings.Contains(got, "forbidden by ResourcesProtectionDeletion") {
			t.Fatalf("the API server said %q", got)
		}
		took := time.Since(begun)
		worst, sum = max(worst, took), sum+took
	}
	t.Logf("a deletion of a definition with %d objects is denied in %s on average, %s at worst", many, sum/tries, worst)
	if mean := sum / tries; mean > 50*time.Millisecond {
		t.Errorf("the denial takes %s on average, want less than 50ms", mean)
	}
	crd.Labels = nil
	latest := &apiextensionsv1.CustomResourceDefinition{}
	if err := k.Client.Get(t.Context(), types.NamespacedName{Name: crd.Name}, latest); err != nil {
		t.Fatal(err)
	}
	latest.Labels = nil
	if err := k.Client.Update(t.Context(), latest); err != nil {
		t.Fatal(err)
	}
	if got := k.try(t, latest); got != "" {
		t.Errorf("without the label: %q", got)
	}
}

// What Helm does with a chart that has its definitions among its templates: everything is deleted at once, in any order.
// The objects of the release go, others of the same kind keep their definition.
func TestUninstallOfAChart(t *testing.T) {
	k := newKit(t)
	k.settle(t)
	crd := definition("guard.test", "widgets", "Widget", labelled(oldLabel, "true"))
	k.define(t, crd)
	mine, others := object("Widget", k.ns, "of-the-release"), object("Widget", k.ns, "of-somebody-else")
	k.create(t, mine, others)
	results := make(chan string, 2)
	go func() { results <- k.try(t, crd.DeepCopy()) }()
	go func() { results <- k.try(t, mine.DeepCopy()) }()
	said := (<-results) + (<-results)
	if !strings.Contains(said, "forbidden by ResourcesProtectionDeletion") {
		t.Errorf("the API server said %q", said)
	}
	left := object("Widget", k.ns, "of-somebody-else")
	if err := k.Client.Get(t.Context(), client.ObjectKeyFromObject(left), left); err != nil || left.GetDeletionTimestamp() != nil {
		t.Errorf("somebody else's object is gone: %v", err)
	}
	if err := k.Client.Delete(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, "the definition may go once nothing is left", yes(func() (bool, string) {
		got := k.try(t, crd.DeepCopy())
		return got == "" || strings.Contains(got, "not found"), got
	}))
}

// warnings are what a user of kubectl sees.
type warnings struct {
	mu  sync.Mutex
	all strings.Builder
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.WriteString(text)
}

func (w *warnings) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

func TestBreakGlass(t *testing.T) {
	k := newKit(t)
	k.settle(t)
	kept := k.deployment("kept", 2, labelled(newLabel, "Always"))
	k.create(t, kept)
	heard := &warnings{}
	as := func(user string) client.Client {
		config := rest.CopyConfig(k.Config)
		config.WarningHandler = heard
		config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:masters"}}
		c, err := client.New(config, client.Options{Scheme: k.Scheme})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := as("bob").Delete(t.Context(), kept.DeepCopy()); !apierrors.IsForbidden(err) {
		t.Errorf("bob was not named: %v", err)
	}
	if err := as("alice").Delete(t.Context(), kept.DeepCopy()); err != nil {
		t.Errorf("alice was: %v", err)
	}
	if !strings.Contains(heard.String(), "BreakGlass incident-1 lets alice through DeletionProtection") {
		t.Errorf("alice was not warned: %q", heard)
	}
	k.journal.Flush(t.Context())
	for _, d := range k.sink.all {
		if d.User == "alice" && d.BreakGlass == "incident-1" && d.Outcome == policy.Allowed && d.Reason == policy.ReasonBreakGlass {
			return
		}
	}
	t.Errorf("its use is not written down: %+v", k.sink.all)
}

// While nobody answers, what is labelled stays, and what is not labelled goes.
func TestHooksAreAway(t *testing.T) {
	k := newKit(t)
	k.settle(t)
	kept, plain := k.deployment("kept", 0, labelled(newLabel, "Cascading")), k.deployment("plain", 2, nil)
	k.create(t, kept, plain)
	k.served.Stop()
	if err := k.Client.Delete(t.Context(), kept); !apierrors.IsInternalError(err) {
		t.Errorf("without an answer: %v", err)
	}
	if got := k.try(t, plain); got != "" {
		t.Errorf("an object without label: %q", got)
	}
	// The way out asks nobody.
	kept.Labels = nil
	if err := k.Client.Update(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	if got := k.try(t, kept); got != "" {
		t.Errorf("without the label: %q", got)
	}
}
