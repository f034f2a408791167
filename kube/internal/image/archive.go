// Package image makes container images without a registry: each is one OCI archive of a few files, and the same
// files always give the same digest.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// nameAnnotation is where containerd looks for an image's full name in an archive.
const nameAnnotation = "io.containerd.image.name"

// Registry is the first part of every image's name: a host that does not exist, so nothing is ever pulled from it.
const Registry = "registry.local/"

// describe makes the manifest of an image with one layer, and the blobs that the archive holds. The layer is not
// compressed: archives stay on this machine, and unpacking is what a node waits for.
func describe(layer []byte, config ocispec.ImageConfig) (manifest []byte, blobs [][]byte, err error) {
	img := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   config,
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	}
	rawConfig, err := json.Marshal(img)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the configuration: %w", err)
	}
	manifest, err = json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: descriptor(ocispec.MediaTypeImageConfig, rawConfig),
		Layers: []ocispec.Descriptor{descriptor(ocispec.MediaTypeImageLayer, layer)},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encode the manifest: %w", err)
	}
	return manifest, [][]byte{manifest, rawConfig, layer}, nil
}

// index names the manifest by every reference.
func index(refs []string, manifest []byte) ([]byte, error) {
	i := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, ref := range refs {
		d := descriptor(ocispec.MediaTypeImageManifest, manifest)
		d.Annotations = map[string]string{nameAnnotation: ref}
		i.Manifests = append(i.Manifests, d)
	}
	raw, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("encode the index: %w", err)
	}
	return raw, nil
}

func descriptor(mediaType string, content []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}

// save writes the archive with its index first, so that Refs need not read the rest.
func save(file string, refs []string, manifest []byte, blobs ...[]byte) error {
	first, err := index(refs, manifest)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	add := func(name string, content []byte) error {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: epoch(), Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
		if _, err := tw.Write(content); err != nil {
			return fmt.Errorf("add %s: %w", name, err)
		}
		return nil
	}
	err = errors.Join(add("index.json", first), add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)))
	for _, b := range blobs {
		sum := sha256.Sum256(b)
		err = errors.Join(err, add("blobs/sha256/"+hex.EncodeToString(sum[:]), b))
	}
	if err = errors.Join(err, tw.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.WriteFile(file+".new", out.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// epoch is the time of every file: an image's digest must not tell when it was made.
func epoch() time.Time { return time.Unix(0, 0) }

// Refs reads the names and manifest digests of the images in an archive.
func Refs(file string) (map[string]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the image archive: %w", err)
	}
	defer func() { _ = f.Close() }()
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the image archive %s: it has no index.json; build it again with `holdfast-kube image build`", file)
		}
		if err != nil {
			return nil, fmt.Errorf("read the image archive %s: %w", file, err)
		}
		if h.Name != "index.json" {
			continue
		}
		var i ocispec.Index
		if err := json.NewDecoder(tr).Decode(&i); err != nil {
			return nil, fmt.Errorf("read the index of the image archive %s: %w", file, err)
		}
		refs := map[string]string{}
		for _, m := range i.Manifests {
			refs[m.Annotations[nameAnnotation]] = m.Digest.String()
		}
		return refs, nil
	}
}
