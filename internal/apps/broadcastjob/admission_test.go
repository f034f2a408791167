package broadcastjob

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
	"github.com/holdfast-io/holdfast/internal/workload/judge"
)

func TestDefault(t *testing.T) {
	j := job()
	if j.Spec.CompletionPolicy.Type != "Always" || j.Spec.FailurePolicy.Type != "FailFast" ||
		j.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure || j.Spec.Parallelism != nil {
		t.Errorf("got %+v", j.Spec)
	}
	chosen := job(func(j *appsv1beta1.BroadcastJob) {
		j.Spec.CompletionPolicy.Type, j.Spec.FailurePolicy.Type = "Never", "Pause"
		j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	})
	if Default(chosen); chosen.Spec.CompletionPolicy.Type != "Never" || chosen.Spec.FailurePolicy.Type != "Pause" ||
		chosen.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("a default took the place of a choice: %+v", chosen.Spec)
	}
}

// Each mistake is refused at its field, or warned of.
func TestValidate(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	v := &validator{server: judge.Server{Client: env.Client, Live: env.Client}}
	restart := func(p corev1.RestartPolicy) func(*appsv1beta1.BroadcastJob) {
		return func(j *appsv1beta1.BroadcastJob) { j.Spec.Template.Spec.RestartPolicy = p }
	}
	for _, test := range []struct {
		reason        string
		old           *appsv1beta1.BroadcastJob
		edits         []func(*appsv1beta1.BroadcastJob)
		refused, warn string
	}{
		{reason: "nothing is wrong"},
		{reason: "pods that never end", edits: edits(restart(corev1.RestartPolicyAlways)), refused: "restartPolicy: Unsupported value: \"Always\": supported values: \"Never\", \"OnFailure\""},
		{
			reason: "labels that are the job's own", refused: "spec.template.metadata.labels[broadcastjob-controller-uid]: Forbidden",
			edits: edits(func(j *appsv1beta1.BroadcastJob) {
				j.Spec.Template.Labels = map[string]string{appsv1beta1.BroadcastJobControllerUID: "x"}
			}),
		},
		{
			reason: "nodes that cannot be told", refused: "nodeSelector",
			edits: edits(func(j *appsv1beta1.BroadcastJob) { j.Spec.Template.Spec.NodeSelector = map[string]string{"no key": ""} }),
		},
		{
			reason: "a pod that the API server would not take", refused: "spec.template.spec.containers[0].image: Required value",
			edits: edits(func(j *appsv1beta1.BroadcastJob) { j.Spec.Template.Spec.Containers[0].Image = "" }),
		},
		{reason: "a deadline of what never ends", edits: edits(endless, deadlineOf(1)), warn: "activeDeadlineSeconds has no effect"},
		{
			reason: "a time to live of what never ends", warn: "ttlSecondsAfterFinished has no effect",
			edits: edits(endless, func(j *appsv1beta1.BroadcastJob) { j.Spec.CompletionPolicy.TTLSecondsAfterFinished = ptr.To[int32](1) }),
		},
		{reason: "a limit of restarts that never are", edits: edits(restart(corev1.RestartPolicyNever), limit(1)), warn: "restartLimit has no effect"},
		{
			reason: "another template", old: job(), warn: "spec.template counts for pods made from now on",
			edits: edits(func(j *appsv1beta1.BroadcastJob) { j.Spec.Template.Spec.Containers[0].Image = "registry.local/scan:v2" }),
		},
		{reason: "a change of a job that has ended", old: job(finished(appsv1beta1.JobComplete)), edits: edits(limit(3)), warn: "the job has ended"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			j := job(append(test.edits, func(j *appsv1beta1.BroadcastJob) { j.Namespace = namespace })...)
			warnings, errs := v.Validate(t.Context(), test.old, j)
			if got := errs.ToAggregate(); (got != nil) != (test.refused != "") || got != nil && !strings.Contains(got.Error(), test.refused) {
				t.Errorf("refused with %v, want %q", got, test.refused)
			}
			if got := strings.Join(warnings, "\n"); (got != "") != (test.warn != "") || !strings.Contains(got, test.warn) {
				t.Errorf("warned %q, want %q", got, test.warn)
			}
		})
	}
}

func edits(list ...func(*appsv1beta1.BroadcastJob)) []func(*appsv1beta1.BroadcastJob) { return list }

// What the schema says holds without us.
func TestRules(t *testing.T) {
	env := testkit.APIServer(t)
	namespace := env.Namespace(t)
	for _, test := range []struct {
		reason, want string
		edit         func(*appsv1beta1.BroadcastJob)
	}{
		{"a percentage", "", parallelism("34%")},
		{"a negative parallelism", "must be a whole number of 0 or more", parallelism("-1")},
		{"a negative limit", "restartLimit", limit(-1)},
		{"no time at all", "activeDeadlineSeconds", deadlineOf(0)},
		{"another policy", "\"FailFast\", \"Continue\", \"Pause\"", policy("Sometimes")},
		{"another end", "\"Always\", \"Never\"", func(j *appsv1beta1.BroadcastJob) { j.Spec.CompletionPolicy.Type = "Sometimes" }},
		{"a long name", "", func(j *appsv1beta1.BroadcastJob) { j.Name = strings.Repeat("n", 63) }},
		{"a longer name", "at most 63 characters", func(j *appsv1beta1.BroadcastJob) { j.Name = strings.Repeat("n", 64) }},
	} {
		t.Run(test.reason, func(t *testing.T) {
			j := job(test.edit, func(j *appsv1beta1.BroadcastJob) { j.Namespace, j.UID = namespace, "" })
			err := env.Client.Create(t.Context(), j)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
