package statefulset

import (
	"context"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	webhook "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
)

func TestDefault(t *testing.T) {
	set := &appsv1beta1.StatefulSet{}
	Default(set)
	r := set.Spec.UpdateStrategy.RollingUpdate
	if *set.Spec.Replicas != 1 || *set.Spec.RevisionHistoryLimit != 10 || set.Spec.UpdateStrategy.Type != "RollingUpdate" ||
		set.Spec.PodManagementPolicy != "OrderedReady" || r.PodUpdatePolicy != "ReCreate" || *r.Partition != 0 || r.MaxUnavailable.String() != "1" ||
		set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted != "Retain" || set.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled != "Retain" ||
		set.Spec.VolumeClaimUpdateStrategy.Type != "OnDelete" {
		t.Errorf("got %+v", set.Spec)
	}
	again := set.DeepCopy()
	if Default(again); !apiequality.Semantic.DeepEqual(set, again) {
		t.Error("defaults change what has them already")
	}
	chosen := testkit.StatefulSet(parallel, func(s *appsv1beta1.StatefulSet) {
		s.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1beta1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenScaled: "Delete"}
	})
	Default(chosen)
	if p := chosen.Spec.PersistentVolumeClaimRetentionPolicy; *chosen.Spec.Replicas != 3 || chosen.Spec.PodManagementPolicy != "Parallel" ||
		p.WhenScaled != "Delete" || p.WhenDeleted != "Retain" {
		t.Errorf("a default took the place of a choice: %+v", chosen.Spec)
	}
}

func withClaims(templates ...corev1.PersistentVolumeClaim) edit {
	return func(s *appsv1beta1.StatefulSet) { s.Spec.VolumeClaimTemplates = templates }
}

func grows(s *appsv1beta1.StatefulSet) {
	s.Spec.VolumeClaimUpdateStrategy = &appsv1beta1.VolumeClaimUpdateStrategy{Type: "OnPodRollingUpdate"}
}

func gated(s *appsv1beta1.StatefulSet) {
	s.Spec.Template.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}}
}

func image(name string) edit {
	return func(s *appsv1beta1.StatefulSet) { s.Spec.Template.Spec.Containers[0].Image = name }
}

// verdict is what admission says, one error or warning a line.
func verdict(warnings []string, errs field.ErrorList) string {
	var lines []string
	for _, err := range errs {
		lines = append(lines, err.Error())
	}
	for _, warning := range warnings {
		lines = append(lines, "warning: "+warning)
	}
	return strings.Join(lines, "\n")
}

func TestValidate(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	ctx := context.WithoutCancel(t.Context())
	create(t, env.Client, class("fixed-"+ns, false), class("growing-"+ns, true))
	other := testkit.StatefulSet(func(s *appsv1beta1.StatefulSet) {
		s.Name, s.Namespace, s.Spec.Replicas = "other", ns, ptr.To[int32](0)
		s.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
		s.Spec.Template.Labels = s.Spec.Selector.MatchLabels
	})
	create(t, env.Client, other, nativeSet(ns, "taken"))
	named := func(name string) edit { return func(s *appsv1beta1.StatefulSet) { s.Name = name } }
	of := func(name, size, class string) corev1.PersistentVolumeClaim {
		c := testkit.ClaimTemplate(name, size)
		c.Spec.StorageClassName = ptr.To(class + "-" + ns)
		return c
	}
	shared := testkit.ClaimTemplate("data", "1Gi")
	shared.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	spelled := testkit.ClaimTemplate("data", "1Gi")
	spelled.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
	const (
		onlySize = "with volumeClaimUpdateStrategy OnPodRollingUpdate only resources.requests.storage may change"
		shrinks  = "warning: spec.volumeClaimTemplates[0].spec.resources.requests.storage: a volume cannot shrink: claims that exist " +
			"stay as they are (2Gi), new ones ask for 1Gi"
	)
	annotated := func(key, value string) edit {
		return func(s *appsv1beta1.StatefulSet) {
			s.Annotations = map[string]string{"apps.kruise.io/image-predownload-parallelism": "1"}
			s.Annotations["apps.kruise.io/image-predownload-"+key] = value
		}
	}

	for _, test := range []struct {
		reason      string
		old, change []edit // old nil: the set is new
		want        string // a part of the answer; empty: nothing is said
	}{
		{"a good set", nil, nil, ""},
		{"with claims that its containers mount", nil, []edit{withClaims(testkit.ClaimTemplate("data", "1Gi")), func(s *appsv1beta1.StatefulSet) {
			s.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		}}, ""},

		{"in place with the gate", nil, []edit{policy("InPlaceIfPossible"), gated}, ""},
		{"in place without the gate", nil, []edit{policy("InPlaceIfPossible")}, "spec.template.spec.readinessGates: Invalid value: spec.updateStrategy.rollingUpdate.podUpdatePolicy is InPlaceIfPossible, which needs the readiness gate InPlaceUpdateReady"},
		{"in place only without the gate", nil, []edit{policy("InPlaceOnly")}, "spec.template.spec.readinessGates"},
		{"in place only, and a new image", []edit{policy("InPlaceOnly"), gated}, []edit{policy("InPlaceOnly"), gated, image("registry.local/web:v2")}, ""},
		{"in place only, and a new command", []edit{policy("InPlaceOnly"), gated}, []edit{policy("InPlaceOnly"), gated, func(s *appsv1beta1.StatefulSet) {
			s.Spec.Template.Spec.Containers[0].Command = []string{"x"}
		}}, "spec.template.spec.containers[main].command"},
		{"grace without in place", nil, []edit{rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) {
			r.InPlaceUpdateStrategy = &appsv1beta1.InPlaceUpdateStrategy{GracePeriodSeconds: 5}
		})}, "warning: spec.updateStrategy.rollingUpdate.inPlaceUpdateStrategy.gracePeriodSeconds has no effect"},

		{"a reversed range", nil, []edit{reserving("1 7-5")}, `spec.reserveOrdinals[1]: Invalid value: "7-5": the range "7-5" is reversed: write "5-7"`},
		{"a range of words", nil, []edit{reserving("a-b")}, "spec.reserveOrdinals[0]"},
		{"numbers beyond all numbers", nil, []edit{reserving("0-2147483646")}, "the last of 3 pods would be number 2147483649"},

		{"a selector that does not match", nil, []edit{func(s *appsv1beta1.StatefulSet) {
			s.Spec.Template.Labels = map[string]string{"app": "x"}
		}}, `spec.template.metadata.labels`},
		{"an empty selector", nil, []edit{func(s *appsv1beta1.StatefulSet) { s.Spec.Selector.MatchLabels = nil }}, "spec.selector: Invalid value"},
		{"the pods of another set", nil, []edit{func(s *appsv1beta1.StatefulSet) {
			s.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
			s.Spec.Template.Labels = s.Spec.Selector.MatchLabels
		}}, "StatefulSet other would select the same pods"},
		{"the name of a native set", nil, []edit{named("taken")}, "metadata.name: Invalid value: \"taken\": there is a StatefulSet taken of the group apps"},
		{"the same, but it was there before", []edit{named("taken")}, []edit{named("taken")}, ""},

		{"a name that is no host name", nil, []edit{named("web.v2")}, `metadata.name: Invalid value: "web.v2": it is part of the pods' host names`},
		{"a Service that there cannot be", nil, []edit{func(s *appsv1beta1.StatefulSet) {
			s.Spec.ServiceName = "a.b"
		}}, `spec.serviceName: Invalid value: "a.b"`},

		{"pods that end", nil, []edit{func(s *appsv1beta1.StatefulSet) { s.Spec.Template.Spec.RestartPolicy = "OnFailure" }}, `spec.template.spec.restartPolicy: Unsupported value: "OnFailure"`},
		{"pods that have a deadline", nil, []edit{func(s *appsv1beta1.StatefulSet) {
			s.Spec.Template.Spec.ActiveDeadlineSeconds = ptr.To[int64](1)
		}}, "spec.template.spec.activeDeadlineSeconds: Forbidden"},
		{"a pod that the API server refuses", nil, []edit{image("")}, "spec.template.spec.containers[0].image"},
		{"priorities that cannot be read", nil, []edit{parallel, rolling(func(r *appsv1beta1.RollingUpdateStatefulSetStrategy) {
			r.UnorderedUpdate = &appsv1beta1.UnorderedUpdateStrategy{PriorityStrategy: &appsv1beta1.UpdatePriorityStrategy{
				WeightPriority: []appsv1beta1.UpdatePriorityWeightTerm{{MatchSelector: metav1.LabelSelector{
					MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}},
				}}},
			}}
		})}, "spec.updateStrategy.rollingUpdate.unorderedUpdate.priorityStrategy: Invalid value: weightPriority[0].matchSelector"},

		{"a claim grows", []edit{withClaims(testkit.ClaimTemplate("data", "1Gi"))}, []edit{withClaims(testkit.ClaimTemplate("data", "2Gi"))}, ""},
		{"a claim shrinks: those that exist stay", []edit{withClaims(testkit.ClaimTemplate("data", "2Gi"))}, []edit{withClaims(testkit.ClaimTemplate("data", "1Gi"))}, shrinks},
		{"the same, where claims follow", []edit{grows, withClaims(testkit.ClaimTemplate("data", "2Gi"))}, []edit{grows, withClaims(testkit.ClaimTemplate("data", "1Gi"))}, shrinks},
		{"a claim of another mode, for those made from now on", []edit{withClaims(testkit.ClaimTemplate("data", "1Gi"))}, []edit{withClaims(shared)}, ""},
		{"the same, where claims follow", []edit{grows, withClaims(testkit.ClaimTemplate("data", "1Gi"))}, []edit{grows, withClaims(shared)}, "spec.volumeClaimTemplates[0]: Forbidden: " + onlySize},
		{"a default is spelled out", []edit{withClaims(testkit.ClaimTemplate("data", "1Gi"))}, []edit{withClaims(spelled)}, ""},
		{"a template more", nil, nil, ""},
		{"a template less", []edit{withClaims(testkit.ClaimTemplate("data", "1Gi"))}, []edit{}, "spec.volumeClaimTemplates: Forbidden: templates can be neither added nor removed"},
		{"a template of another name", []edit{withClaims(testkit.ClaimTemplate("data", "1Gi"))}, []edit{withClaims(testkit.ClaimTemplate("log", "1Gi"))}, "spec.volumeClaimTemplates[0].metadata.name: Forbidden"},
		{"another class", []edit{withClaims(of("data", "1Gi", "fixed"))}, []edit{withClaims(of("data", "1Gi", "growing"))}, ""},
		{"another class, where claims follow", []edit{grows, withClaims(of("data", "1Gi", "fixed"))}, []edit{grows, withClaims(of("data", "1Gi", "growing"))}, onlySize},
		{"images ahead by annotation", nil, []edit{annotated("min-updated-ready-pods", "50%")}, ""},
		{"an annotation that cannot be read", nil, []edit{annotated("parallelism", "many")}, "images are not pulled ahead as asked for: apps.kruise.io/image-predownload-parallelism: \"many\""},
		{"a template without a name", nil, []edit{withClaims(testkit.ClaimTemplate("", "1Gi"))}, "spec.volumeClaimTemplates[0].metadata.name: Required"},
		{
			"claims grow with their pods, and the class does not allow it",
			[]edit{grows, withClaims(of("data", "1Gi", "fixed"))},
			[]edit{grows, withClaims(of("data", "2Gi", "fixed"))},
			"spec.volumeClaimTemplates[0].spec.resources.requests.storage: Forbidden: StorageClass \"fixed-" + ns + "\" does not allow expansion",
		},
		{
			"the class allows it",
			[]edit{grows, withClaims(of("data", "1Gi", "growing"))},
			[]edit{grows, withClaims(of("data", "2Gi", "growing"))},
			"",
		},
		{
			"only claims made from now on are larger: the class need not allow it",
			[]edit{withClaims(of("data", "1Gi", "fixed"))},
			[]edit{withClaims(of("data", "2Gi", "fixed"))},
			"",
		},
		{"a set on its way out is let go", []edit{}, []edit{func(s *appsv1beta1.StatefulSet) {
			s.DeletionTimestamp, s.Spec.Selector = ptr.To(metav1.NewTime(testkit.Epoch)), nil
		}}, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			in := func(s *appsv1beta1.StatefulSet) { s.Namespace = ns }
			set := setWith(3, append([]edit{in}, test.change...)...)
			var old *appsv1beta1.StatefulSet
			if test.old != nil {
				old = setWith(3, append([]edit{in}, test.old...)...)
			}
			v := &validator{server: judge.Server{Client: env.Client, Live: env.Client}}
			got := verdict(v.Validate(ctx, old, set))
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func create(t *testing.T, c client.Client, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := client.IgnoreNotFound(c.Delete(context.WithoutCancel(t.Context()), o)); err != nil {
				t.Error(err)
			}
		})
	}
}

func class(name string, grows bool) *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/none", AllowVolumeExpansion: &grows,
	}
}

// nativeSet is a StatefulSet of the group apps.
func nativeSet(namespace, name string) *appsv1.StatefulSet {
	ours := testkit.StatefulSet()
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](0), Selector: ours.Spec.Selector, Template: ours.Spec.Template, ServiceName: "peers",
		},
	}
}

func TestANativeSetMustNotTakeOurName(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	create(t, env.Client, testkit.StatefulSet(func(s *appsv1beta1.StatefulSet) { s.Namespace = ns }))
	hooks := Hooks(env.Scheme, env.Client, env.Client)
	if len(hooks) != 3 {
		t.Fatalf("got %d hooks, want defaults, rules and names", len(hooks))
	}
	for _, test := range []struct {
		reason, namespace, name string
		allowed                 bool
	}{
		{"the name of ours", ns, "web", false},
		{"another name", ns, "api", true},
		{"another namespace", "default", "web", true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			answer := hooks[2].Handler.Handle(t.Context(), webhook.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				Operation: admissionv1.Create, Namespace: test.namespace, Name: test.name,
			}})
			if answer.Allowed != test.allowed || !test.allowed && !strings.Contains(answer.Result.Message, "--cascade=orphan") {
				t.Errorf("got %v: %+v", answer.Allowed, answer.Result)
			}
		})
	}
}
