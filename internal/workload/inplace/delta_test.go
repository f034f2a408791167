package inplace

import (
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/internal/pod"
)

// template is a pod template with a container main and a container side, changed by the overrides.
func template(overrides ...func(*corev1.PodTemplateSpec)) *corev1.PodTemplateSpec {
	t := &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"note": "one"}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "setup", Image: "setup:v1"}},
			Containers:     []corev1.Container{{Name: "main", Image: "web:v1"}, {Name: "side", Image: "side:v1"}},
		},
	}
	for _, override := range overrides {
		override(t)
	}
	return t
}

// with changes the container main.
func with(change func(c *corev1.Container)) func(*corev1.PodTemplateSpec) {
	return func(t *corev1.PodTemplateSpec) { change(&t.Spec.Containers[0]) }
}

// resources of main: "cpu=1 memory=1Gi / cpu=2", requests before the slash and limits behind it.
func resources(text string) func(*corev1.PodTemplateSpec) {
	list := func(words string) corev1.ResourceList {
		var l corev1.ResourceList
		for word := range strings.FieldsSeq(words) {
			name, quantity, _ := strings.Cut(word, "=")
			put((*map[corev1.ResourceName]resource.Quantity)(&l), corev1.ResourceName(name), resource.MustParse(quantity))
		}
		return l
	}
	requests, limits, _ := strings.Cut(text, "/")
	return with(func(c *corev1.Container) {
		c.Resources = corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)}
	})
}

func env(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

func none(*corev1.PodTemplateSpec) {}

// say puts a delta into words.
func say(d Delta) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(d.Images)) {
		words = append(words, "image "+name+"="+d.Images[name])
	}
	for _, name := range d.Env {
		words = append(words, "env "+name)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Resources)) {
		words = append(words, "resources "+name)
	}
	for kind, changes := range map[string]map[string]*string{"label": d.Labels, "annotation": d.Annotations} {
		for key, value := range changes {
			if value == nil {
				words = append(words, kind+" -"+key)
			} else {
				words = append(words, kind+" "+key+"="+*value)
			}
		}
	}
	slices.Sort(words)
	return strings.Join(words, "; ")
}

func TestBetween(t *testing.T) {
	type change = func(*corev1.PodTemplateSpec)
	labelled := with(func(c *corev1.Container) { c.Env = []corev1.EnvVar{env("TIER", "metadata.labels['tier']")} })
	noted := with(func(c *corev1.Container) { c.Env = []corev1.EnvVar{env("NOTE", "metadata.annotations['note']")} })
	for _, test := range []struct {
		reason        string
		from, to      change
		want, blocked string
	}{
		{"the same template", none, none, "", ""},
		{"an image", none, with(func(c *corev1.Container) { c.Image = "web:v2" }), "image main=web:v2", ""},
		{
			"an image, and what the API server fills in", func(t *corev1.PodTemplateSpec) { *t = *pod.Defaulted(t) },
			with(func(c *corev1.Container) { c.Image = "web:v2" }), "image main=web:v2", "",
		},
		{
			"an image whose pull policy follows its tag: the pod keeps its own", func(t *corev1.PodTemplateSpec) {
				t.Spec.DNSPolicy = corev1.DNSClusterFirst
			}, with(func(c *corev1.Container) { c.Image = "web:latest" }), "image main=web:latest", "",
		},
		{
			"a pull policy that was written", with(func(c *corev1.Container) { c.ImagePullPolicy = corev1.PullIfNotPresent }),
			with(func(c *corev1.Container) { c.Image = "web:latest" }), "image main=web:latest",
			"spec.containers[main].imagePullPolicy",
		},
		{
			"something else than the default", none, func(t *corev1.PodTemplateSpec) { t.Spec.DNSPolicy = corev1.DNSDefault }, "",
			"spec.dnsPolicy",
		},
		{
			"two images", none, func(t *corev1.PodTemplateSpec) { t.Spec.Containers[0].Image, t.Spec.Containers[1].Image = "x", "y" },
			"image main=x; image side=y", "",
		},
		{
			"the image of an init container, which does not run again", none,
			func(t *corev1.PodTemplateSpec) { t.Spec.InitContainers[0].Image = "setup:v2" }, "", "spec.initContainers[setup].image",
		},
		{
			"a label more, one other, one less", func(t *corev1.PodTemplateSpec) { t.Labels["old"] = "x" },
			func(t *corev1.PodTemplateSpec) { t.Labels["app"] = "web2"; t.Labels["new"] = "" }, "label -old; label app=web2; label new=", "",
		},
		{"an annotation", none, func(t *corev1.PodTemplateSpec) { t.Annotations["note"] = "two" }, "annotation note=two", ""},
		{
			"a label that a container reads", labelled, func(t *corev1.PodTemplateSpec) { labelled(t); t.Labels["tier"] = "gold" },
			"env main; label tier=gold", "",
		},
		{
			"an annotation that a container reads", noted, func(t *corev1.PodTemplateSpec) { noted(t); t.Annotations["note"] = "two" },
			"annotation note=two; env main", "",
		},
		{"a label beside the one that a container reads", labelled, func(t *corev1.PodTemplateSpec) { labelled(t); t.Labels["x"] = "y" }, "label x=y", ""},
		{
			"a restart that is asked for", none, func(t *corev1.PodTemplateSpec) { t.Annotations["kubectl.kubernetes.io/restartedAt"] = "now" },
			"annotation kubectl.kubernetes.io/restartedAt=now", "metadata.annotations[kubectl.kubernetes.io/restartedAt]",
		},
		{
			"a restart that is taken back", func(t *corev1.PodTemplateSpec) { t.Annotations["kubectl.kubernetes.io/restartedAt"] = "now" }, none,
			"annotation -kubectl.kubernetes.io/restartedAt", "",
		},
		{"a command", none, with(func(c *corev1.Container) { c.Command = []string{"sh"} }), "", "spec.containers[main].command"},
		{
			"a port with an image", none, with(func(c *corev1.Container) { c.Image, c.Ports = "web:v2", []corev1.ContainerPort{{ContainerPort: 80}} }),
			"image main=web:v2", "spec.containers[main].ports",
		},
		{
			"the value of a variable", with(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "A", Value: "1"}} }),
			with(func(c *corev1.Container) { c.Env = []corev1.EnvVar{{Name: "A", Value: "2"}} }), "", "spec.containers[main].env[A].value",
		},
		{"a field of the pod", none, func(t *corev1.PodTemplateSpec) { t.Spec.HostNetwork = true }, "", "spec.hostNetwork"},
		{
			"a container more", none, func(t *corev1.PodTemplateSpec) {
				t.Spec.Containers = append(t.Spec.Containers, corev1.Container{Name: "c"})
			},
			"", "spec.containers",
		},
		{"a container's name", none, with(func(c *corev1.Container) { c.Name = "other" }), "", "spec.containers[main].name"},
		{
			"containers in another order", none, func(t *corev1.PodTemplateSpec) { slices.Reverse(t.Spec.Containers) }, "",
			"spec.containers[main].image; spec.containers[main].name; spec.containers[side].image; spec.containers[side].name",
		},
		{"an empty list in place of none means the same", none, with(func(c *corev1.Container) { c.Args = []string{} }), "", ""},
		{"cpu, in other units, means the same", resources("cpu=1/cpu=2"), resources("cpu=1000m/cpu=2000m"), "", ""},
		{"more cpu", resources("cpu=1/cpu=2"), resources("cpu=1500m/cpu=2"), "resources main", ""},
		{"more memory and an image", resources("memory=1Gi"), func(t *corev1.PodTemplateSpec) {
			resources("memory=2Gi")(t)
			t.Spec.Containers[0].Image = "web:v2"
		}, "image main=web:v2; resources main", ""},
		{"a limit where there was none, same class", resources("cpu=1"), resources("cpu=1/cpu=2"), "resources main", ""},
		{"a limit taken away", resources("cpu=1/cpu=2"), resources("cpu=1"), "", "spec.containers[main].resources.limits[cpu]"},
		{"a request taken away", resources("cpu=1 memory=1Gi"), resources("cpu=1"), "", "spec.containers[main].resources.requests[memory]"},
		{
			"another resource", resources("ephemeral-storage=1Gi"), resources("ephemeral-storage=2Gi"), "",
			"spec.containers[main].resources.requests[ephemeral-storage]",
		},
		{
			"a claimed device", none, with(func(c *corev1.Container) { c.Resources.Claims = []corev1.ResourceClaim{{Name: "gpu"}} }), "",
			"spec.containers[main].resources.claims",
		},
		{
			"another class", resources(""), resources("cpu=1"), "resources main",
			"spec.containers[*].resources (the change moves the pod from QoS class BestEffort to Burstable)",
		},
	} {
		t.Run(test.reason, func(t *testing.T) {
			from, to := template(test.from), template(test.to)
			before := from.DeepCopy()
			delta, blocked := Between(from, to)
			got := strings.Join(blocked, "; ")
			if said := say(delta); said != test.want {
				t.Errorf("delta: got %q, want %q", said, test.want)
			}
			if got != test.blocked {
				t.Errorf("blocked: got %q, want %q", got, test.blocked)
			}
			if !slices.EqualFunc(before.Spec.Containers, from.Spec.Containers, func(a, b corev1.Container) bool { return a.Image == b.Image }) {
				t.Error("the template that a cache shares was changed")
			}
			if test.want == "" && test.blocked == "" && !delta.Empty() {
				t.Errorf("got %+v, want an empty delta", delta)
			}
		})
	}
}

func TestAResizeSpellsOutWhatFollowsTheLimits(t *testing.T) {
	delta, blocked := Between(template(resources("/cpu=1 memory=1Gi")), template(resources("/cpu=2 memory=1Gi")))
	if len(blocked) > 0 {
		t.Fatalf("blocked by %v", blocked)
	}
	if got := delta.Resources["main"].Requests[corev1.ResourceCPU]; got.String() != "2" {
		t.Errorf("requests %s of cpu: the pod got its limit as its request, and would lose its class if only the limit grew", got.String())
	}
}

func TestManyDifferencesAreCounted(t *testing.T) {
	_, blocked := Between(template(), template(func(t *corev1.PodTemplateSpec) {
		t.Spec.HostNetwork, t.Spec.HostPID, t.Spec.HostIPC, t.Spec.NodeName = true, true, true, "n"
		t.Spec.Hostname, t.Spec.Subdomain, t.Spec.SchedulerName = "h", "s", "x"
	}))
	if len(blocked) != maxDifferences+1 || blocked[maxDifferences] != "and 2 more" {
		t.Errorf("got %q", blocked)
	}
}

func TestQOSClass(t *testing.T) {
	for _, test := range []struct {
		reason, resources string
		want              corev1.PodQOSClass
	}{
		{"nothing", "", corev1.PodQOSBestEffort},
		{"other resources do not count", "ephemeral-storage=1Gi", corev1.PodQOSBestEffort},
		{"a request", "cpu=1", corev1.PodQOSBurstable},
		{"limits above requests", "cpu=1 memory=1Gi / cpu=2 memory=1Gi", corev1.PodQOSBurstable},
		{"only one limit", "cpu=1 / cpu=1", corev1.PodQOSBurstable},
		{"limits equal to requests", "cpu=1 memory=1Gi / cpu=1000m memory=1Gi", corev1.PodQOSGuaranteed},
		{"limits alone are requests too", "/ cpu=1 memory=1Gi", corev1.PodQOSGuaranteed},
	} {
		t.Run(test.reason, func(t *testing.T) {
			tmpl := template(resources(test.resources))
			tmpl.Spec.InitContainers, tmpl.Spec.Containers = nil, tmpl.Spec.Containers[:1]
			if got := qosClass(&tmpl.Spec); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
