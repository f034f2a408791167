package image

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// tree is the files of an image by their path in it, without the leading slash. All belong to root.
type tree map[string]entry

type entry struct {
	mode    fs.FileMode // permissions, and ModeDir or ModeSymlink
	content []byte
	link    string
}

func (t tree) file(name, text string)              { t[name] = entry{mode: 0o644, content: []byte(text)} }
func (t tree) program(name string, content []byte) { t[name] = entry{mode: 0o755, content: content} }
func (t tree) link(name, to string)                { t[name] = entry{mode: fs.ModeSymlink | 0o777, link: to} }
func (t tree) dir(name string, mode fs.FileMode)   { t[name] = entry{mode: fs.ModeDir | mode} }

// layer is the tree as a tar of fixed order, owners and times.
func (t tree) layer() ([]byte, error) {
	t.parents()
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	sort.Strings(names)
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for _, name := range names {
		e := t[name]
		h := &tar.Header{
			Name: name, Mode: int64(e.mode.Perm()), ModTime: epoch(), Typeflag: tar.TypeReg, Size: int64(len(e.content)), Format: tar.FormatPAX,
		}
		switch {
		case e.mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
			if e.mode&fs.ModeSticky != 0 {
				h.Mode |= 0o1000
			}
		case e.mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := tw.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := tw.Write(e.content); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return nil, fmt.Errorf("pack a layer: %w", err)
	}
	return out.Bytes(), nil
}

// parents adds the folders above every file.
func (t tree) parents() {
	for name := range t {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := t[dir]; !ok {
				t.dir(dir, 0o755)
			}
		}
	}
}

// debian finds files of Debian packages: those unpacked under root first, then those installed on this machine.
type debian struct{ roots []string }

func (d debian) read(name string) ([]byte, error) {
	for _, root := range d.roots {
		raw, err := os.ReadFile(filepath.Join(root, name))
		if err == nil {
			return raw, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read a file for an image: %w", err)
		}
	}
	return nil, fmt.Errorf("no file %s in %s: run hack/install-packages.sh as root once", name, strings.Join(d.roots, " or "))
}

// program puts an installed program, the libraries it is linked with, and its loader into the tree.
func (d debian) program(t tree, name string) error {
	raw, err := d.read(name)
	if err != nil {
		return err
	}
	t.program(strings.TrimPrefix(name, "/"), raw)
	return d.libraries(t, name, raw)
}

// libraries walks the libraries that an ELF file names, and those that they name.
func (d debian) libraries(t tree, name string, raw []byte) error {
	if !bytes.HasPrefix(raw, []byte(elf.ELFMAG)) {
		return nil // a script
	}
	f, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("read the program %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	if loader := interpreter(f); loader != "" {
		content, err := d.read(loader)
		if err != nil {
			return err
		}
		t.program(strings.TrimPrefix(loader, "/"), content)
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("list the libraries of %s: %w", name, err)
	}
	for _, lib := range names {
		target := "lib/" + lib
		if _, ok := t[target]; ok {
			continue
		}
		content, err := d.library(f, lib)
		if err != nil {
			return fmt.Errorf("library of %s: %w", name, err)
		}
		t.program(target, content)
		if err := d.libraries(t, lib, content); err != nil {
			return err
		}
	}
	return nil
}

func (d debian) library(f *elf.File, lib string) ([]byte, error) {
	triplet, ok := map[elf.Machine]string{elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu"}[f.Machine]
	if !ok {
		return nil, fmt.Errorf("machine %s is not known; images are made for amd64 and arm64", f.Machine)
	}
	var last error
	for _, dir := range []string{"/lib/" + triplet, "/usr/lib/" + triplet, "/lib", "/usr/lib"} {
		content, err := d.read(path.Join(dir, lib))
		if err == nil {
			return content, nil
		}
		last = err
	}
	return nil, last
}

func interpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			raw := make([]byte, p.Filesz)
			if _, err := p.ReadAt(raw, 0); err == nil {
				return strings.TrimRight(string(raw), "\x00")
			}
		}
	}
	return ""
}

// applets are the commands of busybox that images for tests and repairs have as links.
func applets(t tree, busybox []byte) {
	t.program("bin/busybox", busybox)
	for _, name := range slices.Concat(strings.Fields(`sh cat echo ls sleep true false test id env hostname date touch rm
		mkdir rmdir cp mv ln head tail grep sed awk cut tr sort uniq wc tee find xargs ps kill top free df du mount umount
		nc wget nslookup ping ip netstat httpd dd sync stat md5sum sha256sum base64 seq printf vi less tar gzip chmod chown
		pidof readlink realpath whoami uname od hexdump time timeout watch yes`)) {
		t.link("bin/"+name, "busybox")
	}
}
