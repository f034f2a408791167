package podunavailablebudget

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/reconcile"

	policyv1beta1 "github.com/holdfast-io/holdfast/api/policy/v1beta1"
	"github.com/holdfast-io/holdfast/internal/disruption"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// scene is one application in a namespace of its own: a Deployment that nobody runs, its pods made by hand.
type scene struct {
	t         *testing.T
	env       *testkit.Env
	namespace string
	clock     *testingclock.FakeClock
	kubelet   *testkit.Kubelet
	made      int
}

func newScene(t *testing.T) *scene {
	t.Helper()
	env := testkit.APIServer(t)
	s := &scene{t: t, env: env, namespace: env.Namespace(t), clock: testingclock.NewFakeClock(time.Now())}
	s.kubelet = &testkit.Kubelet{Client: env.Client, Namespace: s.namespace, Clock: s.clock}
	return s
}

func (s *scene) create(objects ...client.Object) {
	s.t.Helper()
	for _, o := range objects {
		o.SetNamespace(s.namespace)
		if err := s.env.Client.Create(s.t.Context(), o); err != nil {
			s.t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
	}
}

// deployment makes a Deployment; its status stays empty, as nobody runs it.
func (s *scene) deployment(name string, replicas int32) *appsv1.Deployment {
	s.t.Helper()
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec()},
		},
	}
	s.create(d)
	return d
}

func podSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}}}
}

// pods makes n more pods of an application, and lets them get ready.
func (s *scene) pods(app string, n int, edit ...func(*corev1.Pod)) []*corev1.Pod {
	s.t.Helper()
	all := make([]*corev1.Pod, 0, n)
	for range n {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", app, s.made), Labels: map[string]string{"app": app}},
			Spec:       podSpec(),
		}
		s.made++
		for _, e := range edit {
			e(p)
		}
		s.create(p)
		all = append(all, p)
	}
	s.settle()
	for i := range all {
		all[i] = s.pod(all[i].Name)
	}
	return all
}

func (s *scene) settle() {
	s.t.Helper()
	if err := s.kubelet.Settle(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) pod(name string) *corev1.Pod {
	s.t.Helper()
	p := &corev1.Pod{}
	if err := s.env.Client.Get(s.t.Context(), types.NamespacedName{Namespace: s.namespace, Name: name}, p); err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *scene) remove(p *corev1.Pod) {
	s.t.Helper()
	if err := s.env.Client.Delete(s.t.Context(), p); client.IgnoreNotFound(err) != nil {
		s.t.Fatal(err)
	}
}

// image changes a container's image, as a change in place does.
func (s *scene) image(p *corev1.Pod, image string) {
	s.t.Helper()
	changed := p.DeepCopy()
	changed.Spec.Containers[0].Image = image
	if err := s.env.Client.Patch(s.t.Context(), changed, client.StrategicMergeFrom(p)); err != nil {
		s.t.Fatal(err)
	}
}

// budget makes a budget for a Deployment of that name, unless edit says otherwise.
func (s *scene) budget(name, limit string, edit ...func(*policyv1beta1.PodUnavailableBudget)) *policyv1beta1.PodUnavailableBudget {
	s.t.Helper()
	value := intstr.Parse(limit)
	pub := &policyv1beta1.PodUnavailableBudget{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: policyv1beta1.PodUnavailableBudgetSpec{
			TargetRef:      &policyv1beta1.TargetReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name},
			MaxUnavailable: &value,
		},
	}
	for _, e := range edit {
		e(pub)
	}
	s.create(pub)
	return pub
}

// guarded makes the Deployment web, so many pods of it, and their budget.
func (s *scene) guarded(replicas int32, limit string) []*corev1.Pod {
	s.t.Helper()
	s.deployment("web", replicas)
	pods := s.pods("web", int(replicas))
	s.budget("web", limit)
	return pods
}

func bySelector(app string) func(*policyv1beta1.PodUnavailableBudget) {
	return func(pub *policyv1beta1.PodUnavailableBudget) {
		pub.Spec.TargetRef = nil
		pub.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
}

func (s *scene) stored(name string) *policyv1beta1.PodUnavailableBudget {
	s.t.Helper()
	pub := &policyv1beta1.PodUnavailableBudget{}
	if err := s.env.Client.Get(s.t.Context(), types.NamespacedName{Namespace: s.namespace, Name: name}, pub); err != nil {
		s.t.Fatal(err)
	}
	return pub
}

// replica is one operator: a keeper over a cache of its own.
type replica struct {
	s      *scene
	keeper *Keeper
	frame  *reconcile.Frame[*policyv1beta1.PodUnavailableBudget]
	lag    *testkit.LagCache
	events *record.FakeRecorder
}

// lagging makes a replica whose cache moves only when it is told to. config may lead through faults.
func (s *scene) lagging(config *rest.Config) *replica {
	s.t.Helper()
	lag := testkit.NewLagCache(s.t, s.env, s.namespace, &corev1.Pod{}, &policyv1beta1.PodUnavailableBudget{})
	through := s.direct(config)
	r := s.replica(lag.Client(through), through, lag, s.clock)
	r.lag = lag
	r.keeper.patience = 0
	return r
}

// cached makes a replica over an informer's cache.
func (s *scene) cached() *replica {
	s.t.Helper()
	cache := s.env.Cache(s.t, ctrlcache.Options{}) // an informer for all namespaces, as in the operator: it tells its position
	through := s.direct(nil)
	reads, err := client.New(s.env.Config, client.Options{Scheme: s.env.Scheme, Cache: &client.CacheOptions{Reader: cache}})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.replica(reads, through, &workload.CachePosition{Cache: cache}, s.clock)
}

func (s *scene) direct(config *rest.Config) client.Client {
	s.t.Helper()
	if config == nil {
		config = s.env.Config
	}
	c, err := client.New(config, client.Options{Scheme: s.env.Scheme})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *scene) replica(reads, through client.Client, position workload.Position, now clock.PassiveClock) *replica {
	events := record.NewFakeRecorder(1000)
	keeper := New(Deps{
		Client: reads, Live: through, Admission: through, Position: position, Clock: now, Log: logr.Discard(), Recorder: events,
	})
	frame := reconcile.New(reads, keeper, reconcile.Options{Name: "pub", Clock: now, Recorder: events})
	return &replica{s: s, keeper: keeper, frame: frame, events: events}
}

// fresh lets the cache show everything.
func (r *replica) fresh() *replica {
	r.s.t.Helper()
	if err := r.lag.CatchUp(r.s.t.Context()); err != nil {
		r.s.t.Fatal(err)
	}
	return r
}

func (r *replica) reconcile(name string) ctrl.Result {
	r.s.t.Helper()
	result, err := r.try(r.s.t.Context(), name)
	if err != nil {
		r.s.t.Fatal(err)
	}
	return result
}

func (r *replica) try(ctx context.Context, name string) (ctrl.Result, error) {
	return r.frame.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: r.s.namespace, Name: name}})
}

// ask asks about one pod as the API server has it now, and fails on an error.
func (r *replica) ask(operation disruption.Operation, p *corev1.Pod, edit ...func(*disruption.Request)) disruption.Verdict {
	r.s.t.Helper()
	request := disruption.Request{Operation: operation, Pod: p}
	if !operation.Removes() {
		request.Changed = p.DeepCopy()
		request.Changed.Spec.Containers[0].Image = "registry.local/web:next"
	}
	for _, e := range edit {
		e(&request)
	}
	v, err := disruption.Chain{r.keeper.Guard()}.Ask(r.s.t.Context(), request)
	if err != nil {
		r.s.t.Fatal(err)
	}
	return v
}

func (r *replica) allows(operation disruption.Operation, p *corev1.Pod, why string) {
	r.s.t.Helper()
	if v := r.ask(operation, p); v.Outcome != disruption.Allow {
		r.s.t.Errorf("%s of %s is denied (%s), and should not be: %s", operation, p.Name, v.Message, why)
	}
}

func (r *replica) denies(operation disruption.Operation, p *corev1.Pod, why string) disruption.Verdict {
	r.s.t.Helper()
	v := r.ask(operation, p)
	if v.Outcome != disruption.Deny {
		r.s.t.Errorf("%s of %s is allowed, and should not be: %s", operation, p.Name, why)
	}
	return v
}

func enforcedAs(t *testing.T, pub *policyv1beta1.PodUnavailableBudget, kind string, status metav1.ConditionStatus, reason string) {
	t.Helper()
	c := condition(pub, kind)
	if c == nil || c.Status != status || c.Reason != reason {
		t.Errorf("%s: condition %s is %+v, want %s %s", pub.Name, kind, ptr.Deref(c, metav1.Condition{}), status, reason)
	}
}
