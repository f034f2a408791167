package inject_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-io/holdfast/internal/apps/sidecarset/inject"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// template reads what a SidecarSet gives.
func template(t testing.TB, text string) inject.Template {
	t.Helper()
	var tmpl inject.Template
	if err := yaml.UnmarshalStrict([]byte(text), &tmpl); err != nil {
		t.Fatalf("read the template: %v", err)
	}
	return tmpl
}

func compiled(t testing.TB, text string) *inject.Plan {
	t.Helper()
	plan, errs := inject.Compile(template(t, text), field.NewPath("spec"))
	if len(errs) > 0 {
		t.Fatalf("compile: %v", errs)
	}
	return plan
}

func pod(t testing.TB, text string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	if err := yaml.UnmarshalStrict([]byte(text), p); err != nil {
		t.Fatalf("read the pod: %v", err)
	}
	return p
}

// patched applies the patch to the pod as the API server does.
func patched(t testing.TB, p *corev1.Pod, injections ...inject.Injection) *corev1.Pod {
	t.Helper()
	edit, err := inject.Into(p, injections, testkit.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	before, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(edit.Patch(p))
	if err != nil {
		t.Fatal(err)
	}
	ops, err := jsonpatch.DecodePatch(raw)
	if err != nil {
		t.Fatalf("decode %s: %v", raw, err)
	}
	after, err := ops.Apply(before)
	if err != nil {
		t.Fatalf("apply %s: %v", raw, err)
	}
	out := &corev1.Pod{}
	if err := json.Unmarshal(after, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// short writes a pod's containers on one line: "init: a=image | b=image(FOO /mount)".
func short(p *corev1.Pod) string {
	var words []string
	describe := func(prefix string, all []corev1.Container) {
		for i := range all {
			c := &all[i]
			var facts []string
			for _, e := range c.Env {
				if e.Name != "IS_INJECTED" {
					facts = append(facts, e.Name)
				}
			}
			for _, m := range c.VolumeMounts {
				facts = append(facts, m.Name+":"+m.MountPath)
			}
			for _, d := range c.VolumeDevices {
				facts = append(facts, d.Name+":"+d.DevicePath)
			}
			for _, list := range []corev1.ResourceList{c.Resources.Limits, c.Resources.Requests} {
				for _, name := range []corev1.ResourceName{"cpu", "memory"} {
					if q, ok := list[name]; ok {
						facts = append(facts, string(name)+"="+q.String())
					}
				}
			}
			word := prefix + c.Name + "=" + c.Image
			if len(facts) > 0 {
				word += "(" + strings.Join(facts, " ") + ")"
			}
			words = append(words, word)
		}
	}
	describe("init:", p.Spec.InitContainers)
	describe("", p.Spec.Containers)
	for _, v := range p.Spec.Volumes {
		words = append(words, "volume:"+v.Name)
	}
	for _, s := range p.Spec.ImagePullSecrets {
		words = append(words, "secret:"+s.Name)
	}
	return strings.Join(words, " ")
}

const app = `
metadata: {name: web, labels: {app: web, main: app}}
spec:
  containers:
  - name: app
    image: web:1
    env: [{name: PROXY_IP, value: "1"}, {name: PROXY_PORT, value: "2"}, {name: OTHER, value: "3"}]
    resources: {limits: {cpu: "2", memory: 1Gi}, requests: {cpu: "1"}}
    volumeMounts: [{name: data, mountPath: /data, subPathExpr: $(OTHER)}]
  - name: second
    image: two:1
    resources: {limits: {cpu: "1"}, requests: {cpu: "1"}}
    volumeMounts: [{name: data, mountPath: /data}, {name: logs, mountPath: /logs}]
    volumeDevices: [{name: disk, devicePath: /dev/disk}]
  volumes: [{name: data}, {name: logs}]
`

func TestContainers(t *testing.T) {
	const own = "app=web:1(PROXY_IP PROXY_PORT OTHER data:/data cpu=2 memory=1Gi cpu=1) " +
		"second=two:1(data:/data logs:/logs disk:/dev/disk cpu=1 cpu=1)"
	const rest = " volume:data volume:logs"
	for _, test := range []struct{ reason, set, want string }{
		{"before, by default", `containers: [{name: log, image: log:1}]`, "log=log:1 " + own + rest},
		{
			"several by name", `containers: [{name: b, image: b:1}, {name: a, image: a:1}, {name: z, image: z:1, podInjectPolicy: AfterAppContainer}, {name: x, image: x:1, podInjectPolicy: AfterAppContainer}]`,
			"a=a:1 b=b:1 " + own + " x=x:1 z=z:1" + rest,
		},
		{"after", `containers: [{name: log, image: log:1, podInjectPolicy: AfterAppContainer}]`, own + " log=log:1" + rest},
		{
			"init containers by name", `initContainers: [{name: z, image: z:1}, {name: a, image: a:1, restartPolicy: Always}]`,
			"init:a=a:1 init:z=z:1 " + own + rest,
		},
		{
			"volumes that the pod lacks, and pull secrets",
			`{containers: [{name: log, image: log:1}], volumes: [{name: conf}, {name: data, emptyDir: {}}], imagePullSecrets: [{name: pull}]}`,
			"log=log:1 " + own + rest + " volume:conf secret:pull",
		},
		{
			"shared mounts: its own path stays, of two the first counts, and what the path is made of comes along",
			`containers: [{name: log, image: log:1, shareVolumePolicy: {type: enabled}, volumeMounts: [{name: mine, mountPath: /logs}]}]`,
			"log=log:1(OTHER mine:/logs data:/data) " + own + rest,
		},
		{
			"shared devices", `containers: [{name: log, image: log:1, shareVolumeDevicePolicy: {type: enabled}}]`,
			"log=log:1(disk:/dev/disk) " + own + rest,
		},
		{
			"a variable by name", `containers: [{name: log, image: log:1, transferEnv: [{sourceContainerName: app, envName: PROXY_IP}]}]`,
			"log=log:1(PROXY_IP) " + own + rest,
		},
		{
			"variables by expression, from the container that a label names; its own stays",
			`containers: [{name: log, image: log:1, env: [{name: PROXY_PORT, value: mine}], transferEnv: [{sourceContainerNameFrom: {fieldRef: {fieldPath: "metadata.labels['main']"}}, envNames: [PROXY_.*]}]}]`,
			"log=log:1(PROXY_IP PROXY_PORT) " + own + rest,
		},
		{
			"a container that is not there gives nothing",
			`containers: [{name: log, image: log:1, transferEnv: [{sourceContainerName: none, envNames: [.*]}]}]`, "log=log:1 " + own + rest,
		},
		{
			"resources from the sum; memory has no limit in one container, so none comes of it",
			`containers: [{name: log, image: log:1, resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {cpu: cpu*50%, memory: memory*10%}, requests: {cpu: cpu/4, memory: 64Mi}}}}]`,
			"log=log:1(cpu=1500m cpu=500m memory=64Mi) " + own + rest,
		},
		{
			"resources from the largest",
			`containers: [{name: log, image: log:1, resourcesPolicy: {targetContainersMode: max, targetContainersNameRegex: "^app$", resourcesExpr: {limits: {cpu: "max(cpu-1, 200m)", memory: "min(memory, 200Mi)"}}}}]`,
			"log=log:1(cpu=1 memory=200Mi) " + own + rest,
		},
		{
			"a hot upgrade holds two",
			`containers: [{name: envoy, image: envoy:1, upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: empty:1}}]`,
			"envoy-1=envoy:1(SIDECARSET_VERSION SIDECARSET_VERSION_ALT) envoy-2=empty:1(SIDECARSET_VERSION SIDECARSET_VERSION_ALT) " + own + rest,
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := pod(t, app)
			got := patched(t, p, inject.Injection{Set: "s", Plan: compiled(t, test.set)})
			if short(got) != test.want {
				t.Errorf("\n got %s\nwant %s", short(got), test.want)
			}
			for _, c := range slices.Concat(got.Spec.Containers, got.Spec.InitContainers) {
				marked := slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "IS_INJECTED" && e.Value == "true" })
				if marked == slices.ContainsFunc(p.Spec.Containers, func(o corev1.Container) bool { return o.Name == c.Name }) {
					t.Errorf("container %s is marked as injected: %v", c.Name, marked)
				}
			}
			again := patched(t, got, inject.Injection{Set: "s", Plan: compiled(t, test.set)})
			if short(again) != test.want {
				t.Errorf("a copy of the pod becomes\n     %s\nwant %s", short(again), test.want)
			}
		})
	}
}

func TestAnnotations(t *testing.T) {
	for _, test := range []struct {
		reason, set, have string
		want              map[string]string
		warning           string
	}{
		{
			"what is told of a set", `containers: [{name: log, image: log:1}]`, `{}`,
			map[string]string{"kruise.io/sidecarset-injected-list": "s"},
			"",
		},
		{
			"retained", `patchPodMetadata: [{annotations: {a: new, b: new}}]`, `{a: old}`,
			map[string]string{"a": "old", "b": "new"},
			"",
		},
		{"overwritten", `patchPodMetadata: [{annotations: {a: new}, patchPolicy: Overwrite}]`, `{a: old}`, map[string]string{"a": "new"}, ""},
		{
			"merged", `patchPodMetadata: [{annotations: {oom: '{"log": 1}'}, patchPolicy: MergePatchJson}]`, `{oom: '{"envoy": 2}'}`,
			map[string]string{"oom": `{"envoy":2,"log":1}`},
			"",
		},
		{
			"cannot be merged", `patchPodMetadata: [{annotations: {oom: '{"log": 1}'}, patchPolicy: MergePatchJson}]`, `{oom: much}`,
			map[string]string{"oom": "much"},
			"metadata.annotations[oom] stays as it is",
		},
		{
			"a hot upgrade",
			`containers: [{name: envoy, image: envoy:1, upgradeStrategy: {upgradeType: HotUpgrade, hotUpgradeEmptyImage: empty:1}}]`, `{x: kept}`,
			map[string]string{
				"x": "kept", "kruise.io/sidecarset-working-hotupgrade-container": `{"envoy":"envoy-1"}`,
				"version.sidecarset.kruise.io/envoy-1": "1", "versionalt.sidecarset.kruise.io/envoy-1": "0",
				"version.sidecarset.kruise.io/envoy-2": "0", "versionalt.sidecarset.kruise.io/envoy-2": "1",
			},
			"",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := pod(t, app)
			if err := yaml.Unmarshal([]byte(test.have), &p.Annotations); err != nil {
				t.Fatal(err)
			}
			in := inject.Injection{Set: "s", Plan: compiled(t, test.set)}
			got := patched(t, p, in).Annotations
			for key, want := range test.want {
				if got[key] != want {
					t.Errorf("%s is %q, want %q", key, got[key], want)
				}
			}
			edit, err := inject.Into(p, []inject.Injection{in}, testkit.Epoch)
			if err != nil || !strings.Contains(strings.Join(edit.Warnings, "\n"), test.warning) || (test.warning == "") != (len(edit.Warnings) == 0) {
				t.Errorf("warnings %q (%v), want %q", edit.Warnings, err, test.warning)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	plan := compiled(t, `{containers: [{name: log, image: log:1}], initContainers: [{name: agent, image: a:1, restartPolicy: Always}, {name: once, image: o:1}]}`)
	got := patched(t, pod(t, app), inject.Injection{Set: "b", Revision: "b-1", Plan: plan},
		inject.Injection{Set: "a", Revision: "a-1", Plan: compiled(t, `containers: [{name: x, image: x:1}]`)})
	want := fmt.Sprintf(`{"updateTimestamp":%q,"hash":%q,"sidecarSetName":"b","sidecarList":["log","agent"],"controllerRevision":"b-1"}`,
		metav1.NewTime(testkit.Epoch).UTC().Format("2006-01-02T15:04:05Z"), plan.Hash)
	if text := got.Annotations["kruise.io/sidecarset-hash"]; !strings.Contains(text, `"b":`+want) {
		t.Errorf("got %s, want it to hold %s", text, want)
	}
	if text := got.Annotations["kruise.io/sidecarset-hash-without-image"]; !strings.Contains(text, plan.HashWithoutImage) {
		t.Errorf("got %s, want it to hold %s", text, plan.HashWithoutImage)
	}
	if !slices.Equal(inject.Names(got), []string{"a", "b"}) || !inject.Has(got, "a") || inject.Has(got, "c") {
		t.Errorf("got the sets %q", inject.Names(got))
	}
	if r := inject.Read(got, "kruise.io/sidecarset-hash")["b"]; r.Hash != plan.Hash || r.ControllerRevision != "b-1" {
		t.Errorf("read back %+v", r)
	}
}

func TestHashes(t *testing.T) {
	const base = `{containers: [{name: log, image: log:1}], initContainers: [{name: once, image: o:1}]}`
	for _, test := range []struct {
		reason, set      string
		same, changeable bool
	}{
		{"the same", base, true, true},
		{"another image", `{containers: [{name: log, image: log:2}], initContainers: [{name: once, image: o:1}]}`, false, true},
		{"an init container that is done", `{containers: [{name: log, image: log:1}], initContainers: [{name: once, image: o:2}]}`, true, true},
		{"a restartable one", `{containers: [{name: log, image: log:1}], initContainers: [{name: once, image: o:1, restartPolicy: Always}]}`, false, false},
		{"a variable", `containers: [{name: log, image: log:1, env: [{name: A, value: b}]}]`, false, false},
		{"a volume", `{containers: [{name: log, image: log:1}], volumes: [{name: x}]}`, false, false},
		{"an annotation that pods keep", `{containers: [{name: log, image: log:1}], patchPodMetadata: [{annotations: {a: b}}]}`, true, true},
		{"one that follows", `{containers: [{name: log, image: log:1}], patchPodMetadata: [{annotations: {a: b}, patchPolicy: Overwrite}]}`, false, true},
	} {
		t.Run(test.reason, func(t *testing.T) {
			a, b := compiled(t, base), compiled(t, test.set)
			if (a.Hash == b.Hash) != test.same || (a.HashWithoutImage == b.HashWithoutImage) != test.changeable {
				t.Errorf("%s %s, then %s %s", a.Hash, a.HashWithoutImage, b.Hash, b.HashWithoutImage)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	for _, test := range []struct{ reason, set, want string }{
		{"the pod's own name", `containers: [{name: app, image: log:1}]`, "SidecarSet s: its container app has the name of one of the pod's own"},
		{"another set's name", `containers: [{name: taken, image: log:1}]`, "has the name of one of SidecarSet a"},
		{
			"no target",
			`containers: [{name: log, image: l:1, resourcesPolicy: {targetContainersMode: sum, targetContainersNameRegex: none, resourcesExpr: {limits: {cpu: cpu}}}}]`,
			`targetContainersNameRegex "none" matches none of the pod's containers`,
		},
		{
			"a negative result", `containers: [{name: log, image: l:1, resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {requests: {cpu: cpu-9}}}}]`,
			"resourcesExpr.requests.cpu: the result is -7.000",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			_, err := inject.Into(pod(t, app), []inject.Injection{
				{Set: "a", Plan: compiled(t, `containers: [{name: taken, image: x:1}]`)}, {Set: "s", Plan: compiled(t, test.set)},
			}, testkit.Epoch)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, test := range []struct{ set, want string }{
		{
			`containers: [{name: a, transferEnv: [{sourceContainerName: x, envNames: ["("]}]}]`,
			"spec.containers[0].transferEnv[0].envNames[0]: Invalid value",
		},
		{
			`containers: [{name: a, transferEnv: [{sourceContainerNameFrom: {fieldRef: {fieldPath: metadata.name}}, envName: x}]}]`,
			"spec.containers[0].transferEnv[0].sourceContainerNameFrom.fieldRef.fieldPath",
		},
		{
			`initContainers: [{name: a, resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {limits: {cpu: cpu*}}}}]`,
			"spec.initContainers[0].resourcesPolicy.resourcesExpr.limits.cpu: Invalid value",
		},
		{
			`containers: [{name: a, resourcesPolicy: {targetContainersMode: sum, targetContainersNameRegex: "(", resourcesExpr: {requests: {memory: 1Mi}}}}]`,
			"spec.containers[0].resourcesPolicy.targetContainersNameRegex",
		},
		{`containers: [{name: a, resourcesPolicy: {targetContainersMode: sum, resourcesExpr: {}}}]`, "resourcesExpr: Required value"},
	} {
		_, errs := inject.Compile(template(t, test.set), field.NewPath("spec"))
		if err := errs.ToAggregate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want an error with %q", err, test.want)
		}
	}
}
