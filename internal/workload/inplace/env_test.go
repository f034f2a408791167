package inplace

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestMetadataEnv(t *testing.T) {
	label, note := env("TIER", "metadata.labels['tier']"), env("NOTE", "metadata.annotations['note']")
	p := running()
	p.Labels["tier"], p.Annotations["note"] = "gold", "a=b"
	for _, test := range []struct {
		reason string
		env    []corev1.EnvVar
		want   map[string]string
	}{
		{"a label and an annotation", []corev1.EnvVar{label, note}, map[string]string{"TIER": "gold", "NOTE": "a=b"}},
		{"a key that the pod does not have", []corev1.EnvVar{env("X", "metadata.labels['x']")}, map[string]string{"X": ""}},
		{"other fields", []corev1.EnvVar{env("NAME", "metadata.name"), env("IP", "status.podIP"), {Name: "A", Value: "b"}}, map[string]string{}},
		{"overridden by a later one", []corev1.EnvVar{label, {Name: "TIER", Value: "x"}}, map[string]string{}},
		{"overriding an earlier one", []corev1.EnvVar{{Name: "TIER", Value: "x"}, label}, map[string]string{"TIER": "gold"}},
	} {
		t.Run(test.reason, func(t *testing.T) {
			if got := MetadataValues(p, &corev1.Container{Env: test.env}); !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if EnvHash(map[string]string{"A": "1", "B": "2"}) == EnvHash(map[string]string{"A": "1\nB=2"}) || EnvHash(nil) == 0 {
		t.Error("different values have one hash, or none has 0")
	}
}

func TestRestartable(t *testing.T) {
	for _, test := range []struct {
		reason string
		pod    corev1.RestartPolicy
		own    *corev1.ContainerRestartPolicy
		rules  int
		want   bool
	}{
		{"Always", "Always", nil, 0, true},
		{"a container that ends well would not come back", "OnFailure", nil, 0, false},
		{"none comes back", "Never", nil, 0, false},
		{"a sidecar, in a pod that ends", "Never", ptr.To(corev1.ContainerRestartPolicyAlways), 0, true},
		{"a container that is not started again", "Always", ptr.To(corev1.ContainerRestartPolicyNever), 0, false},
		{"a container that ends by its exit code", "Always", nil, 1, false},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := running("main=web:v1")
			p.Spec.RestartPolicy = test.pod
			c := &p.Spec.Containers[0]
			c.RestartPolicy, c.RestartPolicyRules = test.own, make([]corev1.ContainerRestartRule, test.rules)
			if got := Restartable(p, c); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// looked is a node daemon that reports what containers run with: values says which value of the label tier each got.
func looked(t *testing.T, p *corev1.Pod, values map[string]string) {
	t.Helper()
	var report Runtime
	for _, name := range slices.Sorted(maps.Keys(values)) {
		var seen RuntimeContainer
		seen.Name = name
		for _, status := range p.Status.ContainerStatuses {
			if status.Name == name {
				seen.ContainerID = status.ContainerID
			}
		}
		seen.Hashes.ExtractedEnvFromMetadataHash = EnvHash(map[string]string{"TIER": values[name]})
		report.Containers = append(report.Containers, seen)
	}
	raw, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	p.Annotations["apps.kruise.io/runtime-containers-meta"] = string(raw)
}

// TestEnvironmentByDaemon plays a change of a label that the container main reads; side does not.
func TestEnvironmentByDaemon(t *testing.T) {
	type step = func(t *testing.T, p *corev1.Pod)
	relabel := func(revision, tier string, images ...string) step {
		return func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			delta := Delta{Env: []string{"main"}, Labels: map[string]*string{"tier": &tier}}
			for _, text := range images {
				name, image, _ := strings.Cut(text, "=")
				put(&delta.Images, name, image)
			}
			state, first := Begin(p, delta, revision, now)
			p.Labels["tier"] = tier
			apply(t, p, state, first)
		}
	}
	restarts := func(t *testing.T, p *corev1.Pod) { t.Helper(); restart(p, "main") }
	reports := func(tier string) step {
		return func(t *testing.T, p *corev1.Pod) { t.Helper(); looked(t, p, map[string]string{"main": tier}) }
	}
	byHand := func(tier string) step {
		return func(t *testing.T, p *corev1.Pod) { t.Helper(); p.Labels["tier"] = tier }
	}
	opened := func(t *testing.T, p *corev1.Pod) {
		t.Helper()
		p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "InPlaceUpdateReady"}}
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "InPlaceUpdateReady", Status: "True"})
	}
	observed := func(t *testing.T, p *corev1.Pod) { t.Helper(); observe(p) }
	for _, test := range []struct {
		reason string
		do     []step
		want   Phase
		due    string
	}{
		{"asked for", []step{reports("a"), relabel("v2", "b")}, Running, "main"},
		{"restarted, not looked at yet", []step{reports("a"), relabel("v2", "b"), restarts}, Running, "main"},
		{"restarted with the new value", []step{reports("a"), relabel("v2", "b"), restarts, reports("b")}, Idle, ""},
		{"restarted by a kubelet that had the old value still", []step{reports("a"), relabel("v2", "b"), restarts, reports("a")}, Running, "main"},
		{"the gate is not closed yet", []step{opened, reports("a"), relabel("v2", "b")}, Running, ""},
		{"taken back before the restart", []step{reports("a"), relabel("v2", "b"), relabel("v3", "a")}, Idle, ""},
		{"overtaken before the restart", []step{reports("a"), relabel("v2", "b"), relabel("v3", "c")}, Running, "main"},
		{"overtaken after the restart", []step{reports("a"), relabel("v2", "b"), restarts, reports("b"), relabel("v3", "c")}, Running, "main"},
		{
			"somebody changes the label by hand afterwards: nobody asked for a restart",
			[]step{reports("a"), relabel("v2", "b"), restarts, reports("b"), byHand("x")},
			Idle, "",
		},
		{
			"the container crashes after that",
			[]step{reports("a"), relabel("v2", "b"), restarts, reports("b"), byHand("x"), restarts, reports("x")},
			Idle, "",
		},
		{
			"the label is put back then: the pod is not what its revision says",
			[]step{reports("a"), relabel("v2", "b"), restarts, reports("b"), byHand("x"), restarts, reports("x"), byHand("b")},
			Running, "main",
		},
		{"changed by hand before the restart: it gets what there is", []step{reports("a"), relabel("v2", "b"), byHand("x")}, Running, "main"},
		{"and has it", []step{reports("a"), relabel("v2", "b"), byHand("x"), restarts, reports("x")}, Idle, ""},
		{"changed back by hand: it has it already", []step{reports("a"), relabel("v2", "b"), byHand("a")}, Idle, ""},
		{"changed by hand, without a change in place", []step{reports("a"), byHand("b")}, Idle, ""},
		{"with a new image the kubelet restarts it", []step{reports("a"), relabel("v2", "b", "main=web:v2")}, Running, ""},
		{"and has: nobody waits for a report", []step{reports("a"), relabel("v2", "b", "main=web:v2"), observed, restarts}, Idle, ""},
		{
			"its image is taken back in time, and nothing restarts it but the daemon",
			[]step{reports("a"), relabel("v2", "b", "main=web:v2"), relabel("v3", "c", "main=web:v1"), observed},
			Running, "main",
		},
		{
			"which it has", []step{
				reports("a"), relabel("v2", "b", "main=web:v2"), relabel("v3", "c", "main=web:v1"), observed, restarts, reports("c"),
			}, Idle, "",
		},
		{"no daemon: a restart by whom ever has to do", []step{relabel("v2", "b"), observed, restarts}, Idle, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := running("main=web:v1", "side=side:v1")
			p.Spec.Containers[0].Env = []corev1.EnvVar{env("TIER", "metadata.labels['tier']")}
			p.Labels["tier"] = "a"
			for _, do := range test.do {
				do(t, p)
			}
			if phase, why := Progress(p); phase != test.want {
				t.Errorf("phase is %d (%s), want %d", phase, why, test.want)
			}
			// A daemon that has died since is what a user must be able to find out.
			if _, why := Progress(p); test.due != "" && !strings.Contains(why, "container main has not started with its new environment") {
				t.Errorf("what it waits for reads %q", why)
			}
			if due := strings.Join(Due(p), " "); due != test.due {
				t.Errorf("due is %q, want %q", due, test.due)
			}
		})
	}
}

// A container of lower launch priority gets its new image, and with it the environment, in a later batch: the first must not
// wait for it.
func TestEnvironmentOfALaterBatch(t *testing.T) {
	p := running("main=web:v1", "side=side:v1")
	p.Spec.Containers[0].Env = []corev1.EnvVar{env("TIER", "metadata.labels['tier']")}
	p.Spec.Containers[1].Env = []corev1.EnvVar{{Name: "KRUISE_CONTAINER_PRIORITY", Value: "5"}}
	tier := "b"
	state, images := Begin(p, Delta{
		Env: []string{"main"}, Labels: map[string]*string{"tier": &tier}, Images: map[string]string{"main": "web:v2", "side": "side:v2"},
	}, "v2", now)
	apply(t, p, state, images)
	observe(p)
	restart(p, "side")
	if phase, why := Progress(p); phase != NextBatch {
		t.Errorf("phase is %d: %s", phase, why)
	}
}

func TestDueOnlyWhereAStopIsARestart(t *testing.T) {
	p := running("main=web:v1")
	p.Spec.Containers[0].Env = []corev1.EnvVar{env("TIER", "metadata.labels['tier']")}
	looked(t, p, map[string]string{"main": "a"})
	tier := "b"
	state, _ := Begin(p, Delta{Env: []string{"main"}, Labels: map[string]*string{"tier": &tier}}, "v2", now)
	p.Labels["tier"] = tier
	apply(t, p, state, nil)
	p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	if due := Due(p); due != nil {
		t.Errorf("due is %v, but a container that ends well would not come back", due)
	}
}

func TestSidecarsReadMetadata(t *testing.T) {
	sidecar := func(policy *corev1.ContainerRestartPolicy) func(*corev1.PodTemplateSpec) {
		return func(tmpl *corev1.PodTemplateSpec) {
			c := &tmpl.Spec.InitContainers[0]
			c.RestartPolicy, c.Env = policy, []corev1.EnvVar{env("TIER", "metadata.labels['tier']")}
		}
	}
	for reason, test := range map[string]struct {
		policy *corev1.ContainerRestartPolicy
		want   string
	}{
		"a sidecar runs on, and must start again": {ptr.To(corev1.ContainerRestartPolicyAlways), "env setup; label tier=gold"},
		"an init container has run":               {nil, "label tier=gold"},
	} {
		from, to := template(sidecar(test.policy)), template(sidecar(test.policy))
		to.Labels["tier"] = "gold"
		delta, blocked := Between(from, to)
		if got := say(delta); got != test.want || blocked != nil {
			t.Errorf("%s: got %q (%v), want %q", reason, got, blocked, test.want)
		}
	}
}
