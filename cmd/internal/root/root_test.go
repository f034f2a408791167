package root_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/holdfast-io/holdfast/cmd/internal/root"
)

func TestExitCodes(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(broken, []byte("rubbish: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := filepath.Join(t.TempDir(), "nobody")
	config := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\n" +
		"contexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n"
	if err := os.WriteFile(nobody, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string // in what it prints
	}{
		{"version", []string{"version"}, 0, "holdfast "},
		{"help lists the verbs", []string{"--help"}, 0, "rollout"},
		{"a verb that is not known", []string{"instal"}, 2, `unknown command "instal"`},
		{"a flag that is not known", []string{"install", "--replica=1"}, 2, "unknown flag: --replica"},
		{"a bad value", []string{"install", "--replicas=0", "--print"}, 2, "--replicas is 0"},
		{"an argument too many", []string{"version", "now"}, 2, "now"},
		{"a format that is not known", []string{"install", "--print", "-o", "xml"}, 2, "use yaml or json"},
		{"a kubeconfig that is none", []string{"install", "--kubeconfig", broken}, 5, broken},
		{"a cluster that is not there", []string{"uninstall", "--kubeconfig", nobody}, 5, "is the cluster up"},
		{"the manifests", []string{"install", "--print"}, 0, "kind: Deployment"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}
			command := root.New("holdfast", streams)
			command.SetArgs(tc.args)
			if code := root.Execute(command, streams); code != tc.code {
				t.Errorf("code %d, want %d: %s", code, tc.code, out.String())
			}
			if !strings.Contains(out.String(), tc.want) {
				t.Errorf("it prints %q, want %q in it", out.String(), tc.want)
			}
			if tc.code != 0 && !strings.Contains(out.String(), "Did you mean") && strings.Count(strings.TrimSpace(out.String()), "\n") > 0 {
				t.Errorf("more than one line: %s", out.String())
			}
		})
	}
}
