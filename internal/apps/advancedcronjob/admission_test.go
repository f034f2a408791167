package advancedcronjob

import (
	"maps"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestDefault(t *testing.T) {
	acj := &appsv1beta1.AdvancedCronJob{}
	Default(acj)
	if s := acj.Spec; s.ConcurrencyPolicy != "Allow" || *s.SuccessfulJobsHistoryLimit != 3 || *s.FailedJobsHistoryLimit != 1 {
		t.Errorf("got %+v", s)
	}
	acj.Spec.ConcurrencyPolicy, acj.Spec.FailedJobsHistoryLimit = "Forbid", ptr.To[int32](0)
	chosen := acj.DeepCopy()
	if Default(acj); !apiequality.Semantic.DeepEqual(acj, chosen) {
		t.Errorf("a default took the place of a choice: %+v", acj.Spec)
	}
}

func TestValidate(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	type spec = appsv1beta1.AdvancedCronJobSpec
	pod := corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "registry.local/job:v1"}},
	}}
	for _, test := range []struct {
		reason string
		change func(s *spec)
		want   []string
	}{
		{"as it should be", func(*spec) {}, nil},
		{"a day that never comes", func(s *spec) { s.Schedule = "0 0 30 2 *" }, []string{`spec.schedule: Invalid value: "0 0 30 2 *": it never fires`}},
		{"no cron line", func(s *spec) { s.Schedule = "daily" }, []string{"spec.schedule", "expected exactly 5 fields"}},
		{"no such zone", func(s *spec) { s.TimeZone = ptr.To("Mars") }, []string{`spec.timeZone: Invalid value: "Mars"`, "such as"}},
		{"two zones", func(s *spec) { s.Schedule, s.TimeZone = "TZ=UTC 0 0 * * *", ptr.To("UTC") }, []string{"spec.schedule", "stands twice"}},
		{"a zone in the line", func(s *spec) { s.Schedule = "TZ=UTC 0 0 * * *" }, []string{"warning: spec.schedule: the time zone is better"}},
		{"hardly any time", func(s *spec) { s.StartingDeadlineSeconds = ptr.To[int64](2) }, []string{"warning: spec.startingDeadlineSeconds"}},
		{"no template", func(s *spec) { s.Template.JobTemplate = nil }, []string{"spec.template: Invalid value", "exactly one of"}},
		{"two templates", func(s *spec) {
			s.Template.BroadcastJobTemplate = &appsv1beta1.BroadcastJobTemplateSpec{}
		}, []string{"spec.template: Invalid value", "exactly one of"}},
		{"a job that would be refused", func(s *spec) {
			s.Template.JobTemplate.Spec.Template.Spec.RestartPolicy = "Always"
		}, []string{"spec.template.jobTemplate.spec.template.spec.restartPolicy: "}},
		{"a broadcast", func(s *spec) {
			s.Template = appsv1beta1.CronJobTemplate{BroadcastJobTemplate: &appsv1beta1.BroadcastJobTemplateSpec{Spec: appsv1beta1.BroadcastJobSpec{Template: pod}}}
		}, nil},
		{"images, while nobody can pull them", func(s *spec) {
			s.Template = appsv1beta1.CronJobTemplate{ImageListPullJobTemplate: &appsv1beta1.ImageListPullJobTemplateSpec{}}
		}, []string{"spec.template.imageListPullJobTemplate: Invalid value", "does not serve ImageListPullJobs", "use jobTemplate"}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			acj := &appsv1beta1.AdvancedCronJob{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "night"}}
			acj.Spec.Schedule = "0 3 * * *"
			acj.Spec.Template.JobTemplate = &batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: *pod.DeepCopy()}}
			test.change(&acj.Spec)
			v := &validator{client: env.Client}
			warnings, errs := v.Validate(t.Context(), nil, acj)
			var lines []string
			for _, err := range errs {
				lines = append(lines, err.Error())
			}
			for _, warning := range warnings {
				lines = append(lines, "warning: "+warning)
			}
			got := strings.Join(lines, "\n")
			if len(test.want) == 0 && got != "" {
				t.Errorf("got %s", got)
			}
			for _, part := range test.want {
				if !strings.Contains(got, part) {
					t.Errorf("got %q, want it to say %q", got, part)
				}
			}
			if warnings, errs := v.Validate(t.Context(), acj, acj); len(errs) > 0 && strings.Contains(test.reason, "zone") {
				t.Errorf("what stays as it is is judged again: %v %v", warnings, errs)
			}
		})
	}
}

// TestRules creates objects of both versions at the API server alone.
func TestRules(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	pod := map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "image": "i"}}}}
	job := map[string]any{"jobTemplate": map[string]any{"spec": map[string]any{"template": pod}}}
	broadcast := map[string]any{"broadcastJobTemplate": map[string]any{"spec": map[string]any{"template": pod}}}
	images := map[string]any{"imageListPullJobTemplate": map[string]any{"spec": map[string]any{
		"images": []any{"nginx"}, "completionPolicy": map[string]any{"type": "Never"},
	}}}
	for _, test := range []struct {
		name, version string
		template      map[string]any
		more          map[string]any
		want          string
	}{
		{"minimal", "v1beta1", job, nil, ""},
		{"minimal-v1alpha1", "v1alpha1", job, nil, ""},
		{"broadcast", "v1alpha1", broadcast, nil, ""},
		{"images", "v1beta1", images, nil, ""},
		{"none", "v1beta1", map[string]any{}, nil, "spec.template"},
		{"both", "v1beta1", map[string]any{"jobTemplate": job["jobTemplate"], "broadcastJobTemplate": broadcast["broadcastJobTemplate"]}, nil, "spec.template"},
		{strings.Repeat("n", 52), "v1beta1", job, nil, ""},
		{strings.Repeat("n", 53), "v1beta1", job, nil, "at most 52 characters"},
		{strings.Repeat("b", 52), "v1alpha1", broadcast, nil, ""},
		{strings.Repeat("b", 53), "v1beta1", broadcast, nil, "at most 52 characters"},
		{"policy", "v1beta1", job, map[string]any{"concurrencyPolicy": "Never"}, "concurrencyPolicy: Unsupported value"},
		{"deadline", "v1beta1", job, map[string]any{"startingDeadlineSeconds": int64(-1)}, "startingDeadlineSeconds"},
		{"history", "v1alpha1", job, map[string]any{"failedJobsHistoryLimit": int64(-1)}, "failedJobsHistoryLimit"},
	} {
		t.Run(test.version+"/"+test.name, func(t *testing.T) {
			spec := map[string]any{"schedule": "0 3 * * *", "template": test.template}
			maps.Copy(spec, test.more)
			u := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "apps.kruise.io/" + test.version, "kind": "AdvancedCronJob", "metadata": map[string]any{"name": test.name, "namespace": ns}, "spec": spec,
			}}
			err := env.Client.Create(t.Context(), u)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
