package cli

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
)

func TestCreateBroadcastJob(t *testing.T) {
	s := newShell(t)
	text := s.run(CodeOK, "create", "broadcastjob", "disks", "--image", "busybox:1.37", "--parallelism", "10%", "--ttl", "1h",
		"--deadline", "90s", "--on-failure", "Continue", "--restart", "OnFailure", "--restart-limit", "3", "--env", "A=b=c",
		"--node-selector", "zone=a", "--tolerate-all", "--paused")
	s.says(text, "broadcastjob.apps.kruise.io/disks created")
	var job v1beta1.BroadcastJob
	if err := s.env.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "disks"}, &job); err != nil {
		t.Fatal(err)
	}
	spec, pod := job.Spec, job.Spec.Template.Spec
	if spec.Parallelism.String() != "10%" || *spec.CompletionPolicy.TTLSecondsAfterFinished != 3600 ||
		*spec.CompletionPolicy.ActiveDeadlineSeconds != 90 || spec.FailurePolicy.Type != "Continue" || spec.FailurePolicy.RestartLimit != 3 ||
		!spec.Paused || spec.CompletionPolicy.Type != "Always" {
		t.Errorf("the job is %+v", spec)
	}
	if pod.RestartPolicy != "OnFailure" || pod.NodeSelector["zone"] != "a" || pod.Tolerations[0].Operator != "Exists" ||
		pod.Containers[0].Env[0].Value != "b=c" || pod.Containers[0].Image != "busybox:1.37" {
		t.Errorf("its pod is %+v", pod)
	}
	s.says(s.run(CodeOK, "get", "bcj"), "broadcastjob/disks", "its controller has not seen generation 1")
	s.says(s.run(CodeFailed, "create", "bcj", "disks", "--image", "i"), "already exists")
}

func TestCreateIsTriedDry(t *testing.T) {
	s := newShell(t)
	text := s.run(CodeOK, "create", "bcj", "disks", "--image", "i", "--new-nodes", "--dry-run", "client", "-o", "yaml")
	s.says(text, "kind: BroadcastJob", "apiVersion: apps.kruise.io/v1beta1", "type: Never", "restartPolicy: Never")
	for _, noise := range []string{"status:", "creationTimestamp", "resources: {}", "null"} {
		if strings.Contains(text, noise) {
			t.Errorf("%q is noise in:\n%s", noise, text)
		}
	}
	s.says(s.run(CodeOK, "create", "bcj", "disks", "--image", "i", "--dry-run", "server", "-o", "name"), "broadcastjob.apps.kruise.io/disks")
	var jobs v1beta1.BroadcastJobList
	if err := s.env.Client.List(t.Context(), &jobs, client.InNamespace(s.namespace)); err != nil || len(jobs.Items) != 0 {
		t.Errorf("a dry run left %d jobs (%v)", len(jobs.Items), err)
	}
}

func TestCreateRefuses(t *testing.T) {
	s := newShell(t)
	for want, args := range map[string][]string{
		"--image is needed":        {"bcj", "a"},
		"one name is needed":       {"bcj", "--image", "i"},
		"NAME=VALUE":               {"bcj", "a", "--image", "i", "--env", "A"},
		"Never or OnFailure":       {"bcj", "a", "--image", "i", "--restart", "Always"},
		"a whole number of 0":      {"bcj", "a", "--image", "i", "--parallelism", "-1"},
		"mean nothing":             {"bcj", "a", "--image", "i", "--new-nodes", "--ttl", "1m"},
		"none, client or server":   {"bcj", "a", "--image", "i", "--dry-run", "yes"},
		"the formats are":          {"bcj", "a", "--image", "i", "-o", "wide"},
		"unknown flag: --replicas": {"bcj", "a", "--image", "i", "--replicas", "3"},
		"\"Sometimes\"":            {"bcj", "a", "--image", "i", "--on-failure", "Sometimes"},
	} {
		code := CodeUsage
		if want == "\"Sometimes\"" {
			code = CodeFailed // the server knows the words
		}
		s.says(s.run(code, append([]string{"create"}, args...)...), want)
	}
}

func TestTheCommandFollowsTheDash(t *testing.T) {
	c := newCreation(genericiooptions.NewTestIOStreamsDiscard())
	cmd := newCreateBroadcastJob(c)
	if err := cmd.ParseFlags([]string{"disks", "--image", "i", "--", "df", "-h"}); err != nil {
		t.Fatal(err)
	}
	name, command, err := c.named(cmd, cmd.Flags().Args())
	if err != nil || name != "disks" || !slices.Equal(command, []string{"df", "-h"}) {
		t.Errorf("got %q %v (%v)", name, command, err)
	}
}

func TestWhyNoNodeFits(t *testing.T) {
	const set = `{apiVersion: apps.kruise.io/v1beta1, kind: DaemonSet, metadata: {name: agent, generation: 1}, status: {observedGeneration: 1,
conditions: [{type: NoMatchingNodes, status: "True", message: "no node fits the template: gpu"}, {type: Ready, status: "True"}]}}`
	findings := ofWorkload(Evidence{Snapshot: Snapshot{Workload: workloadOf(t, "ads", set)}}, at)
	if len(findings) != 1 || findings[0].Cause != "Scheduling" || !strings.Contains(findings[0].Why, "gpu") {
		t.Errorf("got %+v", findings)
	}
}

func TestProgressOfAJob(t *testing.T) {
	const job = `{apiVersion: apps.kruise.io/v1beta1, kind: BroadcastJob, metadata: {name: disks, generation: 1},
status: {observedGeneration: 1, desired: 3, active: 1, succeeded: 1, failed: 0, phase: running}}`
	for _, test := range []struct {
		reason string
		sets   []string
		state  State
		text   string
	}{
		{"it runs", nil, StateOngoing, "1 of 3 pods succeeded, 1 running"},
		{"it is paused", []string{"spec.paused: true"}, StateOngoing, "1 of 3 pods succeeded; paused"},
		{
			"it is done",
			[]string{"status.failed: 2", "status.conditions: [{type: Ready, status: 'True'}]"},
			StateDone, "1 of 3 pods succeeded, 2 failed",
		},
		{
			"it has failed",
			[]string{"status.conditions: [{type: Stalled, status: 'True', reason: PodFailed, message: pod a has failed}]"},
			StateFailed, "pod a has failed",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			got := progress(workloadOf(t, "bcj", job, test.sets...))
			if got.State != test.state || got.Message != test.text {
				t.Errorf("got %s %q, want %s %q", got.State, got.Message, test.state, test.text)
			}
		})
	}
}
