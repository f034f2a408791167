package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups are the mounted hierarchies of this machine, as they are: nothing is remounted.
type cgroups struct {
	unified bool     // cgroup v2 alone
	roots   []string // mount points: one for v2, one for each v1 hierarchy
	beside  []string // the v2 hierarchy of a hybrid machine: it has no controllers, but runc makes its cgroups there too
}

// all is everywhere where cgroups of ours can be.
func (c cgroups) all() []string { return slices.Concat(c.roots, c.beside) }

// needed are the controllers that the kubelet asks for.
func needed() []string { return []string{"cpu", "cpuset", "memory", "pids"} }

// findCgroups reads the hierarchies from the text of /proc/self/mountinfo. Where v1 hierarchies are mounted they count
// (a hybrid machine has an empty v2 one beside them).
func findCgroups(mountinfo string) (cgroups, error) {
	var v1, v2 []string
	for line := range strings.SplitSeq(mountinfo, "\n") {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) == 0 {
			continue
		}
		switch point := left[4]; right[0] {
		case "cgroup":
			if !slices.Contains(v1, point) {
				v1 = append(v1, point)
			}
		case "cgroup2":
			if !slices.Contains(v2, point) {
				v2 = append(v2, point)
			}
		}
	}
	switch {
	case len(v1) > 0:
		return cgroups{roots: v1, beside: v2}, nil
	case len(v2) > 0:
		return cgroups{unified: true, roots: v2[:1]}, nil
	}
	return cgroups{}, errors.New("no cgroup hierarchy is mounted on this machine; mount cgroup2 on /sys/fs/cgroup")
}

func machineCgroups() (cgroups, error) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return cgroups{}, fmt.Errorf("find cgroups: %w", err)
	}
	return findCgroups(string(raw))
}

// base is the cgroup of a data directory, below each hierarchy.
func cgroupBase(id string) string { return "holdfast-" + id }

// make creates path in every hierarchy. Each level of a v1 cpuset starts empty and takes its parent's processors;
// each level of v2 passes the controllers on to the next one.
func (c cgroups) make(path string) error {
	for _, root := range c.roots {
		at := root
		for level := range strings.SplitSeq(path, "/") {
			if c.unified {
				if err := passOn(at); err != nil {
					return err
				}
			}
			at = filepath.Join(at, level)
			if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // open to look at, as all cgroups are
				return fmt.Errorf("make the cgroup %s: %w", at, err)
			}
			if err := inheritCpuset(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// passOn enables the needed controllers for the children of a v2 cgroup.
func passOn(at string) error {
	has, err := os.ReadFile(filepath.Join(at, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read the controllers of %s: %w", at, err)
	}
	on, err := os.ReadFile(filepath.Join(at, "cgroup.subtree_control"))
	if err != nil {
		return fmt.Errorf("read the controllers of %s: %w", at, err)
	}
	for _, controller := range needed() {
		if slices.Contains(strings.Fields(string(on)), controller) {
			continue
		}
		if !slices.Contains(strings.Fields(string(has)), controller) {
			return fmt.Errorf("the cgroup %s has no %s controller, which the kubelet needs; "+
				"enable it in its parent (cgroup.subtree_control)", at, controller)
		}
		if err := os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte("+"+controller), 0o600); err != nil {
			return fmt.Errorf("enable %s below the cgroup %s: %w; in a container, start its processes in a cgroup below", controller, at, err)
		}
	}
	return nil
}

func inheritCpuset(at string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if _, err := os.Stat(filepath.Join(at, "cgroup.type")); err == nil {
			return nil // v2: an empty cpuset means its parent's
		}
		own, err := os.ReadFile(filepath.Join(at, file))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // not the cpuset hierarchy
		}
		if err != nil {
			return fmt.Errorf("read the cpuset %s: %w", at, err)
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		parents, err := os.ReadFile(filepath.Join(filepath.Dir(at), file))
		if err != nil {
			return fmt.Errorf("read the cpuset above %s: %w", at, err)
		}
		if err := os.WriteFile(filepath.Join(at, file), parents, 0o600); err != nil {
			return fmt.Errorf("fill the cpuset %s: %w", at, err)
		}
	}
	return nil
}

// enter moves the calling process into path in every hierarchy.
func (c cgroups) enter(path string) error {
	for _, root := range c.roots {
		file := filepath.Join(root, path, "cgroup.procs")
		if err := os.WriteFile(file, []byte("0"), 0o600); err != nil {
			return fmt.Errorf("enter the cgroup %s: %w", filepath.Join(root, path), err)
		}
	}
	return nil
}

// processes lists the process ids in path and below, as the caller's pid namespace sees them.
func (c cgroups) processes(path string) []int {
	var pids []int
	for _, root := range c.all() {
		_ = filepath.WalkDir(filepath.Join(root, path), func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil //nolint:nilerr // gone meanwhile
			}
			raw, _ := os.ReadFile(filepath.Join(p, "cgroup.procs"))
			for field := range strings.FieldsSeq(string(raw)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}

// empty signals all processes of path until none is left or ctx ends.
func (c cgroups) empty(ctx context.Context, path string, signal unix.Signal) error {
	sent := map[int]bool{}
	for {
		pids := c.processes(path)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if !sent[pid] && pid != os.Getpid() {
				_ = unix.Kill(pid, signal)
				sent[pid] = true
			}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("processes %v of the cgroup %s still run: %w", pids, path, err)
		}
	}
}

// remove deletes path and all below it in every hierarchy, until the kernel has let go of the last dead process.
func (c cgroups) remove(ctx context.Context, path string) error {
	for {
		var last error
		for _, root := range c.all() {
			if err := removeTree(filepath.Join(root, path)); err != nil {
				last = err
			}
		}
		if last == nil {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("remove the cgroup %s: %w", path, last)
		}
	}
}

// removeTree removes directories only, deepest first: a cgroup's files go with it.
func removeTree(at string) error {
	entries, err := os.ReadDir(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", at, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(at, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", at, err)
	}
	return nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
