package node

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // flags of tests are

func sample(change func(*spec)) spec {
	s := spec{
		Config: Config{
			Name: "node-0", DataDir: "/data/nodes/node-0", Exe: "/bin/holdfast-kube",
			Kubeconfig: "/pki/node-0.kubeconfig", ProxyKubeconfig: "/pki/node-0-proxy.kubeconfig",
			CACert: "/pki/ca.crt", ServingCert: "/pki/node-0.crt", ServingKey: "/pki/node-0.key",
			PodCIDR: "10.244.0.0/24", DNS: "10.96.0.10",
		},
		NodeIP: "10.244.255.10", Server: "https://10.244.255.1:6443", Clusters: "10.244.0.0/16",
		Tools:   tools{Containerd: "/usr/bin/containerd", Ctr: "/usr/bin/ctr", Runc: "/usr/sbin/runc", CNI: "/usr/lib/cni", Version: 1},
		Overlay: true, CgroupDir: "holdfast-0a1b2c3d/node-0",
	}
	change(&s)
	return s
}

// TestFiles holds every rendered file against testdata/CASE/NAME; -update writes them. Nothing in them differs between
// cgroup v1 and v2: one text serves both.
func TestFiles(t *testing.T) {
	tests := []struct {
		name   string
		change func(*spec)
	}{
		{"containerd-1.6-without-sys-resource", func(s *spec) { s.Restrict = true }},
		{"containerd-2-with-iptables", func(s *spec) { s.Tools.Version, s.Tools.Portmap = 2, true }},
		{"data-on-overlayfs", func(s *spec) { s.Overlay = false }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, f := range sample(test.change).files() {
				golden := filepath.Join("testdata", test.name, filepath.Base(f.name))
				if *update {
					if err := os.MkdirAll(filepath.Dir(golden), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(golden, []byte(f.text), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), f.text); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.name, diff)
				}
			}
		})
	}
}

func TestYAMLAndJSONAreWellFormed(t *testing.T) {
	for _, f := range sample(func(s *spec) { s.Tools.Portmap = true }).files() {
		switch filepath.Ext(f.name) {
		case ".yaml", ".conflist":
			var content map[string]any
			if err := yaml.UnmarshalStrict([]byte(f.text), &content); err != nil || len(content) == 0 {
				t.Errorf("%s: %v\n%s", f.name, err, f.text)
			}
		}
	}
}

func TestContainerdMajor(t *testing.T) {
	tests := []struct {
		answer string
		want   int
		fails  bool
	}{
		{"containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3", 1, false},
		{"containerd containerd.io 1.7.22 7f7fdf5fed64eb6a7caf99b3e12efcf9d60e311c", 1, false},
		{"containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7193e4e490e9fbdc236c0e811ccaba3376", 2, false},
		{"containerd: command not found", 0, true},
	}
	for _, test := range tests {
		got, err := containerdMajor(test.answer)
		if got != test.want || (err != nil) != test.fails {
			t.Errorf("containerdMajor(%q) = %d, %v; want %d", test.answer, got, err, test.want)
		}
	}
}
