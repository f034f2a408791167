package sidecarset_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/admission"
	"github.com/holdfast-io/holdfast/internal/apps/sidecarset"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload"
)

// cached reads from an informer's cache and writes to the API server, as the operator does.
func cached(t testing.TB, env *testkit.Env, indexes ...string) client.Client {
	t.Helper()
	reader := env.Cache(t, cache.Options{})
	if err := workload.Index(t.Context(), reader); err != nil {
		t.Fatal(err)
	}
	for _, name := range indexes {
		if err := reader.IndexField(t.Context(), &corev1.Pod{}, name, sidecarset.IndexPod); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(env.Config, client.Options{Scheme: env.Scheme, Cache: &client.CacheOptions{Reader: reader}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// testConfiguration is that of the tests' hooks.
const testConfiguration = "holdfast-test-sidecarset"

// serve has the API server ask the hooks; system is where revisions are.
func serve(t testing.TB, env *testkit.Env, system string) (client.Client, []admission.Hook) {
	t.Helper()
	c := cached(t, env)
	hooks := sidecarset.Hooks(sidecarset.AdmissionDeps{
		Scheme: env.Scheme, Cache: c, Client: env.Client, Clock: clock.RealClock{}, SystemNamespace: system, Configuration: testConfiguration,
	})
	env.ServeHooks(t, testConfiguration, hooks)
	return c, hooks
}

// shown waits until the cache shows a set as it is.
func shown(t testing.TB, c client.Client, set *appsv1beta1.SidecarSet) {
	t.Helper()
	testkit.Eventually(t, 10*time.Second, "the cache shows the set", func(ctx context.Context) error {
		var seen appsv1beta1.SidecarSet
		if err := c.Get(ctx, client.ObjectKeyFromObject(set), &seen); err != nil {
			return err
		}
		if seen.Generation < set.Generation || fmt.Sprint(seen.Annotations) != fmt.Sprint(set.Annotations) {
			return fmt.Errorf("generation %d, want %d", seen.Generation, set.Generation)
		}
		return nil
	})
}

func made(t testing.TB, env *testkit.Env, c client.Client, ns string, edits ...edit) *appsv1beta1.SidecarSet {
	t.Helper()
	set := log(edits...)
	set.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}}
	if err := env.Client.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = env.Client.Delete(ctx, set)
	})
	shown(t, c, set)
	return set
}

// web makes a pod and returns it as the API server has it.
func web(t testing.TB, env *testkit.Env, ns string, change ...func(*corev1.Pod)) (*corev1.Pod, error) {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, GenerateName: "web-", Labels: map[string]string{"app": "web"}}}
	p.Spec.Containers = []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}}
	for _, f := range change {
		f(p)
	}
	err := env.Client.Create(t.Context(), p)
	return p, err
}

func labelled(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

// names are the pod's containers with the tags of their images.
func names(p *corev1.Pod) string {
	var words []string
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		words = append(words, c.Name+"="+c.Image[strings.LastIndex(c.Image, ":")+1:])
	}
	return strings.Join(words, " ")
}

func TestInjection(t *testing.T) {
	env := testkit.APIServer(t)
	ns, other := env.Namespace(t), env.Namespace(t)
	c, _ := serve(t, env, env.Namespace(t))
	set := made(t, env, c, ns)
	for _, test := range []struct {
		reason, ns string
		change     func(*corev1.Pod)
		want       string
	}{
		{"selected", ns, func(*corev1.Pod) {}, "log=v1 main=v1"},
		{"another label", ns, labelled("app", "db"), "main=v1"},
		{"another namespace", other, func(*corev1.Pod) {}, "main=v1"},
		{"a pod that brings an image", ns, labelled(workload.PullFor, "x"), "main=v1"},
		{"a pod that must have it", ns, labelled(sidecarset.Required, sidecarset.RequiredValue), "log=v1 main=v1"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p, err := web(t, env, test.ns, test.change)
			if err != nil || names(p) != test.want {
				t.Errorf("got %s (%v), want %s", names(p), err, test.want)
			}
		})
	}
	t.Run("a container of the same name", func(t *testing.T) {
		_, err := web(t, env, ns, func(p *corev1.Pod) { p.Spec.Containers[0].Name = "log" })
		if err == nil || !strings.Contains(err.Error(), "SidecarSet "+set.Name+": its container log has the name of one of the pod's own") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("paused", func(t *testing.T) {
		set.Spec.InjectionStrategy.Paused = true
		if err := env.Client.Update(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		shown(t, c, set)
		if p, err := web(t, env, ns); err != nil || names(p) != "main=v1" {
			t.Errorf("got %s (%v)", names(p), err)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		if err := env.Client.Delete(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, 10*time.Second, "the cache shows no set", func(ctx context.Context) error {
			if err := c.Get(ctx, client.ObjectKeyFromObject(set), &appsv1beta1.SidecarSet{}); client.IgnoreNotFound(err) != nil || err == nil {
				return errors.Join(errors.New("it is still there"), err)
			}
			return nil
		})
		if p, err := web(t, env, ns); err != nil || names(p) != "main=v1" {
			t.Errorf("got %s (%v)", names(p), err)
		}
	})
}

func TestPodsAreMadeWhileNobodyAnswers(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	hooks := sidecarset.Hooks(sidecarset.AdmissionDeps{Scheme: env.Scheme, Cache: env.Client, Client: env.Client, Clock: clock.RealClock{}, SystemNamespace: "x"})
	env.ServeHooks(t, testConfiguration, hooks).Stop()
	if _, err := web(t, env, ns); err != nil {
		t.Errorf("a pod must not wait for an operator that is away: %v", err)
	}
	if _, err := web(t, env, ns, labelled(sidecarset.Required, sidecarset.RequiredValue)); err == nil {
		t.Error("a pod that must have its containers was made without them")
	}
}

func TestCanary(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	c, _ := serve(t, env, env.Namespace(t))
	base := made(t, env, c, ns)
	canary := made(t, env, c, ns, image("v2"), func(set *appsv1beta1.SidecarSet) {
		set.Annotations = map[string]string{appsv1beta1.SidecarSetCanary: "true", appsv1beta1.SidecarSetBase: base.Name}
		set.Spec.Selector.MatchLabels["track"] = "canary"
	})
	if p, err := web(t, env, ns); err != nil || names(p) != "log=v1 main=v1" {
		t.Errorf("got %s (%v)", names(p), err)
	}
	p, err := web(t, env, ns, labelled("track", "canary"))
	if err != nil || names(p) != "log=v2 main=v1" {
		t.Errorf("got %s (%v)", names(p), err)
	}
	if a := p.Annotations; a[appsv1beta1.SidecarSetCanary] != canary.Name || a[appsv1beta1.SidecarSetBase] != base.Name || a["kruise.io/sidecarset-injected-list"] != canary.Name {
		t.Errorf("got annotations %v", a)
	}
}

// answer asks the hook about a pod by itself.
func answer(t testing.TB, hooks []admission.Hook, p *corev1.Pod, uid string) ctrl.Response {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return hooks[0].Handler.Handle(t.Context(), ctrl.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID: types.UID(uid), Namespace: p.Namespace, Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw},
	}})
}

func podOf(ns string, labels map[string]string) *corev1.Pod {
	all := map[string]string{"app": "web"}
	maps.Copy(all, labels)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web", Labels: all}}
	p.Spec.Containers = []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}}
	return p
}

// gets tells which tag of the sidecar a pod gets.
func gets(r ctrl.Response) string {
	for _, op := range r.Patches {
		raw, err := json.Marshal(op.Value)
		if err != nil || !strings.HasPrefix(op.Path, "/spec/containers") {
			continue
		}
		var c corev1.Container
		if json.Unmarshal(raw, &c) == nil {
			return c.Image[strings.LastIndex(c.Image, ":")+1:]
		}
	}
	if r.Result != nil && !r.Allowed {
		return r.Result.Message
	}
	return ""
}

func TestRevisionOfNewPods(t *testing.T) {
	env := testkit.APIServer(t)
	w := newWorld(t, log(func(set *appsv1beta1.SidecarSet) { set.Spec.CustomVersion = "one" }), nil)
	w.settle(ready)
	first := w.get().Status.LatestRevision
	w.change(image("v2"), func(set *appsv1beta1.SidecarSet) { set.Spec.CustomVersion = "two" })
	w.settle(ready)
	other := env.Namespace(t) // the one of the revisions is spared
	w.change(func(set *appsv1beta1.SidecarSet) {
		set.Spec.NamespaceSelector.MatchLabels[corev1.LabelMetadataName] = other
	})
	c := cached(t, env, sidecarset.Index)
	hooks := sidecarset.Hooks(sidecarset.AdmissionDeps{Scheme: env.Scheme, Cache: c, Client: env.Client, Clock: clock.RealClock{}, SystemNamespace: w.ns})
	canary := map[string]string{"canary": "true"}
	for _, test := range []struct {
		reason   string
		revision *appsv1beta1.SidecarSetInjectRevision
		change   func(s *appsv1beta1.SidecarSetUpdateStrategy)
		labels   map[string]string
		want     string
	}{
		{"the newest, by default", nil, nil, nil, "v2"},
		{"by name", &appsv1beta1.SidecarSetInjectRevision{RevisionName: first}, nil, nil, "v1"},
		{"by the end of its name", &appsv1beta1.SidecarSetInjectRevision{RevisionName: first[strings.LastIndex(first, "-")+1:]}, nil, nil, "v1"},
		{"by its version", &appsv1beta1.SidecarSetInjectRevision{CustomVersion: "one"}, nil, nil, "v1"},
		{"one that is not there", &appsv1beta1.SidecarSetInjectRevision{CustomVersion: "none"}, nil, nil, "asks for customVersion \"none\""},
		{
			"partial: not selected by the update", &appsv1beta1.SidecarSetInjectRevision{CustomVersion: "one", Policy: "Partial"},
			func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Selector = &metav1.LabelSelector{MatchLabels: canary} }, nil, "v1",
		},
		{
			"partial: selected by the update", &appsv1beta1.SidecarSetInjectRevision{CustomVersion: "one", Policy: "Partial"},
			func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Selector = &metav1.LabelSelector{MatchLabels: canary} }, canary, "v2",
		},
		{
			"partial: all kept", &appsv1beta1.SidecarSetInjectRevision{CustomVersion: "one", Policy: "Partial"},
			func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Partition = ptr.To(intstr.FromString("100%")) }, nil, "v1",
		},
		{
			"partial: a number says nothing of a new pod", &appsv1beta1.SidecarSetInjectRevision{CustomVersion: "one", Policy: "Partial"},
			func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Partition = ptr.To(intstr.FromInt32(9)) }, nil, "v2",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			set := w.get()
			set.Spec.InjectionStrategy.Revision = test.revision
			set.Spec.UpdateStrategy = appsv1beta1.SidecarSetUpdateStrategy{}
			if test.change != nil {
				test.change(&set.Spec.UpdateStrategy)
			}
			if err := env.Client.Update(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			shown(t, c, set)
			if got := gets(answer(t, hooks, podOf(other, test.labels), "1")); !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("partial, without a name", func(t *testing.T) {
		set := w.get()
		set.Spec.InjectionStrategy.Revision = &appsv1beta1.SidecarSetInjectRevision{Policy: "Partial"}
		set.Spec.UpdateStrategy = appsv1beta1.SidecarSetUpdateStrategy{Partition: ptr.To(intstr.FromString("100%"))}
		if err := env.Client.Update(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		shown(t, c, set)
		asked := 0
		gives := func(reason, want string) {
			t.Helper()
			testkit.Eventually(t, 10*time.Second, reason, func(context.Context) error {
				asked++
				got := gets(answer(t, hooks, podOf(other, nil), fmt.Sprint("unnamed", asked))) //nolint:contextcheck // it has the test's
				if got != want {
					return fmt.Errorf("got %q, want %q", got, want)
				}
				return nil
			})
		}
		gives("no pod has an older one: the one before the newest", "v1")
		w.change(image("v3"))
		if err := w.pass(); err != nil {
			t.Fatal(err)
		}
		gives("the one before the newest now", "v2")
		p := podOf(other, nil)
		p.Annotations = map[string]string{
			appsv1beta1.SidecarSetInjectedList: set.Name,
			appsv1beta1.SidecarSetHash:         fmt.Sprintf(`{%q:{"hash":"x","sidecarSetName":%q,"controllerRevision":%q}}`, set.Name, set.Name, first),
		}
		if err := env.Client.Create(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		gives("the one that most pods have", "v1")
		w.change(image("v2"))
		if err := w.pass(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("partial: a share of them", func(t *testing.T) {
		set := w.get()
		set.Spec.InjectionStrategy.Revision = &appsv1beta1.SidecarSetInjectRevision{CustomVersion: "one", Policy: "Partial"}
		set.Spec.UpdateStrategy = appsv1beta1.SidecarSetUpdateStrategy{Partition: ptr.To(intstr.FromString("30%"))}
		if err := env.Client.Update(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		shown(t, c, set)
		older := 0
		for i := range 1000 {
			if gets(answer(t, hooks, podOf(other, nil), fmt.Sprint(i))) == "v1" {
				older++
			}
		}
		if older < 250 || older > 350 {
			t.Errorf("%d of 1000 pods got the older revision, want about 300", older)
		}
	})
}

// manySets are sets of which a few match, as in a cluster where every team has its own.
func manySets(b *testing.B, env *testkit.Env, c client.Client, ns string, n int) {
	b.Helper()
	for i := range n {
		made(b, env, c, ns, func(set *appsv1beta1.SidecarSet) {
			set.Spec.Containers[0].Name = fmt.Sprintf("log-%d", i)
			if i >= 3 {
				set.Spec.Selector.MatchLabels["app"] = fmt.Sprintf("other-%d", i)
			}
			set.Spec.Volumes = []corev1.Volume{{Name: fmt.Sprintf("logs-%d", i)}}
			set.Spec.Containers[0].ShareVolumePolicy.Type = appsv1beta1.ShareVolumePolicyEnabled
			set.Spec.Containers[0].TransferEnv = []appsv1beta1.TransferEnvVar{{SourceContainerName: "main", EnvNames: []string{"APP_.*"}}}
		})
	}
}

// BenchmarkInjection is the hook alone, as the API server calls it: 100 sets, of which 3 match the pod.
func BenchmarkInjection(b *testing.B) {
	env := testkit.APIServer(b)
	ns := env.Namespace(b)
	c := cached(b, env)
	manySets(b, env, c, ns, 100)
	hooks := sidecarset.Hooks(sidecarset.AdmissionDeps{Scheme: env.Scheme, Cache: c, Client: env.Client, Clock: clock.RealClock{}, SystemNamespace: "x"})
	p := podOf(ns, nil)
	for i := range 20 {
		p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("APP_%d", i), Value: "value"})
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "data", MountPath: fmt.Sprintf("/data/%d", i)})
	}
	raw, err := json.Marshal(p)
	if err != nil {
		b.Fatal(err)
	}
	req := ctrl.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID: "1", Namespace: ns, Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw},
	}}
	took := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	for b.Loop() {
		begun := time.Now()
		r := hooks[0].Handler.Handle(b.Context(), req)
		if err := r.Complete(req); err != nil || !r.Allowed || len(r.Patch) == 0 {
			b.Fatalf("got %+v (%v)", r, err)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}
