package cloneset

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
)

func TestDefault(t *testing.T) {
	cs := &appsv1beta1.CloneSet{}
	Default(cs)
	r := cs.Spec.UpdateStrategy.RollingUpdate
	if *cs.Spec.Replicas != 1 || *cs.Spec.RevisionHistoryLimit != 10 || cs.Spec.UpdateStrategy.Type != "RollingUpdate" ||
		r.PodUpdatePolicy != "ReCreate" || r.Partition.String() != "0" || r.MaxUnavailable.String() != "20%" || r.MaxSurge.String() != "0" {
		t.Errorf("got %+v", cs.Spec)
	}
	again := cs.DeepCopy()
	if Default(again); !apiequality.Semantic.DeepEqual(cs, again) {
		t.Error("defaults change what has them already")
	}
	*r.MaxUnavailable = *parse("50%")
	if other := setWith(1, nil); other.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.String() != "20%" {
		t.Error("two sets share a default")
	}
	chosen := testkit.CloneSet(func(cs *appsv1beta1.CloneSet) {
		cs.Spec.UpdateStrategy.Type = "OnDelete"
		cs.Spec.UpdateStrategy.RollingUpdate = &appsv1beta1.RollingUpdateCloneSetStrategy{PodUpdatePolicy: "InPlaceOnly", MaxSurge: parse("3")}
	})
	Default(chosen)
	if r := chosen.Spec.UpdateStrategy.RollingUpdate; *chosen.Spec.Replicas != 3 || chosen.Spec.UpdateStrategy.Type != "OnDelete" ||
		r.PodUpdatePolicy != "InPlaceOnly" || r.MaxSurge.String() != "3" {
		t.Errorf("a default took the place of a choice: %+v", chosen.Spec)
	}
}

func claimTemplate(name, size string) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
			},
		},
	}
}

// texts of errors and warnings, one a line.
func texts(warnings []string, errs field.ErrorList) string {
	var lines []string
	for _, err := range errs {
		lines = append(lines, err.Error())
	}
	for _, warning := range warnings {
		lines = append(lines, "warning: "+warning)
	}
	return strings.Join(lines, "\n")
}

func TestWhatTheSchemaCannotSay(t *testing.T) {
	type set = *appsv1beta1.CloneSet
	for _, test := range []struct {
		reason string
		old    func(cs set) // nil: the set is new
		change func(cs set)
		want   []string // parts of the answer; none: nothing is said
	}{
		{"a good set", nil, func(set) {}, nil},
		{"a selector that is none", nil, func(cs set) {
			cs.Spec.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
		}, []string{"spec.selector: Invalid value"}},
		{"an empty selector", nil, func(cs set) { cs.Spec.Selector = &metav1.LabelSelector{} }, []string{"spec.selector", "name at least one label"}},
		{
			"a selector that the template does not match", nil, func(cs set) { cs.Spec.Template.Labels = map[string]string{"app": "x"} },
			[]string{"spec.template.metadata.labels", "make them agree"},
		},
		{"no selector at all", nil, func(cs set) { cs.Spec.Selector = nil }, []string{"spec.template.metadata.labels"}},
		{"in place only, an image", func(set) {}, func(cs set) {
			cs.Spec.UpdateStrategy.RollingUpdate.PodUpdatePolicy = "InPlaceOnly"
			cs.Spec.Template.Spec.Containers[0].Image = "web:v2"
		}, nil},
		{"in place only, a port", func(set) {}, func(cs set) {
			cs.Spec.UpdateStrategy.RollingUpdate.PodUpdatePolicy = "InPlaceOnly"
			cs.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}}
		}, []string{"spec.template.spec.containers[main].ports: Invalid value", "set InPlaceIfPossible"}},
		{"in place if possible, a port", func(set) {}, func(cs set) {
			cs.Spec.UpdateStrategy.RollingUpdate.PodUpdatePolicy = "InPlaceIfPossible"
			cs.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}}
		}, nil},
		{
			"a claim without a name", nil, func(cs set) { cs.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claimTemplate("", "1Gi")} },
			[]string{"spec.volumeClaimTemplates[0].metadata.name: Required"},
		},
		{"two claims of one name", nil, func(cs set) {
			cs.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claimTemplate("data", "1Gi"), claimTemplate("data", "1Gi")}
		}, []string{"spec.volumeClaimTemplates[1].metadata.name: Duplicate"}},
		{
			"a claim that grows", func(cs set) {
				cs.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claimTemplate("data", "1Gi")}
			},
			func(cs set) {
				cs.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claimTemplate("data", "2Gi")}
			}, nil,
		},
		{"images ahead of changes in place", nil, func(cs set) {
			cs.Spec.UpdateStrategy.RollingUpdate.PodUpdatePolicy = "InPlaceIfPossible"
			cs.Spec.UpdateStrategy.RollingUpdate.InPlaceUpdateStrategy = &appsv1beta1.InPlaceUpdateStrategy{ImagePreDownloadParallelism: parse("1")}
		}, nil},
		{"images ahead of new pods", nil, func(cs set) {
			cs.Spec.UpdateStrategy.RollingUpdate.InPlaceUpdateStrategy = &appsv1beta1.InPlaceUpdateStrategy{ImagePreDownloadParallelism: parse("1")}
		}, []string{"warning: spec.updateStrategy.rollingUpdate.inPlaceUpdateStrategy.imagePreDownloadParallelism has no effect while podUpdatePolicy is ReCreate"}},
		{"a timeout of nothing", nil, func(cs set) {
			cs.Spec.UpdateStrategy.RollingUpdate.InPlaceUpdateStrategy = &appsv1beta1.InPlaceUpdateStrategy{ImagePreDownloadTimeoutSeconds: ptr.To[int32](9)}
		}, []string{"have no effect without imagePreDownloadParallelism"}},
		{"grace without in place", nil, func(cs set) {
			cs.Spec.UpdateStrategy.RollingUpdate.InPlaceUpdateStrategy = &appsv1beta1.InPlaceUpdateStrategy{GracePeriodSeconds: 5}
		}, []string{"gracePeriodSeconds has no effect"}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			cs := setWith(3, nil)
			var old *appsv1beta1.CloneSet
			if test.old != nil {
				old = setWith(3, nil)
				test.old(old)
			}
			test.change(cs)
			w, rolling := judged(cs), cs.Spec.UpdateStrategy.RollingUpdate
			var before *judge.Workload
			errs := judge.Selector(w)
			if old != nil {
				before = ptr.To(judged(old))
				if rolling.PodUpdatePolicy == appsv1beta1.InPlaceOnlyPodUpdatePolicy {
					errs = append(errs, judge.Server{}.InPlaceOnly(t.Context(), before, &w)...)
				}
			}
			errs = append(errs, judge.Claims(w)...)
			said(t, texts(judge.InPlaceStrategy(rolling.InPlaceUpdateStrategy, rolling.PodUpdatePolicy), errs), test.want)
		})
	}
}

func said(t *testing.T, got string, want []string) {
	t.Helper()
	if len(want) == 0 && got != "" {
		t.Errorf("got %q, want nothing", got)
	}
	for _, part := range want {
		if !strings.Contains(got, part) {
			t.Errorf("got %q, want it to say %q", got, part)
		}
	}
}

// A container that reads a label which changes can be changed in place where a node daemon looks after the pods.
func TestInPlaceOnlyLooksForTheNodeDaemon(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	v := &validator{server: judge.Server{Client: env.Client, Live: env.Client}}
	reading := func(tier string) *appsv1beta1.CloneSet {
		return testkit.CloneSet(func(cs *appsv1beta1.CloneSet) {
			Default(cs)
			cs.Namespace = ns
			cs.Spec.UpdateStrategy.RollingUpdate.PodUpdatePolicy = "InPlaceOnly"
			cs.Spec.Template.Labels = map[string]string{"app": "web", "tier": tier}
			cs.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "TIER", ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['tier']"},
			}}}
		})
	}
	judgement := func() string {
		t.Helper()
		warnings, errs := v.Validate(t.Context(), reading("silver"), reading("gold"))
		return texts(warnings, errs)
	}
	said(t, judgement(), nil) // there are no pods yet

	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web-0", Labels: reading("silver").Spec.Template.Labels},
		Spec:       reading("silver").Spec.Template.Spec,
	}
	if err := env.Client.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	said(t, judgement(), []string{"spec.template.spec.containers[main].env", "no node daemon restarts the container"})

	patch := client.RawPatch(types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"apps.kruise.io/runtime-containers-meta":"{\"containers\":[{\"name\":\"main\"}]}"}}}`))
	if err := env.Client.Patch(t.Context(), p, patch); err != nil {
		t.Fatal(err)
	}
	said(t, judgement(), nil)
}

func TestValidateAsksTheAPIServer(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	ctx := context.WithoutCancel(t.Context())
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fixed-" + ns}, Provisioner: "example.com/none"}
	if err := env.Client.Create(ctx, class); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.IgnoreNotFound(env.Client.Delete(ctx, class)) })
	other := setWith(0, nil)
	other.Name, other.Namespace = "other", ns
	other.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
	other.Spec.Template.Labels = other.Spec.Selector.MatchLabels
	if err := env.Client.Create(ctx, other); err != nil {
		t.Fatal(err)
	}
	fixed := func(size string) func(cs *appsv1beta1.CloneSet) {
		return func(cs *appsv1beta1.CloneSet) {
			tmpl := claimTemplate("data", size)
			tmpl.Spec.StorageClassName = &class.Name
			cs.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{tmpl}
		}
	}
	for _, test := range []struct {
		reason      string
		old, change func(cs *appsv1beta1.CloneSet)
		want        []string
	}{
		{"a good set", nil, func(*appsv1beta1.CloneSet) {}, nil},
		{"containers mount the claims of their pod", nil, func(cs *appsv1beta1.CloneSet) {
			cs.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{claimTemplate("data", "1Gi")}
			cs.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		}, nil},
		{"what a template's metadata says beyond labels is no concern of a pod", nil, func(cs *appsv1beta1.CloneSet) {
			cs.Spec.Template.Name, cs.Spec.Template.ResourceVersion = "x", "7"
		}, nil},
		{"a pod that the API server refuses", nil, func(cs *appsv1beta1.CloneSet) {
			cs.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "none", MountPath: "/data"}}
		}, []string{"spec.template.spec.containers[0].volumeMounts[0].name"}},
		{"the same, but the template is as it was", func(cs *appsv1beta1.CloneSet) {
			cs.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "none", MountPath: "/data"}}
		}, func(cs *appsv1beta1.CloneSet) {
			cs.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "none", MountPath: "/data"}}
		}, nil},
		{"the pods of another set", nil, func(cs *appsv1beta1.CloneSet) {
			cs.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
			cs.Spec.Template.Labels = cs.Spec.Selector.MatchLabels
		}, []string{"spec.selector", "CloneSet other would select the same pods"}},
		{"a claim that the API server refuses", nil, func(cs *appsv1beta1.CloneSet) {
			tmpl := claimTemplate("data", "1Gi")
			tmpl.Spec.AccessModes = nil
			cs.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{tmpl}
		}, []string{"spec.volumeClaimTemplates[0].spec.accessModes"}},
		{"a storage class that there is not", nil, func(cs *appsv1beta1.CloneSet) {
			tmpl, none := claimTemplate("data", "1Gi"), "none"
			tmpl.Spec.StorageClassName = &none
			cs.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{tmpl}
		}, []string{"warning: spec.volumeClaimTemplates[0].spec.storageClassName: there is no StorageClass"}},
		{
			"growth that the class does not allow", fixed("1Gi"), fixed("2Gi"),
			[]string{"spec.volumeClaimTemplates[0].spec.resources.requests.storage: Forbidden", "allowVolumeExpansion"},
		},
		{
			"a claim that shrinks", fixed("2Gi"), fixed("1Gi"),
			[]string{"warning: spec.volumeClaimTemplates[0].spec.resources.requests.storage", "claims that exist stay as they are (2Gi), new ones ask for 1Gi"},
		},
		{"a set on its way out is let go", func(*appsv1beta1.CloneSet) {}, func(cs *appsv1beta1.CloneSet) {
			at := metav1.NewTime(testkit.Epoch)
			cs.DeletionTimestamp, cs.Spec.Selector = &at, nil
		}, nil},
	} {
		t.Run(test.reason, func(t *testing.T) {
			cs := setWith(3, nil)
			cs.Namespace = ns
			var old *appsv1beta1.CloneSet
			if test.old != nil {
				old = setWith(3, nil)
				old.Namespace = ns
				test.old(old)
			}
			test.change(cs)
			v := &validator{server: judge.Server{Client: env.Client, Live: env.Client}}
			said(t, texts(v.Validate(ctx, old, cs)), test.want)
		})
	}
	var pods corev1.PodList
	if err := env.Client.List(ctx, &pods, client.InNamespace(ns)); err != nil || len(pods.Items) > 0 {
		t.Errorf("asking left %d pods behind (%v)", len(pods.Items), err)
	}
}

func TestHooksAreRegistered(t *testing.T) {
	env := testkit.APIServer(t)
	if hooks := Hooks(env.Scheme, env.Client, env.Client); len(hooks) != 2 || !hooks[0].Mutating && !hooks[1].Mutating {
		t.Errorf("got %d hooks, want one that defaults and one that validates", len(hooks))
	}
}
