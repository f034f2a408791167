package operator_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/holdfast-io/holdfast/internal/operator"
	"github.com/holdfast-io/holdfast/internal/operator/install"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

// The test binary becomes the operator when it finds this in its environment.
const asOperator = "HOLDFAST_TEST_AS_OPERATOR"

func TestMain(m *testing.M) {
	if os.Getenv(asOperator) == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	opts := operator.Defaults()
	flags := pflag.NewFlagSet("operator", pflag.ContinueOnError)
	opts.AddFlags(flags)
	err := flags.Parse(os.Args[1:])
	if err == nil {
		err = operator.Run(ctx, opts, os.Stderr)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is an operator that runs as a process of its own.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan struct{}
}

type lockedBuffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// start runs an operator on free ports.
func start(t *testing.T, kubeconfig, namespace string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, log: &lockedBuffer{}, done: make(chan struct{})}
	p.cmd = exec.CommandContext(t.Context(), self, append([]string{
		"--kubeconfig=" + kubeconfig, "--system-namespace=" + namespace, "--log-format=text",
		"--webhook-bind=127.0.0.1:0", "--metrics-bind=127.0.0.1:0", "--health-bind=127.0.0.1:0",
	}, args...)...)
	p.cmd.Env = append(os.Environ(), asOperator+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("log of the operator:\n%s", p.log)
		}
	})
	return p
}

// address reads from the log where a server listens.
func (p *process) address(server string) string {
	found := regexp.MustCompile(`"` + server + `"="([^"]+)"`).FindStringSubmatch(p.log.String())
	if found == nil {
		return ""
	}
	return found[1]
}

func (p *process) get(server, path string) (int, string) {
	address := p.address(server)
	if address == "" {
		return 0, ""
	}
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		p.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, ""
	}
	return response.StatusCode, string(body)
}

func (p *process) awaitReady() {
	p.t.Helper()
	await(p.t, 30*time.Second, "ready operator", func() bool { code, _ := p.get("health", "/readyz"); return code == http.StatusOK })
}

// metric tells whether the operator shows this line.
func (p *process) metric(line string) bool {
	_, body := p.get("metrics", "/metrics")
	return strings.Contains(body, "\n"+line+"\n")
}

// stop asks the operator to end and answers how long that took and its exit code.
func (p *process) stop() (time.Duration, int) {
	p.t.Helper()
	begun := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		p.t.Fatal("the operator did not stop within 30s")
	}
	return time.Since(begun), p.cmd.ProcessState.ExitCode()
}

func await(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(limit); !ok(); {
		select {
		case <-deadline:
			t.Fatalf("no %s within %s", what, limit)
		case <-tick.C:
		}
	}
	return time.Since(begun)
}

// kubeconfig writes how the test reaches its API server to a file.
func kubeconfig(t *testing.T, config *rest.Config) string {
	t.Helper()
	if err := rest.LoadTLSFiles(config); err != nil {
		t.Fatal(err)
	}
	file := clientcmdapi.NewConfig()
	file.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos["test"] = &clientcmdapi.AuthInfo{
		Token: config.BearerToken, ClientCertificateData: config.CertData, ClientKeyData: config.KeyData,
		Impersonate: config.Impersonate.UserName,
	}
	file.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	file.CurrentContext = "test"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*file, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// bad is a CloneSet that only admission refuses: its selector does not match its template.
func bad(namespace string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet",
		"metadata": map[string]any{"namespace": namespace, "name": "bad"},
		"spec": map[string]any{
			"selector": map[string]any{"matchLabels": map[string]any{"app": "a"}},
			"template": map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"app": "b"}},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "c", "image": "registry.local/pause:1"}}},
			},
		},
	}}
}

// One replica takes over from another: readiness, the lease, admission and the exit code.
func TestHandOver(t *testing.T) {
	env := testkit.APIServer(t)
	config := kubeconfig(t, rest.CopyConfig(env.Config))
	namespace := env.Namespace(t)

	a := start(t, config, namespace, "--leader-elect-identity=a")
	a.awaitReady()
	await(t, 15*time.Second, "leader a", func() bool { return a.metric("holdfast_leader 1") })
	refused := func() bool {
		err := env.Client.Create(t.Context(), bad(namespace))
		if err == nil {
			t.Fatal("a CloneSet whose selector does not match its template was let in")
		}
		return apierrors.IsInvalid(err) && strings.Contains(err.Error(), "selector")
	}
	await(t, 15*time.Second, "admission by a", func() bool {
		hooks := &admissionregistrationv1.ValidatingWebhookConfiguration{}
		err := env.Client.Get(t.Context(), types.NamespacedName{Name: operator.ConfigurationName}, hooks)
		return err == nil && len(hooks.Webhooks) > 0 && strings.Contains(*hooks.Webhooks[0].ClientConfig.URL, a.address("webhooks"))
	})
	await(t, 15*time.Second, "refusal by a", refused)

	b := start(t, config, namespace, "--leader-elect-identity=b")
	b.awaitReady()
	if b.metric("holdfast_leader 1") {
		t.Error("two replicas lead")
	}
	took, code := a.stop()
	if code != 0 {
		t.Errorf("a ended with code %d, want 0", code)
	}
	overtaken := await(t, 10*time.Second, "leader b", func() bool { return b.metric("holdfast_leader 1") })
	t.Logf("a stopped in %s; b led %s later", took.Round(time.Millisecond), overtaken.Round(time.Millisecond))
	if overtaken > 4*time.Second {
		t.Errorf("the hand-over took %s, want less than 4s", overtaken)
	}
	await(t, 15*time.Second, "refusal by b", refused)

	lease := &coordinationv1.Lease{}
	if err := env.Client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: operator.LeaseName}, lease); err != nil {
		t.Fatal(err)
	}
	if *lease.Spec.HolderIdentity != "b" {
		t.Errorf("the lease is held by %q, want b", *lease.Spec.HolderIdentity)
	}
	if _, code := b.stop(); code != 0 {
		t.Errorf("b ended with code %d, want 0", code)
	}
	unregister(t, env)
}

// unregister takes the webhooks away again: other tests of this server would wait for them.
func unregister(t *testing.T, env *testkit.Env) {
	t.Helper()
	for _, config := range configurations() {
		if err := client.IgnoreNotFound(env.Client.Delete(t.Context(), config)); err != nil {
			t.Fatal(err)
		}
	}
}

func configurations() []client.Object {
	all := []client.Object{&admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}}
	for _, config := range all {
		config.SetName(operator.ConfigurationName)
	}
	return all
}

// A kind that the cluster does not serve is not started; it is when its definition comes.
func TestMissingKind(t *testing.T) {
	env := testkit.APIServer(t)
	config := kubeconfig(t, rest.CopyConfig(env.Config))
	name := types.NamespacedName{Name: "clonesets.apps.kruise.io"}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := env.Client.Get(t.Context(), name, crd); err != nil {
		t.Fatal(err)
	}
	if err := env.Client.Delete(t.Context(), crd.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, "end of the definition", func() bool {
		return apierrors.IsNotFound(env.Client.Get(t.Context(), name, &apiextensionsv1.CustomResourceDefinition{}))
	})

	p := start(t, config, env.Namespace(t), "--leader-elect=false")
	p.awaitReady()
	await(t, 15*time.Second, "word of the missing kind", func() bool {
		return strings.Contains(p.log.String(), "controller not started") && p.metric(`holdfast_controller_enabled{controller="cloneset"} 0`)
	})
	fresh := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: crd.Name, Labels: crd.Labels, Annotations: crd.Annotations}, Spec: crd.Spec,
	}
	if err := env.Client.Create(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, "started controller", func() bool { return p.metric(`holdfast_controller_enabled{controller="cloneset"} 1`) })
	await(t, 30*time.Second, "conversion by the operator", func() bool {
		now := &apiextensionsv1.CustomResourceDefinition{}
		if err := env.Client.Get(t.Context(), name, now); err != nil {
			return false
		}
		return now.Spec.Conversion != nil && now.Spec.Conversion.Strategy == apiextensionsv1.WebhookConverter
	})
	if _, code := p.stop(); code != 0 {
		t.Errorf("ended with code %d, want 0", code)
	}
	unregister(t, env)
}

// While it drains, a replica answers admission but is not ready.
func TestDrain(t *testing.T) {
	env := testkit.APIServer(t)
	p := start(t, kubeconfig(t, rest.CopyConfig(env.Config)), env.Namespace(t), "--shutdown-delay=3s")
	p.awaitReady()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, 2*time.Second, "end of readiness", func() bool { code, _ := p.get("health", "/readyz"); return code == http.StatusServiceUnavailable })
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", p.address("webhooks"))
	if err != nil {
		t.Errorf("admission is not served while it drains: %v", err)
	} else {
		_ = conn.Close()
	}
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("ended with code %d, want 0", code)
	}
	unregister(t, env)
}

// The rights of the manifests are enough for the whole life of a CloneSet.
func TestRights(t *testing.T) {
	env := testkit.APIServer(t)
	installer, err := client.New(env.Config, client.Options{Scheme: scheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	o := install.Defaults()
	o.Wait, o.TakeOver = false, true
	if err := install.Apply(t.Context(), installer, o, io.Discard); err != nil {
		t.Fatal(err)
	}
	as := rest.CopyConfig(env.Config)
	as.Impersonate.UserName = "system:serviceaccount:" + o.SystemNamespace + ":holdfast-operator"
	p := start(t, kubeconfig(t, as), o.SystemNamespace)
	p.awaitReady()

	namespace := env.Namespace(t)
	good := bad(namespace)
	good.SetName("good")
	if err := unstructured.SetNestedField(good.Object, "a", "spec", "template", "metadata", "labels", "app"); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(good.Object, int64(2), "spec", "replicas"); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedSlice(good.Object, []any{map[string]any{
		"metadata": map[string]any{"name": "data"},
		"spec": map[string]any{
			"accessModes": []any{"ReadWriteOnce"}, "storageClassName": "local",
			"resources": map[string]any{"requests": map[string]any{"storage": "1Gi"}},
		},
	}}, "spec", "volumeClaimTemplates"); err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, "CloneSet", func() bool { return env.Client.Create(t.Context(), good.DeepCopy()) == nil })
	pods := func() int {
		list := &corev1.PodList{}
		if err := env.Client.List(t.Context(), list, client.InNamespace(namespace)); err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	await(t, 30*time.Second, "pods", func() bool { return pods() == 2 })
	await(t, 30*time.Second, "status", func() bool {
		now := good.DeepCopy()
		if err := env.Client.Get(t.Context(), client.ObjectKeyFromObject(good), now); err != nil {
			t.Fatal(err)
		}
		replicas, _, _ := unstructured.NestedInt64(now.Object, "status", "replicas")
		return replicas == 2
	})
	scale := []byte(`{"spec":{"replicas":0}}`)
	if err := env.Client.Patch(t.Context(), good.DeepCopy(), client.RawPatch(types.MergePatchType, scale)); err != nil {
		t.Fatal(err)
	}
	await(t, 30*time.Second, "end of the pods", func() bool { return pods() == 0 })
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, "forbidden") {
			t.Errorf("a right is missing: %s", line)
		}
	}
	if _, code := p.stop(); code != 0 {
		t.Errorf("ended with code %d, want 0", code)
	}
	unregister(t, env)
}

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s, err := operator.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStartErrors(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	broken := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(broken, []byte("rubbish: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := kubeconfig(t, &rest.Config{Host: "https://127.0.0.1:1"})
	for _, tc := range []struct {
		name   string
		change func(o *operator.Options)
		want   []string
	}{
		{"a kubeconfig that is not there", func(o *operator.Options) { o.Kubeconfig = "/nonexistent" }, []string{"--kubeconfig", "/nonexistent", "name a file"}},
		{"a kubeconfig that is none", func(o *operator.Options) { o.Kubeconfig = broken }, []string{broken, "kubectl can use"}},
		{"a part that is not known", func(o *operator.Options) { o.Disable = []string{"clonset"} }, []string{"--disable", `"clonset"`, "cloneset"}},
		{"an address without a port", func(o *operator.Options) { o.HealthBind = "localhost" }, []string{"--health-bind", "127.0.0.1:8080"}},
		{"a port that is none", func(o *operator.Options) { o.MetricsBind = "localhost:metrics" }, []string{"--metrics-bind", "65535"}},
		{"no requests", func(o *operator.Options) { o.QPS = 0 }, []string{"--kube-api-qps", "above 0"}},
		{"no burst", func(o *operator.Options) { o.Burst = 0 }, []string{"--kube-api-burst"}},
		{"nobody to work", func(o *operator.Options) { o.Concurrency = 0 }, []string{"--concurrency"}},
		{"a log level that is none", func(o *operator.Options) { o.LogLevel = "loud" }, []string{"--log-level", "debug"}},
		{
			"a port in use", func(o *operator.Options) { o.Kubeconfig, o.MetricsBind = nobody, taken.Addr().String() },
			[]string{"--metrics-bind", taken.Addr().String(), "in use", "another address"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			opts := operator.Defaults()
			opts.WebhookBind, opts.MetricsBind, opts.HealthBind = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
			tc.change(&opts)
			err := operator.Run(t.Context(), opts, io.Discard)
			if err == nil {
				t.Fatal("it started")
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}
