package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mounts gives init's mount namespace the node's own view: processes, /run, logs, and the kubelet's folder. All else
// is the machine's. Nothing of it reaches the machine, and all of it goes with the namespace.
func (s spec) mounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cut the mounts off from the machine's: %w", err)
	}
	// A copy of another network namespace's mount would keep that one alive after it was deleted.
	if err := detachBelow(netnsDir); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// A fresh /run is what a node has after its boot: no sockets, no tasks, no pod addresses of an earlier life.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, b := range []struct{ from, to string }{
		{"containerd", containerdRoot},
		{"kubelet", "/var/lib/kubelet"},
		{"cni-cache", "/var/lib/cni"},
		{"log", "/var/log"},
	} {
		if err := bind(filepath.Join(s.DataDir, b.from), b.to); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(netnsDir, 0o750); err != nil {
		return fmt.Errorf("make %s: %w", netnsDir, err)
	}
	// Mounts made by a driver in a pod must reach the kubelet and other pods.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the node's mounts with its pods: %w", err)
	}
	return nil
}

func bind(from, to string) error {
	for _, dir := range []string{from, to} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as a system has them: programs in pods look into some
			return fmt.Errorf("make a mount point: %w", err)
		}
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", from, to, err)
	}
	return nil
}

func detachBelow(dir string) error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, point := range mountsBelow(string(raw), dir) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// mountsBelow lists the mount points below dir in the text of /proc/self/mountinfo, the last one first.
func mountsBelow(mountinfo, dir string) []string {
	var points []string
	for line := range strings.SplitSeq(mountinfo, "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append([]string{f[4]}, points...)
		}
	}
	return points
}
