package uniteddeployment

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestDefault(t *testing.T) {
	ud := &appsv1beta1.UnitedDeployment{}
	Default(ud)
	if s := ud.Spec; *s.Replicas != 1 || *s.RevisionHistoryLimit != 10 || s.UpdateStrategy.Type != "Manual" || s.Topology.ScheduleStrategy.Type != "Fixed" {
		t.Errorf("got %+v", s)
	}
	again := ud.DeepCopy()
	if Default(again); !apiequality.Semantic.DeepEqual(ud, again) {
		t.Error("defaults change what has them already")
	}
}

func said(warnings []string, errs []string) string {
	for _, warning := range warnings {
		errs = append(errs, "warning: "+warning)
	}
	return strings.Join(errs, "\n")
}

func TestValidate(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	v := &validator{client: env.Client, live: env.Client}
	taken := &appsv1beta1.CloneSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "shop-taken"}}
	taken.Spec.Selector, taken.Spec.Template = &metav1.LabelSelector{MatchLabels: labelsOfAll}, podTemplateOf("registry.local/shop:v1")
	other := united(1, "-")
	other.Namespace, other.Name = ns, "other"
	other.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}
	other.Spec.Template.CloneSetTemplate.Spec.Selector = other.Spec.Selector
	other.Spec.Template.CloneSetTemplate.Spec.Template.Labels = map[string]string{"app": "other"}
	if err := env.Client.Create(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	if err := env.Client.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	patched := func(raw string) func(*appsv1beta1.UnitedDeployment) {
		return func(ud *appsv1beta1.UnitedDeployment) {
			ud.Spec.Topology.Subsets[0].Patch = runtime.RawExtension{Raw: []byte(raw)}
		}
	}
	for _, test := range []struct {
		reason, subsets string
		change          func(ud *appsv1beta1.UnitedDeployment)
		want            []string
	}{
		{"as it should be", "2 50% -", func(*appsv1beta1.UnitedDeployment) {}, nil},
		{"of Deployments", "- -", ofDeployments, nil},
		{"of StatefulSets", "- -", ofStatefulSets, nil},
		{"too many", "9 9", func(*appsv1beta1.UnitedDeployment) {}, []string{"spec.topology.subsets: Invalid value", "brings the sum above the 10"}},
		{"more than all", "60% 60%", func(*appsv1beta1.UnitedDeployment) {}, []string{"brings the sum above the 10", "lower it"}},
		{"too few", "2 3", func(*appsv1beta1.UnitedDeployment) {}, []string{"adds up to 5, and spec.replicas is 10"}},
		{"minima that do not fit", "6.. 6..", func(*appsv1beta1.UnitedDeployment) {}, []string{"minReplicas add up to 12, more than the 10"}},
		{"limits that do not fit", "..2 ..2", func(*appsv1beta1.UnitedDeployment) {}, []string{"maxReplicas add up to 4, less than the 10"}},
		{"a minimum above its limit", "80%..5 ..", func(*appsv1beta1.UnitedDeployment) {}, []string{`minReplicas of "a" is 8, more than its maxReplicas, 5`}},
		{"a patch of nothing", "- -", patched(`{"spec":{"containrs":[]}}`), []string{"spec.topology.subsets[0].patch: Invalid value", `unknown field "spec.containrs"`}},
		{"a patch that is a list", "- -", patched(`[1]`), []string{"spec.topology.subsets[0].patch: Invalid value", "no strategic merge patch"}},
		{"a patch of the labels", "- -", patched(`{"metadata":{"labels":{"app":"x"}}}`), []string{"spec.selector: Invalid value", "make them agree"}},
		{"a patch that makes no pod", "- -", patched(`{"spec":{"containers":[{"name":"main","imagePullPolicy":"Sometimes"}]}}`), nil},
		{"a Deployment that would be refused", "- -", func(ud *appsv1beta1.UnitedDeployment) {
			ofDeployments(ud)
			ud.Spec.Template.DeploymentTemplate.Spec.Template.Spec.Containers[0].ImagePullPolicy = "Sometimes"
		}, []string{"spec.template.deploymentTemplate.spec.template.spec.containers[0].imagePullPolicy: Unsupported value"}},
		{"a selector of others", "- -", func(ud *appsv1beta1.UnitedDeployment) {
			ud.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
		}, []string{"spec.selector: Invalid value", "does not match"}},
		{"a template that selects others", "- -", func(ud *appsv1beta1.UnitedDeployment) {
			ud.Spec.Template.CloneSetTemplate.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
		}, []string{"spec.template.cloneSetTemplate.spec.template.metadata.labels: Invalid value"}},
		{"an empty selector", "- -", func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Selector = &metav1.LabelSelector{} }, []string{"an empty selector would match every pod"}},
		{"the pods of another", "- -", func(ud *appsv1beta1.UnitedDeployment) {
			ud.Spec.Selector = other.Spec.Selector
			ud.Spec.Template = *other.Spec.Template.DeepCopy()
		}, []string{"it and UnitedDeployment other would select the same pods"}},
		{"a name that is taken", "-", func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Topology.Subsets[0].Name = "taken" }, []string{
			"spec.topology.subsets[0].name: Invalid value", "its CloneSet would be named shop-taken: an object of that name exists",
		}},
		{"a partition of nobody", "- -", func(ud *appsv1beta1.UnitedDeployment) {
			ud.Spec.UpdateStrategy.ManualUpdate = &appsv1beta1.ManualUpdate{Partitions: map[string]int32{"x": 1, "a": -1}}
		}, []string{"partitions[x]: Invalid value", "no subset of that name", "partitions[a]: Invalid value: -1"}},
		{"a partition of a Deployment", "- -", func(ud *appsv1beta1.UnitedDeployment) {
			ofDeployments(ud)
			ud.Spec.UpdateStrategy.ManualUpdate = &appsv1beta1.ManualUpdate{Partitions: map[string]int32{"a": 1}}
		}, []string{"warning: spec.updateStrategy.manualUpdate.partitions[a]: a Deployment cannot keep"}},
		{"replicas in the template", "- -", func(ud *appsv1beta1.UnitedDeployment) {
			ud.Spec.Template.CloneSetTemplate.Spec.Replicas = ptr.To[int32](3)
		}, []string{"warning: spec.template.cloneSetTemplate.spec.replicas has no effect"}},
		{"nothing to adapt", "5 5", adaptively(false), []string{"warning: spec.topology.scheduleStrategy.type Adaptive has no effect"}},
		{"no template", "- -", func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Template = appsv1beta1.SubsetTemplate{} }, []string{"spec.template: Required value"}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			ud := united(10, test.subsets, test.change)
			ud.Namespace = ns
			warnings, found := v.Validate(t.Context(), nil, ud)
			var errs []string
			for _, err := range found {
				errs = append(errs, err.Error())
			}
			got := said(warnings, errs)
			if len(test.want) == 0 && got != "" {
				t.Errorf("got %s", got)
			}
			for _, part := range test.want {
				if !strings.Contains(got, part) {
					t.Errorf("got %q, want it to say %q", got, part)
				}
			}
		})
	}
}

func TestValidateAChange(t *testing.T) {
	w := newWorld(t, united(4, "2.. 2..", ofStatefulSets), nil)
	w.settle(w.Ready)
	v := &validator{client: w.Env.Client, live: w.Env.Client}
	for _, test := range []struct {
		reason string
		change func(old, ud *appsv1beta1.UnitedDeployment)
		want   string
	}{
		{"another image", func(_, ud *appsv1beta1.UnitedDeployment) { setImage(ud, w.family, "registry.local/shop:v2") }, ""},
		{"a field of StatefulSets that never changes", func(_, ud *appsv1beta1.UnitedDeployment) {
			ud.Spec.Template.StatefulSetTemplate.Spec.ServiceName = "other"
		}, "updates to statefulset spec for fields other than"},
		{"claims that never change", func(_, ud *appsv1beta1.UnitedDeployment) {
			ud.Spec.Template.StatefulSetTemplate.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}
		}, "spec.template.statefulSetTemplate.spec"},
		{"scaled below the minima by somebody else, and another image", func(old, ud *appsv1beta1.UnitedDeployment) {
			old.Spec.Replicas, ud.Spec.Replicas = ptr.To[int32](1), ptr.To[int32](1)
			setImage(ud, w.family, "registry.local/shop:v2")
		}, ""},
		{"other subsets below the minima", func(_, ud *appsv1beta1.UnitedDeployment) {
			ud.Spec.Replicas, ud.Spec.Topology.Subsets = ptr.To[int32](1), parseSubsets("2.. 1..")
		}, "minReplicas add up to 3"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			old := w.Get()
			ud := old.DeepCopy()
			test.change(old, ud)
			_, errs := v.Validate(t.Context(), old, ud)
			if got := errs.ToAggregate(); (got == nil) != (test.want == "") || got != nil && !strings.Contains(got.Error(), test.want) {
				t.Errorf("got %v, want %q", got, test.want)
			}
		})
	}
}

// A user may scale as an autoscaler may: the subsets were judged when they were written.
func TestScalingIsNotRefused(t *testing.T) {
	w := newWorld(t, united(4, "2 2"), nil)
	w.settle(w.Ready)
	v := &validator{client: w.Env.Client, live: w.Env.Client}
	old := w.Get()
	ud := old.DeepCopy()
	ud.Spec.Replicas = ptr.To[int32](3)
	warnings, errs := v.Validate(t.Context(), old, ud)
	if len(errs) > 0 || len(warnings) != 1 || !strings.Contains(warnings[0], "brings the sum above the 3 of spec.replicas") {
		t.Errorf("got %v %v", warnings, errs)
	}
	// Nobody is left without pods by it, and none is missing.
	for replicas, want := range map[int32]string{1: "a 1/1", 3: "a 2/2, b 1/1", 7: "a 4/4, b 3/3"} {
		w.Change(func(ud *appsv1beta1.UnitedDeployment) { ud.Spec.Replicas = &replicas })
		w.settle(func() error {
			if got, c := w.spread(), w.condition("Stalled"); got != want || c.Reason != "SubsetsDoNotFit" {
				return fmt.Errorf("got %s, want %s; %+v", got, want, c)
			}
			return nil
		})
	}
}

// TestRules creates and changes objects of both versions at the API server alone.
func TestRules(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	object := func(name, version string, template, topology map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apps.kruise.io/" + version, "kind": "UnitedDeployment", "metadata": map[string]any{"name": name, "namespace": ns},
			"spec": map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": "shop"}}, "template": template, "topology": topology},
		}}
	}
	pod := map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "shop"}}, "spec": map[string]any{"containers": []any{}}}
	deployment := map[string]any{"deploymentTemplate": map[string]any{"spec": map[string]any{"template": pod}}}
	cloneSet := map[string]any{"cloneSetTemplate": map[string]any{"spec": map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{"app": "shop"}}, "template": pod,
	}}}
	subsets := func(all ...map[string]any) map[string]any {
		var list []any
		for i, one := range all {
			if one["name"] == nil {
				one["name"] = string(rune('a' + i))
			}
			list = append(list, one)
		}
		return map[string]any{"subsets": list}
	}
	type m = map[string]any
	for _, test := range []struct {
		name, version string
		template      m
		topology      m
		want          string
	}{
		{"minimal", "v1beta1", deployment, subsets(m{}), ""},
		{"minimal-v1alpha1", "v1alpha1", cloneSet, subsets(m{}), ""},
		{"no-template", "v1beta1", m{}, subsets(m{}), "set exactly one of statefulSetTemplate"},
		{"two-templates", "v1alpha1", m{"deploymentTemplate": deployment["deploymentTemplate"], "cloneSetTemplate": cloneSet["cloneSetTemplate"]}, subsets(m{}), "set exactly one of"},
		{"twice", "v1beta1", deployment, subsets(m{"name": "a"}, m{"name": "a"}), "spec.topology.subsets[1]: Duplicate value"},
		{"mixed", "v1beta1", deployment, subsets(m{"replicas": int64(1)}, m{"maxReplicas": "50%"}), "give subsets replicas, or minReplicas and maxReplicas"},
		{"reversed", "v1beta1", deployment, subsets(m{"minReplicas": int64(3), "maxReplicas": int64(2)}), "minReplicas must not be more than maxReplicas"},
		{"over-100", "v1alpha1", deployment, subsets(m{"replicas": "101%"}), "from \"0%\" to \"100%\""},
		{"negative", "v1beta1", deployment, subsets(m{"minReplicas": int64(-1)}), "must be a whole number of 0 or more"},
		{"bad-name", "v1beta1", deployment, subsets(m{"name": "Zone_A"}), "spec.topology.subsets[0].name"},
		{strings.Repeat("n", 45), "v1beta1", deployment, subsets(m{"name": "subset7"}), "must have at most 51 characters together"},
		{strings.Repeat("n", 44), "v1beta1", deployment, subsets(m{"name": "subset7"}), ""},
		{"strategy", "v1beta1", deployment, m{"scheduleStrategy": m{"type": "Sometimes"}}, "scheduleStrategy.type: Unsupported value"},
	} {
		t.Run(test.version+"/"+test.name, func(t *testing.T) {
			err := env.Client.Create(t.Context(), object(test.name, test.version, test.template, test.topology))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	changing := object("changing", "v1beta1", deployment, subsets(m{}))
	if err := env.Client.Create(t.Context(), changing); err != nil {
		t.Fatal(err)
	}
	other := changing.DeepCopy()
	as[map[string]any](t, other.Object["spec"])["template"] = runtime.DeepCopyJSON(cloneSet)
	if err := env.Client.Update(t.Context(), other); err == nil || !strings.Contains(err.Error(), "the kind of the subsets' workloads cannot be changed") {
		t.Errorf("another kind: %v", err)
	}
	other = changing.DeepCopy()
	as[map[string]any](t, other.Object["spec"])["selector"] = map[string]any{"matchLabels": map[string]any{"app": "other"}}
	if err := env.Client.Update(t.Context(), other); err == nil || !strings.Contains(err.Error(), "the selector cannot be changed after creation") {
		t.Errorf("another selector: %v", err)
	}
}
