package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Options say where images are made from and where they go.
type Options struct {
	Out      string   // folder of the archives
	Bin      string   // folder of our own programs
	Packages string   // root of the unpacked Debian packages
	Source   string   // the kube module, from which missing programs are built; empty: nothing is built
	Only     []string // names of images; empty: all
	Log      func(format string, args ...any)
}

// Build makes the archives that are missing or no longer hold what their files say. An image whose program of ours was
// not built is left out with a word, unless it was asked for by name.
func Build(ctx context.Context, o Options) error {
	if err := o.known(); err != nil {
		return err
	}
	if err := o.programs(ctx); err != nil {
		return err
	}
	s := source{bin: o.Bin, debian: debian{roots: []string{o.Packages, "/"}}}
	for _, r := range catalog() {
		if len(o.Only) > 0 && !slices.Contains(o.Only, r.name) {
			continue
		}
		err := o.one(r, s)
		if errors.Is(err, fs.ErrNotExist) && len(o.Only) == 0 {
			o.Log("image %s: left out, its program is not built: %v", r.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("image %s: %w", r.name, err)
		}
	}
	return nil
}

func (o Options) known() error {
	var names []string
	for _, r := range catalog() {
		names = append(names, r.name)
	}
	names = slices.Compact(names)
	for _, name := range o.Only {
		if !slices.Contains(names, name) {
			return fmt.Errorf("image %q is not known; known are %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

func (o Options) one(r recipe, s source) error {
	t, config, err := r.build(s)
	if err != nil {
		return err
	}
	layer, err := t.layer()
	if err != nil {
		return err
	}
	manifest, blobs, err := describe(layer, config)
	if err != nil {
		return err
	}
	file := filepath.Join(o.Out, r.file())
	if upToDate(file, r.refs(), digest.FromBytes(manifest).String()) {
		return nil
	}
	if err := save(file, r.refs(), manifest, blobs...); err != nil {
		return err
	}
	o.Log("image %s: made %s (%d MB)", strings.Join(r.refs(), ", "), file, len(layer)>>20)
	return nil
}

func upToDate(file string, refs []string, want string) bool {
	has, err := Refs(file)
	if err != nil || len(has) != len(refs) {
		return false
	}
	for _, ref := range refs {
		if has[ref] != want {
			return false
		}
	}
	return true
}

// programs builds our own small programs where their sources are newer.
func (o Options) programs(ctx context.Context) error {
	if o.Source == "" {
		return nil
	}
	for _, p := range []struct{ name, dir, pkg string }{
		{"pause", o.Source, "./internal/image/pause"},
		{"coredns", filepath.Join(o.Source, "coredns"), "."},
	} {
		if len(o.Only) > 0 && !slices.Contains(o.Only, p.name) {
			continue
		}
		out, err := filepath.Abs(filepath.Join(o.Bin, p.name))
		if err != nil {
			return fmt.Errorf("find %s: %w", o.Bin, err)
		}
		newer, err := newerThan(out, filepath.Join(p.dir, p.pkg))
		if err != nil || !newer {
			if err != nil {
				return fmt.Errorf("find the sources of %s: %w; give --source", p.name, err)
			}
			continue
		}
		o.Log("image %s: building its program", p.name)
		cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", out, p.pkg)
		cmd.Dir, cmd.Stderr = p.dir, os.Stderr
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
		now := time.Now() // go leaves the file alone where the result is the same
		if err := os.Chtimes(out, now, now); err != nil {
			return fmt.Errorf("mark %s as built: %w", out, err)
		}
	}
	return nil
}

// newerThan tells whether a file of the folder is newer than the program, or the program is missing.
func newerThan(program, dir string) (bool, error) {
	built, err := os.Stat(program)
	missing := errors.Is(err, fs.ErrNotExist)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("look for changed sources: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return false, fmt.Errorf("look for changed sources: %w", err)
		}
		if missing || info.ModTime().After(built.ModTime()) {
			return true, nil
		}
	}
	return missing, nil
}
