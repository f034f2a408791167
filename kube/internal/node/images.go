package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/kube/internal/image"
)

// images waits for containerd and imports the archives whose images it does not have yet.
func (i *initProcess) images(ctx context.Context) error {
	for !i.containerdServes(ctx) {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("wait for containerd: %w", err)
		}
	}
	if len(i.Images) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	listed, err := i.ctr(ctx, "images", "ls")
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	has := digests(listed)
	for _, archive := range i.Images {
		refs, err := image.Refs(archive)
		if err != nil {
			return err
		}
		if hasAll(has, refs) {
			continue
		}
		if _, err := i.ctr(ctx, "images", "import", archive); err != nil {
			return fmt.Errorf("import %s: %w", archive, err)
		}
	}
	return nil
}

func (i *initProcess) ctr(ctx context.Context, args ...string) (string, error) {
	return i.reaper.run(ctx, append([]string{i.Tools.Ctr, "--address", containerdSocket, "--namespace", "k8s.io"}, args...)...)
}

// digests reads the table of `ctr images ls`: REF TYPE DIGEST SIZE PLATFORMS LABELS.
func digests(table string) map[string]string {
	has := map[string]string{}
	for line := range strings.SplitSeq(table, "\n") {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[2], "sha256:") {
			has[f[0]] = f[2]
		}
	}
	return has
}

func hasAll(has, refs map[string]string) bool {
	for ref, digest := range refs {
		if has[ref] != digest {
			return false
		}
	}
	return true
}
