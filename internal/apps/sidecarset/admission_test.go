package sidecarset_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// sidecar changes the one container.
func sidecar(change func(c *appsv1beta1.SidecarContainer)) edit {
	return func(set *appsv1beta1.SidecarSet) { change(&set.Spec.Containers[0]) }
}

func TestRefusals(t *testing.T) {
	env := testkit.APIServer(t)
	ns, system := env.Namespace(t), env.Namespace(t)
	c, _ := serve(t, env, system)
	taken := made(t, env, c, ns, func(set *appsv1beta1.SidecarSet) {
		set.Spec.Selector.MatchLabels = map[string]string{"tier": "front"}
		set.Spec.Containers[0].Name = "taken"
		set.Spec.Volumes = []corev1.Volume{{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	})
	policy := func(change func(p *appsv1beta1.ResourcesPolicy)) edit {
		return sidecar(func(c *appsv1beta1.SidecarContainer) {
			c.ResourcesPolicy = &appsv1beta1.ResourcesPolicy{
				TargetContainersMode: "sum", ResourcesExpr: appsv1beta1.ResourcesExpr{Limits: &appsv1beta1.ResourceExprLimits{CPU: "cpu*50%"}},
			}
			change(c.ResourcesPolicy)
		})
	}
	metadata := func(p appsv1beta1.SidecarSetPatchPodMetadata) edit {
		return func(set *appsv1beta1.SidecarSet) {
			set.Spec.PatchPodMetadata = []appsv1beta1.SidecarSetPatchPodMetadata{p}
		}
	}
	for _, test := range []struct {
		reason string
		change edit
		want   string // "" accepts
	}{
		{"all is well", func(*appsv1beta1.SidecarSet) {}, ""},
		{
			"no selector", func(set *appsv1beta1.SidecarSet) { set.Spec.Selector = nil },
			"spec.selector: Required value: without one every pod of the cluster would get the containers; name at least one label",
		},
		{"an empty selector", func(set *appsv1beta1.SidecarSet) { set.Spec.Selector = &metav1.LabelSelector{} }, "spec.selector: Required value"},
		{
			"a selector that cannot be read", func(set *appsv1beta1.SidecarSet) {
				set.Spec.NamespaceSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}
			}, "spec.namespaceSelector: Invalid value",
		},
		{"nothing to give", func(set *appsv1beta1.SidecarSet) { set.Spec.Containers = nil }, "spec.containers: Required value: the set gives pods nothing"},
		{"no image", sidecar(func(c *appsv1beta1.SidecarContainer) { c.Image = "" }), "spec.containers[0].image: Required value"},
		{"a bad name", sidecar(func(c *appsv1beta1.SidecarContainer) { c.Name = "Log" }), "spec.containers[0].name: Invalid value"},
		{
			"a name twice", func(set *appsv1beta1.SidecarSet) { set.Spec.InitContainers = set.Spec.Containers }, "Duplicate value: \"log\"",
		},
		{
			"a hot upgrade's name taken", func(set *appsv1beta1.SidecarSet) {
				hot(set)
				set.Spec.Containers = append(set.Spec.Containers, appsv1beta1.SidecarContainer{Container: corev1.Container{Name: "log-2", Image: "x"}})
			}, "Duplicate value: \"log-2\"",
		},
		{
			"another set's container", sidecar(func(c *appsv1beta1.SidecarContainer) { c.Name = "taken" }),
			"SidecarSet " + taken.Name + " has container taken, too, and one pod can match both",
		},
		{
			"another set's container, for pods that it cannot match", func(set *appsv1beta1.SidecarSet) {
				set.Spec.Containers[0].Name = "taken"
				set.Spec.Selector.MatchLabels["tier"] = "back"
			}, "",
		},
		{
			"another set's volume", func(set *appsv1beta1.SidecarSet) {
				set.Spec.Volumes = []corev1.Volume{{Name: "shared", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}}}
			}, "volume shared with another content",
		},
		{
			"the canary of another set", func(set *appsv1beta1.SidecarSet) {
				set.Spec.Containers[0].Name = "taken"
				set.Annotations = map[string]string{appsv1beta1.SidecarSetCanary: "true", appsv1beta1.SidecarSetBase: taken.Name}
			}, "",
		},
		{
			"a canary of nothing", func(set *appsv1beta1.SidecarSet) {
				set.Annotations = map[string]string{appsv1beta1.SidecarSetCanary: "true"}
			},
			"metadata.annotations[apps.kruise.io/sidecarset-base]: Required value",
		},
		{
			"a reserved variable", sidecar(func(c *appsv1beta1.SidecarContainer) { c.Env = []corev1.EnvVar{{Name: "IS_INJECTED"}} }),
			"spec.containers[0].env[0].name: Forbidden: IS_INJECTED is set by Holdfast",
		},
		{
			"no empty image", func(set *appsv1beta1.SidecarSet) {
				hot(set)
				set.Spec.Containers[0].UpgradeStrategy.HotUpgradeEmptyImage = ""
			},
			"spec.containers[0].upgradeStrategy.hotUpgradeEmptyImage: Required value",
		},
		{
			"an empty image that is not", func(set *appsv1beta1.SidecarSet) {
				hot(set)
				set.Spec.Containers[0].UpgradeStrategy.HotUpgradeEmptyImage = set.Spec.Containers[0].Image
			}, "it is the image of the container itself",
		},
		{
			"an empty image without use", sidecar(func(c *appsv1beta1.SidecarContainer) { c.UpgradeStrategy.HotUpgradeEmptyImage = "x" }), "",
		},
		{
			"a hot init container", func(set *appsv1beta1.SidecarSet) {
				hot(set)
				set.Spec.InitContainers, set.Spec.Containers = set.Spec.Containers, nil
			},
			"spec.initContainers[0].upgradeStrategy.upgradeType: Invalid value",
		},
		{"an unknown policy", sidecar(func(c *appsv1beta1.SidecarContainer) { c.PodInjectPolicy = "Between" }), "podInjectPolicy: Unsupported value"},
		{"an unknown strategy", strategy(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.Type = "Sometimes" }), "spec.updateStrategy.type: Unsupported value"},
		{"a bad number", strategy(func(s *appsv1beta1.SidecarSetUpdateStrategy) { s.MaxUnavailable = ptr.To(intstr.FromString("many")) }), "must be a whole number"},
		{"a bad expression", policy(func(p *appsv1beta1.ResourcesPolicy) { p.ResourcesExpr.Limits.CPU = "cpu*" }), "spec.containers[0].resourcesPolicy.resourcesExpr.limits.cpu: Invalid value"},
		{
			"resources twice", func(set *appsv1beta1.SidecarSet) {
				policy(func(*appsv1beta1.ResourcesPolicy) {})(set)
				set.Spec.Containers[0].Resources.Limits = corev1.ResourceList{}
				set.Spec.Containers[0].Resources.Requests = quantity("1")
			}, "spec.containers[0].resources: Forbidden",
		},
		{
			"variables of nobody", sidecar(func(c *appsv1beta1.SidecarContainer) { c.TransferEnv = []appsv1beta1.TransferEnvVar{{EnvName: "X"}} }),
			"set sourceContainerName, or sourceContainerNameFrom",
		},
		{
			"a bad expression of names", sidecar(func(c *appsv1beta1.SidecarContainer) {
				c.TransferEnv = []appsv1beta1.TransferEnvVar{{SourceContainerName: "main", EnvNames: []string{"("}}}
			}), "spec.containers[0].transferEnv[0].envNames[0]: Invalid value",
		},
		{
			"what no pod may have", sidecar(func(c *appsv1beta1.SidecarContainer) { c.Ports = []corev1.ContainerPort{{ContainerPort: 99999}} }),
			"spec.containers[0].ports[0].containerPort: Invalid value",
		},
		{
			"mounts of the pod's own volumes", sidecar(func(c *appsv1beta1.SidecarContainer) {
				c.VolumeMounts = []corev1.VolumeMount{{Name: "the-pods-own", MountPath: "/x"}}
			}), "",
		},
		{
			"an annotation that nobody has allowed", metadata(appsv1beta1.SidecarSetPatchPodMetadata{Annotations: map[string]string{"x": "y"}}),
			"spec.patchPodMetadata[0].annotations[x]: Forbidden: no rule of SidecarSet_PatchPodMetadata_WhiteList in ConfigMap " + system + "/kruise-configuration",
		},
		{"one that is allowed", metadata(appsv1beta1.SidecarSetPatchPodMetadata{Annotations: map[string]string{"oom-score": "y"}}), ""},
		{
			"one that is allowed to another set", metadata(appsv1beta1.SidecarSetPatchPodMetadata{Annotations: map[string]string{"special": "y"}}), "Forbidden",
		},
		{
			"what cannot be merged", metadata(appsv1beta1.SidecarSetPatchPodMetadata{PatchPolicy: "MergePatchJson", Annotations: map[string]string{"oom-score": "y"}}),
			"it must be a JSON object",
		},
		{
			"a revision that is not there", func(set *appsv1beta1.SidecarSet) {
				set.Spec.InjectionStrategy.Revision = &appsv1beta1.SidecarSetInjectRevision{RevisionName: "none"}
			}, "there is no such revision; ControllerRevisions of the set in namespace " + system,
		},
		{
			"no revision named", func(set *appsv1beta1.SidecarSet) {
				set.Spec.InjectionStrategy.Revision = &appsv1beta1.SidecarSetInjectRevision{Policy: "Always"}
			}, "spec.injectionStrategy.revision.revisionName: Required value",
		},
		{
			"the older revision, for a part", func(set *appsv1beta1.SidecarSet) {
				set.Spec.InjectionStrategy.Revision = &appsv1beta1.SidecarSetInjectRevision{Policy: "Partial"}
				set.Spec.UpdateStrategy.Partition = ptr.To(intstr.FromString("70%"))
			}, "",
		},
		{
			"a revision named twice", func(set *appsv1beta1.SidecarSet) {
				set.Spec.InjectionStrategy.Revision = &appsv1beta1.SidecarSetInjectRevision{RevisionName: "a", CustomVersion: "b"}
			}, "set revisionName or customVersion, and not both",
		},
		{
			"a weight of nothing", strategy(func(s *appsv1beta1.SidecarSetUpdateStrategy) {
				s.PriorityStrategy = &appsv1beta1.UpdatePriorityStrategy{WeightPriority: []appsv1beta1.UpdatePriorityWeightTerm{{
					MatchSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}},
				}}}
			}), "spec.updateStrategy.priorityStrategy",
		},
		{"a version that is no label value", func(set *appsv1beta1.SidecarSet) { set.Spec.CustomVersion = "a/b" }, "must be a label value"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			allow(t, env, system)
			set := log(test.change)
			set.Labels = map[string]string{"team": "b"}
			if set.Spec.NamespaceSelector == nil {
				set.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}}
			}
			err := env.Client.Create(t.Context(), set)
			switch {
			case err == nil:
				if err := env.Client.Delete(t.Context(), set); err != nil {
					t.Fatal(err)
				}
				if test.want != "" {
					t.Errorf("it was accepted, want an error with %q", test.want)
				}
			case test.want == "" || !strings.Contains(err.Error(), test.want):
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// allow writes the administrator's white list.
func allow(t *testing.T, env *testkit.Env, system string) {
	t.Helper()
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "kruise-configuration"}, Data: map[string]string{
		"SidecarSet_PatchPodMetadata_WhiteList": `{"rules": [{"allowedAnnotationKeyExprs": ["^oom-score$"]},
			{"selector": {"matchLabels": {"team": "a"}}, "allowedAnnotationKeyExprs": ["special"]}]}`,
	}}
	if err := env.Client.Create(t.Context(), config); err != nil && !strings.Contains(err.Error(), "already exists") {
		t.Fatal(err)
	}
}
