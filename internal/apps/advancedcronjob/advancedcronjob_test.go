package advancedcronjob_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1beta1 "github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/apps/advancedcronjob"
	"github.com/holdfast-io/holdfast/internal/reconcile"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// world is one AdvancedCronJob on a real API server, whose jobs end when the test says so, and whose clock the test moves.
type world struct {
	*testkit.World[*appsv1beta1.AdvancedCronJob]

	events *record.FakeRecorder
	// made are all jobs there ever were: by the time that they stand for, their uids.
	made map[string]map[types.UID]bool
	// atOnce is the greatest number of jobs that ran at a time.
	atOnce int
}

func podTemplate() corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "registry.local/job:v1"}},
	}}
}

func cronJob(line string, overrides ...func(*appsv1beta1.AdvancedCronJob)) *appsv1beta1.AdvancedCronJob {
	acj := &appsv1beta1.AdvancedCronJob{ObjectMeta: metav1.ObjectMeta{Name: "night"}}
	acj.Spec.Schedule = line
	acj.Spec.Template.JobTemplate = &batchv1.JobTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "night"}, Annotations: map[string]string{"note": "x"}},
		Spec:       batchv1.JobSpec{Template: podTemplate()},
	}
	for _, override := range overrides {
		override(acj)
	}
	return acj
}

// newWorld begins at a moment, up to which everything is settled.
func newWorld(t *testing.T, acj *appsv1beta1.AdvancedCronJob, begin string, faults *testkit.Faults) *world {
	t.Helper()
	w := &world{
		World: testkit.NewWorld[*appsv1beta1.AdvancedCronJob](
			t, faults, &batchv1.Job{}, &appsv1beta1.BroadcastJob{}, &appsv1beta1.AdvancedCronJob{}),
		events: record.NewFakeRecorder(1000), made: map[string]map[types.UID]bool{},
	}
	w.Events, w.Each = w.events, w.look
	w.Clock.SetTime(moment(t, begin))
	advancedcronjob.Default(acj)
	w.Create(acj)
	acj.Status.SettledTime = ptr.To(metav1.NewTime(w.Clock.Now()))
	if err := w.Env.Client.Status().Update(t.Context(), acj); err != nil {
		t.Fatal(err)
	}
	w.Runs(func(c client.Client) reconcile.Room[*appsv1beta1.AdvancedCronJob] {
		return advancedcronjob.New(advancedcronjob.Deps{Client: c, Live: w.Env.Client, Clock: w.Clock})
	})
	return w
}

func moment(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// settle makes passes until nothing fails and nothing is due at once.
func (w *world) settle() time.Duration {
	w.T.Helper()
	var last error
	for range 20 {
		before := w.describe()
		if last = w.Pass(w.T); last == nil && w.describe() == before {
			return w.Result.RequeueAfter
		}
	}
	w.T.Fatalf("it never came to rest: %v\n%s", last, w.describe())
	return 0
}

// look remembers the jobs that there are.
func (w *world) look() {
	w.T.Helper()
	now := 0
	for _, j := range w.jobs() {
		at := j.Annotations[appsv1beta1.ScheduledAt]
		if w.made[at] == nil {
			w.made[at] = map[types.UID]bool{}
		}
		w.made[at][j.UID] = true
		if len(j.Status.Conditions) == 0 {
			now++
		}
	}
	w.atOnce = max(w.atOnce, now)
}

func (w *world) jobs() []batchv1.Job {
	w.T.Helper()
	var list batchv1.JobList
	if err := w.Env.Client.List(w.T.Context(), &list, client.InNamespace(w.Namespace)); err != nil {
		w.T.Fatal(err)
	}
	return list.Items
}

// end lets every job that runs end.
func (w *world) end(how batchv1.JobConditionType) {
	w.T.Helper()
	for _, j := range w.jobs() {
		if len(j.Status.Conditions) > 0 {
			continue
		}
		now := metav1.NewTime(j.CreationTimestamp.Time)
		j.Status.StartTime = &now
		type condition = batchv1.JobCondition
		if how == batchv1.JobComplete {
			j.Status.CompletionTime = &now
			j.Status.Conditions = []condition{
				{Type: batchv1.JobSuccessCriteriaMet, Status: corev1.ConditionTrue}, {Type: how, Status: corev1.ConditionTrue},
			}
		} else {
			j.Status.Conditions = []condition{{Type: batchv1.JobFailureTarget, Status: corev1.ConditionTrue}, {Type: how, Status: corev1.ConditionTrue}}
		}
		if err := w.Env.Client.Status().Update(w.T.Context(), &j); err != nil {
			w.T.Fatal(err)
		}
	}
}

// times are all times for which there was a job; a second job of one time shows.
func (w *world) times() string {
	var all []string
	for at, uids := range w.made {
		text := strings.TrimSuffix(at, ":00Z")
		if len(uids) > 1 {
			text += fmt.Sprintf(" (%d times)", len(uids))
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (w *world) describe() string {
	var all []string
	for _, j := range w.jobs() {
		all = append(all, fmt.Sprintf("%s %v", j.Name, len(j.Status.Conditions) > 0))
	}
	slices.Sort(all)
	return fmt.Sprintf("%+v\n%s", w.Get().Status, strings.Join(all, "; "))
}

// published drains the events.
func (w *world) published() string {
	var all []string
	for {
		select {
		case e := <-w.events.Events:
			all = append(all, e)
		default:
			return strings.Join(all, "\n")
		}
	}
}

// through moves the clock to an end, as the controller itself asks to be woken; every job ends at once.
func (w *world) through(end string) {
	w.T.Helper()
	for limit := 0; w.Clock.Now().Before(moment(w.T, end)); limit++ {
		if limit > 3000 {
			w.T.Fatalf("it is woken too often: %s", w.describe())
		}
		again := w.settle()
		w.end(batchv1.JobComplete)
		if again <= 0 {
			w.T.Fatalf("it does not ask to be woken: %s", w.describe())
		}
		w.Clock.Step(again)
	}
}

func TestClocksChange(t *testing.T) {
	t.Parallel()
	berlin := func(acj *appsv1beta1.AdvancedCronJob) { acj.Spec.TimeZone = ptr.To("Europe/Berlin") }
	for _, test := range []struct {
		reason, line, begin, end string
		want                     string
	}{
		{
			"a time that does not exist", "30 2 * * *", "2030-03-29T12:00:00Z", "2030-04-01T12:00:00Z",
			"2030-03-30T01:30, 2030-03-31T01:00, 2030-04-01T00:30",
		},
		{
			"a time that comes twice", "30 2 * * *", "2030-10-25T12:00:00Z", "2030-10-28T12:00:00Z",
			"2030-10-26T00:30, 2030-10-27T00:30, 2030-10-28T01:30",
		},
		{
			"every hour, in real time", "15 * * * *", "2030-10-26T23:30:00Z", "2030-10-27T03:30:00Z",
			"2030-10-27T00:15, 2030-10-27T01:15, 2030-10-27T02:15, 2030-10-27T03:15",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cronJob(test.line, berlin), test.begin, nil)
			w.through(test.end)
			if got := w.times(); got != test.want {
				t.Errorf("jobs of\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestAwayForAnHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cronJob("*/10 * * * *"), "2030-05-01T08:55:00Z", nil)
	w.through("2030-05-01T09:05:00Z")
	w.Clock.SetTime(moment(t, "2030-05-01T10:07:00Z"))
	w.Restart()
	if events := w.published(); strings.Contains(events, "MissedSchedule") {
		t.Errorf("nothing was missed yet: %s", events)
	}
	w.settle()
	if got, want := w.times(), "2030-05-01T09:00, 2030-05-01T10:00"; got != want {
		t.Errorf("jobs of %s, want %s: one to make up for those that were missed", got, want)
	}
	if events := w.published(); !strings.Contains(events, "5 times passed without a job; only the last, 2030-05-01T10:00:00Z") {
		t.Errorf("the user is not told: %s", events)
	}
	s := w.Get().Status
	if got := s.NextScheduleTime.UTC().Format("15:04"); got != "10:10" || len(s.Active) != 1 || s.LastScheduleTime.UTC().Hour() != 10 {
		t.Errorf("next at %s, status %+v", got, s)
	}
}

func TestAJobIsWhatTheTemplateSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cronJob("0 * * * *"), "2030-05-01T08:55:00Z", nil)
	w.Clock.SetTime(moment(t, "2030-05-01T09:00:00Z"))
	w.settle()
	jobs := w.jobs()
	if len(jobs) != 1 {
		t.Fatalf("%d jobs", len(jobs))
	}
	j := jobs[0]
	if j.Name != "night-1903856400" || j.Labels["app"] != "night" || j.Annotations["note"] != "x" ||
		j.Annotations[appsv1beta1.ScheduledAt] != "2030-05-01T09:00:00Z" || !metav1.IsControlledBy(&j, w.Get()) {
		t.Errorf("got %+v", j.ObjectMeta)
	}
	s := w.Get().Status
	if s.Type != "Job" || len(s.Active) != 1 || s.Active[0].UID != j.UID || s.Active[0].Kind != "Job" || s.Active[0].APIVersion != "batch/v1" {
		t.Errorf("got %+v", s)
	}
	w.end(batchv1.JobFailed)
	w.settle()
	if s := w.Get().Status; len(s.Active) != 0 {
		t.Errorf("it ended, but is active: %+v", s)
	}
	if events := w.published(); !strings.Contains(events, "Warning SawCompletedJob Job night-1903856400 has ended: Failed") {
		t.Errorf("events: %s", events)
	}
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		policy appsv1beta1.ConcurrencyPolicy
		atOnce int
		want   string
	}{
		{"Allow", 3, "2030-05-01T09:00, 2030-05-01T10:00, 2030-05-01T11:00"},
		{"Forbid", 1, "2030-05-01T09:00"},
		{"Replace", 1, "2030-05-01T09:00, 2030-05-01T10:00, 2030-05-01T11:00"},
	} {
		t.Run(string(test.policy), func(t *testing.T) {
			t.Parallel()
			acj := cronJob("0 * * * *", func(acj *appsv1beta1.AdvancedCronJob) { acj.Spec.ConcurrencyPolicy = test.policy })
			w := newWorld(t, acj, "2030-05-01T08:55:00Z", nil)
			for range 14 {
				w.settle()
				w.Clock.Step(10 * time.Minute)
			}
			if got := w.times(); got != test.want || w.atOnce != test.atOnce {
				t.Errorf("jobs of %s, %d at once; want %s, %d at once", got, w.atOnce, test.want, test.atOnce)
			}
			held := w.Get().Status.Held
			if test.policy != "Forbid" {
				if len(held) > 0 {
					t.Errorf("held: %+v", held)
				}
				return
			}
			if len(held) != 1 || held[0].Reason != "Concurrency" || !strings.Contains(held[0].Message, "waits for Job night-1903856400") {
				t.Errorf("it does not say what it waits for: %+v", held)
			}
			w.end(batchv1.JobComplete)
			w.settle()
			if got, want := w.times(), "2030-05-01T09:00, 2030-05-01T11:00"; got != want {
				t.Errorf("after its end, jobs of %s, want %s", got, want)
			}
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cronJob("0 * * * *", func(acj *appsv1beta1.AdvancedCronJob) { acj.Spec.Paused = ptr.To(true) }), "2030-05-01T08:55:00Z", nil)
	w.Clock.SetTime(moment(t, "2030-05-01T11:30:00Z"))
	w.settle()
	s := w.Get().Status
	if w.times() != "" || s.NextScheduleTime != nil || len(s.Held) != 1 || s.Held[0].Reason != "Paused" {
		t.Errorf("jobs of %s, status %+v", w.times(), s)
	}
	w.Change(func(acj *appsv1beta1.AdvancedCronJob) { acj.Spec.Paused = nil })
	w.settle()
	if got := w.times(); got != "2030-05-01T11:00" {
		t.Errorf("jobs of %q, want that of the last time", got)
	}
}

func TestAnotherScheduleDoesNotLookBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cronJob("0 3 * * *"), "2030-05-01T02:55:00Z", nil)
	w.through("2030-05-01T10:20:00Z")
	w.Change(func(acj *appsv1beta1.AdvancedCronJob) { acj.Spec.Schedule = "0 * * * *" })
	w.through("2030-05-01T11:10:00Z")
	if got, want := w.times(), "2030-05-01T03:00, 2030-05-01T11:00"; got != want {
		t.Errorf("jobs of %s, want %s", got, want)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	acj := cronJob("0 * * * *", func(acj *appsv1beta1.AdvancedCronJob) { acj.Spec.SuccessfulJobsHistoryLimit = ptr.To[int32](2) })
	w := newWorld(t, acj, "2030-05-01T08:55:00Z", nil)
	w.through("2030-05-01T14:05:00Z")
	w.settle()
	if got := len(w.jobs()); got != 2 {
		t.Errorf("%d jobs are kept, want 2", got)
	}
}

func TestBroadcastJob(t *testing.T) {
	t.Parallel()
	acj := cronJob("0 * * * *", func(acj *appsv1beta1.AdvancedCronJob) {
		acj.Spec.Template = appsv1beta1.CronJobTemplate{BroadcastJobTemplate: &appsv1beta1.BroadcastJobTemplateSpec{
			TemplateMeta: appsv1beta1.TemplateMeta{Labels: map[string]string{"app": "night"}},
			Spec:         appsv1beta1.BroadcastJobSpec{Template: podTemplate()},
		}}
	})
	w := newWorld(t, acj, "2030-05-01T08:55:00Z", nil)
	w.Clock.SetTime(moment(t, "2030-05-01T09:00:00Z"))
	w.settle()
	var job appsv1beta1.BroadcastJob
	if err := w.Env.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "night-1903856400"}, &job); err != nil {
		t.Fatal(err)
	}
	s := w.Get().Status
	if job.Labels["app"] != "night" || s.Type != "BroadcastJob" || len(s.Active) != 1 || s.Active[0].APIVersion != "apps.kruise.io/v1beta1" {
		t.Errorf("got %+v, status %+v", job.ObjectMeta, s)
	}
	job.Status.Conditions = []appsv1beta1.JobCondition{{Type: appsv1beta1.JobComplete, Status: corev1.ConditionTrue}}
	if err := w.Env.Client.Status().Update(t.Context(), &job); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if s := w.Get().Status; len(s.Active) != 0 {
		t.Errorf("it ended, but is active: %+v", s)
	}
	// Somebody deletes it, or its ttlSecondsAfterFinished is over: its time has had its job.
	if err := w.Env.Client.Delete(t.Context(), &job); err != nil {
		t.Fatal(err)
	}
	w.Clock.SetTime(moment(t, "2030-05-01T09:59:59Z"))
	w.settle()
	w.Restart()
	w.settle()
	var again appsv1beta1.BroadcastJobList
	if err := w.Env.Client.List(t.Context(), &again, client.InNamespace(w.Namespace)); err != nil || len(again.Items) > 0 {
		t.Errorf("it was started again: %+v %v", again.Items, err)
	}
}

// The kind may not be served: the object says so, and goes on when it is.
func TestAKindThatIsNotServed(t *testing.T) {
	t.Parallel()
	acj := cronJob("0 * * * *", func(acj *appsv1beta1.AdvancedCronJob) {
		acj.Spec.Template = appsv1beta1.CronJobTemplate{ImageListPullJobTemplate: &appsv1beta1.ImageListPullJobTemplateSpec{
			Spec: appsv1beta1.ImageListPullJobSpec{Images: []string{"nginx"}},
		}}
	})
	w := newWorld(t, acj, "2030-05-01T08:55:00Z", nil)
	w.Clock.SetTime(moment(t, "2030-05-01T09:00:00Z"))
	if again := w.settle(); again != time.Minute {
		t.Errorf("it looks again in %s", again)
	}
	c := condition(w.Get(), "Stalled")
	if c.Status != "True" || !strings.Contains(c.Message, "does not serve that kind: install its CustomResourceDefinition") {
		t.Errorf("got %+v", c)
	}
}

func condition(acj *appsv1beta1.AdvancedCronJob, kind string) appsv1beta1.WorkloadCondition {
	for _, c := range acj.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return appsv1beta1.WorkloadCondition{}
}

func TestWhatCannotBeStarted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		reason  string
		prepare func(w *world)
		kind    string
		want    string
	}{
		{"a line that never fires", func(w *world) {
			w.Change(func(acj *appsv1beta1.AdvancedCronJob) { acj.Spec.Schedule = "0 0 30 2 *" })
		}, "Stalled", `spec.schedule "0 0 30 2 *": it never fires`},
		{"a job that the API server refuses", func(w *world) {
			w.Change(func(acj *appsv1beta1.AdvancedCronJob) {
				acj.Spec.Template.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
			})
		}, "Stalled", `spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`},
		{"a name that somebody else has", func(w *world) {
			j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "night-1903856400"}, Spec: batchv1.JobSpec{Template: podTemplate()}}
			if err := w.Env.Client.Create(w.T.Context(), j); err != nil {
				w.T.Fatal(err)
			}
		}, "Reconciling", "an object of that name exists and belongs to somebody else"},
	} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cronJob("0 * * * *"), "2030-05-01T08:55:00Z", nil)
			test.prepare(w)
			w.Clock.SetTime(moment(t, "2030-05-01T09:00:00Z"))
			for range 2 {
				_ = w.Pass(t) // its error is in the condition
			}
			if c := condition(w.Get(), test.kind); c.Status != "True" || !strings.Contains(c.Message, test.want) {
				t.Errorf("got %+v, want %s: %s\n%+v", c, test.kind, test.want, w.Get().Status)
			}
		})
	}
}

// life starts, replaces and forgets jobs over four hours.
func life(policy appsv1beta1.ConcurrencyPolicy, behind int) testkit.Scenario {
	return func(t *testing.T, f *testkit.Faults) {
		t.Helper()
		acj := cronJob("0 * * * *", func(acj *appsv1beta1.AdvancedCronJob) {
			acj.Spec.ConcurrencyPolicy = policy
			acj.Spec.SuccessfulJobsHistoryLimit, acj.Spec.FailedJobsHistoryLimit = ptr.To[int32](0), ptr.To[int32](0)
		})
		w := newWorld(t, acj, "2030-05-01T08:55:00Z", f)
		w.Lag.Behind = behind
		for hour := range 4 {
			w.Clock.SetTime(moment(t, fmt.Sprintf("2030-05-01T%02d:00:01Z", 9+hour)))
			w.settle()
			if hour%2 == 1 {
				w.end(batchv1.JobComplete)
				w.settle()
			}
		}
		f.Stop()
		w.Lag.Behind = 0
		w.Restart()
		w.settle()
		want := "2030-05-01T09:00, 2030-05-01T10:00, 2030-05-01T11:00, 2030-05-01T12:00"
		if got := w.times(); got != want {
			t.Errorf("jobs of\n%s\nwant\n%s", got, want)
		}
		if policy == appsv1beta1.ReplaceConcurrent && w.atOnce > 1 {
			t.Errorf("%d jobs ran at once", w.atOnce)
		}
		if s := w.Get().Status; len(s.Active) != 0 || s.LastScheduleTime.UTC().Hour() != 12 || condition(w.Get(), "Ready").Status != "True" {
			t.Errorf("status %+v", s)
		}
		if left := w.jobs(); len(left) != 0 {
			t.Errorf("%d jobs are left, beyond the history limit", len(left))
		}
	}
}

// Each write goes wrong in each way that there is: every time has one job, and no time has two.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	for _, policy := range []appsv1beta1.ConcurrencyPolicy{"Allow", "Replace"} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			testkit.Matrix(t, life(policy, 0))
		})
	}
}

func TestRandomFaultsWithALaggingCache(t *testing.T) {
	t.Parallel()
	testkit.RandomMatrix(t, 2, 0.2, life("Allow", 1))
}
