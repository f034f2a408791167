package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/api/apps/v1beta1"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// shell runs verbs as a user would, against the real API server.
type shell struct {
	t         *testing.T
	env       *testkit.Env
	namespace string
	config    string // path of the kubeconfig
}

// log is what a verb printed so far; it may be read while the verb runs.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newShell(t *testing.T) *shell {
	t.Helper()
	env := testkit.APIServer(t)
	s := &shell{t: t, env: env, namespace: env.Namespace(t), config: filepath.Join(t.TempDir(), "kubeconfig")}
	server := rest.CopyConfig(env.Config)
	if err := rest.LoadTLSFiles(server); err != nil {
		t.Fatal(err)
	}
	file := clientcmdapi.NewConfig()
	file.Clusters["it"] = &clientcmdapi.Cluster{Server: server.Host, CertificateAuthorityData: server.CAData}
	file.AuthInfos["me"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: server.CertData, ClientKeyData: server.KeyData, Token: server.BearerToken,
	}
	file.Contexts["here"] = &clientcmdapi.Context{Cluster: "it", AuthInfo: "me", Namespace: s.namespace}
	file.CurrentContext = "here"
	if err := clientcmd.WriteToFile(*file, s.config); err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a verb until it ends; the channel has its exit code then.
func (s *shell) start(ctx context.Context, args ...string) (out, errOut *log, code <-chan int) {
	s.t.Helper()
	out, errOut = &log{}, &log{}
	root := &cobra.Command{Use: "holdfast", SilenceErrors: true, SilenceUsage: true}
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: out, ErrOut: errOut}
	root.AddCommand(Commands(streams)...) //nolint:contextcheck // the verbs get it from ExecuteContext
	root.SetOut(out)
	root.SetArgs(append(args, "--kubeconfig", s.config, "--cache-dir", filepath.Join(filepath.Dir(s.config), "cache")))
	ended := make(chan int, 1)
	go func() { ended <- Report(errOut, root.ExecuteContext(ctx)) }()
	return out, errOut, ended
}

// run runs a verb that must end with code, and returns all that it printed.
func (s *shell) run(code int, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	out, errOut, ended := s.start(ctx, args...)
	if got := <-ended; got != code {
		s.t.Fatalf("%v: exit code %d, want %d\n%s%s", args, got, code, out, errOut)
	}
	return out.String() + errOut.String()
}

// says fails unless text holds every part.
func (s *shell) says(text string, parts ...string) {
	s.t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			s.t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// sees waits until a running verb has printed part.
func (s *shell) sees(out *log, part string) {
	s.t.Helper()
	testkit.Eventually(s.t, 30*time.Second, "the verb to print "+part, func(context.Context) error {
		if text := out.String(); !strings.Contains(text, part) {
			return fmt.Errorf("it printed:\n%s", text)
		}
		return nil
	})
}

func (s *shell) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// seed makes a CloneSet in the middle of an update, as its controller would have left it.
func (s *shell) seed() *v1beta1.CloneSet {
	s.t.Helper()
	ctx := s.t.Context()
	set := testkit.CloneSet(func(c *v1beta1.CloneSet) {
		c.Namespace = s.namespace
		c.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web", Image: "nginx:2"}}
	})
	s.must(s.env.Client.Create(ctx, set))
	for i, hash := range []string{"aaa", "bbb"} {
		revision := &appsv1.ControllerRevision{Revision: int64(i + 1)}
		revision.Namespace, revision.Name = s.namespace, "web-"+hash
		revision.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, v1beta1.SchemeGroupVersion.WithKind("CloneSet"))}
		revision.Data.Raw = fmt.Appendf(nil, `{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"web"}},`+
			`"spec":{"containers":[{"name":"web","image":"nginx:%d"}]}}}}`, i+1)
		s.must(s.env.Client.Create(ctx, revision))
	}
	for name, hash := range map[string]string{"web-1": "bbb", "web-2": "aaa", "web-3": "aaa"} {
		p := podOf(name, hash)
		status := p.Status
		p.Namespace, p.UID, p.CreationTimestamp = s.namespace, "", metav1.Time{}
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, v1beta1.SchemeGroupVersion.WithKind("CloneSet"))}
		s.must(s.env.Client.Create(ctx, &p))
		p.Status = status
		s.must(s.env.Client.Status().Update(ctx, &p))
	}
	s.report(1, v1beta1.HeldChange{Reason: v1beta1.HeldByBudget, Message: "3 pods are available", Count: 2, Pods: []string{"web-2", "web-3"}})
	return set
}

// report writes the status as the controller would.
func (s *shell) report(updated int32, held ...v1beta1.HeldChange) {
	s.t.Helper()
	set := s.web()
	set.Status = v1beta1.CloneSetStatus{
		ObservedGeneration: set.Generation, Replicas: 3, ReadyReplicas: 3, AvailableReplicas: 3, UpdatedReplicas: updated,
		UpdatedReadyReplicas: updated, CurrentRevision: "web-aaa", UpdateRevision: "web-bbb", Held: held,
	}
	s.must(s.env.Client.Status().Update(s.t.Context(), set))
}

func (s *shell) web() *v1beta1.CloneSet {
	s.t.Helper()
	set := &v1beta1.CloneSet{}
	s.must(s.env.Client.Get(s.t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "web"}, set))
	return set
}

func TestGetFromServer(t *testing.T) {
	s := newShell(t)
	s.says(s.run(CodeOK, "get"), "there are no workloads in namespace")
	s.seed()
	for _, name := range []string{"cloneset/web", "web", "clone/web"} {
		s.says(s.run(CodeOK, "get", name), "1 of 3 pods updated", "waits for budget 2: 3 pods are available", "revision 2 web-bbb  (update)", "├─ web-2",
			"waiting: budget")
	}
	s.says(s.run(CodeOK, "get", "-o", "wide"), "WORKLOAD", "cloneset/web", "web=nginx:2")
	s.says(s.run(CodeOK, "get", "cloneset", "-A"), "NAMESPACE", s.namespace)
	s.says(s.run(CodeOK, "get", "cloneset/web", "-o", "yaml"), "apiVersion: cli.holdfast.io/v1\nkind: WorkloadTree")
	var list List
	if err := json.Unmarshal([]byte(s.run(CodeOK, "get", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	if list.Kind != "WorkloadList" || len(list.Items) != 1 || list.Items[0].Updated != 1 {
		t.Errorf("got %+v", list)
	}
}

func TestAKindThatTheClusterLacks(t *testing.T) {
	k, _ := kindNamed("asts")
	err := missingKind(k, &meta.NoKindMatchError{GroupKind: k.groupKind()})
	text := err.Error()
	if !strings.Contains(text, "the cluster has no StatefulSet (statefulsets.apps.kruise.io)") || !strings.Contains(text, "holdfast install") {
		t.Errorf("got %q", text)
	}
	if code := Report(&log{}, err); code != CodeNotFound {
		t.Errorf("exit code %d", code)
	}
}

func TestErrorsFromServer(t *testing.T) {
	s := newShell(t)
	s.seed()
	s.says(s.run(CodeNotFound, "get", "cloneset/wbe"), `cloneset "wbe" is not in namespace`, "there are: web")
	s.says(s.run(CodeNotFound, "get", "nothing"), `"nothing" is neither a kind nor a workload in namespace`)
	s.says(s.run(CodeNotFound, "get", "asts/db"), `asts "db" is not in namespace`)
	s.says(s.run(CodeUsage, "get", "gizmo/x"), `unknown kind "gizmo"`)
	s.says(s.run(CodeUsage, "get", "cloneset/web", "--watch", "-o", "table"), "-o table: the formats are wide, json, yaml")
	s.says(s.run(CodeForbidden, "get", "cloneset/web", "--as", "nobody"), "clonesets.apps.kruise.io", "forbidden", "ask an administrator")
	s.says(s.run(CodeForbidden, "get", "cloneset/web", "--watch", "--as", "nobody"), "forbidden")
	s.says(s.run(CodeUnreachable, "get", "--server", "https://127.0.0.1:1"), "cannot reach the server https://127.0.0.1:1: connection refused")
	s.says(s.run(CodeUnreachable, "get", "--context", "gone"), "cannot use the kubeconfig", "gone")
	s.must(os.WriteFile(s.config, []byte("not a kubeconfig"), 0o600))
	s.says(s.run(CodeUnreachable, "get"), "cannot use the kubeconfig")
}

func TestChangesOnServer(t *testing.T) {
	s := newShell(t)
	s.seed()

	s.says(s.run(CodeFailed, "scale", "cloneset/web", "--replicas", "5", "--current-replicas", "4"), "wants 3 replicas, not 4")
	s.says(s.run(CodeOK, "scale", "cloneset/web", "--replicas", "5", "--current-replicas", "3"), "scaled from 3 to 5")
	if n := *s.web().Spec.Replicas; n != 5 {
		t.Errorf("replicas %d, want 5", n)
	}
	s.says(s.run(CodeOK, "scale", "cloneset", "web", "--replicas", "5"), "has 5 replicas already")
	s.says(s.run(CodeNotFound, "scale", "cloneset/wbe", "--replicas", "5"), "there are: web")

	s.says(s.run(CodeOK, "rollout", "pause", "cloneset/web"), "cloneset/web paused")
	if rolling := s.web().Spec.UpdateStrategy.RollingUpdate; rolling == nil || !rolling.Paused {
		t.Error("it is not paused")
	}
	s.says(s.run(CodeOK, "rollout", "pause", "cloneset/web"), "paused already")
	s.says(s.run(CodeFailed, "rollout", "restart", "cloneset/web"), "is paused, and would not restart", "rollout resume cloneset/web")
	s.says(s.run(CodeOK, "rollout", "resume", "cloneset/web"), "cloneset/web resumed")

	s.says(s.run(CodeOK, "rollout", "restart", "cloneset/web"), "cloneset/web restarts")
	if s.web().Spec.Template.Annotations[v1beta1.RestartedAt] == "" {
		t.Error("the template has no " + v1beta1.RestartedAt)
	}
}

func TestUndoOnServer(t *testing.T) {
	s := newShell(t)
	s.seed()
	s.says(s.run(CodeOK, "rollout", "history", "cloneset/web"), "[web].image: nginx:1 -> nginx:2", "current")
	s.says(s.run(CodeOK, "rollout", "history", "cloneset/web", "--revision", "2"), "~ spec.containers[web].image: nginx:1 -> nginx:2", "template:")
	s.says(s.run(CodeNotFound, "rollout", "history", "cloneset/web", "--revision", "9"), "has no revision 9")
	s.says(s.run(CodeOK, "rollout", "undo", "cloneset/web", "--dry-run=client"), "would go back to revision 1", "nginx:2 -> nginx:1")
	s.says(s.run(CodeOK, "rollout", "undo", "cloneset/web", "--dry-run=server"), "would go back to revision 1")
	if image := s.web().Spec.Template.Spec.Containers[0].Image; image != "nginx:2" {
		t.Fatalf("a dry run changed the image to %s", image)
	}
	s.says(s.run(CodeOK, "rollout", "undo", "cloneset/web"), "goes back to revision 1")
	if image := s.web().Spec.Template.Spec.Containers[0].Image; image != "nginx:1" {
		t.Errorf("the image is %s, want nginx:1", image)
	}
	s.says(s.run(CodeOK, "rollout", "undo", "cloneset/web", "--to-revision", "1"), "nothing to undo")
}

func TestStatusFromServer(t *testing.T) {
	s := newShell(t)
	s.seed()
	s.says(s.run(CodeOngoing, "rollout", "status", "cloneset/web", "--watch=false"), "1 of 3 pods updated; waits for budget 2")
	s.says(s.run(CodeTimeout, "rollout", "status", "cloneset/web", "--timeout", "300ms"), "is not done after 300ms", "kubectl holdfast why cloneset/web")
	s.says(s.run(CodeFailed, "rollout", "status", "cloneset/web", "--revision", "1"), "goes to revision 2, not to 1")

	out, errOut, ended := s.start(t.Context(), "rollout", "status", "cloneset/web", "--revision", "2")
	s.sees(out, "1 of 3 pods updated")
	s.report(2)
	s.sees(out, "cloneset/web: 2 of 3 pods updated\n")
	s.report(3)
	if code := <-ended; code != CodeOK {
		t.Fatalf("exit code %d\n%s%s", code, out, errOut)
	}
	s.says(out.String(), "cloneset/web: done, 3 of 3 pods updated, all available")
	s.says(s.run(CodeOK, "rollout", "status", "cloneset/web", "-o", "json"), `"kind": "RolloutStatus"`, `"state": "Done"`)
}

// TestWatchFromServer holds that a log gets each change once, and that it ends with the workload.
func TestWatchFromServer(t *testing.T) {
	s := newShell(t)
	set := s.seed()
	out, errOut, ended := s.start(t.Context(), "get", "cloneset/web", "--watch")
	s.sees(out, "pod/web-3  revision 1")
	before := strings.Count(out.String(), "\n")

	p := &corev1.Pod{}
	s.must(s.env.Client.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "web-1"}, p))
	waiting("ImagePullBackOff", "no such image")(p)
	s.must(s.env.Client.Status().Update(t.Context(), p))
	s.sees(out, "pod/web-1  revision 2  0/1 ImagePullBackOff")
	if lines := strings.Count(out.String(), "\n") - before; lines != 1 {
		t.Errorf("one change made %d lines:\n%s", lines, out)
	}
	s.must(s.env.Client.Delete(t.Context(), p, client.GracePeriodSeconds(0)))
	s.sees(out, "pod/web-1  gone")
	s.must(s.env.Client.Delete(t.Context(), set))
	if code := <-ended; code != CodeOK {
		t.Errorf("exit code %d", code)
	}
	s.says(errOut.String(), "cloneset/web is deleted")
}

func TestWhyFromServer(t *testing.T) {
	s := newShell(t)
	s.seed()
	s.says(s.run(CodeOK, "why", "cloneset/web"), "1. budget: 2 pods (web-2, web-3): waiting at the old revision", "why  3 pods are available")
	s.says(s.run(CodeOK, "why", "web-2"), "pod/web-2 in namespace", "of cloneset/web", "1. budget: waiting at the old revision")
	s.says(s.run(CodeOK, "why", "pod/web-1"), "it waits for nothing")
	s.says(s.run(CodeOK, "why", "cloneset/web", "-o", "json"), `"kind": "Diagnosis"`, `"cause": "Budget"`)
	s.says(s.run(CodeNotFound, "why", "pod/none"), `pod "none" is not in namespace`)

	stranger := testkit.Pod(func(p *corev1.Pod) { p.Namespace, p.Name, p.UID = s.namespace, "alone", "" })
	stranger.Spec.NodeName, stranger.Labels = "", nil
	s.must(s.env.Client.Create(t.Context(), stranger))
	s.says(s.run(CodeOK, "why", "alone"), "scheduling: it has just been created, and has no node yet")
}

// TestNativeOnServer holds that the verbs serve a Deployment, whose revisions are ReplicaSets.
func TestNativeOnServer(t *testing.T) {
	s := newShell(t)
	ctx := t.Context()
	labels := map[string]string{"app": "api"}
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "api", Image: "api:2"}}},
	}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "api", Annotations: map[string]string{deploymentRevision: "2"}},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template},
	}
	s.must(s.env.Client.Create(ctx, deployment))
	for i, hash := range []string{"h1", "h2"} {
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: "api-" + hash, Annotations: map[string]string{deploymentRevision: fmt.Sprint(i + 1)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(deployment, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		}}
		own := map[string]string{"app": "api", podTemplateHashLabel: hash}
		rs.Spec.Selector = &metav1.LabelSelector{MatchLabels: own}
		template.DeepCopyInto(&rs.Spec.Template)
		rs.Spec.Template.Labels = own
		rs.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("api:%d", i+1)
		s.must(s.env.Client.Create(ctx, rs))
		p := podOf("api-"+hash, hash, label("app", "api"), label(podTemplateHashLabel, hash))
		delete(p.Labels, "controller-revision-hash")
		p.Namespace, p.UID, p.CreationTimestamp = s.namespace, "", metav1.Time{}
		p.Spec.Containers[0].Image = rs.Spec.Template.Spec.Containers[0].Image
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
		s.must(s.env.Client.Create(ctx, &p))
	}
	s.says(s.run(CodeOK, "get", "deploy/api"), "revision 2 api-h2  (update)", "└─ api-h1", "has not seen generation 1")
	s.says(s.run(CodeOK, "why", "api-h1"), "of deployment/api", "notObserved")
	s.says(s.run(CodeOK, "rollout", "undo", "deploy/api"), "goes back to revision 1")
	s.must(s.env.Client.Get(ctx, client.ObjectKeyFromObject(deployment), deployment))
	if got := deployment.Spec.Template; got.Spec.Containers[0].Image != "api:1" || got.Labels[podTemplateHashLabel] != "" {
		t.Errorf("the template is %v of %v", got.Labels, got.Spec.Containers[0].Image)
	}
	s.says(s.run(CodeOK, "rollout", "pause", "deploy/api"), "deployment/api paused")
	s.says(s.run(CodeOK, "rollout", "history", "deploy/api"), "api-h1", "[api].image: api:1 -> api:2")
}

// TestCompletion holds what Tab offers.
func TestCompletion(t *testing.T) {
	s := newShell(t)
	s.seed()
	t.Setenv("KUBECONFIG", s.config)
	for _, c := range []struct {
		words string
		want  string
	}{
		{"get clo", "cloneset"},
		{"get cloneset/w", "cloneset/web"},
		{"rollout status cloneset w", "web"},
		{"why pod/web-", "pod/web-3"},
		{"get -o j", "json"},
	} {
		t.Run(c.words, func(t *testing.T) {
			out := &log{}
			root := &cobra.Command{Use: "holdfast"}
			root.AddCommand(Commands(genericiooptions.IOStreams{Out: out, ErrOut: out})...)
			root.SetOut(out)
			root.SetErr(out)
			root.SetArgs(append([]string{"__complete"}, strings.Fields(c.words)...))
			s.must(root.ExecuteContext(t.Context()))
			s.says(out.String(), c.want+"\n")
		})
	}
}
