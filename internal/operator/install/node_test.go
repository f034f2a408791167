package install_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-io/holdfast/internal/operator/install"
	"github.com/holdfast-io/holdfast/internal/testkit"
)

func TestNodeDaemonIsPrinted(t *testing.T) {
	const daemon = "DaemonSet/holdfast-node"
	o := install.Defaults()
	objects := printed(t, o)
	for _, want := range []string{
		daemon, "Namespace/holdfast-system-node", "ServiceAccount/holdfast-node", "ClusterRole/holdfast-node",
		"ClusterRoleBinding/holdfast-node", "ValidatingAdmissionPolicy/holdfast-node", "ValidatingAdmissionPolicyBinding/holdfast-node",
	} {
		if objects[want] == nil {
			t.Errorf("%s is missing", want)
		}
	}
	text, err := yaml.Marshal(objects[daemon])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"path: /run\n", "mountPath: /host/run\n", "readOnly: true", "--host-root=/host", "- ALL\n",
		"readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false", "system-node-critical", "fieldPath: spec.nodeName", o.Image,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the DaemonSet lacks %q", want)
		}
	}
	if strings.Contains(string(text), "privileged: true") || strings.Contains(string(text), "hostPID") || strings.Contains(string(text), "hostNetwork") {
		t.Error("the DaemonSet asks for more than the socket")
	}

	o.RuntimeEndpoint = "unix:///run/k3s/containerd/containerd.sock"
	if text, err = yaml.Marshal(printed(t, o)[daemon]); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"path: /run/k3s/containerd\n", "--runtime-endpoint=unix:///host/run/k3s/containerd/containerd.sock"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("with a socket that is named, the DaemonSet lacks %q", want)
		}
	}
	o.Node = false
	for key := range printed(t, o) {
		if strings.Contains(key, "holdfast-node") {
			t.Errorf("%s is printed although the node daemon is not wanted", key)
		}
	}
}

// TestNodeDaemonWritesItsOwnPodsOnly has the API server judge what the account of a daemon may do.
func TestNodeDaemonWritesItsOwnPodsOnly(t *testing.T) {
	env := testkit.APIServer(t)
	ns := env.Namespace(t)
	manifests, err := install.Manifests(install.Options{
		SystemNamespace: "rights-" + ns, Image: "registry.local/holdfast:dev", Node: true, Only: []string{"node"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		object := m.Object
		if err := env.Client.Delete(t.Context(), object); client.IgnoreNotFound(err) != nil { // another test's
			t.Fatal(err)
		}
		if err := env.Client.Create(t.Context(), object); err != nil {
			t.Fatalf("create %T %s: %v", object, object.GetName(), err)
		}
		t.Cleanup(func() { _ = env.Client.Delete(context.WithoutCancel(t.Context()), object) })
	}
	for _, node := range []string{"mine", "other"} {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: ns, Name: node, Labels: map[string]string{"tier": "a"}, Annotations: map[string]string{"note": "x"},
			},
			Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "registry.local/web:v1"}}},
		}
		if err := env.Client.Create(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	as := func(extra map[string][]string) client.Client {
		config := rest.CopyConfig(env.Config)
		config.Impersonate = rest.ImpersonationConfig{
			UserName: fmt.Sprintf("system:serviceaccount:rights-%s-node:holdfast-node", ns),
			Groups:   []string{"system:serviceaccounts", "system:authenticated"}, Extra: extra,
		}
		c, err := client.New(config, client.Options{Scheme: env.Client.Scheme()})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	mine := as(map[string][]string{"authentication.kubernetes.io/node-name": {"mine"}})
	nameless := as(nil)
	const report = `{"metadata":{"annotations":{"apps.kruise.io/runtime-containers-meta":"{}"}}}`
	for _, test := range []struct {
		reason    string
		who       client.Client
		pod, body string
		want      string
	}{
		{"a pod of another node", mine, "other", report, "pods of its own node only"},
		{"a token that names no node", nameless, "mine", report, "pods of its own node only"},
		{"another annotation", mine, "mine", `{"metadata":{"annotations":{"note":"y"}}}`, "runtime-containers-meta only"},
		{"an annotation more", mine, "mine", `{"metadata":{"annotations":{"more":"y"}}}`, "runtime-containers-meta only"},
		{"an annotation less", mine, "mine", `{"metadata":{"annotations":{"note":null}}}`, "runtime-containers-meta only"},
		{"a label", mine, "mine", `{"metadata":{"labels":{"tier":"b"}}}`, "runtime-containers-meta only"},
		{"no label any more", mine, "mine", `{"metadata":{"labels":null}}`, "runtime-containers-meta only"},
		{"a finalizer", mine, "mine", `{"metadata":{"finalizers":["example.com/x"]}}`, "runtime-containers-meta only"},
		{"an image", mine, "mine", `{"spec":{"containers":[{"name":"main","image":"evil"}]}}`, "runtime-containers-meta only"},
		{"what it is for", mine, "mine", report, ""},
		{"and again", mine, "mine", `{"metadata":{"annotations":{"apps.kruise.io/runtime-containers-meta":"{\"containers\":[]}"}}}`, ""},
	} {
		t.Run(test.reason, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: test.pod}}
			testkit.Eventually(t, 20*time.Second, "the API server has read the policy", func(ctx context.Context) error {
				err := test.who.Patch(ctx, p, client.RawPatch(types.StrategicMergePatchType, []byte(test.body)), client.DryRunAll)
				switch {
				case test.want == "" && err == nil, test.want != "" && apierrors.IsForbidden(err) && strings.Contains(err.Error(), test.want):
					return nil
				default:
					return fmt.Errorf("got %v, want %q", err, test.want) //nolint:errorlint // it is shown only
				}
			})
		})
	}
	if err := mine.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mine"}}); !apierrors.IsForbidden(err) {
		t.Errorf("deleting a pod: got %v, want that it may not", err)
	}
	var secrets corev1.SecretList
	if err := mine.List(t.Context(), &secrets); !apierrors.IsForbidden(err) {
		t.Errorf("listing Secrets: got %v, want that it may not", err)
	}
}
