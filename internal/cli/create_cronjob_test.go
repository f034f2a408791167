package cli

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

func TestCreateCronJob(t *testing.T) {
	s := newShell(t)
	text := s.run(CodeOK, "create", "cronjob", "backup", "--schedule", "0 3 * * *", "--time-zone", "Europe/Berlin", "--image", "example.com/backup:2",
		"--overlap", "Forbid", "--deadline", "300", "--keep", "5", "--keep-failed", "2", "--paused")
	s.says(text, "advancedcronjob.apps.kruise.io/backup created")
	var acj v1beta1.AdvancedCronJob
	if err := s.env.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "backup"}, &acj); err != nil {
		t.Fatal(err)
	}
	spec := acj.Spec
	if spec.Schedule != "0 3 * * *" || *spec.TimeZone != "Europe/Berlin" || spec.ConcurrencyPolicy != "Forbid" || *spec.StartingDeadlineSeconds != 300 ||
		*spec.SuccessfulJobsHistoryLimit != 5 || *spec.FailedJobsHistoryLimit != 2 || !*spec.Paused ||
		spec.Template.JobTemplate.Spec.Template.Spec.Containers[0].Image != "example.com/backup:2" {
		t.Errorf("got %+v", spec)
	}
	text = s.run(CodeOK, "create", "acj", "clean", "--schedule", "@weekly", "--broadcast", "--image", "i", "--dry-run", "client", "-o", "yaml")
	s.says(text, "broadcastJobTemplate:", "schedule: '@weekly'")
	s.says(s.run(CodeOK, "get", "acj"), "advancedcronjob/backup", "its controller has not seen generation 1")
	s.says(s.run(CodeUsage, "create", "cronjob", "a", "--image", "i"), "--schedule is needed")
	s.says(s.run(CodeUsage, "create", "cronjob", "a", "--schedule", "@daily"), "--image is needed")
	s.says(s.run(CodeUsage, "create", "cronjob", "a", "--schedule", "@daily", "--image", "i", "--keep", "-1"), "cannot be negative")
	acj.Status = v1beta1.AdvancedCronJobStatus{
		ObservedGeneration: acj.Generation,
		Conditions:         []v1beta1.WorkloadCondition{{Type: "Ready", Status: "True", Reason: "Scheduled", Message: "jobs are started at the times of spec.schedule"}},
	}
	if err := s.env.Client.Status().Update(t.Context(), &acj); err != nil {
		t.Fatal(err)
	}
	s.says(s.run(CodeOK, "rollout", "status", "acj/backup"), "done, jobs are started at the times of spec.schedule")
	s.says(s.run(CodeOK, "get", "acj/backup"), "0 3 * * * Europe/Berlin")
}
