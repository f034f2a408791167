package node

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFindCgroups(t *testing.T) {
	const (
		v1cpu     = "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
		v1memory  = "31 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
		v2        = "29 28 0:25 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
		hybrid    = "32 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		unrelated = "28 1 0:22 / /sys rw - sysfs sysfs rw\nnot a mount\n\n"
	)
	tests := []struct {
		reason, mountinfo string
		want              cgroups
		fails             bool
	}{
		{"v2 alone", unrelated + v2, cgroups{unified: true, roots: []string{"/sys/fs/cgroup"}}, false},
		{"every v1 hierarchy counts", v1cpu + v1memory, cgroups{roots: []string{"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"}}, false},
		{"on a hybrid machine v1 counts", v1cpu + hybrid, cgroups{roots: []string{"/sys/fs/cgroup/cpu,cpuacct"}, beside: []string{"/sys/fs/cgroup/unified"}}, false},
		{"mounted twice is one hierarchy", v1memory + v1memory, cgroups{roots: []string{"/sys/fs/cgroup/memory"}}, false},
		{"none", unrelated, cgroups{}, true},
	}
	for _, test := range tests {
		t.Run(test.reason, func(t *testing.T) {
			got, err := findCgroups(test.mountinfo)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(cgroups{})); diff != "" || (err != nil) != test.fails {
				t.Errorf("error %v; (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestUnifiedLevels makes cgroups on plain folders that look like v2's.
func TestUnifiedLevels(t *testing.T) {
	root := t.TempDir()
	controllers := func(dir, has, on string) {
		t.Helper()
		for name, text := range map[string]string{"cgroup.controllers": has, "cgroup.subtree_control": on, "cgroup.type": "domain"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := cgroups{unified: true, roots: []string{root}}
	controllers(root, "cpuset cpu io memory pids", "cpu memory pids")
	if err := c.make("base"); err != nil {
		t.Fatal(err)
	}
	if on, _ := os.ReadFile(filepath.Join(root, "cgroup.subtree_control")); string(on) != "+cpuset" {
		t.Errorf("wrote %q to the root's subtree_control, want only what was off: +cpuset", on)
	}
	controllers(root, "cpu memory pids", "cpu memory pids")
	if err := c.make("base"); err == nil {
		t.Error("the cpuset controller is missing, and yet the cgroup was made")
	}
}

func TestCpusetIsInherited(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{"cpuset.cpus": "0-1\n", "cpuset.mems": "0\n", "base/cpuset.cpus": "\n", "base/cpuset.mems": ""} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := (cgroups{roots: []string{root}}).make("base"); err != nil {
		t.Fatal(err)
	}
	cpus, _ := os.ReadFile(filepath.Join(root, "base", "cpuset.cpus"))
	mems, _ := os.ReadFile(filepath.Join(root, "base", "cpuset.mems"))
	if string(cpus) != "0-1\n" || string(mems) != "0\n" {
		t.Errorf("cpus %q, mems %q: want the parent's", cpus, mems)
	}
}

func TestRemoveWaitsForTheLastProcess(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "base", "node", "pod"), 0o700); err != nil {
		t.Fatal(err)
	}
	held := filepath.Join(root, "base", "node", "process") // a folder with a file cannot be removed
	if err := os.WriteFile(held, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := cgroups{roots: []string{root}}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := c.remove(ctx, "base"); err == nil {
		t.Fatal("a cgroup with a process was said to be removed")
	}
	if err := os.Remove(held); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.remove(ctx, "base"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "base")); !os.IsNotExist(err) {
		t.Errorf("the cgroup is still there: %v", err)
	}
}
