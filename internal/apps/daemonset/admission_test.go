package daemonset

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
)

func TestDefault(t *testing.T) {
	ds := set()
	Default(ds)
	r := ds.Spec.UpdateStrategy.RollingUpdate
	if *ds.Spec.RevisionHistoryLimit != 10 || ds.Spec.BurstReplicas.String() != "250" || ds.Spec.UpdateStrategy.Type != "RollingUpdate" ||
		r.Type != "Standard" || r.Partition.String() != "0" || r.MaxUnavailable.String() != "1" || r.MaxSurge.String() != "0" {
		t.Errorf("got %+v", ds.Spec)
	}
	again := ds.DeepCopy()
	if Default(again); !apiequality.Semantic.DeepEqual(ds, again) {
		t.Error("defaults change what has them already")
	}
	surging := set(surge("10%"))
	if Default(surging); surging.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.String() != "0" {
		t.Error("with a surge nothing need be away")
	}
}

func annotate(key, value string) func(*appsv1beta1.DaemonSet) {
	return func(ds *appsv1beta1.DaemonSet) { metav1.SetMetaDataAnnotation(&ds.ObjectMeta, key, value) }
}

func spec(change func(s *corev1.PodSpec)) func(*appsv1beta1.DaemonSet) {
	return func(ds *appsv1beta1.DaemonSet) { change(&ds.Spec.Template.Spec) }
}

// Each mistake is refused at its field, or warned of.
func TestValidate(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	v := &validator{server: judge.Server{Client: env.Client, Live: env.Client}}
	other := set(func(ds *appsv1beta1.DaemonSet) {
		ds.Name, ds.Namespace = "other", namespace
		ds.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
		ds.Spec.Template.Labels = map[string]string{"app": "other"}
	})
	if err := env.Client.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		reason        string
		edits         []func(*appsv1beta1.DaemonSet)
		refused, warn string
	}{
		{reason: "nothing is wrong"},
		{reason: "both limits are 0", edits: edits(away("0"), surge("0")), refused: "maxUnavailable: Invalid value: \"0\": maxUnavailable and maxSurge must not both be 0"},
		{reason: "also as percentages", edits: edits(away("0%"), surge("0%")), refused: "must not both be 0"},
		{reason: "both limits are set", edits: edits(away("1"), surge("1")), refused: "maxSurge: Invalid value: \"1\": a node has either"},
		{reason: "a surge alone", edits: edits(surge("1"))},
		{reason: "a surge in place", edits: edits(surge("1"), inPlace), refused: "maxSurge: Invalid value: \"1\": a pod that is changed in place"},
		{
			reason: "a selector that does not match", refused: "spec.template.metadata.labels",
			edits: edits(func(ds *appsv1beta1.DaemonSet) { ds.Spec.Template.Labels = map[string]string{"app": "x"} }),
		},
		{
			reason: "the pods of another set", refused: "it and DaemonSet other would select the same pods",
			edits: edits(func(ds *appsv1beta1.DaemonSet) {
				ds.Spec.Selector.MatchLabels = map[string]string{"app": "other"}
				ds.Spec.Template.Labels = map[string]string{"app": "other"}
			}),
		},
		{
			reason: "pods that end", refused: "spec.template.spec.restartPolicy: Unsupported value: \"Never\"",
			edits: edits(spec(func(s *corev1.PodSpec) { s.RestartPolicy = corev1.RestartPolicyNever })),
		},
		{
			reason: "pods with a deadline", refused: "activeDeadlineSeconds: Forbidden",
			edits: edits(spec(func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = new(int64) })),
		},
		{
			reason: "a selector of nodes that cannot be read", refused: "nodeSelector",
			edits: edits(spec(func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"no key": "x"} })),
		},
		{
			reason: "an update selector that cannot be read", refused: "spec.updateStrategy.rollingUpdate.selector",
			edits: edits(rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) {
				r.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
			})),
		},
		{
			reason: "a pod that the API server would not take", refused: "spec.template.spec.containers[0].image: Required value",
			edits: edits(spec(func(s *corev1.PodSpec) { s.Containers[0].Image = "" })),
		},
		{
			reason: "two pods with one host port", warn: "port 9100 of the host",
			edits: edits(surge("1"), spec(func(s *corev1.PodSpec) {
				s.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 9100, HostPort: 9100}}
			})),
		},
		{reason: "images pulled ahead of pods that are made anew", edits: edits(annotate(appsv1beta1.ImagePreDownloadParallelism, "2"))},
		{reason: "images pulled ahead", edits: edits(inPlace, annotate(appsv1beta1.ImagePreDownloadParallelism, "10%"))},
		{
			reason: "an annotation that cannot be read", warn: "image-predownload-parallelism: \"many\"",
			edits: edits(inPlace, annotate(appsv1beta1.ImagePreDownloadParallelism, "many")),
		},
		{
			reason: "a selector that means nothing", warn: "selector has no effect",
			edits: edits(canaries, func(ds *appsv1beta1.DaemonSet) {
				ds.Spec.UpdateStrategy.Type = appsv1beta1.OnDeleteDaemonSetStrategyType
			}),
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			ds := set(append(test.edits, func(ds *appsv1beta1.DaemonSet) { ds.Namespace = namespace })...)
			Default(ds)
			warnings, errs := v.Validate(t.Context(), nil, ds)
			if got := errs.ToAggregate(); (got != nil) != (test.refused != "") || got != nil && !strings.Contains(got.Error(), test.refused) {
				t.Errorf("refused with %v, want %q", got, test.refused)
			}
			if got := strings.Join(warnings, "\n"); (got != "") != (test.warn != "") || !strings.Contains(got, test.warn) {
				t.Errorf("warned %q, want %q", got, test.warn)
			}
		})
	}
}

func edits(list ...func(*appsv1beta1.DaemonSet)) []func(*appsv1beta1.DaemonSet) { return list }

// What the schema says holds without us.
func TestRules(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	for _, test := range []struct {
		reason, want string
		edit         func(*appsv1beta1.DaemonSet)
	}{
		{"a percentage", "", partition("34%")},
		{"a negative partition", "must be a whole number of 0 or more", partition("-1")},
		{"too large a percentage", "from \"0%\" to \"100%\"", away("101%")},
		{"a negative surge", "must be a whole number of 0 or more", surge("-1")},
		{"no burst", "must be a whole number of 1 or more", func(ds *appsv1beta1.DaemonSet) { ds.Spec.BurstReplicas = parse("0") }},
		{"a negative time", "minReadySeconds", func(ds *appsv1beta1.DaemonSet) { ds.Spec.MinReadySeconds = -1 }},
		{"another type", "\"Standard\", \"InPlaceIfPossible\"", rolling(func(r *appsv1beta1.RollingUpdateDaemonSet) { r.Type = "Surging" })},
		{"a long name", "at most 52 characters", func(ds *appsv1beta1.DaemonSet) { ds.Name = strings.Repeat("n", 53) }},
	} {
		t.Run(test.reason, func(t *testing.T) {
			ds := set(test.edit, func(ds *appsv1beta1.DaemonSet) { ds.Namespace = namespace })
			err := env.Client.Create(t.Context(), ds)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
