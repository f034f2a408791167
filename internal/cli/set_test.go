package cli

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestSetImage(t *testing.T) {
	s := newShell(t)
	s.seed()
	s.says(s.run(CodeOK, "set", "image", "cloneset/web", "web=nginx:3", "--dry-run=client"), "cloneset/web would be changed", "nginx:2 -> nginx:3")
	s.says(s.run(CodeOK, "set", "image", "cloneset/web", "web=nginx:3", "--dry-run=server"), "would be changed")
	if image := s.web().Spec.Template.Spec.Containers[0].Image; image != "nginx:2" {
		t.Fatalf("a dry run set %s", image)
	}
	s.says(s.run(CodeOK, "set", "image", "cloneset", "web", "web=nginx:3"), "~ spec.containers[web].image: nginx:2 -> nginx:3")
	if image := s.web().Spec.Template.Spec.Containers[0].Image; image != "nginx:3" {
		t.Errorf("the image is %s", image)
	}
	s.says(s.run(CodeOK, "set", "image", "cloneset/web", "*=nginx:3"), "is so already")
	s.says(s.run(CodeNotFound, "set", "image", "cloneset/web", "wbe=nginx:4"), `there is no container "wbe"`, "there are: web")
	s.says(s.run(CodeUsage, "set", "image", "cloneset/web"), "CONTAINER=IMAGE is missing")
	s.says(s.run(CodeUsage, "set", "image", "cloneset/web", "web="), `"web=" is not CONTAINER=IMAGE`)
	s.says(s.run(CodeUsage, "set", "colour", "cloneset/web"), `unknown verb "set colour"`, "image")
}

func TestSetEnv(t *testing.T) {
	s := newShell(t)
	set := s.seed()
	set.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{
		Name: "WHO", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}},
	}, {Name: "OLD", Value: "1"}}
	set.ResourceVersion = s.web().ResourceVersion
	s.must(s.env.Client.Update(t.Context(), set))
	s.run(CodeOK, "set", "env", "cloneset/web", "WHO=me", "LEVEL=a=b", "OLD-", "EMPTY=")
	var got []string
	for _, v := range s.web().Spec.Template.Spec.Containers[0].Env {
		if v.ValueFrom != nil {
			t.Errorf("%s still comes from elsewhere", v.Name)
		}
		got = append(got, v.Name+"="+v.Value)
	}
	if text := strings.Join(got, " "); text != "WHO=me LEVEL=a=b EMPTY=" {
		t.Errorf("got %s", text)
	}
	s.run(CodeOK, "set", "env", "cloneset/web", "WHO-", "LEVEL-", "EMPTY-", "-c", "w*")
	if env := s.web().Spec.Template.Spec.Containers[0].Env; len(env) > 0 {
		t.Errorf("got %v", env)
	}
	s.says(s.run(CodeUsage, "set", "env", "cloneset/web", "a b=1"), "names no environment variable")
	s.says(s.run(CodeNotFound, "set", "env", "cloneset/web", "A=1", "-c", "other"), `there is no container "other"`)
}

func TestSetResources(t *testing.T) {
	s := newShell(t)
	s.seed()
	s.run(CodeOK, "set", "resources", "cloneset/web", "--limits", "cpu=500m,memory=512Mi", "--requests=cpu=100m")
	r := s.web().Spec.Template.Spec.Containers[0].Resources
	if r.Limits.Cpu().String() != "500m" || r.Limits.Memory().String() != "512Mi" || r.Requests.Cpu().String() != "100m" {
		t.Errorf("got %+v", r)
	}
	s.run(CodeOK, "set", "resources", "cloneset/web", "--limits", "memory=0")
	if r := s.web().Spec.Template.Spec.Containers[0].Resources; len(r.Limits) != 1 || len(r.Requests) != 1 {
		t.Errorf("got %+v", r)
	}
	s.says(s.run(CodeUsage, "set", "resources", "cloneset/web"), "--limits or --requests is needed")
	s.says(s.run(CodeUsage, "set", "resources", "cloneset/web", "--limits", "cpu"), `"cpu" is not NAME=QUANTITY`)
}

func TestScaleDown(t *testing.T) {
	s := newShell(t)
	s.seed()
	s.says(s.run(CodeOK, "scaledown", "cloneset/web", "--pods", "web-2"), "scaled from 3 to 2, without web-2")
	if spec := s.web().Spec; *spec.Replicas != 2 || len(spec.ScaleStrategy.PodsToDelete) != 1 || spec.ScaleStrategy.PodsToDelete[0] != "web-2" {
		t.Errorf("got %d, %v", *spec.Replicas, spec.ScaleStrategy)
	}
	s.says(s.run(CodeUsage, "scaledown", "cloneset/web", "--pods", "web-2"), "is on its way to lose web-2 already")
	if n := *s.web().Spec.Replicas; n != 2 {
		t.Errorf("asked twice, it wants %d", n)
	}
	s.says(s.run(CodeOK, "scaledown", "cloneset", "web", "--pods", "web-3,web-2,web-1"), "scaled from 2 to 0")
	stranger := testkit.Pod(func(p *corev1.Pod) { p.Namespace, p.Name, p.UID = s.namespace, "alone", "" })
	stranger.Spec.NodeName = ""
	s.must(s.env.Client.Create(t.Context(), stranger))
	s.says(s.run(CodeUsage, "scaledown", "cloneset/web", "--pods", "alone"), "pod alone does not belong to cloneset/web")
	s.says(s.run(CodeNotFound, "scaledown", "cloneset/web", "--pods", "none"), "none")
	s.says(s.run(CodeUsage, "scaledown", "cloneset/web"), "--pods is needed")
}

func TestWhatCannotBeRestarted(t *testing.T) {
	s := newShell(t)
	job := &v1beta1.BroadcastJob{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "scan"}}
	job.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: "Never", Containers: []corev1.Container{{Name: "main", Image: "scan:1"}}}
	s.must(s.env.Client.Create(t.Context(), job))
	s.says(s.run(CodeUsage, "rollout", "restart", "bcj/scan"), "run to their end", "create it anew")
	s.says(s.run(CodeUsage, "scaledown", "bcj/scan", "--pods", "x"), "pods cannot be chosen")
	s.says(s.run(CodeOK, "set", "image", "bcj/scan", "main=scan:2"), "scan:1 -> scan:2")
}
