package install_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-io/holdfast/api/crds"
	"github.com/holdfast-io/holdfast/internal/operator"
	"github.com/holdfast-io/holdfast/internal/operator/install"
)

func printed(t *testing.T, o install.Options) map[string]map[string]any {
	t.Helper()
	var out bytes.Buffer
	if err := install.Print(&out, o, "yaml"); err != nil {
		t.Fatal(err)
	}
	objects := map[string]map[string]any{}
	for document := range strings.SplitSeq(out.String(), "---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		object := map[string]any{}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		metadata, ok := object["metadata"].(map[string]any)
		if !ok {
			t.Fatalf("an object without metadata: %s", document)
		}
		key := fmt.Sprint(object["kind"], "/", metadata["name"])
		if _, twice := objects[key]; twice {
			t.Errorf("%s is printed twice", key)
		}
		objects[key] = object
	}
	return objects
}

func dig(object map[string]any, path ...string) any {
	var at any = object
	for _, key := range path {
		below, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = below[key]
	}
	return at
}

func TestPrint(t *testing.T) {
	o := install.Defaults()
	o.SystemNamespace, o.Image, o.Replicas, o.Parts = "guards", "example.com/holdfast:1", 3, []string{"cloneset"}
	objects := printed(t, o)
	for _, want := range []string{
		"Namespace/guards", "CustomResourceDefinition/clonesets.apps.kruise.io", "ServiceAccount/holdfast-operator",
		"ClusterRole/holdfast-operator", "ClusterRoleBinding/holdfast-operator", "Role/holdfast-operator", "RoleBinding/holdfast-operator",
		"Secret/holdfast-admission", "Lease/holdfast-operator", "Service/holdfast-operator", "PodDisruptionBudget/holdfast-operator",
		"Deployment/holdfast-operator", "MutatingWebhookConfiguration/holdfast", "ValidatingWebhookConfiguration/holdfast",
		"FlowSchema/holdfast-leader-election",
	} {
		object, ok := objects[want]
		if !ok {
			t.Errorf("%s is missing", want)
			continue
		}
		if dig(object, "metadata", "labels", "app.kubernetes.io/managed-by") != "holdfast" {
			t.Errorf("%s has no label that says whose it is", want)
		}
		if namespace := dig(object, "metadata", "namespace"); namespace != nil && namespace != "guards" {
			t.Errorf("%s is in namespace %v", want, namespace)
		}
		if object["status"] != nil {
			t.Errorf("%s is printed with a status", want)
		}
	}
	deployment := objects["Deployment/holdfast-operator"]
	if got := dig(deployment, "spec", "replicas"); got != 3.0 {
		t.Errorf("replicas are %v, want 3", got)
	}
	text, err := yaml.Marshal(deployment)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"image: example.com/holdfast:1", "--system-namespace=guards", "--enable=cloneset", "maxUnavailable: 0", "readOnlyRootFilesystem: true",
		"runAsNonRoot: true", "allowPrivilegeEscalation: false", "podAntiAffinity", "/readyz", "RuntimeDefault",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the Deployment lacks %q", want)
		}
	}
}

func TestOnly(t *testing.T) {
	o := install.Defaults()
	o.Only = []string{"crds"}
	for key, object := range printed(t, o) {
		if !strings.HasPrefix(key, "CustomResourceDefinition/") {
			t.Errorf("%s is printed too", key)
		}
		// The Service leads nowhere until an operator beside the cluster has named itself. Without a converter the API server
		// would take an object of an older version, and drop what the newer one has elsewhere.
		versions, _ := dig(object, "spec", "versions").([]any)
		if converts := dig(object, "spec", "conversion") != nil; converts != (len(versions) > 1) {
			t.Errorf("%s has %d versions, and names a converter: %v", key, len(versions), converts)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(o *install.Options)
		want   string
	}{
		{"no replicas", func(o *install.Options) { o.Replicas = 0 }, "--replicas is 0"},
		{"no namespace", func(o *install.Options) { o.SystemNamespace = "" }, "--system-namespace"},
		{"no image", func(o *install.Options) { o.Image = "" }, "--image"},
		{"no time", func(o *install.Options) { o.Timeout = 0 }, "--timeout"},
		{"a part that is not known", func(o *install.Options) { o.Parts = []string{"clonset"} }, `there is no part "clonset"`},
		{"a step that is not known", func(o *install.Options) { o.Only = []string{"crd"} }, `there is no step "crd"; the steps are crds`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := install.Defaults()
			tc.change(&o)
			if err := install.Print(&bytes.Buffer{}, o, "yaml"); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

// rules are all that the operator may do.
func rules(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	all, err := install.Manifests(install.Options{SystemNamespace: "holdfast-system"})
	if err != nil {
		t.Fatal(err)
	}
	var found []rbacv1.PolicyRule
	for i := range all {
		switch role := all[i].Object.(type) {
		case *rbacv1.ClusterRole:
			for _, rule := range role.Rules {
				if slices.Contains(rule.Resources, "secrets") {
					t.Errorf("the operator may %v secrets of every namespace", rule.Verbs)
				}
			}
			found = append(found, role.Rules...)
		case *rbacv1.Role:
			found = append(found, role.Rules...)
		}
	}
	if len(found) == 0 {
		t.Fatal("no rights at all were found")
	}
	return found
}

func TestRightsAreNarrow(t *testing.T) {
	for _, rule := range rules(t) {
		for _, list := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs} {
			for _, word := range list {
				if strings.Contains(word, "*") {
					t.Errorf("a wildcard: %v", rule)
				}
			}
		}
		for _, resource := range rule.Resources {
			named := slices.Contains([]string{
				"customresourcedefinitions", "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "secrets",
			}, resource)
			if named && len(rule.ResourceNames) == 0 {
				t.Errorf("%s are not limited to names: %v", resource, rule)
			}
			if slices.Contains([]string{"roles", "clusterroles", "rolebindings", "clusterrolebindings", "pods/exec"}, resource) {
				t.Errorf("the operator could give itself rights: %v", rule)
			}
		}
	}
}

// Every kind that a part serves may be watched, and its status written.
func TestRightsAreThere(t *testing.T) {
	for _, room := range operator.Rooms() {
		for _, crd := range room.CRDs {
			plural, group, _ := strings.Cut(crd, ".")
			needed := map[string]string{plural: "watch"}
			if hasStatus(t, crd) {
				needed[plural+"/status"] = "patch"
			}
			for resource, verb := range needed {
				if !slices.ContainsFunc(rules(t), func(rule rbacv1.PolicyRule) bool {
					return slices.Contains(rule.APIGroups, group) && slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, verb)
				}) {
					t.Errorf("the operator may not %s %s.%s: is the marker in a comment of its own?", verb, resource, group)
				}
			}
			if !slices.ContainsFunc(rules(t), func(rule rbacv1.PolicyRule) bool {
				return slices.Contains(rule.Resources, "customresourcedefinitions") && slices.Contains(rule.ResourceNames, crd) &&
					slices.Contains(rule.Verbs, "patch")
			}) {
				t.Errorf("the operator may not hand its certificate to definition %s: name it in internal/operator/rbac.go", crd)
			}
		}
	}
}

func hasStatus(t *testing.T, name string) bool {
	t.Helper()
	all, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return crd.Name == name && slices.ContainsFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
			return v.Subresources != nil && v.Subresources.Status != nil
		})
	})
}

// Each right is one that some code of ours uses: its resource is named where that code is.
func TestRightsAreUsed(t *testing.T) {
	names := named(t)
	var code bytes.Buffer
	err := filepath.WalkDir("../..", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			strings.Contains(path, "testkit") || strings.Contains(path, "/cli/") || strings.Contains(path, "/install/") {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // our own sources
		code.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules(t) {
		for _, resource := range rule.Resources {
			plural, below, _ := strings.Cut(resource, "/")
			name, known := names[plural]
			if below != "" {
				name, known = names["/"+below], true
			}
			if !known || name == "" {
				t.Errorf("%s: say in this test by which name the code uses it", resource)
				continue
			}
			if !strings.Contains(code.String(), name) && !strings.Contains(code.String(), "NewControllerRef") {
				t.Errorf("%s: no code uses %s", resource, name)
			}
		}
	}
}

// named tells by which names the code uses resources: those of our definitions by their kinds.
func named(t *testing.T) map[string]string {
	t.Helper()
	names := map[string]string{
		"/status": "Status()", "/resize": `"resize"`, "/finalizers": "BlockOwnerDeletion", "/scale": "Scale",
		"events": "EventSinkImpl", "leases": "LeaseLock", "secrets": "corev1.Secret", "configmaps": "corev1.ConfigMap",
		"customresourcedefinitions": "CustomResourceDefinition", "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
		"validatingwebhookconfigurations": "ValidatingWebhookConfiguration", "validatingadmissionpolicies": "ValidatingAdmissionPolicy", "storageclasses": "StorageClass",
		"pods": "corev1.Pod", "persistentvolumeclaims": "PersistentVolumeClaim", "controllerrevisions": "ControllerRevision",
		"deployments": "Deployment", "replicasets": "ReplicaSet", "jobs": "batchv1.Job", "nodes": "corev1.Node",
		"namespaces": "corev1.Namespace", "poddisruptionbudgets": "PodDisruptionBudget", "endpoints": "Endpoints",
		"replicationcontrollers": "ReplicationController", "imagelistpulljobs": "imagelistpulljobs", "services": "corev1.Service",
	}
	all, err := crds.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, crd := range all {
		names[crd.Spec.Names.Plural] = crd.Spec.Names.Kind
	}
	return names
}

// The chart holds what `install --print` prints.
func TestChartIsUpToDate(t *testing.T) {
	const path = "../../../charts/holdfast/templates/holdfast.yaml"
	var want bytes.Buffer
	if err := install.PrintChart(&want); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil { //nolint:gosec // part of the sources
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want.Bytes()) {
		t.Error("charts/holdfast differs from the manifests: run `UPDATE=1 go test ./internal/operator/install -run Chart`")
	}
	if helm, err := exec.LookPath("helm"); err == nil {
		out, err := exec.CommandContext(t.Context(), helm, "template", "../../../charts/holdfast").CombinedOutput()
		if err != nil {
			t.Errorf("helm template: %v: %s", err, out)
		}
	}
}

func TestHooksAreRegistered(t *testing.T) {
	scheme, err := operator.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	objects := printed(t, install.Defaults())
	for _, hook := range operator.Hooks(scheme, install.Defaults().SystemNamespace) {
		kind := "ValidatingWebhookConfiguration/holdfast"
		if hook.Mutating {
			kind = "MutatingWebhookConfiguration/holdfast"
		}
		text, err := yaml.Marshal(objects[kind])
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "name: "+hook.Name) || !strings.Contains(string(text), "path: "+hook.Path) {
			t.Errorf("%s lacks %s", kind, hook.Name)
		}
	}
}
