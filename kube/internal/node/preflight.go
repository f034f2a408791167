package node

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MissingError says what a machine lacks to run real nodes, and what to do.
type MissingError struct{ Reasons []string }

func (e *MissingError) Error() string {
	return "real nodes cannot run here: " + strings.Join(e.Reasons, "; ") +
		". Simulated nodes need nothing of this: use --simulated N"
}

// Preflight says what this machine lacks to run real nodes and how to get it; nil when nothing is missing.
func Preflight() error {
	var reasons []string
	if os.Geteuid() != 0 {
		reasons = append(reasons, "not root (run it with sudo)")
	}
	if _, packages := findTools(); len(packages) > 0 {
		missing := strings.Join(packages, " ")
		reasons = append(reasons, fmt.Sprintf("missing %s (as root: apt-get install -y --no-install-recommends %[1]s)", missing))
	}
	if os.Geteuid() == 0 {
		if err := tryCgroups(); err != nil {
			reasons = append(reasons, err.Error())
		}
	}
	if len(reasons) > 0 {
		return &MissingError{reasons}
	}
	return nil
}

// tryCgroups makes and removes a cgroup in each hierarchy.
func tryCgroups() error {
	c, err := machineCgroups()
	if err != nil {
		return err
	}
	probe := fmt.Sprintf("holdfast-probe-%d", os.Getpid())
	for _, root := range c.roots {
		at := filepath.Join(root, probe)
		if err := os.Mkdir(at, 0o700); err != nil {
			return fmt.Errorf("cgroups cannot be made (%w): in a container, mount /sys/fs/cgroup writable", err)
		}
		if err := unix.Rmdir(at); err != nil {
			return fmt.Errorf("remove the cgroup %s: %w", at, err)
		}
	}
	return nil
}

// findTools finds the programs that a node runs, and names the Debian packages of those that are missing.
func findTools() (tools, []string) {
	var t tools
	var packages []string
	find := func(pkg, name string, extra ...string) string {
		for _, dir := range append(extra, searchPath()...) {
			path := filepath.Join(dir, name)
			if unix.Access(path, unix.X_OK) == nil {
				return path
			}
		}
		if pkg != "" {
			packages = append(packages, pkg)
		}
		return ""
	}
	t.Containerd = find("containerd", "containerd")
	t.Ctr = find("", "ctr")
	t.Runc = find("runc", "runc")
	t.CNI = filepath.Dir(find("containernetworking-plugins", "ptp", "/usr/lib/cni", "/opt/cni/bin"))
	find("nftables", "nft")
	t.Portmap = find("", "iptables") != ""
	return t, packages
}

// searchPath holds the system's folders too, which a user's PATH under sudo may lack.
func searchPath() []string {
	return append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
}

// inspect finds the tools and the facts of the machine that a node's configuration depends on.
func inspect(ctx context.Context, dir string) (spec, error) {
	var s spec
	var packages []string
	if s.Tools, packages = findTools(); len(packages) > 0 {
		return s, Preflight()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := exec.CommandContext(ctx, s.Tools.Containerd, "--version").Output()
	if err != nil {
		return s, fmt.Errorf("run %s --version: %w", s.Tools.Containerd, err)
	}
	if s.Tools.Version, err = containerdMajor(string(answer)); err != nil {
		return s, err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return s, fmt.Errorf("read own capabilities: %w", err)
	}
	s.Restrict = !maySetLimits(string(status))
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return s, fmt.Errorf("ask the file system of %s: %w", dir, err)
	}
	s.Overlay = fs.Type != unix.OVERLAYFS_SUPER_MAGIC
	return s, nil
}

// maySetLimits reads from the text of /proc/PID/status whether CAP_SYS_RESOURCE is among the effective capabilities.
func maySetLimits(status string) bool {
	for line := range strings.SplitSeq(status, "\n") {
		hex, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		var set uint64
		if _, err := fmt.Sscanf(strings.TrimSpace(hex), "%x", &set); err == nil {
			return set&(1<<unix.CAP_SYS_RESOURCE) != 0
		}
	}
	return false
}
