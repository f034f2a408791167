package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// project is a folder with what a build of our own programs needs.
func project(t *testing.T) Options {
	t.Helper()
	o := Options{Out: filepath.Join(t.TempDir(), "images"), Bin: t.TempDir(), Packages: t.TempDir(), Only: []string{"pause"}, Log: t.Logf}
	put(t, filepath.Join(o.Bin, "pause"), "program one")
	return o
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil { //nolint:gosec // some are programs, whose mode the image keeps
		t.Fatal(err)
	}
}

func build(t *testing.T, o Options) string {
	t.Helper()
	if err := Build(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	refs, err := Refs(filepath.Join(o.Out, "pause-1.tar"))
	if err != nil {
		t.Fatal(err)
	}
	return refs["registry.local/pause:1"]
}

func TestDigestFollowsContentAlone(t *testing.T) {
	one, other := project(t), project(t)
	first := build(t, one)
	if !strings.HasPrefix(first, "sha256:") {
		t.Fatalf("digest %q", first)
	}
	if again := build(t, other); again != first {
		t.Errorf("the same files, made elsewhere and later, give %s and %s", first, again)
	}
	put(t, filepath.Join(one.Bin, "pause"), "program two")
	if changed := build(t, one); changed == first {
		t.Error("another program gives the same digest")
	}
}

func TestUpToDateArchiveIsLeftAlone(t *testing.T) {
	o := project(t)
	build(t, o)
	file := filepath.Join(o.Out, "pause-1.tar")
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	build(t, o)
	after, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) {
		t.Error("an archive that was up to date was written again")
	}
}

func TestBuildSaysWhatIsWrong(t *testing.T) {
	unknown, missing := project(t), project(t)
	unknown.Only = []string{"pauze"}
	if err := os.Remove(filepath.Join(missing.Bin, "pause")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		o    Options
		want string
	}{{unknown, `"pauze"`}, {missing, "no such file"}} {
		if err := Build(context.Background(), test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want one with %s", err, test.want)
		}
	}
}

func TestSecondTagHasTheSameDigest(t *testing.T) {
	digests := map[string]string{}
	for _, r := range catalog() {
		layer, err := tree{"version": {mode: 0o644, content: []byte(r.name + r.tags[0])}}.layer()
		if err != nil {
			t.Fatal(err)
		}
		manifest, blobs, err := describe(layer, ocispec.ImageConfig{})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), r.file())
		if err := save(file, r.refs(), manifest, blobs...); err != nil {
			t.Fatal(err)
		}
		refs, err := Refs(file)
		if err != nil {
			t.Fatal(err)
		}
		for ref, d := range refs {
			if _, twice := digests[ref]; twice {
				t.Errorf("%s is in two archives", ref)
			}
			digests[ref] = d
		}
	}
	one, two, same := digests["registry.local/nginx:1"], digests["registry.local/nginx:2"], digests["registry.local/nginx:2-same"]
	if one == "" || one == two || two != same {
		t.Errorf("nginx:1 %s, nginx:2 %s, nginx:2-same %s: want the last two alike", one, two, same)
	}
}

func TestLayerIsOrderedAndTimeless(t *testing.T) {
	tr := tree{}
	tr.program("usr/bin/x", []byte("x"))
	tr.link("bin", "usr/bin")
	layer, err := tr.layer()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(layer)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(epoch()) || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s: time %s, owner %d:%d", h.Name, h.ModTime, h.Uid, h.Gid)
		}
		names = append(names, h.Name)
	}
	if got, want := strings.Join(names, " "), "bin usr/ usr/bin/ usr/bin/x"; got != want {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestForeignArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.tar")
	put(t, file, "not a tar")
	if _, err := Refs(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v, want one that names the file", err)
	}
}
